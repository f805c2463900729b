"""Micron-BERT: pre-training on pairs of unlabelled clip frames, and leave-one-subject-out heads trained as one batched problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from loupe.config import Config
from loupe.data.augment import flip_and_shift, random_crop_resized, to_float
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.models.agreement import dino_schedules
from loupe.models.micron_bert import MicronBert, swap_blocks
from loupe.training.build import build_micron_bert
from loupe.training.checkpoint import save_weights
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.schedules import pretraining_lr


@dataclass(frozen=True)
class FramePairs:
    """For each anchor frame t the rows that may serve as t + d: same clip, gap d in 1..floor(fps / 4) frames.

    anchors (A,) rows; partners (A, K) rows, padded; counts (A,) how many partners each anchor has.
    """

    anchors: np.ndarray
    partners: np.ndarray
    counts: np.ndarray

    def draw(self, chosen: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (t, t + d) of the anchors numbered `chosen`, the partner uniform among those allowed."""
        counts = torch.from_numpy(self.counts)[chosen]
        place = (torch.rand(len(chosen), generator=generator) * counts).long()
        return torch.from_numpy(self.anchors)[chosen], torch.from_numpy(self.partners)[chosen, place]


def frame_pairs(manifest: pd.DataFrame) -> FramePairs:
    """All pairs of stored frames with a gap that Micron-BERT pre-training may use. Raises LoupeError if there is none."""
    anchors, partners = [], []
    for _, clip in manifest.groupby("clip", sort=True):
        frames, rows = clip["frame"].to_numpy(), clip["sample"].to_numpy()
        largest = int(clip["fps"].iloc[0] // 4)
        for frame, row in zip(frames, rows, strict=True):
            allowed = rows[(frames - frame >= 1) & (frames - frame <= largest)]
            if len(allowed):
                anchors.append(row)
                partners.append(allowed)
    if not anchors:
        raise LoupeError("The clips hold no two frames within a quarter of a second: store more frames a clip (scale.faces.frames_per_clip_subject).")
    counts = np.array([len(rows) for rows in partners])
    padded = np.zeros((len(anchors), counts.max()), dtype=np.int64)
    for i, rows in enumerate(partners):
        padded[i, : len(rows)] = rows
    return FramePairs(np.array(anchors, dtype=np.int64), padded, counts)


def pretrain(
    config: Config, clips: Store, seed: int, checkpoints: Path, dma: str | None = None, poi: bool | None = None
) -> tuple[MicronBert, list[dict[str, float]]]:
    """Pre-train Micron-BERT on unlabelled clip frames; returns (model, history). The two frames of a pair share flip and shift."""
    schedule, settings = config.scale.micron, config.micron_bert
    device = resolve_device(config.scale.device)
    model = build_micron_bert(config, seed, dma, poi)
    pairs = frame_pairs(clips.manifest)
    pixels = torch.from_numpy(np.array(clips.images)).to(device)
    side = config.scale.image.size // config.scale.image.patch
    shift = round(4 * config.scale.image.size / 64)

    teacher: dict[str, torch.Tensor] = {}

    def loss_of(module, chosen, generator):
        first, second = pairs.draw(chosen, generator)
        frames = flip_and_shift([pixels[first.to(device)], pixels[second.to(device)]], shift, generator)
        frame_t, frame_td = (to_float(frame) for frame in frames)
        crop = random_crop_resized(frame_td, settings.crop_scale, generator)
        swapped = swap_blocks((len(chosen), side, side), settings.swap_ratio, settings.swap_block, generator).to(device)
        out = module(frame_t, frame_td, crop, swapped)
        if settings.agreement == "dino":
            teacher["output"] = out["teacher"]
        return {name: out[name] for name in ("loss", "reconstruction", "agreement", "ct_std")}

    batch = min(schedule.batch, len(pairs.anchors))
    lr = pretraining_lr(schedule.epochs, schedule.warmup_epochs, schedule.base_lr, batch, len(pairs.anchors))
    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=seed)
    momentum, temperature = dino_schedules(len(lr), constant_temperature=settings.layout == "released")

    def follow(module, step):
        if settings.agreement == "dino":
            module.update_teacher(teacher["output"], float(momentum[step]), float(temperature[min(step + 1, len(lr) - 1)]))

    history = fit(model, loss_of, len(pairs.anchors), recipe, checkpoints, "Micron-BERT pre-training", after_step=follow)
    return model.eval(), history


def pretrain_variant(path: Path, config: Config, clips: Path, seed: int, checkpoints: Path, dma: str, poi: bool) -> None:
    """Job: pre-train with one part exchanged and write the weights to `path`."""
    model, _ = pretrain(config, read_store(clips), seed, checkpoints, dma, poi)
    save_weights(path, model)


@torch.inference_mode()
def onset_apex_features(model: MicronBert, onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Features (N, 2D) of uint8 frame pairs (N, H, W, 3): [mean P_dma ; ct_apex - ct_onset]."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    for start in range(0, len(onset), 128):
        pair = [to_float(torch.from_numpy(np.ascontiguousarray(x[start : start + 128])).to(device)) for x in (onset, apex)]
        parts.append(model.features(*pair).float().cpu())
    return torch.cat(parts).numpy()


@torch.inference_mode()
def patch_maps(model: MicronBert, onset: np.ndarray, apex: np.ndarray) -> dict[str, np.ndarray]:
    """DMA, PoI and their product (N, L) each, for uint8 frame pairs (N, H, W, 3). A map that a variant lacks is all ones."""
    device = next(model.parameters()).device
    model.eval()
    parts: dict[str, list[np.ndarray]] = {"dma": [], "poi": [], "weight": []}
    for start in range(0, len(onset), 128):
        pair = [to_float(torch.from_numpy(np.ascontiguousarray(x[start : start + 128])).to(device)) for x in (onset, apex)]
        maps = model.maps(*pair)
        for name, found in parts.items():
            values = maps[name] if maps[name] is not None else torch.ones_like(next(m for m in maps.values() if m is not None))
            found.append(values.float().cpu().numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def loso_heads(
    features: np.ndarray, labels: np.ndarray, subjects: np.ndarray, classes: int, *, seeds: list[int], steps: int, lr: float, weight_decay: float
) -> np.ndarray:
    """Leave-one-subject-out linear heads, every fold and seed at once: probabilities (seeds, N, C) for each clip's own held-out fold.

    Each fold standardises with the mean and deviation of its own training clips, weighs classes by inverse frequency and takes `steps`
    full-batch AdamW steps; a clip of the held-out subject has weight 0 in its fold's loss. Equal to training the folds one after another.
    """
    people, fold_of = np.unique(subjects, return_inverse=True)
    x = torch.tensor(features, dtype=torch.float64)
    y = torch.tensor(labels, dtype=torch.int64)
    train = torch.from_numpy(fold_of)[None, :] != torch.arange(len(people))[:, None]  # (F, N)
    weight = train.double()
    mean = (weight @ x) / weight.sum(1, keepdim=True)
    variance = (weight @ x.square()) / weight.sum(1, keepdim=True) - mean.square()
    scaled = (x[None] - mean[:, None]) / variance.clamp(min=1e-8).sqrt()[:, None]  # (F, N, 2D)
    onehot = functional.one_hot(y, classes).double()
    per_class = weight @ onehot  # (F, C)
    balance = (weight.sum(1, keepdim=True) / (classes * per_class.clamp(min=1)))[:, y] * weight  # (F, N)
    balance = balance / balance.sum(1, keepdim=True)
    results = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        initial = torch.randn(x.shape[1], classes, generator=generator, dtype=torch.float64) * 0.01
        matrix = initial.expand(len(people), -1, -1).clone().requires_grad_()
        bias = torch.zeros(len(people), 1, classes, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.AdamW([{"params": [matrix], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}], lr=lr)
        for _ in range(steps):
            logits = torch.bmm(scaled, matrix) + bias
            loss = -(balance * logits.log_softmax(-1)[:, torch.arange(len(y)), y]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            probabilities = (torch.bmm(scaled, matrix) + bias).softmax(-1)
        results.append(probabilities[torch.from_numpy(fold_of), torch.arange(len(y))].float().numpy())
    return np.stack(results)

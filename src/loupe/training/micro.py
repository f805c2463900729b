"""Micron-BERT: pre-training on pairs of unlabelled clip frames, its features of frame pairs, and what its pre-training task asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from loupe.config import Config
from loupe.data.augment import flip_and_shift, random_crop_resized, to_float
from loupe.data.skew import skewed
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.experiments import MicronArm
from loupe.models.agreement import dino_schedules
from loupe.models.micron_bert import MicronBert, swap_blocks
from loupe.models.patches import patchify
from loupe.part import part_of
from loupe.steps import CHECKPOINTS, Step
from loupe.training.build_micron import build_micron_bert, exchanged_by
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
        raise LoupeError(
            "The clips hold no two frames within a quarter of a second: store more frames a clip (scale.faces.frames_per_clip_subject)."
        )
    counts = np.array([len(rows) for rows in partners])
    padded = np.zeros((len(anchors), counts.max()), dtype=np.int64)
    for i, rows in enumerate(partners):
        padded[i, : len(rows)] = rows
    return FramePairs(np.array(anchors, dtype=np.int64), padded, counts)


@dataclass(frozen=True)
class EncoderStart:
    """Weights of MAE-Face's encoder that pre-training starts from, and the peak learning rate that follows it."""

    weights: Path
    lr: float


def pretrain(
    config: Config, clips: Store, seed: int, checkpoints: Path, arm: MicronArm | None = None, start: EncoderStart | None = None
) -> tuple[MicronBert, list[dict[str, float]]]:
    """Pre-train Micron-BERT on unlabelled clip frames; returns (model, history). The two frames of a pair share flip and shift.

    arm: what is exchanged in the network. start: None draws the encoder."""
    schedule, settings = config.scale.micron, config.micron_bert
    device = resolve_device(config.scale.device)
    model = build_micron_bert(config, seed, encoder_weights=start and start.weights, **exchanged_by(arm))
    pairs = frame_pairs(clips.manifest)
    pixels = torch.from_numpy(np.array(clips.images)).to(device)
    side = model.encoder.grid[0]
    shift = round(settings.shift * config.scale.image.size / 64)

    def inputs_of(chosen, generator):
        first, second = pairs.draw(chosen, generator)
        frames = flip_and_shift([pixels[first.to(device)], pixels[second.to(device)]], shift, generator)
        frame_t, frame_td = (to_float(frame) for frame in frames)
        crop = random_crop_resized(frame_td, settings.crop_scale, generator)
        swapped = swap_blocks((len(chosen), side, side), settings.swap_ratio, settings.swap_block, generator).to(device)
        return frame_t, frame_td, crop, swapped

    names = ["loss", "reconstruction", "agreement", "ct_std", *(["teacher"] if settings.agreement == "dino" else [])]

    def loss_of(module, *inputs):
        out = module(*inputs)
        return {name: out[name] for name in names}

    batch = min(schedule.batch, len(pairs.anchors))
    base_lr = schedule.base_lr if start is None else start.lr * 256 / batch
    lr = pretraining_lr(schedule.epochs, schedule.warmup_epochs, base_lr, batch, len(pairs.anchors))
    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=seed)
    momentum, temperature = dino_schedules(len(lr), constant_temperature=settings.layout == "released")

    def follow(module, step, outputs):
        if settings.agreement == "dino":
            module.update_teacher(outputs["teacher"], float(momentum[step]), float(temperature[min(step + 1, len(lr) - 1)]))

    history = fit(model, inputs_of, loss_of, len(pairs.anchors), recipe, checkpoints, after_step=follow)
    return model.eval(), history


# What building, pre-training and asking the network reads of the settings.
MICRON_READ = tuple(f"scale.{name}" for name in "device precision threads image encoder micron".split()) + ("micron_bert",)


def pretraining_step(
    name: str, clips: Path, config: Config, arm: MicronArm | None = None, dose: float | None = None, start: EncoderStart | None = None
) -> Step:
    """Pre-training on the store `clips` with the study's first seed as a step: `micron_bert.safetensors` and `history.parquet`.

    arm: what is exchanged in the network. dose: only half of the people, this share of them from the upper half (`loupe.data.skew`).
    start: as in `pretrain`.
    """
    read = part_of(config, *MICRON_READ, "data.seed") if dose is not None else part_of(config, *MICRON_READ)
    arguments = {"clips": clips, "config": read, "arm": arm, "dose": dose, "start": start, "seed": config.scale.seeds[0]}
    size = config.scale.micron.epochs * len(read_store(clips).manifest) * 3  # pictures seen: two frames and a crop a time
    return Step(name, write_pretraining, arguments, size=size)


def write_pretraining(
    folder: Path, clips: Path, config: Config, arm: MicronArm | None, dose: float | None, start: EncoderStart | None, seed: int
) -> None:
    store = read_store(clips)
    if dose is not None:
        store = skewed(store, dose, config.data.seed)
    model, history = pretrain(config, store, seed, folder / CHECKPOINTS / folder.name.removesuffix(".partial"), arm, start)
    save_weights(folder / "micron_bert.safetensors", model)
    names = ("reconstruction", "agreement", "ct_std")
    rows = [{"run": "micron-bert", "step": row["step"], "name": name, "value": row[name]} for row in history for name in names]
    pd.DataFrame(rows).to_parquet(folder / "history.parquet", index=False)


@torch.inference_mode()
def swap_signal(model: MicronBert, config: Config, clips: Store, seed: int, pairs: int = 256) -> dict[str, float]:
    """What the pre-training task asks for beside what the network misses anyway, on `pairs` drawn pairs, as mean squares of input pixels.

    `swap`: what swapping changes, |I_t - I_{t+d}|^2 over the swapped patches. `unchanged`: what remains if I_t is restored as it came in,
    swapped patches and all. `reconstruction`: what remains after the network. Where the last is far above `unchanged`, the loss is about
    painting a face, and which patches were swapped hardly enters it.
    """
    settings, device = config.micron_bert, next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    drawn = frame_pairs(clips.manifest)
    chosen = torch.randint(len(drawn.anchors), (pairs,), generator=generator)
    totals = dict.fromkeys(("swap", "unchanged", "reconstruction"), 0.0)
    for part in chosen.split(64):
        frame_t, frame_td = (
            to_float(torch.from_numpy(np.array(clips.images[rows.numpy()])).to(device)) for rows in drawn.draw(part, generator)
        )
        swapped = swap_blocks((len(part), *model.encoder.grid), settings.swap_ratio, settings.swap_block, generator).to(device)
        change = patchify(frame_td - frame_t, model.encoder.patch_size).square().mean(-1) * swapped  # (B, L)
        missed = (model.reconstruct(frame_t, frame_td, swapped) - frame_t).square()
        totals["swap"] += float((change.sum(1) / swapped.sum(1).clamp(min=1)).sum())
        totals["unchanged"] += float(change.mean(1).sum())
        totals["reconstruction"] += float(missed.mean((1, 2, 3)).sum())
    return {name: total / pairs for name, total in totals.items()}


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

"""Pre-training of MAE-Face, and what shows that it learnt: reconstructions of unseen people and a linear probe."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from loupe.config import Config
from loupe.data.augment import flip_and_shift, to_float
from loupe.data.store import read_store
from loupe.models.baselines.linear import make_logistic_regression
from loupe.models.mae import MaskedAutoencoder, gather_patches
from loupe.models.vit import Encoder
from loupe.part import part_of
from loupe.steps import CHECKPOINTS, Step
from loupe.training.build_mae import build_mae
from loupe.training.checkpoint import save_weights
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.schedules import pretraining_lr


def pretrain(
    config: Config, images: np.ndarray, seed: int, checkpoints: Path, rows: np.ndarray | None = None
) -> tuple[MaskedAutoencoder, list[dict[str, float]]]:
    """Train the masked autoencoder on uint8 faces (M, H, W, 3) with the active scale's schedule; returns (model, history).

    `rows` are the numbers of those to train on, all if not given. Memory holds one batch of them: `images` may be a store's memory map, of
    any size.
    """
    schedule, settings = config.scale.mae, config.mae_face
    torch.manual_seed(seed)
    model = build_mae(config)
    device = resolve_device(config.scale.device)
    rows = np.arange(len(images)) if rows is None else rows
    patches = (config.scale.image.size // config.scale.image.patch) ** 2
    shift = round(settings.shift * config.scale.image.size / 64)

    def inputs_of(chosen, generator):
        (batch,) = flip_and_shift([read_faces(images, rows[chosen.numpy()], device)], shift, generator)
        noise = torch.rand(len(chosen), patches, generator=generator).to(device)
        return to_float(batch), noise

    def loss_of(module, faces, noise):
        return {"loss": module(faces, noise)["loss"]}

    batch = min(schedule.batch, len(rows))
    lr = pretraining_lr(schedule.epochs, schedule.warmup_epochs, schedule.base_lr, batch, len(rows))
    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=seed)
    history = fit(model, inputs_of, loss_of, len(rows), recipe, checkpoints)
    return model.eval(), history


def pretraining_step(stills: Path, config: Config) -> Step:
    """Pre-training on the unlabelled part of the store `stills` with the study's first seed as a step: `encoder.safetensors`,
    `mae.safetensors` and `history.parquet`."""
    read = part_of(config, *(f"scale.{name}" for name in "device precision threads image encoder mae".split()), "mae_face")
    return Step("pretraining", write_pretraining, {"stills": stills, "config": read, "seed": config.scale.seeds[0]})


def write_pretraining(folder: Path, stills: Path, config: Config, seed: int) -> None:
    store = read_store(stills)
    rows = np.flatnonzero(store.manifest["split"] == "pretrain")
    model, history = pretrain(config, store.images, seed, folder / CHECKPOINTS / "mae", rows)
    save_weights(folder / "encoder.safetensors", model.encoder)
    save_weights(folder / "mae.safetensors", model)
    rows = [{"run": "mae", "step": row["step"], "name": "loss", "value": row["loss"]} for row in history]
    pd.DataFrame(rows).to_parquet(folder / "history.parquet", index=False)


def read_faces(images: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (len(rows), H, W, 3) on `device`. What was read of a memory map is given back: touched pages count as this process's memory."""
    faces = torch.from_numpy(images[rows])
    if (mapping := getattr(images, "_mmap", None)) is not None:
        mapping.madvise(mmap.MADV_DONTNEED)
    return faces.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else faces.to(device)


@torch.inference_mode()
def reconstruction_error(model: MaskedAutoencoder, images: np.ndarray, seed: int) -> dict[str, float]:
    """Mean squared error on hidden patches of unseen faces, in the loss's own space (per-patch normalised pixels).

    Returns {"mae": ours, "mean_patch": error of predicting each hidden patch by the mean of the visible patches, "factor": their ratio}.
    In normalised space every patch has mean 0 and variance 1, so a constant prediction scores 1; the mean of the visible patches is a
    constant *patch* and may do a little better, which is why it, and not 1, is the rival.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    ours, rival = [], []
    for start in range(0, len(images), 128):
        batch = to_float(torch.from_numpy(np.ascontiguousarray(images[start : start + 128])).to(device))
        noise = torch.rand(len(batch), model.encoder.patches, generator=generator).to(device)
        out = model(batch, noise)
        patches = model.encoder.patchify(batch)
        target = model.normalise(patches)[0] if model.norm_pix else patches
        visible = (~out["masked"])[..., None].float()
        guess = (target * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True)
        hidden = gather_patches(patches, out["hidden"])
        ours.append(len(batch) * float(model.mse(out["pred"], hidden)))
        rival.append(len(batch) * float(model.mse(guess.expand_as(hidden), hidden)))
    mae, mean_patch = sum(ours) / len(images), sum(rival) / len(images)
    return {"mae": mae, "mean_patch": mean_patch, "factor": mean_patch / mae}


@torch.inference_mode()
def pooled_features(encoder: Encoder, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """Mean of the patch tokens after the final norm, (N, D) float32, for uint8 images (N, H, W, 3)."""
    device = next(encoder.parameters()).device
    encoder.eval()
    parts = [
        encoder.pooled(to_float(torch.from_numpy(np.ascontiguousarray(images[i : i + batch])).to(device))).cpu()
        for i in range(0, len(images), batch)
    ]
    return torch.cat(parts).numpy()


def linear_probe(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, c: float = 0.1) -> np.ndarray:
    """Predictions of a logistic regression on standardised features; scaler and classifier see training rows only."""
    return make_logistic_regression(c, balanced=False).fit(train_x, train_y).predict(test_x)

"""Time to quality: seconds of pre-training until the linear probe on unseen people is as good as the paper's recipe makes it at its end."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn

from loupe.config import Config
from loupe.data.augment import flip_and_shift, to_float
from loupe.data.store import Store
from loupe.training.build_mae import build_mae
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.mae_face import linear_probe, pooled_features
from loupe.training.schedules import pretraining_lr


@dataclass(frozen=True)
class Curve:
    """Probe scores (macro-F1 on validation people) and the seconds of training, probes not counted, at which they were reached.

    The first is the untrained model's, at 0 seconds.
    """

    seconds: tuple[float, ...]
    scores: tuple[float, ...]

    def reaches(self, score: float) -> float | None:
        """Seconds to the first probe that is as good as `score` and is followed by one that is, too, or by none; None if there is no such
        probe.

        One good probe alone may be luck.
        """
        following = (*self.scores[1:], float("inf"))
        return next((second for second, one, two in zip(self.seconds, self.scores, following, strict=True) if min(one, two) >= score), None)


def paper_recipe(config: Config) -> Config:
    """MAE's own recipe at this scale's size (arXiv 2111.06377): lr 1.5e-4 a 256 images, 5 % warm-up, a decoder of two thirds of the
    encoder's depth and width, random crops twice as far as ours."""
    schedule = config.scale.mae
    paper = dataclasses.replace(
        schedule,
        base_lr=1.5e-4,
        warmup_epochs=max(1, schedule.epochs // 20),
        decoder_depth=max(1, round(config.scale.encoder.depth * 2 / 3)),
        decoder_width=config.scale.encoder.width * 2 // 3 // 16 * 16,
        decoder_heads=4,
    )
    return dataclasses.replace(
        config,
        scale=dataclasses.replace(config.scale, mae=paper),
        mae_face=dataclasses.replace(config.mae_face, shift=2 * config.mae_face.shift),
    )


def curve(config: Config, images: np.ndarray, labelled: Store, seed: int, checkpoints: Path, probes: int) -> Curve:
    """Pre-train with the recipe in `config` and probe `probes` times on the way. Training people fit the probe, validation people score
    it."""
    schedule, settings = config.scale.mae, config.mae_face
    device = resolve_device(config.scale.device)
    torch.manual_seed(seed)
    model = build_mae(config)
    pixels = torch.tensor(images, device=device)
    batch = min(schedule.batch, len(images))
    lr = pretraining_lr(schedule.epochs, schedule.warmup_epochs, schedule.base_lr, batch, len(images))
    shift = round(settings.shift * config.scale.image.size / 64)
    train, val = labelled.split("train"), labelled.split("val")
    seconds: list[float] = []
    scores: list[float] = []

    def inputs_of(rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        (faces,) = flip_and_shift([pixels[rows.to(device)]], shift, generator)
        return to_float(faces), torch.rand(len(rows), model.encoder.patches, generator=generator).to(device)

    def score(module: nn.Module, step: int, outputs: dict[str, torch.Tensor]) -> None:
        nonlocal probing
        if step < len(lr) - 1 and (step + 1) % every:
            return
        began = time.perf_counter()
        seconds.append(began - start - probing)
        scores.append(probed(module.eval()))
        module.train()
        probing += time.perf_counter() - began

    def probed(module: nn.Module) -> float:
        found = linear_probe(pooled_features(module.encoder, train.images), train.labels, pooled_features(module.encoder, val.images))
        return float(f1_score(val.labels, found, labels=range(len(train.class_names)), average="macro", zero_division=0))

    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=seed)
    untrained = probed(model.to(device).eval())
    every = max(1, len(lr) // probes)
    probing, start = 0.0, time.perf_counter()
    fit(model, inputs_of, lambda m, *x: {"loss": m(*x)["loss"]}, len(images), recipe, checkpoints, after_step=score)
    return Curve((0.0, *seconds), (untrained, *scores))

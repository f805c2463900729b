"""Three small trainings (MAE-Face, Micron-BERT with DINO, a classifier with stochastic depth and dropout), alone or, under torchrun, on two
processes.

`python -m torch.distributed.run --standalone --nproc-per-node 2 tests/training/runs.py FOLDER` writes FOLDER/results.json.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

import loupe.models  # noqa: F401  (makes timm importable)
from loupe.config import load
from loupe.data.store import Store
from loupe.models.dual_view import DualViewClassifier
from loupe.models.vit import Encoder
from loupe.training import mae_face, micro
from loupe.training.device import prepare_torch
from loupe.training.loop import Recipe, fit
from loupe.training.schedules import warmup_cosine

ROOT = Path(__file__).resolve().parents[2]
IMAGES = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(24) % 3
HELD: list[float] = []
SMALL = ["scale=smoke", "scale.image.size=16", "scale.encoder.width=16", "scale.mae.batch=16", "scale.mae.epochs=3", "scale.micron.batch=8"]


def recipe(steps: int, **changes) -> Recipe:
    settings = dict(
        lr=warmup_cosine(steps, 2, 1e-2), batch=8, betas=(0.9, 0.95), weight_decay=0.05, clip=1.0, seed=7, device=torch.device("cpu"),
        precision="fp32", checkpoint_seconds=0.0, layer_decay=0.8,
    )  # fmt: skip
    return Recipe(**{**settings, **changes})


def classifier() -> DualViewClassifier:
    torch.manual_seed(0)
    encoder = Encoder(image_size=16, patch_size=8, width=16, depth=2, heads=2, drop_path=0.3)
    return DualViewClassifier(encoder, classes=3, variant="concat", fuse_at=1, head="grid")


def inputs_of(rows, generator):
    noise = torch.randn(len(rows), 3, 16, 16, generator=generator) * 0.1
    return LABELS[rows], IMAGES[rows] + noise, IMAGES[rows]


def loss_of(module, truth, *views):
    return {"loss": functional.cross_entropy(module(*views), truth)}


def held(module) -> float:
    """Which part of its parameters this process holds between steps."""
    own = sum((tensor.to_local() if hasattr(tensor, "to_local") else tensor).numel() for tensor in module.parameters())
    return own / sum(tensor.numel() for tensor in module.parameters())


def classify(folder: Path, steps: int = 12, inputs=inputs_of) -> tuple[list[dict[str, float]], DualViewClassifier]:
    model = classifier()
    look = lambda module, step, outputs: HELD.append(held(module))
    history = fit(model, inputs, loss_of, len(IMAGES), recipe(steps), folder, after_step=look)
    return history, model.eval()


def stopped(folder: Path, step: int) -> None:
    """`classify` that dies in step `step`; a checkpoint of every step before it is there."""
    calls = itertools.count()

    def dies(rows, generator):
        if next(calls) == step:
            raise InterruptedError
        return inputs_of(rows, generator)

    with contextlib.suppress(InterruptedError):
        classify(folder, inputs=dies)


def results(folder: Path) -> dict:
    """Losses of all steps of each training, and what the trained classifier says."""
    generator = np.random.default_rng(0)
    faces = generator.integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    frames = pd.DataFrame([{"clip": clip, "frame": frame, "fps": 100.0} for clip in "abcd" for frame in (0, 4, 9, 13, 18, 22)])
    clips = Store(faces[:24], frames.assign(sample=range(24)))
    _, mae = mae_face.pretrain(load(SMALL, ROOT), faces, 0, folder / "mae")
    _, dino = micro.pretrain(load([*SMALL, "micron_bert.agreement=dino"], ROOT), clips, 0, folder / "dino")
    history, model = classify(folder / "classifier")
    stopped(folder / "stopped", 5)
    with torch.inference_mode():
        said = model(IMAGES, IMAGES).argmax(1).tolist()
    return {"mae": mae, "dino": dino, "classifier": history, "said": said, "held": max(HELD)}


if __name__ == "__main__":
    prepare_torch(1)
    found = results(Path(sys.argv[1]))
    if len(sys.argv) > 2:  # the folder of a run that somebody else stopped
        found["continued"], _ = classify(Path(sys.argv[2]))
    if os.environ["RANK"] == "0":
        Path(sys.argv[1], "results.json").write_text(json.dumps(found))

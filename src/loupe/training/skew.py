"""Micron-BERT pre-trained on uneven people."""

from __future__ import annotations

from pathlib import Path

from loupe.config import Config
from loupe.data.skew import skewed
from loupe.data.store import read_store
from loupe.training.checkpoint import save_weights
from loupe.training.micro import pretrain


def pretrain_skewed(path: Path, config: Config, clips: Path, seed: int, checkpoints: Path, dose: float) -> None:
    """Job: pre-train the whole method on half of the people in `clips`, `dose` of them from the upper half (see loupe.data.skew), and write the
    weights to `path`.
    """
    model, _ = pretrain(config, skewed(read_store(clips), dose, config.data.seed), seed, checkpoints)
    save_weights(path, model)

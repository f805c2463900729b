"""The two tasks of micro-expression clips, and their leave-one-subject-out predictions from frozen features.

Whole method and ablations call the same functions, so that their predictions differ by their features alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loupe.config import Config
from loupe.data.clips import OnsetApex
from loupe.training.device import resolve_device
from loupe.training.loso import loso_heads, loso_heads_on_the_way
from loupe.training.stills import prediction_table


@dataclass(frozen=True)
class ClipTask:
    """name: `micro` or `spotting`. chosen: bool (N,), which of all clips take part; labels, subjects (n,) and rows (n) of those clips alone."""

    name: str
    classes: int
    chosen: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    rows: pd.DataFrame


def clip_tasks(pairs: OnsetApex) -> dict[str, ClipTask]:
    """`micro`: which of the three classes, of clips with a class. `spotting`: a micro-expression (1), of whatever class or none of them, or no
    expression at all (0); left out where no clip is without, as in real sets.
    """
    tasks = {"micro": _task("micro", 3, pairs, pairs.labels >= 0, pairs.labels)}
    if not pairs.expressive.all():
        tasks["spotting"] = _task("spotting", 2, pairs, np.ones(len(pairs.clips), dtype=bool), pairs.expressive.astype(int))
    return tasks


def _task(name: str, classes: int, pairs: OnsetApex, chosen: np.ndarray, labels: np.ndarray) -> ClipTask:
    rows = pd.DataFrame(pairs.rows)[chosen].assign(label=labels[chosen])
    return ClipTask(name, classes, chosen, labels[chosen], pairs.subjects[chosen], rows)


def loso_table(task: ClipTask, arm: str, seeds: Sequence[int], probabilities: Sequence[np.ndarray]) -> pd.DataFrame:
    """Predictions in the study's schema, `probabilities` (n, classes) of each seed; a fold bears the name of the person it leaves out."""
    parts = [prediction_table(task.name, arm, 1.0, seed, task.rows, p) for seed, p in zip(seeds, probabilities, strict=True)]
    return pd.concat(parts, ignore_index=True).assign(fold=lambda table: table["subject"])


def head_predictions(task: ClipTask, arm: str, features: np.ndarray, config: Config) -> pd.DataFrame:
    """Predictions of linear heads on frozen features (N, D) of all clips, for each of the scale's seeds; see `loso_heads`."""
    each = loso_heads(*_clips(task, features), steps=config.scale.micro_head.steps, **_settings(config))
    return loso_table(task, arm, config.scale.seeds, each)


def predicted_on_the_way(task: ClipTask, features: np.ndarray, config: Config, every: int) -> np.ndarray:
    """Classes (P, S, n) that the heads of `head_predictions` say after each step that is a multiple of `every`, and after the last."""
    steps = config.scale.micro_head.steps
    marks = sorted({*range(every, steps + 1, every), steps})
    return loso_heads_on_the_way(*_clips(task, features), marks=marks, **_settings(config)).argmax(-1)


def _clips(task: ClipTask, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    return features[task.chosen], task.labels, task.subjects, task.classes


def _settings(config: Config) -> dict:
    decays = config.experiments.micro_expressions.weight_decays
    return dict(seeds=config.scale.seeds, lr=config.scale.micro_head.lr, weight_decays=decays, device=resolve_device(config.scale.device))

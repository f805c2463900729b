"""What a still classifier is asked: the class of a face (task `stills`), or which single action units it shows (task `units`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from loupe.config import Arm, Config
from loupe.data.store import Store
from loupe.experiments import ActionUnits
from loupe.models.baselines.au_oracle import features_au


@dataclass(frozen=True)
class Question:
    """truth: row by row of a store, classes (N,) int64, or (N, K) float32, 1 where unit k is present. outputs: numbers the network answers
    with."""

    task: str
    truth: torch.Tensor
    outputs: int

    def spread(self, truth: torch.Tensor) -> torch.Tensor:
        """Some rows of the truth as float (B, outputs), so that rows can be mixed."""
        return truth if truth.ndim == 2 else functional.one_hot(truth, self.outputs).float()

    def loss(self, logits: torch.Tensor, truth: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Mean loss of logits (B, outputs): cross-entropy over the classes (truth (B,), or (B, outputs) where rows were mixed), or binary
        cross-entropy over samples and units, which is not smoothed."""
        if self.task == "units":
            return functional.binary_cross_entropy_with_logits(logits, truth)
        return functional.cross_entropy(logits, truth, label_smoothing=label_smoothing)


def question_of(config: Config, arm: Arm, store: Store) -> Question:
    """What `arm` is asked about each row of `store`. Raises LoupeError where units are asked for and the manifest does not know them."""
    if arm.task == "units":
        present = present_units(store.manifest["au"], config.experiments.dual_view.action_units)
        return Question("units", torch.from_numpy(present.astype(np.float32)), present.shape[1])
    return Question("stills", torch.tensor(store.labels), len(store.class_names))


def probabilities(task: str, logits: torch.Tensor) -> torch.Tensor:
    """Of the classes, which sum to 1, or of each unit by itself: (B, outputs) -> (B, outputs)."""
    return logits.sigmoid() if task == "units" else logits.softmax(-1)


def knows_units(action_units: Sequence[np.ndarray]) -> bool:
    """Whether every row of the manifest's `au` column holds the true strengths: only generated faces do."""
    return len(action_units) > 0 and all(len(row) for row in action_units)


def present_units(action_units: Sequence[np.ndarray], settings: ActionUnits) -> np.ndarray:
    """The manifest's `au` column -> (N, K) bool: the stronger side of unit k reaches the threshold."""
    strengths = features_au(action_units)
    return np.stack([strengths[:, unit.columns].max(axis=1) for unit in settings.units], axis=1) >= settings.threshold

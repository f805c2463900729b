"""Leave one subject out with scikit-learn classifiers: scaler, selection and classifier see the training clips of the fold only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.model_selection import LeaveOneGroupOut

from loupe.models.baselines.linear import class_probabilities
from loupe.progress import track


def loso_probabilities(
    make: Callable[[], ClassifierMixin], features: np.ndarray, labels: np.ndarray, subjects: np.ndarray, classes: int, label: str
) -> np.ndarray:
    """Scores (N, classes) float32 of each clip by the fold that never saw its subject; `make` builds a fresh classifier for each fold."""
    scores = np.zeros((len(labels), classes), dtype=np.float32)
    folds = list(LeaveOneGroupOut().split(features, labels, subjects))
    for train, held_out in track(folds, label):
        assert not set(subjects[train]) & set(subjects[held_out])
        scores[held_out] = class_probabilities(make().fit(features[train], labels[train]), features[held_out], classes)
    return scores

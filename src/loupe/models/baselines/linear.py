"""Linear classifiers on features: majority, logistic regression, linear SVM, the choice of a setting, and class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from loupe.errors import LoupeError


def make_majority(c: float = 1.0) -> ClassifierMixin:
    """Always the most frequent class of the training rows. `c` is accepted so that all makers are called alike."""
    return DummyClassifier(strategy="most_frequent")


def make_logistic_regression(c: float = 1.0, *, balanced: bool = True) -> Pipeline:
    """Standardise, then multinomial logistic regression; `balanced` weights classes by inverse frequency. Deterministic (L-BFGS)."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, class_weight="balanced" if balanced else None))


def make_linear_svm(c: float = 1.0) -> Pipeline:
    """Standardise, then one-against-rest linear SVM with classes weighted by inverse frequency. Seeded, hence repeatable."""
    return make_pipeline(StandardScaler(), LinearSVC(C=c, class_weight="balanced", dual="auto", max_iter=20000, random_state=0))


def class_probabilities(fitted: ClassifierMixin, features: np.ndarray, classes: int) -> np.ndarray:
    """Scores (N, classes) that sum to 1 and rank as the classifier does; 0 for a class absent from its training rows.

    Logistic regression gives its probabilities; an SVM has none, so its decision values go through a softmax. These are scores for ranking
    and for averaging seeds, not calibrated probabilities.
    """
    known = np.asarray(fitted.classes_, dtype=int)
    if known.min() < 0 or known.max() >= classes:
        raise LoupeError(
            f"The classifier knows labels {sorted(set(known.tolist()))}, but only 0 to {classes - 1} are classes; check the labels."
        )
    if hasattr(fitted, "predict_proba"):
        scores = fitted.predict_proba(features)
    else:
        decision = fitted.decision_function(features)
        if decision.ndim == 1:  # two classes: one value, for the second
            decision = np.stack([-decision / 2, decision / 2], axis=1)
        scores = np.exp(decision - decision.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    table = np.zeros((len(features), classes), dtype=np.float32)
    table[:, known] = scores
    return table


def choose_setting(
    make: Callable[[float], ClassifierMixin],
    features: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    *,
    grid: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    folds: int = 4,
) -> float:
    """The setting of best macro-F1 on inner validation subjects, pooled over folds; of equals the first in `grid`.

    List the strongest regularisation first: C rising, weight decay falling. Pass training rows only, (N, ...) as `make(setting)` takes
    them. Subjects never stand on both sides of an inner split. Needs at least two subjects, else LoupeError.
    """
    folds = min(folds, len(np.unique(subjects)))
    if folds < 2:
        raise LoupeError("Choosing a setting needs training rows of at least two subjects; give the setting instead.")
    split = list(StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(features, labels, subjects))
    names = np.unique(labels)
    scores = []
    for setting in grid:
        predicted = np.empty_like(labels)
        for train, validation in split:
            if len(np.unique(labels[train])) == 1:
                predicted[validation] = labels[train][0]
            else:
                predicted[validation] = make(setting).fit(features[train], labels[train]).predict(features[validation])
        scores.append(f1_score(labels, predicted, labels=names, average="macro", zero_division=0))
    return grid[int(np.argmax(scores))]

"""Scores over arrays of labels, predictions and confusion matrices; pure numpy.

Conventions, the same for every function here:

* Classes are the integers 0..C-1 and **all of them are listed**, whether or not they occur: the values equal scikit-learn's with
  `labels=range(C), zero_division=0`. (scikit-learn's default drops a class that nobody predicted and nobody has, which flatters.)
* A class absent from truth and from prediction has F1 0. A class absent from truth has recall 0. It still counts in the macro mean.
* `classes=None` lists 0..highest label seen; `uf1` and `uar` then list at least the three classes of MEGC2019. Say `classes` whenever the
  task is known: a fold or a data set in which the last class is missing must still be scored over all of them.
* UF1 is the macro F1, and UAR the macro recall, **of the pooled predictions of all folds** (MEGC2019). Pool first; the mean of fold scores
  is
  another, wrong number.
* A confusion matrix has the truth in its rows and the prediction in its columns. Functions named `*_of` take stacked ones (..., C, C), so
  that
  ten thousand resamples are one call. An all-zero matrix scores 0.
* AUROC counts ties as one half; with a single class present it is undefined: NaN. Sensitivity at a false-alarm rate is the highest
  true-positive
  rate among thresholds whose false-positive rate does not exceed the limit, no interpolation; NaN where a class is missing.
* Labels that are negative, fractional or not below C, arrays of unequal length and empty input raise `LoupeError`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from loupe.errors import LoupeError

MEGC_CLASSES = 3


def _labels(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise LoupeError(f"{name} has {array.ndim} dimensions; pass one label a sample.")
    if array.size == 0:
        raise LoupeError(f"{name} is empty; a score needs at least one prediction.")
    if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise LoupeError(f"{name} holds values that are not whole numbers; map class names to 0..C-1 first.")
    array = array.astype(np.int64)
    if array.min() < 0:
        raise LoupeError(f"{name} holds the label {array.min()}; drop samples without a label (-1) before scoring.")
    return array


def _label_pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth, prediction = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if truth.shape != prediction.shape:
        raise LoupeError(f"y_true has {truth.size} labels and y_pred {prediction.size}; they must describe the same samples.")
    return truth, prediction


def confusion(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None, *, at_least: int = 1) -> NDArray[np.int64]:
    """Confusion matrix (C, C): rows truth, columns prediction. `at_least` is the smallest C when `classes` is left to the data."""
    truth, prediction = _label_pair(y_true, y_pred)
    highest = int(max(truth.max(), prediction.max()))
    count = max(at_least, highest + 1) if classes is None else classes
    if highest >= count:
        raise LoupeError(f"label {highest} is outside the {count} classes 0..{count - 1}; pass the right number of classes.")
    return np.bincount(truth * count + prediction, minlength=count * count).reshape(count, count)


def grouped_confusion(groups: ArrayLike, y_true: ArrayLike, y_pred: ArrayLike, classes: int, n_groups: int) -> NDArray[np.int64]:
    """One confusion matrix a group (G, C, C); `groups` (N,) are integers below `n_groups`. Their sum is `confusion(y_true, y_pred)`."""
    truth, prediction = _label_pair(y_true, y_pred)
    highest = int(max(truth.max(), prediction.max()))
    if highest >= classes:
        raise LoupeError(f"label {highest} is outside the {classes} classes 0..{classes - 1}; pass the right number of classes.")
    index = (np.asarray(groups, dtype=np.int64) * classes + truth) * classes + prediction
    return np.bincount(index, minlength=n_groups * classes * classes).reshape(n_groups, classes, classes)


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.broadcast(numerator, denominator).shape), where=denominator != 0)


def per_class_f1_of(matrices: NDArray) -> NDArray[np.float64]:
    """F1 of each class, 2 TP / (2 TP + FP + FN): (..., C, C) -> (..., C)."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return _ratio(2.0 * hits, matrices.sum(axis=-1) + matrices.sum(axis=-2))


def macro_f1_of(matrices: NDArray) -> NDArray[np.float64]:
    """Mean of the classes' F1: (..., C, C) -> (...)."""
    return per_class_f1_of(matrices).mean(axis=-1)


def uar_of(matrices: NDArray) -> NDArray[np.float64]:
    """Unweighted average recall: (..., C, C) -> (...)."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return _ratio(hits, matrices.sum(axis=-1)).mean(axis=-1)


def accuracy_of(matrices: NDArray) -> NDArray[np.float64]:
    """Share of samples on the diagonal: (..., C, C) -> (...)."""
    return _ratio(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum(axis=(-2, -1)))


CONFUSION_METRICS: dict[str, Callable[[NDArray], NDArray[np.float64]]] = {
    "macro_f1": macro_f1_of,
    "uf1": macro_f1_of,
    "uar": uar_of,
    "accuracy": accuracy_of,
}


def per_class_f1(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None) -> NDArray[np.float64]:
    """F1 of each class (C,)."""
    return per_class_f1_of(confusion(y_true, y_pred, classes))


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None) -> float:
    """Mean F1 over the classes (Aff-Wild2's score)."""
    return float(macro_f1_of(confusion(y_true, y_pred, classes)))


def uf1(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None) -> float:
    """Unweighted F1 of pooled predictions (MEGC2019)."""
    return float(macro_f1_of(confusion(y_true, y_pred, classes, at_least=MEGC_CLASSES)))


def uar(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None) -> float:
    """Unweighted average recall of pooled predictions (MEGC2019)."""
    return float(uar_of(confusion(y_true, y_pred, classes, at_least=MEGC_CLASSES)))


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, classes: int | None = None) -> float:
    """Share of right predictions."""
    return float(accuracy_of(confusion(y_true, y_pred, classes)))


def _binary(y_true: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, values = _labels(y_true, "y_true"), np.asarray(score, dtype=np.float64)
    if truth.max() > 1:
        raise LoupeError(f"y_true holds the label {truth.max()}; this score needs 0 (none) and 1 (present).")
    if truth.shape != values.shape:
        raise LoupeError(f"y_true has {truth.size} labels and score has shape {values.shape}; they must describe the same samples.")
    if not np.isfinite(values).all():
        raise LoupeError("score holds values that are not finite; look for a diverged arm in the predictions.")
    return truth.astype(bool), values


def guessing_score(metric: str, labels: ArrayLike, classes: int, answers: int | None = None) -> float:
    """Expected score of giving every possible answer equally often, whatever the sample; NaN for a metric that has no such level.

    answers: how many of the classes a sample can be answered with, where they come in groups of so many (several questions a sample); None:
    all. F1 of class c with share p, whose group has the share s (1 where there is one group), at guessing rate q = 1 / answers: precision p
    / s, recall q, hence 2 p q / (p + s q).
    """
    answers = answers or classes
    rate = 1.0 / answers
    if metric in ("macro_f1", "uf1"):
        shares = np.bincount(_labels(labels, "labels"), minlength=classes) / len(np.asarray(labels))
        groups = shares.reshape(-1, answers).sum(axis=1).repeat(answers)
        return float(np.mean(_ratio(2 * shares * rate, shares + groups * rate)))
    return {"uar": rate, "accuracy": rate, "auroc": 0.5, "sensitivity_at_fpr05": 0.05}.get(metric, float("nan"))


def auroc(y_true: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: chance that a sample with label 1 scores above one with label 0, ties one half."""
    positive, values = _binary(y_true, score)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = rankdata(values)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def sensitivity_at_fpr(y_true: ArrayLike, score: ArrayLike, fpr: float = 0.05) -> float:
    """Highest true-positive rate at a false-positive rate of at most `fpr`."""
    positive, values = _binary(y_true, score)
    return float(weighted_sensitivity(values[None], np.ones((1, values.size)), positive, fpr)[0])


def weighted_sensitivity(scores: NDArray, weights: NDArray, positive: NDArray[np.bool_], fpr: float) -> NDArray[np.float64]:
    """Sensitivity at `fpr` of R weighted samples: scores, weights (R or 1, N), positive (N,) -> (R,)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    shape = np.broadcast_shapes(order.shape, weights.shape)
    mass = np.take_along_axis(np.broadcast_to(weights, shape), np.broadcast_to(order, shape), axis=1)
    is_positive = np.broadcast_to(positive[order], shape)
    hits, alarms = np.cumsum(mass * is_positive, axis=1), np.cumsum(mass * ~is_positive, axis=1)
    n_hits, n_alarms = hits[:, -1], alarms[:, -1]
    # A threshold can only lie between different scores, so only the last member of a tie is a point of the curve.
    threshold = np.ones(ranked.shape, dtype=bool)
    threshold[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
    # The margin keeps 5 false alarms in 100 inside a limit of .05 despite rounding.
    allowed = threshold & (alarms <= fpr * n_alarms[:, None] * (1 + 1e-12))
    best = np.where(allowed, hits, 0.0).max(axis=1)
    return np.where((n_hits > 0) & (n_alarms > 0), _ratio(best, n_hits), np.nan)

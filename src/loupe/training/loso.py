"""Leave one subject out with scikit-learn classifiers: scaler, selection and classifier see the training clips of the fold only."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from loupe.progress import track


def linear_svm(c: float, seed: int = 0) -> Pipeline:
    """Standardise, then a linear SVM with classes weighted by inverse frequency: the customary head of flow baselines."""
    return make_pipeline(StandardScaler(), LinearSVC(C=c, class_weight="balanced", dual=True, max_iter=20000, random_state=seed))


def loso_probabilities(classifier: Pipeline, features: np.ndarray, labels: np.ndarray, subjects: np.ndarray, classes: int, label: str) -> np.ndarray:
    """Scores (N, C) of each clip by the fold that never saw its subject.

    Decision values are mapped through a softmax so that they fit the prediction schema; it keeps their order. A class absent from a fold's
    training clips gets score 0.
    """
    scores = np.zeros((len(labels), classes), dtype=np.float64)
    folds = list(LeaveOneGroupOut().split(features, labels, subjects))
    for train, held_out in track(folds, label):
        assert not set(subjects[train]) & set(subjects[held_out])
        fitted = clone(classifier).fit(features[train], labels[train])
        values = fitted.decision_function(features[held_out])
        known = fitted.classes_
        if len(known) == 2:
            values = np.stack([-values, values], axis=1)
        exponent = np.exp(values - values.max(axis=1, keepdims=True))
        scores[np.ix_(held_out, known)] = exponent / exponent.sum(axis=1, keepdims=True)
    return scores.astype(np.float32)


def loso_majority(labels: np.ndarray, subjects: np.ndarray, classes: int) -> np.ndarray:
    """One-hot scores (N, C) of the commonest class among each fold's training clips."""
    scores = np.zeros((len(labels), classes), dtype=np.float32)
    for person in np.unique(subjects):
        held_out = subjects == person
        commonest = np.bincount(labels[~held_out], minlength=classes).argmax()
        scores[held_out, commonest] = 1.0
    return scores

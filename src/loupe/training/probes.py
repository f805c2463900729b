"""Classifiers of stills and frames on fixed features: HOG, true action units, a frozen encoder's, and the majority class; as steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin

from loupe.data.store import read_store
from loupe.evaluation.predictions import answers
from loupe.models.baselines.au_oracle import features_au
from loupe.models.baselines.hog import features_hog
from loupe.models.baselines.linear import choose_setting, class_probabilities, make_logistic_regression, make_majority
from loupe.steps import Step


@dataclass(frozen=True)
class Probe:
    """Logistic regression on `features.npy`, a row a picture of `store`, that learns from `rows` and is asked about the rows `asked`.

    grid: values of C, of which one is chosen on `folds` inner folds of the training people; with fewer than two nothing can be held out,
    and the middle of the grid stands in. Without a grid: the most frequent class.
    """

    store: Path
    features: Path
    rows: np.ndarray
    asked: np.ndarray
    grid: tuple[float, ...]
    folds: int

    def step(self, name: str) -> Step:
        return Step(name, run_probe, {"probe": self})

    @staticmethod
    def answers(folder: Path) -> pd.DataFrame:
        """What the finished step in `folder` says (`loupe.evaluation.predictions.answers`)."""
        return pd.read_parquet(folder / "predictions.parquet")


def run_probe(folder: Path, probe: Probe) -> None:
    store, features = read_store(probe.store), np.load(probe.features)
    x, y, people = features[probe.rows], store.labels[probe.rows], store.subjects[probe.rows]
    fitted = classifier(probe, x, y, people).fit(x, y)
    scores = class_probabilities(fitted, features[probe.asked], len(store.class_names))
    answers(store.manifest.iloc[probe.asked], scores).to_parquet(folder / "predictions.parquet", index=False)


def classifier(probe: Probe, x: np.ndarray, y: np.ndarray, people: np.ndarray) -> ClassifierMixin:
    grid = sorted(probe.grid)
    if not grid:
        return make_majority()
    if probe.folds < 2:
        return make_logistic_regression(grid[len(grid) // 2])
    return make_logistic_regression(choose_setting(make_logistic_regression, x, y, people, grid=grid, folds=probe.folds))


def feature_step(kind: str, store: Path) -> Step:
    """`features.npy` of the pictures of `store`: `hog`, `au-oracle` (the true action units of generated faces) or `majority` (none)."""
    return Step(f"features-{kind}", write_features, {"kind": kind, "store": store})


def write_features(folder: Path, kind: str, store: Path) -> None:
    pictures = read_store(store)
    if kind == "hog":
        features = features_hog(np.asarray(pictures.images))
    elif kind == "au-oracle":
        features = features_au(list(pictures.manifest["au"]))
    else:
        features = np.zeros((len(pictures.manifest), 1), dtype=np.float32)
    np.save(folder / "features.npy", features)

"""Labelled frames of video: whether a store can serve the comparison, and a probe on frozen features that is trained on some of its frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from loupe.models.baselines.linear import choose_setting, class_probabilities, make_logistic_regression
from loupe.training.stills import prediction_table


def why_not(frames: pd.DataFrame, classes: Sequence[str]) -> str:
    """Why the manifest `frames` cannot be trained on and scored with the classes of the labelled stills, in a few words; "" where it can."""
    missing = [split for split in ("train", "val", "test") if split not in set(frames["split"])]
    if missing:
        return f"there are no labelled frames of {' or '.join(missing)} people"
    found = set(zip(frames["label"], frames["label_name"], strict=True))
    return "" if found == set(enumerate(classes)) else "their classes are not those of the labelled faces"


def stored_every(frames: pd.DataFrame) -> int:
    """Of how many frames of the video one is stored: the usual distance between two stored frames of a clip."""
    steps = frames.sort_values(["clip", "frame"]).groupby("clip")["frame"].diff()
    return int(steps.median())


def probe(
    name: str,
    fraction: float,
    features: np.ndarray,
    frames: pd.DataFrame,
    rows: np.ndarray,
    scored: np.ndarray,
    grid: Sequence[float],
    classes: int,
) -> pd.DataFrame:
    """Predictions (task `frames`, seed 0) of the rows `scored` by logistic regression on the features (N, D) of the training rows `rows`, both row
    numbers of the manifest `frames` (N). Its C is chosen on inner people of the training rows; where these hold no class twice or one person alone,
    nothing can be held out, and the middle of the grid stands in."""
    x, y, people = features[rows], frames["label"].to_numpy()[rows], frames["subject"].to_numpy()[rows]
    folds = min(4, np.bincount(y).max(), len(set(people)))
    c = (
        choose_setting(make_logistic_regression, x, y, people, grid=sorted(grid), folds=folds)
        if folds > 1
        else sorted(grid)[len(grid) // 2]
    )
    scores = class_probabilities(make_logistic_regression(c).fit(x, y), features[scored], classes)
    return prediction_table("frames", name, fraction, 0, frames.iloc[scored], scores)

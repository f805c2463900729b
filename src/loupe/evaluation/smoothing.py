"""Frame scores over time: each frame's class probabilities become their mean over a sliding window of its clip (design, Protocol 8).

The window is chosen on validation people. `choose_window` is handed their rows and refuses all others, so that no test row can take part in
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from loupe.errors import LoupeError
from loupe.evaluation.metrics import macro_f1

_RUN = ["task", "arm", "fraction", "seed", "fold"]


def smoothed(probabilities: ArrayLike, clips: ArrayLike, times: ArrayLike, window: int) -> NDArray[np.float64]:
    """Centred mean of the probabilities (N, C) over `window` stored frames of the same clip (N,), in the order of `times` (N,): (N, C).

    At the ends of a clip the window is shortened to the frames that are there. It counts frames, not seconds. The order of the rows is free
    and kept.
    Raises LoupeError for an even window or one below 1, for a row without a clip, and for two frames of a clip at one time.
    """
    if window < 1 or window % 2 == 0:
        raise LoupeError(f"A smoothing window of {window} frames has no middle; use an odd number, 1 or more.")
    values, when = np.asarray(probabilities, dtype=np.float64), np.asarray(times)
    names, clip = np.unique(np.asarray(clips).astype(str), return_inverse=True)
    if values.ndim != 2 or not len(values) == len(when) == len(clip):
        raise LoupeError(
            f"Probabilities {values.shape}, {len(clip)} clips and {len(when)} times must describe the same frames, row by row."
        )
    if "" in names:
        raise LoupeError("Smoothing needs the clip of every frame, but some rows have none: they are stills.")
    order = np.lexsort((when, clip))
    clip, when, ordered = clip[order], when[order], values[order]
    if ((clip[1:] == clip[:-1]) & (when[1:] == when[:-1])).any():
        raise LoupeError("Two frames of one clip stand at the same time: the runs of several arms or seeds are smoothed one by one.")
    total, count = np.zeros_like(ordered), np.zeros(len(ordered))
    place = np.arange(len(ordered))
    for offset in range(
        -(window // 2), window // 2 + 1
    ):  # not a difference of running sums, whose rounding would carry over from clip to clip
        near = place + offset
        inside = (near >= 0) & (near < len(ordered))
        inside[inside] = clip[near[inside]] == clip[inside]
        total[inside] += ordered[near[inside]]
        count += inside
    result = np.empty_like(ordered)
    result[order] = total / count[:, None]
    return result


def smooth_predictions(predictions: pd.DataFrame, times: pd.Series, window: int) -> pd.DataFrame:
    """Predictions in the study's schema, every run (task, arm, fraction, seed, fold) smoothed for itself; column `smoothed` says so.

    times: when each sample was taken (its frame number), indexed by sample.
    """
    columns = [column for column in predictions if column.startswith("p") and column[1:].isdigit()]
    keys = predictions.groupby([*_RUN, "clip"], sort=False).ngroup().astype(str).where(predictions["clip"] != "", "")
    values = smoothed(predictions[columns], keys, times.loc[predictions["sample"]], window)
    changed = {column: values[:, place].astype(np.float32) for place, column in enumerate(columns)}
    return predictions.assign(smoothed=True, pred=values.argmax(1), **changed)


def window_scores(validation: pd.DataFrame, times: pd.Series, windows: Sequence[int], classes: int) -> dict[int, float]:
    """Macro-F1 of one arm after smoothing by each window, mean over its seeds. Raises LoupeError for rows of other than validation
    people."""
    strangers = sorted(set(validation["split"]) - {"val"})
    if strangers or validation.empty:
        raise LoupeError(f"A window is chosen on rows of validation people alone, not on {' and '.join(strangers) or 'none'}.")
    scores = {}
    for window in sorted(windows):
        runs = smooth_predictions(validation, times, window).groupby("seed")
        scores[window] = float(np.mean([macro_f1(run["label"], run["pred"], classes) for _, run in runs]))
    return scores


def choose_window(validation: pd.DataFrame, times: pd.Series, windows: Sequence[int], classes: int) -> int:
    """The window of best `window_scores`; of equals the smallest."""
    scores = window_scores(validation, times, windows, classes)
    best = max(scores.values())
    return min(window for window, score in scores.items() if score >= best - 1e-12)


def smooth_arms(predictions: pd.DataFrame, times: pd.Series, windows: Sequence[int], classes: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All arms smoothed, each at each share of the labels by the window chosen on its validation rows, and the choices: arm, fraction,
    smoothed (true), window."""
    parts, choices = [], []
    for (arm, fraction), part in predictions.groupby(["arm", "fraction"], sort=True):
        window = choose_window(part[part["split"] == "val"], times, windows, classes)
        parts.append(smooth_predictions(part, times, window))
        choices.append({"arm": arm, "fraction": fraction, "smoothed": True, "window": window})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(choices)

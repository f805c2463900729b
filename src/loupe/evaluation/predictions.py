"""The study's one schema of predictions: a row a sample, seed and state; what the row is about stands in columns, never in an arm's
name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

STATE = ("condition", "regime", "pretraining", "dose", "smoothed")
ABOUT = ("task", "arm", "fraction", "seed", "fold", *STATE)


@dataclass(frozen=True)
class Label:
    """What predictions are predictions of.

    fraction: share of the labels, of the people or of the frames, as `regime` says (`labels` | `people` | `frames`; `folds`:
    of the labels, asked in the folds in which Micron-BERT is fine-tuned, never compared with `labels`). condition: what the pictures are
    like ("" as usual, `covered`, `shifted`). pretraining: where the arm's encoder comes from (`none` | `mae-face` | `micron-bert` |
    `mae-face+micron-bert`); dose: the share of its pre-training people from one half, where they were chosen unevenly. smoothed: scores are
    means over a window of frames.
    """

    task: str
    arm: str
    fraction: float = 1.0
    seed: int = 0
    fold: str = ""
    condition: str = ""
    regime: str = "labels"
    pretraining: str = "none"
    dose: float = np.nan
    smoothed: bool = False


def answers(rows: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    """Predictions without a label: `rows` of a manifest (split, sample, subject, clip, label) beside what was said, probabilities
    (len(rows), C)."""
    table = rows[["split", "sample", "subject", "clip", "label"]].reset_index(drop=True).assign(pred=probabilities.argmax(1))
    scores = {f"p{column}": probabilities[:, column].astype(np.float32) for column in range(probabilities.shape[1])}
    return table.assign(**scores)


def labelled(table: pd.DataFrame, label: Label) -> pd.DataFrame:
    """`table` in the study's schema; columns that it has already (a condition a row, a fold a row) stay."""
    about = {name: table[name] if name in table else getattr(label, name) for name in ABOUT}
    scores = [column for column in table if column not in ABOUT]
    return pd.DataFrame({**about, **{name: table[name] for name in scores}}, index=table.index)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several, its rows counted anew."""
    return pd.concat(tables, ignore_index=True)

"""MEGC2019's log format, and its scores: pooled over all leave-one-subject-out folds, then each data set from the same run.

A log has one block a fold: a header `<data set> <subject>`, then a line `<clip> <truth> <prediction>` for each clip of that subject. This
is the layout in which the challenge exchanged results, so a log of Loupe can be scored by others' scripts and theirs by ours.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.metrics import MEGC_CLASSES, accuracy, uar, uf1

COLUMNS = ["dataset", "subject", "clip", "label", "pred"]


def write_log(predictions: pd.DataFrame, path: Path) -> None:
    """Write the predictions of one arm and seed (columns dataset, subject, clip, label, pred) as a MEGC log, sorted.

    Raises LoupeError for a name with white space (the format cannot hold it) or a clip that occurs twice.
    """
    missing = [column for column in COLUMNS if column not in predictions.columns]
    if missing:
        raise LoupeError(f"a MEGC log needs the column {missing[0]}; add it to the predictions.")
    frame = predictions[COLUMNS].astype({"dataset": str, "subject": str, "clip": str, "label": int, "pred": int})
    for column in COLUMNS[:3]:
        odd = frame.loc[~frame[column].str.fullmatch(r"\S+"), column]
        if len(odd):
            raise LoupeError(f"{column} {odd.iloc[0]!r} is empty or holds white space, which a MEGC log cannot carry; rename it.")
    twice = frame.duplicated(COLUMNS[:3])
    if twice.any():
        raise LoupeError(f"clip {frame.loc[twice, 'clip'].iloc[0]} occurs twice; write one arm and one seed a log.")
    lines = []
    for (dataset, subject), fold in frame.sort_values(COLUMNS[:3]).groupby(["dataset", "subject"]):
        lines.append(f"{dataset} {subject}")
        lines.extend(f"{row.clip} {row.label} {row.pred}" for row in fold.itertuples())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_log(path: Path) -> pd.DataFrame:
    """Read a MEGC log into the columns dataset, subject, clip, label, pred. Raises LoupeError that names the line."""
    rows, fold = [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        tokens = line.split()
        if len(tokens) == 2:
            fold = tokens
        elif len(tokens) == 3 and fold is not None and all(token.isdigit() for token in tokens[1:]):
            rows.append([*fold, tokens[0], int(tokens[1]), int(tokens[2])])
        elif tokens:
            raise LoupeError(
                f"{path}, line {number}: {line.strip()!r} is neither '<data set> <subject>' "
                "nor '<clip> <truth> <prediction>'; mend the line."
            )
    if not rows:
        raise LoupeError(f"{path} holds no prediction; check that the run finished.")
    return pd.DataFrame(rows, columns=COLUMNS)


def megc_scores(predictions: pd.DataFrame, *, classes: int = MEGC_CLASSES) -> pd.DataFrame:
    """UF1, UAR and accuracy of one run: row "full" over all predictions pooled, then a row for each data set.

    All classes are listed in every row, so a data set without a class is scored with F1 and recall 0 for it.
    """
    groups = [("full", predictions), *predictions.groupby("dataset")]
    return pd.DataFrame(
        {
            "dataset": name,
            "uf1": uf1(part["label"], part["pred"], classes),
            "uar": uar(part["label"], part["pred"], classes),
            "accuracy": accuracy(part["label"], part["pred"], classes),
            "n_subjects": part[["dataset", "subject"]].drop_duplicates().shape[0],
            "n_clips": len(part),
        }
        for name, part in groups
    )

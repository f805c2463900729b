"""Micro-expression or none, as a table."""

from __future__ import annotations

import pandas as pd

from loupe.evaluation.metrics import auroc, sensitivity_at_fpr
from loupe.reporting.selection import one_state, require


def spotting_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, alphabetically: area under the ROC curve and sensitivity at 5 % false alarms of the pooled scores, mean and sd over
    seeds.

    predictions: rows of the task `spotting`, label 1 for a micro-expression, score `p1`. Raises LoupeError for a missing column, and where
    several splits or states are mixed.
    """
    require(predictions, ("arm", "seed", "sample", "subject", "label", "p1"), "predictions")
    one_state(predictions)
    scored = []
    for (arm, _), run in predictions.groupby(["arm", "seed"]):
        label, score = run["label"].to_numpy(), run["p1"].to_numpy()
        scored.append({"arm": arm, "auroc": auroc(label, score), "sensitivity_at_fpr05": sensitivity_at_fpr(label, score)})
    runs = pd.DataFrame(scored, columns=["arm", "auroc", "sensitivity_at_fpr05"]).groupby("arm")
    columns = {
        f"{name}_{how}": (name, function)
        for name in ("auroc", "sensitivity_at_fpr05")
        for how, function in (("mean", "mean"), ("sd", "std"))
    }
    table = runs.agg(**columns, n_seeds=("auroc", "size")).reset_index()
    return table.assign(n_clips=predictions["sample"].nunique(), n_subjects=predictions["subject"].nunique())

"""Predictions of one arm, or of two that are compared, checked and as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from loupe.errors import LoupeError
from loupe.evaluation.metrics import CONFUSION_METRICS

SCORE_METRICS = ("auroc", "sensitivity_at_fpr05")


@dataclass(frozen=True)
class ArmArrays:
    """One arm as arrays: rows (N,) subject index, label (N,), values (S, N), what the metric reads."""

    name: str
    samples: pd.Index
    subjects: tuple[str, ...]
    rows: NDArray[np.int64]
    label: NDArray
    values: NDArray

    @property
    def n_seeds(self) -> int:
        return len(self.values)


def _arrays(frame: pd.DataFrame, column: str, name: str) -> ArmArrays:
    missing = {"seed", "sample", "subject", "label", column} - set(frame.columns)
    if missing:
        raise LoupeError(f"predictions of {name} lack the column {sorted(missing)[0]}; rerun the stage that wrote them.")
    if frame.empty:
        raise LoupeError(f"predictions of {name} are empty; run the stage that writes them.")
    twice = frame.duplicated(["seed", "sample"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise LoupeError(
            f"predictions of {name} hold sample {row['sample']} twice for seed {row['seed']}; a sample belongs to one fold only."
        )
    table = frame.pivot(index="seed", columns="sample", values=column).sort_index()
    if table.isna().any(axis=None):
        raise LoupeError(f"predictions of {name} ({column}) do not cover the same samples in every seed; finish the missing runs.")
    facts = frame.drop_duplicates(["sample", "subject", "label"]).sort_values("sample")
    if facts["sample"].duplicated().any():
        sample = facts.loc[facts["sample"].duplicated(), "sample"].iloc[0]
        raise LoupeError(
            f"predictions of {name} give sample {sample} two subjects or labels; the manifest changed between its runs: rerun the stage."
        )
    rows, subjects = pd.factorize(facts["subject"].astype(str), sort=True)
    return ArmArrays(name, pd.Index(facts["sample"]), tuple(subjects), rows, facts["label"].to_numpy(), table.to_numpy())


def _check_pair(a: ArmArrays, b: ArmArrays) -> None:
    if not a.samples.equals(b.samples):
        raise LoupeError(f"{a.name} and {b.name} were not scored on the same samples; rerun both on one manifest.")
    if a.subjects != b.subjects or (a.rows != b.rows).any() or (a.label != b.label).any():
        raise LoupeError(f"{a.name} and {b.name} disagree about a subject or a label; rerun both on one manifest.")
    if a.n_seeds != b.n_seeds and 1 not in (a.n_seeds, b.n_seeds):
        raise LoupeError(
            f"{a.name} has {a.n_seeds} seeds and {b.name} has {b.n_seeds}; finish the missing runs, or leave one of them at a single run."
        )


def arms_of(a: pd.DataFrame, b: pd.DataFrame | None, metric: str, *, names: tuple[str, str] = ("arm A", "arm B")) -> list[ArmArrays]:
    """The arms that `effect_of` is given, checked, as arrays: what makes many studies out of one starts here, not at the frames."""
    column = "pred" if metric in CONFUSION_METRICS else "p1" if metric in SCORE_METRICS else metric
    arms = [_arrays(frame, column, name) for frame, name in zip((a, b), names, strict=True) if frame is not None]
    if len(arms) == 2:
        _check_pair(*arms)
    return arms

"""Guards that an experiment passes through: the test vault, overlap with pre-training, and a probe for choices made on test data.

Two of the leaks that this field is known for can be read off subject names; the others cannot, and are found by *disturbing what must not
matter*: if a fitted scaler, a chosen epoch or a view changes when test rows or labels are spoilt, it had looked at them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split

DEFAULT_LOG = Path("data/logs/vault.jsonl")


@dataclass(frozen=True)
class Vault:
    """Keeps test rows; every opening is one JSON line in `log` (never in a hashed output: it holds the time)."""

    stage: str
    log: Path = DEFAULT_LOG

    def open(self, split: Split, manifest: pd.DataFrame, reason: str) -> NDArray[np.int64]:
        """Positions of the test rows in the manifest. The line holds who, why, how many, and a fingerprint of the rows and labels."""
        if not reason.strip():
            raise LoupeError(f"stage {self.stage} opened the test vault without a reason; say what the test rows are scored for.")
        rows = np.flatnonzero(manifest["subject"].astype(str).isin(split.test).to_numpy())
        if rows.size == 0:
            raise LoupeError(
                f"the manifest that stage {self.stage} passed to the test vault has no row of a test subject; check its column split."
            )
        test = manifest.iloc[rows]
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "stage": self.stage,
            "reason": reason,
            "rows": int(rows.size),
            "subjects": sorted(test["subject"].astype(str).unique()),
            "fingerprint": fingerprint(test),
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        return rows

    def open_folds(self, folds: Sequence[Split], manifest: pd.DataFrame, reason: str) -> None:
        """Write down each of `folds`, in which every person is once the test."""
        for number, fold in enumerate(folds, start=1):
            self.open(fold, manifest, f"{reason}, fold {number} of {len(folds)}")

    def openings(self) -> pd.DataFrame:
        """All openings so far, oldest first, one a row."""
        if not self.log.exists():
            return pd.DataFrame(columns=["time", "stage", "reason", "rows", "subjects", "fingerprint"])
        return pd.DataFrame([json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()])


def fingerprint(rows: pd.DataFrame) -> str:
    """Hash of the rows' samples, subjects and labels: a test set that was swapped after its first opening shows."""
    text = rows[["sample", "subject", "label"]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_pretraining_overlap(pretrain: Iterable[str], test: Iterable[str], *, what: str = "pre-training") -> None:
    """Assert that pre-training saw no test subject (for LOSO: no clip subject at all); LoupeError names the first who was seen."""
    shared = sorted(set(map(str, pretrain)) & set(map(str, test)))
    if shared:
        raise LoupeError(
            f"{what} saw {len(shared)} test subject(s), first {shared[0]}; drop them from the pre-training data and train again."
        )


def check_ignores_test(
    run: Callable[[NDArray, NDArray], ArrayLike],
    features: NDArray,
    labels: NDArray,
    test_rows: ArrayLike,
    rng: np.random.Generator,
    *,
    what: str,
) -> None:
    """Assert that what `run(features, labels)` returns does not depend on the test rows.

    `run` returns whatever was fitted or chosen (a scaler's mean, a PCA basis, a threshold, an epoch, a window), as numbers. It is called
    twice, the second time with test features moved far away and test labels rotated among the classes. LoupeError where the answers differ.
    """
    rows = np.asarray(test_rows)
    spoilt_features, spoilt_labels = np.array(features, dtype=np.float64), np.array(labels)
    scale = spoilt_features.std() + 1.0
    spoilt_features[rows] = scale * (10.0 + 5.0 * rng.standard_normal(spoilt_features[rows].shape))
    classes = np.unique(spoilt_labels)
    spoilt_labels[rows] = classes[(np.searchsorted(classes, spoilt_labels[rows]) + 1) % classes.size]
    clean = run(np.array(features, dtype=np.float64), np.array(labels))
    _compare(
        clean,
        run(spoilt_features, spoilt_labels),
        f"{what} depends on test rows; fit or choose it on training or inner validation subjects.",
    )


def check_ignores_labels(run: Callable[[NDArray, NDArray], ArrayLike], inputs: NDArray, labels: NDArray, *, what: str) -> None:
    """Assert that `run(inputs, labels)` (a view, a landmark, an alignment) stays the same when every label is changed."""
    classes = np.unique(labels)
    if classes.size < 2:
        raise LoupeError(f"{what} cannot be probed with one class only; pass inputs of at least two.")
    rotated = classes[(np.searchsorted(classes, labels) + 1) % classes.size]
    _compare(
        run(np.array(inputs), np.array(labels)), run(np.array(inputs), rotated), f"{what} depends on labels; build it from pixels alone."
    )


def _compare(first: ArrayLike, second: ArrayLike, message: str) -> None:
    one, two = np.asarray(first), np.asarray(second)
    if one.shape != two.shape or not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
        raise LoupeError(message)

"""The two tasks of micro-expression clips, with the folds in which they are answered: the folds that are checked are the folds that
train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loupe.data.clips import OnsetApex
from loupe.evaluation.protocols import Split


@dataclass(frozen=True)
class ClipTask:
    """name: `micro` or `spotting`. part: bool (N,), which of all clips take part; rows (n): of a manifest, those clips alone.
    folds: of `loso_folds` or `stratified_folds`, those whose people have a clip here."""

    name: str
    classes: int
    part: np.ndarray
    rows: pd.DataFrame
    folds: tuple[Split, ...]

    @property
    def labels(self) -> np.ndarray:
        return self.rows["label"].to_numpy()

    @property
    def subjects(self) -> np.ndarray:
        return self.rows["subject"].to_numpy().astype(str)

    @property
    def fold_of(self) -> np.ndarray:
        """The number of the fold that leaves each clip out, (n,)."""
        number = {person: place for place, fold in enumerate(self.folds) for person in fold.test}
        return np.array([number[person] for person in self.subjects])

    @property
    def fold_names(self) -> np.ndarray:
        """What the fold that leaves each clip out is called, (n,): the person's name, or a number where it leaves out several."""
        names = [next(iter(fold.test)) if len(fold.test) == 1 else str(number) for number, fold in enumerate(self.folds)]
        return np.array(names)[self.fold_of]

    def trains(self, fold: Split) -> np.ndarray:
        """Which clips the fold learns from, bool (n,)."""
        return np.isin(self.subjects, sorted(fold.train))


def clip_tasks(pairs: OnsetApex, folds: Sequence[Split]) -> dict[str, ClipTask]:
    """`micro`: which of the three classes, of clips with a class. `spotting`: a micro-expression (1), of whatever class or none of them, or
    no expression at all (0); left out where no clip is without, as in real sets.
    """
    tasks = {"micro": _task("micro", 3, pairs, pairs.labels >= 0, pairs.labels, folds)}
    if not pairs.expressive.all():
        tasks["spotting"] = _task("spotting", 2, pairs, np.ones(len(pairs.clips), dtype=bool), pairs.expressive.astype(int), folds)
    return tasks


def _task(name: str, classes: int, pairs: OnsetApex, part: np.ndarray, labels: np.ndarray, folds: Sequence[Split]) -> ClipTask:
    rows = pd.DataFrame(pairs.rows)[part].assign(label=labels[part]).reset_index(drop=True)
    people = set(rows["subject"].astype(str))
    return ClipTask(name, classes, part, rows, tuple(fold for fold in folds if fold.test & people))

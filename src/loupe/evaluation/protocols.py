"""Who may be seen when: splits by subject that cannot leak, leave-one-subject-out folds, nested shares of the labels (design, Protocol 1,
6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from loupe.errors import LoupeError

_PART_OF = {"pretrain": "pretrain", "unlabelled": "pretrain", "train": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Split:
    """Subjects of each part. It cannot be made with a leak: train, val and test share nobody, and pre-training saw nobody of val or test.

    Pre-training may share subjects with train: those are seen anyway. Raises LoupeError that names a subject and the two parts.
    """

    train: frozenset[str] = field(default_factory=frozenset)
    val: frozenset[str] = field(default_factory=frozenset)
    test: frozenset[str] = field(default_factory=frozenset)
    pretrain: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for part in fields(self):
            given = getattr(self, part.name)
            if isinstance(given, str):
                raise LoupeError(f"the {part.name} subjects are the single string {given!r}; pass a collection of subject names.")
            object.__setattr__(self, part.name, frozenset(map(str, given)))
        for one, other in combinations((part.name for part in fields(self)), 2):
            if {one, other} == {"train", "pretrain"}:
                continue
            shared = sorted(getattr(self, one) & getattr(self, other))
            if shared:
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                raise LoupeError(
                    f"subject {shared[0]}{more} is in both {one} and {other}; give every subject one part (manifest column split)."
                )

    @classmethod
    def from_manifest(cls, manifest: pd.DataFrame, *, pretrain: Iterable[str] = ()) -> Split:
        """The split a manifest states in its columns `subject` and `split`; `pretrain` adds subjects of another set.

        Rows marked "unlabelled" count as pre-training. Rows marked "loso" have no fixed part: use `loso_folds`.
        """
        unknown = sorted(set(manifest["split"]) - set(_PART_OF))
        if unknown:
            way_out = "use loso_folds for it" if unknown == ["loso"] else f"use one of {', '.join(_PART_OF)}"
            raise LoupeError(f"manifest column split holds {unknown[0]!r}; {way_out}.")
        parts: dict[str, set[str]] = {"pretrain": set(map(str, pretrain))}
        for value, subjects in manifest.groupby("split")["subject"]:
            parts.setdefault(_PART_OF[value], set()).update(map(str, subjects))
        return cls(**{name: frozenset(subjects) for name, subjects in parts.items()})

    def rows(self, manifest: pd.DataFrame, part: str) -> NDArray[np.int64]:
        """Positions of a part's rows in the manifest. Test rows are not handed out here but by `loupe.evaluation.guards.Vault`."""
        if part == "test":
            raise LoupeError("test rows are opened through loupe.evaluation.guards.Vault, which writes the opening down.")
        if part not in _PART_OF.values():
            raise LoupeError(f"a split has no part {part!r}; use train, val, test or pretrain.")
        return np.flatnonzero(manifest["subject"].astype(str).isin(getattr(self, part)).to_numpy())

    def require(self, part: str, subjects: Iterable[str], what: str) -> None:
        """Assert that `what` (a scaler, a threshold, a batch) was made from subjects of `part` alone; LoupeError names the stranger."""
        strangers = sorted(set(map(str, subjects)) - getattr(self, part))
        if strangers:
            raise LoupeError(f"{what} was made from subject {strangers[0]}, who is not in {part}; fit it on the {part} rows only.")


def loso_folds(
    subjects: Iterable[str], *, pretrain: Iterable[str] = (), inner_val: int = 0, rng: np.random.Generator | None = None
) -> list[Split]:
    """One split a subject, in the order of their names: that subject is the test, the others train (MEGC2019's protocol).

    inner_val: so many of the others, drawn by `rng` in each fold, become the validation subjects on whom an epoch or a window may be
    chosen.
    pretrain: subjects whom pre-training saw; none of them may be a clip subject, or LoupeError.
    """
    return _folds([[name] for name in sorted(set(map(str, subjects)))], pretrain, inner_val, rng)


def subject_folds(
    subjects: Iterable[str], folds: int, rng: np.random.Generator, *, pretrain: Iterable[str] = (), inner_val: int = 0
) -> list[Split]:
    """Cross-validation by subject: every subject is tested once, sizes differ by at most one."""
    names = sorted(set(map(str, subjects)))
    if not 2 <= folds <= len(names):
        raise LoupeError(f"{len(names)} subjects cannot make {folds} folds; choose 2 to {len(names)}.")
    shuffled = [names[i] for i in rng.permutation(len(names))]
    return _folds([shuffled[i::folds] for i in range(folds)], pretrain, inner_val, rng)


def stratified_folds(subjects: ArrayLike, labels: ArrayLike, folds: int | None, *, pretrain: Iterable[str] = ()) -> list[Split]:
    """Cross-validation by subject whose folds have the classes in like shares. subjects, labels (N,): of the samples.

    One subject a fold (`loso_folds`) where `folds` is None or not below the number of subjects. The same samples make the same folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # a second, and only fine-tuning in folds needs it

    names, values = np.asarray(subjects).astype(str), np.asarray(labels)
    everyone = sorted(set(names))
    if folds is None or folds >= len(everyone):
        return loso_folds(everyone, pretrain=pretrain)
    if folds < 2:
        raise LoupeError(f"{folds} folds leave nobody to train on; choose 2 to {len(everyone)}, or none for one subject a fold.")
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(values, values, names)
    return _folds([sorted(set(names[test])) for _, test in cut], pretrain, 0, None)


def _folds(groups: list[list[str]], pretrain: Iterable[str], inner_val: int, rng: np.random.Generator | None) -> list[Split]:
    if len(groups) < 2:
        raise LoupeError("leaving a subject out needs at least two subjects; check the manifest column subject.")
    if inner_val and rng is None:
        raise LoupeError("inner validation subjects are drawn: pass rng.")
    everyone = [name for group in groups for name in group]
    splits = []
    for group in groups:
        others = [name for name in everyone if name not in group]
        if inner_val and inner_val >= len(others):
            raise LoupeError(f"{inner_val} inner validation subjects leave nobody to train on among {len(others)}; choose fewer.")
        inner = {others[i] for i in rng.choice(len(others), inner_val, replace=False)} if inner_val else set()
        splits.append(Split(train=set(others) - inner, val=inner, test=set(group), pretrain=set(pretrain)))
    return splits


def label_subset(labels: ArrayLike, subjects: ArrayLike, fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows whose labels are kept: `fraction` of each class, at least one a class, spread over as many subjects as possible.

    Subsets nest: with a generator in the same state, 1 % lies in 2 % lies in 5 %. Within a class the rows stand in one random order in
    which every subject appears once before any appears twice; a fraction takes the head of it. Rows with label -1 are never taken. Sorted
    positions.
    """
    values, names = np.asarray(labels), np.asarray(subjects)
    _check_fraction(fraction)
    if values.shape != names.shape or values.size == 0:
        raise LoupeError(f"labels ({values.size}) and subjects ({names.size}) must describe the same samples, at least one.")
    kept = []
    for label in np.unique(values[values >= 0]):
        rows = rng.permutation(np.flatnonzero(values == label))
        turn = pd.Series(names[rows]).groupby(names[rows]).cumcount().to_numpy()
        rows = rows[np.argsort(turn, kind="stable")]
        kept.append(rows[: _share(fraction, rows.size)])
    if not kept:
        raise LoupeError("no row has a label; pass labelled rows only.")
    return np.sort(np.concatenate(kept))


def subject_subset(labels: ArrayLike, subjects: ArrayLike, fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of `fraction` of the subjects, with all their labels: the other regime of few labels (design, Protocol 6).

    Nested like `label_subset`; further subjects of the same random order join until every class is there.
    """
    values, names = np.asarray(labels), np.asarray(subjects).astype(str)
    _check_fraction(fraction)
    labelled = values >= 0
    if values.shape != names.shape or not labelled.any():
        raise LoupeError("labels and subjects must describe the same samples, at least one of them labelled.")
    everyone = np.unique(names[labelled])
    order = everyone[rng.permutation(everyone.size)]
    wanted = set(values[labelled].tolist())
    count = _share(fraction, order.size)
    while set(values[labelled & np.isin(names, order[:count])].tolist()) != wanted:
        count += 1
    return np.flatnonzero(labelled & np.isin(names, order[:count]))


def every_kth_frame(clips: ArrayLike, frames: ArrayLike, k: int) -> NDArray[np.int64]:
    """Rows of every k-th frame of labelled video, the clips (N,) laid end to end, each in the order of its frames (N,). Sorted positions.

    Of n rows it takes n / k, rounded up. The count runs on from clip to clip: begun anew in each, it would take the first frame of every
    one, in which hardly anybody shows anything yet. Raises LoupeError for k below 1.
    """
    if k < 1:
        raise LoupeError(f"every {k}th frame cannot be taken; k counts from 1, which is all frames.")
    order = np.lexsort((np.asarray(frames), np.asarray(clips).astype(str)))
    return np.sort(order[::k])


def _share(fraction: float, size: int) -> int:
    return max(1, int(np.floor(fraction * size + 0.5)))


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise LoupeError(f"label fraction {fraction} is not in (0, 1]; write 2 % as 0.02.")

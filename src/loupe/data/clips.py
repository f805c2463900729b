"""Onset and apex frames of clips: what leave-one-subject-out methods see."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from loupe.data.store import Store
from loupe.errors import LoupeError

NO_EXPRESSION = "none"  # label_name of a clip in which nothing is shown; "others" and the like have no class (-1), but show something


@dataclass(frozen=True)
class OnsetApex:
    """One row a clip. onset, apex: uint8 (N, H, W, 3); labels (N,), -1 for clips without a class; samples: store row of the apex;
    clip_index: place of the clip in the sorted list of all clips (the order of motion.npy and parts.npy).
    """

    onset: np.ndarray
    apex: np.ndarray
    labels: np.ndarray
    label_names: list[str]
    subjects: np.ndarray
    clips: np.ndarray
    samples: np.ndarray
    clip_index: np.ndarray

    @property
    def expressive(self) -> np.ndarray:
        """Whether a clip shows a micro-expression at all, bool (N,): one without a class of its own, such as "others", does."""
        return np.array([name != NO_EXPRESSION for name in self.label_names], dtype=bool)

    def some(self, chosen: np.ndarray) -> OnsetApex:
        """The clips where `chosen` (N,) is true."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "label_names"}
        names = [name for name, kept in zip(self.label_names, chosen, strict=True) if kept]
        return OnsetApex(label_names=names, **{name: column[chosen] for name, column in columns.items()})

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The identifying columns of a prediction table."""
        return {
            "split": np.full(len(self.clips), "loso"),
            "sample": self.samples,
            "subject": self.subjects,
            "clip": self.clips,
            "label": self.labels,
        }


def onset_and_apex(store: Store, *, labelled_only: bool) -> OnsetApex:
    """Annotated onset and apex frame of every clip, sorted by clip; `labelled_only` leaves out clips without a class.

    Raises LoupeError naming the clip that lacks one of the two frames.
    """
    table = store.manifest
    names = sorted(table["clip"].unique())
    onset = table[table["role"] == "onset"].drop_duplicates("clip").set_index("clip")
    apex = table[table["role"] == "apex"].drop_duplicates("clip").set_index("clip")
    for name in names:
        if name not in onset.index or name not in apex.index:
            raise LoupeError(f"Clip {name} has no stored onset or apex frame: annotate both (column role) or leave the clip out.")
    chosen = [name for name in names if not labelled_only or apex.loc[name, "label"] >= 0]
    place = {name: i for i, name in enumerate(names)}
    first, last = onset.loc[chosen], apex.loc[chosen]
    return OnsetApex(
        onset=np.asarray(store.images[first["sample"].to_numpy()]),
        apex=np.asarray(store.images[last["sample"].to_numpy()]),
        labels=last["label"].to_numpy(),
        label_names=list(last["label_name"]),
        subjects=last["subject"].to_numpy().astype(str),
        clips=np.array(chosen),
        samples=last["sample"].to_numpy(),
        clip_index=np.array([place[name] for name in chosen]),
    )


def with_true_motion(folder: Path) -> Path:
    """The store of micro-expression clips whose true motion is known (`motion.npy`, `parts.npy`): `folder` itself where it was generated,
    else the generated clips kept in `folder/truth` beside imported ones, of which nobody knows it.
    """
    return folder / "truth" if (folder / "truth").is_dir() else folder

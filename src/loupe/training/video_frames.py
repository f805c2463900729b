"""Labelled frames of video: whether a store can serve the comparison of few frames with all, and how thinned out it is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


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

"""The ceiling: a classifier that reads the true action units (FACS) from the manifest instead of the picture.

Only generated faces have this truth. What the oracle misses is noise in the labels, so no image model can be expected to do better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loupe.errors import LoupeError


def features_au(action_units: Sequence[np.ndarray]) -> np.ndarray:
    """The manifest's `au` column (N lists of equal length, intensity 0..1) -> (N, F). Raises LoupeError where a row has none."""
    lengths = {len(row) for row in action_units}
    if len(lengths) != 1 or lengths == {0}:
        raise LoupeError("The manifest's au column is empty or uneven: the AU oracle runs on generated faces only.")
    return np.stack([np.asarray(row, dtype=np.float32) for row in action_units])

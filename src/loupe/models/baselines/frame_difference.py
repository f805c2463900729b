"""Frame difference: what changed in brightness between onset and apex, the least that any motion method must beat."""

from __future__ import annotations

import numpy as np

from loupe.models.baselines.frames import gray, resample


def features_frame_difference(onset: np.ndarray, apex: np.ndarray, side: int = 16) -> np.ndarray:
    """uint8 (N, H, W, 3) twice -> (N, 2 side^2): signed and absolute luminance difference on a side x side grid.

    The absolute value is taken before resampling: a wrinkle that darkens one pixel and lightens the next would cancel afterwards.
    """
    difference = gray(apex) - gray(onset)
    rows = [resample(np.stack([d, np.abs(d)], axis=-1), side).ravel() for d in difference]
    return np.asarray(rows, dtype=np.float32)

"""What several baselines do to frames: luminance and resampling."""

from __future__ import annotations

import numpy as np
from skimage.transform import resize

LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec. 709


def gray(frames: np.ndarray) -> np.ndarray:
    """uint8 RGB (..., 3) -> luminance (...) float32 in 0..1."""
    return (frames.astype(np.float32) @ LUMA) / 255


def resample(field: np.ndarray, side: int) -> np.ndarray:
    """(H, W, C) -> (side, side, C) float32, low-pass filtered where it shrinks; the values keep their units."""
    return resize(field, (side, side, field.shape[2]), order=1, anti_aliasing=True, preserve_range=True).astype(np.float32)

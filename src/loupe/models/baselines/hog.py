"""Histograms of oriented gradients (Dalal and Triggs 2005), by scikit-image; goes with logistic regression."""

from __future__ import annotations

import numpy as np
from skimage.feature import hog

from loupe.models.baselines.frames import gray


def features_hog(images: np.ndarray, cells: int = 8, orientations: int = 8) -> np.ndarray:
    """uint8 (N, H, W, 3) -> (N, (cells - 1)^2 * 4 * orientations): `cells` x `cells` histograms, normalised in blocks of 2 x 2."""
    side = images.shape[1] // cells
    rows = [
        hog(image, orientations, (side, side), (2, 2), block_norm="L2-Hys", feature_vector=True)
        for image in (gray(frame) for frame in images)
    ]
    return np.asarray(rows, dtype=np.float32)

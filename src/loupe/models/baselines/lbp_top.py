"""LBP-TOP: local binary patterns on three orthogonal planes (Zhao and Pietikäinen 2007), the baseline of the micro-expression sets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from skimage.feature import local_binary_pattern

from loupe.errors import LoupeError
from loupe.models.baselines.frames import gray

POINTS = 8
BINS = POINTS * (POINTS - 1) + 3  # 59: the uniform patterns, each by itself, and one bin for the rest


def features_lbp_top(clips: Iterable[np.ndarray], *, frames: int = 10, blocks: int = 5) -> np.ndarray:
    """uint8 clips (T, H, W, 3), T may differ -> (N, blocks^2 * 3 * 59).

    Each clip is interpolated linearly in time to `frames` frames (for SMIC, CASME II and SAMM this is the usual step before LBP-TOP), cut
    into blocks x blocks columns of space, and described in each by normalised histograms of the XY, XT and YT planes; radius 1 on all axes.
    """
    return np.asarray([_describe(resample_time(gray(clip), frames), blocks) for clip in clips], dtype=np.float32)


def resample_time(volume: np.ndarray, frames: int) -> np.ndarray:
    """(T, H, W) -> (frames, H, W), linear in time; first and last frame stay. Raises LoupeError below two frames."""
    if len(volume) < 2 or frames < 3:
        raise LoupeError(f"LBP-TOP needs clips of 2 frames or more and 3 or more after interpolation, not {len(volume)} and {frames}.")
    place = np.linspace(0, len(volume) - 1, frames)
    before = np.minimum(place.astype(int), len(volume) - 2)
    part = (place - before)[:, None, None].astype(volume.dtype)
    return (1 - part) * volume[before] + part * volume[before + 1]


def _describe(volume: np.ndarray, blocks: int) -> np.ndarray:
    """The histograms of one clip (T, H, W). The outermost voxels have no full neighbourhood and are left out."""
    # Eight-bit levels: rounding errors of the interpolation must not decide which of two equal neighbours is larger.
    levels = np.round(volume * 255).astype(np.uint8)
    _, height, width = levels.shape
    codes = {
        "xy": np.stack([_codes(plane) for plane in levels]),
        "xt": np.stack([_codes(levels[:, y]) for y in range(height)], axis=1),
        "yt": np.stack([_codes(levels[:, :, x]) for x in range(width)], axis=2),
    }
    rows = np.array_split(np.arange(1, height - 1), blocks)
    columns = np.array_split(np.arange(1, width - 1), blocks)
    histograms = []
    for row in rows:
        for column in columns:
            for code in codes.values():
                inside = code[1:-1, row[0] : row[-1] + 1, column[0] : column[-1] + 1]
                histograms.append(np.bincount(inside.ravel(), minlength=BINS) / inside.size)
    return np.concatenate(histograms)


def _codes(plane: np.ndarray) -> np.ndarray:
    return local_binary_pattern(plane, POINTS, 1, method="nri_uniform").astype(np.int64)

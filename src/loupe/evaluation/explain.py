"""Does a map point where something happens? Scores of maps against true motion or part masks, and the trivial rivals they must beat.

shapes: N maps, L patches, H x W pixels. Maps are non-negative weights; a signed map is oriented (on validation subjects) before it comes
here. A map that says nothing (constant, or all zero) gets what chance gives, never NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from loupe.errors import LoupeError

EXPRESSIVE_PARTS = (2, 3, 5)  # eyes, brows and mouth, as the ipsilateral view has them (without the nose)


def upsample(maps: NDArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """Patch maps (N, L), patches in row order, to pixels (N, H, W): each pixel takes its patch's value.

    The grid is the one with square patches: L = (H / p) (W / p). Raises LoupeError where there is none.
    """
    height, width = size
    values = np.asarray(maps, dtype=np.float64)
    patch = round(np.sqrt(height * width / values.shape[-1]))
    if patch < 1 or height % patch or width % patch or (height // patch) * (width // patch) != values.shape[-1]:
        raise LoupeError(f"{values.shape[-1]} patches do not tile an image of {width} x {height} px with square patches.")
    grid = values.reshape(*values.shape[:-1], height // patch, width // patch)
    return np.repeat(np.repeat(grid, patch, axis=-2), patch, axis=-1)


def pool_to_patches(images: NDArray, patch: int) -> NDArray[np.float64]:
    """Mean over each patch: (N, H, W) -> (N, L), row order; the inverse of `upsample` on maps constant in patches."""
    n, height, width = images.shape
    if height % patch or width % patch:
        raise LoupeError(f"patches of {patch} px do not tile an image of {width} x {height} px.")
    blocks = np.asarray(images, dtype=np.float64).reshape(n, height // patch, patch, width // patch, patch)
    return blocks.mean(axis=(2, 4)).reshape(n, -1)


def motion_region(motion: NDArray, share_of_peak: float = 0.5) -> NDArray[np.bool_]:
    """Where the expression moves the face: motion of at least `share_of_peak` of the clip's largest; (N, H, W) -> (N, H, W), empty without
    motion."""
    peak = motion.max(axis=(-2, -1), keepdims=True)
    return (motion >= share_of_peak * peak) & (peak > 0)


def part_region(parts: NDArray[np.uint8], wanted: ArrayLike = EXPRESSIVE_PARTS) -> NDArray[np.bool_]:
    """Pixels of the wanted parts, of a part mask (N, H, W): 1 skin, 2 eyes, 3 brows, 4 nose, 5 mouth."""
    return np.isin(parts, np.asarray(wanted))


def _paired(maps: NDArray, regions: NDArray) -> tuple[NDArray[np.float64], NDArray]:
    values, truth = np.asarray(maps, dtype=np.float64), np.asarray(regions)
    if values.shape != truth.shape or values.ndim < 2:
        raise LoupeError(f"maps {values.shape} and regions {truth.shape} must have the same shape, maps first.")
    if not np.isfinite(values).all():
        raise LoupeError("a map holds values that are not finite; look at the model that made it.")
    return values.reshape(len(values), -1), truth.reshape(len(truth), -1)


def pointing_game(maps: NDArray, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 where a map's maximum lies in the true region, else 0; tied maxima count by the share of them that does (Zhang et al. 2016).

    maps, regions (N, ...) -> (N,). Chance = share of the image that the region takes.
    """
    values, truth = _paired(maps, regions)
    top = values == values.max(axis=1, keepdims=True)
    return (top & truth.astype(bool)).sum(axis=1) / top.sum(axis=1)


def energy_inside(maps: NDArray, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of a map's mass that lies in the true region (Wang et al. 2020); maps, regions (N, ...) -> (N,).

    Chance = share of the image that the region takes; an all-zero map scores that. Raises LoupeError for a negative weight.
    """
    values, truth = _paired(maps, regions)
    if values.min() < 0:
        raise LoupeError("energy needs a map of non-negative weights; orient a signed map and clip it at 0 first.")
    inside, total = (values * truth.astype(bool)).sum(axis=1), values.sum(axis=1)
    return np.divide(inside, total, out=truth.astype(bool).mean(axis=1), where=total > 0)


def rank_correlation(maps: NDArray, motion: NDArray) -> NDArray[np.float64]:
    """Spearman correlation of each map with the true motion, (N, ...) -> (N,); 0 where either is constant.

    Compare at patch level (`pool_to_patches`): upsampling only repeats values.
    """
    values, truth = _paired(maps, motion)
    a, b = (rankdata(array, axis=1) for array in (values, truth.astype(np.float64)))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)


def frame_difference(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rival: mean over channels of |apex - onset|, (N, H, W, 3) -> (N, H, W), in grey levels."""
    return np.abs(apex.astype(np.float64) - onset.astype(np.float64)).mean(axis=-1)


def training_mean_map(maps: NDArray, subjects: ArrayLike) -> NDArray[np.float64]:
    """Rival: for each clip the mean true-motion map over the clips of all *other* subjects, (N, H, W) -> (N, H, W).

    Knows where faces move on average and nothing of the clip; a map that does not beat it has found anatomy, not motion.
    """
    names = np.asarray(subjects)
    if np.unique(names).size < 2:
        raise LoupeError("the mean map over other subjects needs at least two subjects.")
    values, result = np.asarray(maps, dtype=np.float64), np.empty(maps.shape)
    for name in np.unique(names):
        result[names == name] = values[names != name].mean(axis=0)
    return result


def centre_prior(size: tuple[int, int]) -> NDArray[np.float64]:
    """Rival: a Gaussian (H, W) in the middle of the picture, its standard deviation a quarter of each side. Knows that faces are aligned,
    and no face."""
    down, right = (np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / 0.25) ** 2) for side in size)
    return np.outer(down, right)


def patch_contrast(images: NDArray[np.uint8], patch: int) -> NDArray[np.float64]:
    """Rival: standard deviation of each patch's grey levels, (N, H, W, 3) -> (N, L)."""
    grey = images.astype(np.float64).mean(axis=-1)
    variance = pool_to_patches(grey**2, patch) - pool_to_patches(grey, patch) ** 2
    return np.sqrt(variance.clip(min=0))


def part_energy(maps: NDArray, parts: NDArray[np.uint8], patch: int, wanted: ArrayLike = EXPRESSIVE_PARTS) -> NDArray[np.float64]:
    """Share of the mass of patch maps (N, L) or pixel maps (N, H, W) on the wanted parts of masks (N, H, W), numbered as in `part_region`:
    (N,).

    A patch spreads its weight evenly over its pixels. So an even map scores the share of the picture that the parts take, and no map scores
    more than the patch that they fill most. Pixel maps are pooled to patches first. 0, whatever the map, where no wanted part is visible.
    """
    values = pool_to_patches(maps, patch) if np.ndim(maps) == 3 else np.asarray(maps, dtype=np.float64)
    return energy_inside(upsample(values, parts.shape[1:]), part_region(parts, wanted))


def localisation_scores(maps: NDArray, motion: NDArray, patch: int, *, share_of_peak: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """The three scores of patch maps (N, L) or pixel maps (N, H, W) against the true motion (N, H, W): each (N,), NaN for clips without
    motion.

    Pixel maps are pooled to patches first, so that a rival with finer pixels competes on the same grid.
    """
    truth = pool_to_patches(motion, patch)
    values = pool_to_patches(maps, patch) if np.ndim(maps) == 3 else np.asarray(maps, dtype=np.float64)
    region = truth >= share_of_peak * truth.max(axis=1, keepdims=True)
    moves = truth.max(axis=1) > 0
    scores = {
        "pointing_game": pointing_game(values, region),
        "energy_inside": energy_inside(values, region),
        "rank_correlation": rank_correlation(values, truth),
    }
    return {name: np.where(moves, score, np.nan) for name, score in scores.items()}

"""Similarity transforms from a picture to the aligned square, and resampling along them. Nothing here needs a detector.

Points are in px with (0, 0) the picture's upper left corner, so the centre of its first pixel is (.5, .5); x to the right, y down. The
aligned square is measured in shares of its side, as in `loupe.data.face_layout`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage.transform import SimilarityTransform

from loupe.data.face_layout import CANONICAL, five_points
from loupe.errors import LoupeError
from loupe.faces.frame import CLOSER

_CUT, _ANY_CUT = 0.02 * CLOSER, 0.5 * CLOSER  # of the side; the jitter of landmarks moves the square by up to a fifth of the first
_TARGET = five_points(CANONICAL[:, :2])


def alignment(points: np.ndarray) -> SimilarityTransform:
    """The similarity (no shear, no stretching) that brings the five points of a face nearest to their canonical places, by least squares.

    points (68, 2) iBUG or (5, 2), px. Maps px to shares of the aligned square. Raises LoupeError where the points do not span a face.
    """
    transform = SimilarityTransform.from_estimate(five_points(np.asarray(points, dtype=float)), _TARGET)
    if not transform or not np.isfinite(transform.params).all() or transform.scale <= 0:
        raise LoupeError("The landmarks of a face lie in one place: leave that picture out.")
    return transform


def steadied(transforms: list[SimilarityTransform | None], sigma: float = 2.0) -> list[SimilarityTransform | None]:
    """The transforms of a video's frames, averaged over time with a Gaussian of `sigma` frames: what remains of the landmarks' jitter is a
    fraction.

    Averaged are the four numbers of the way back (square to picture), which are linear in where the square lies. None (no face) stays None
    and has no part in its neighbours, and nothing is averaged over a cut: a still face would move.
    """
    known = np.flatnonzero([transform is not None for transform in transforms])
    if not len(known):
        return list(transforms)
    back = np.array([transforms[i].inverse.params[:2].ravel() for i in known])
    apart, piece = np.abs(known[:, None] - known[None]), pieces(transforms)[known]
    weight = np.exp(-0.5 * (apart / sigma) ** 2)
    weight[(apart > 3 * sigma) | (piece[:, None] != piece[None])] = 0
    result: list[SimilarityTransform | None] = [None] * len(transforms)
    for i, mean in zip(known, weight @ back / weight.sum(1, keepdims=True), strict=True):
        result[i] = SimilarityTransform(np.vstack([mean.reshape(2, 3), [0, 0, 1]])).inverse
    return result


def pieces(transforms: list[SimilarityTransform | None]) -> np.ndarray:
    """(N,) number, from 0, of the piece between cuts that each frame lies in. A cut is where the square's corners
    move by more than `_CUT` of its side from one frame to the next and by four times as much as in the six frames before and after (the
    fastest of several frames of one motion is none), or by more than `_ANY_CUT`.
    """
    known = np.flatnonzero([transform is not None for transform in transforms])
    if len(known) < 2:
        return np.zeros(len(transforms), dtype=int)
    corners = np.array([transforms[i].inverse([[0, 0], [1, 0], [0, 1], [1, 1]]) for i in known])
    side = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=2).max(1) / np.minimum(side[1:], side[:-1]) / np.diff(known)
    around = [np.delete(steps[max(0, i - 6) : i + 7], min(i, 6)) for i in range(len(steps))]
    usual = np.array([np.median(part) if len(part) else np.inf for part in around])
    cuts = np.zeros(len(transforms), dtype=int)
    cuts[known[1:]] = (steps > _ANY_CUT) | (steps > _CUT) & (steps > 4 * usual)
    return np.cumsum(cuts)


def box_transform(centre: tuple[float, float], side: float, angle: float = 0.0) -> SimilarityTransform:
    """The square of `side` px around `centre`, turned by `angle` radians (clockwise, as x is right and y down), to shares of its side."""
    turned = SimilarityTransform(scale=side, rotation=angle)
    corner = np.asarray(centre) - turned.params[:2, :2] @ (0.5, 0.5)
    return SimilarityTransform(scale=side, rotation=angle, translation=corner).inverse


def reduced(pixels: np.ndarray, shrink: int) -> np.ndarray:
    """uint8 (H, W, 3) averaged down by a whole factor, strip by strip: a very large picture is not copied."""
    if shrink == 1:
        return pixels
    strips = range(0, len(pixels), 16 * shrink)
    return np.concatenate([np.asarray(Image.fromarray(pixels[top : top + 16 * shrink]).reduce(shrink)) for top in strips])


def warp(pixels: np.ndarray, transform: SimilarityTransform, size: int, smooth: bool = True) -> np.ndarray:
    """Resample uint8 (H, W, 3) to the square that `transform` maps to the unit square: uint8 (size, size, 3). What lies outside is black.

    A picture much larger than the square is first averaged down by a whole factor, so that nothing is skipped over. `smooth`: bicubic (for
    pictures to keep) or bilinear (for a detector's input).
    """
    back = transform.inverse.params @ np.diag([1 / size, 1 / size, 1.0])
    corners = (back @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]]))[:2]
    height, width = pixels.shape[:2]
    left, top = np.clip(np.floor(corners.min(1)) - 4, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(1)) + 4, (left + 1, top + 1), (width, height)).astype(int)
    picture = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    shrink = max(1, int(np.sqrt(abs(np.linalg.det(back[:2, :2])))))
    shrink = min(shrink, picture.width, picture.height)
    if shrink > 1:
        picture = picture.reduce(shrink)
    matrix = np.diag([1 / shrink, 1 / shrink, 1.0]) @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ back
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    return np.asarray(picture.transform((size, size), Image.Transform.AFFINE, tuple(matrix[:2].ravel()), resample))

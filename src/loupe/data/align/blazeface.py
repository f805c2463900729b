"""BlazeFace (Bazarevsky et al., 2019, arXiv 1907.05047): boxes, scores and six points of the faces in a picture.

The 256 px network ("back camera"). Anchors, box code and the blending of overlapping boxes follow MediaPipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from skimage.transform import SimilarityTransform

from loupe.data.align.geometry import box_transform, reduced, warp
from loupe.data.align.networks import Network

MODEL = "face_detection_back.tflite"
MIN_SCORE = 0.65  # false findings in a clip without a face reached .57, the faces of 204 photographs begin at .76 (docs/alignment.md)
MIN_OVERLAP = 0.3
_GRIDS = ((16, 2), (8, 6))  # cells a side, anchors a cell
_LARGE = 2048  # px: a picture of twice this longer side is averaged down before it is looked at
_PART = 1024  # px: parts of a picture are looked at where they are at least so large


@dataclass(frozen=True)
class Detection:
    """box: left, top, right, bottom, px; points (6, 2) px: eyes (picture's left, right), nose tip, mouth, ears; score 0..1."""

    box: np.ndarray
    points: np.ndarray
    score: float


class BlazeFace:
    def __init__(self) -> None:
        self._network = Network(MODEL)
        self._anchors = _anchors()

    def looks(self, pixels: np.ndarray) -> Iterator[list[Detection]]:
        """What each look at uint8 (H, W, 3) shows, best score first; every look is work, so stop where one has been enough.

        The whole picture, as it is and with a black border (a face that fills it); then the whole on its head; then, in very large
        pictures, half overlapping squares of half and of a quarter of the longer side.
        """
        shrink = max(1, max(pixels.shape[:2]) // _LARGE)
        small = reduced(pixels, shrink)
        height, width = small.shape[:2]
        for squares in _squares(width, height, _PART / shrink):
            found = [face for square in squares for face in self._in_square(small, square, shrink)]
            yield sorted(found, key=lambda face: -face.score)

    def _in_square(self, pixels: np.ndarray, square: SimilarityTransform, shrink: int) -> list[Detection]:
        """Faces in the square of the picture that `square` maps to the unit square, in px of the picture `shrink` times as large."""
        size = self._network.size
        boxes, scores = self._network(warp(pixels, square, size, smooth=False) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-np.clip(scores.ravel(), -80, 80)))
        kept = scores > MIN_SCORE
        values = boxes[0][kept].reshape(-1, 8, 2) / size
        values[:, [0, *range(2, 8)]] += self._anchors[kept][:, None]
        centre, half = values[:, 0], values[:, 1] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        faces = []
        for box, points, score in _blend(corners, values[:, 2:], scores[kept]):
            ends = square.inverse(box.reshape(2, 2)) * shrink
            faces.append(Detection(np.concatenate([ends.min(0), ends.max(0)]), square.inverse(points) * shrink, score))
        return faces


def _squares(width: int, height: int, part: float) -> Iterator[list[SimilarityTransform]]:
    """Groups of squares to look at; parts of a picture (`width`, `height` px) only where they measure `part` px."""
    whole, middle = max(width, height), (width / 2, height / 2)
    yield [box_transform(middle, whole)]
    yield [box_transform(middle, 2 * whole)]
    yield [box_transform(middle, whole, np.pi)]
    for side in (whole / 2, whole / 4):
        if side >= part:
            yield [box_transform((x, y), side) for y in _middles(height, side) for x in _middles(width, side)]


def _middles(length: int, side: float) -> np.ndarray:
    """Middles of the fewest stretches of `side` that cover `length` and overlap by half; one in the middle where it is shorter."""
    count = max(1, int(np.ceil(2 * (length - side) / side)) + 1)
    return np.linspace(side / 2, length - side / 2, count) if count > 1 else np.array([length / 2])


def _anchors() -> np.ndarray:
    """Centres (896, 2) of the anchors in shares of the side, row by row."""
    parts = []
    for cells, repeats in _GRIDS:
        y, x = np.mgrid[0:cells, 0:cells]
        centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        parts.append(np.repeat(centres, repeats, axis=0))
    return np.concatenate(parts)


def _blend(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Non-maximum suppression in which the overlapping boxes are averaged by score: that steadies the box from frame to frame."""
    left = list(np.argsort(-scores, kind="stable"))
    faces = []
    while left:
        best = left[0]
        overlap = np.array([_overlap(boxes[best], boxes[other]) for other in left])
        group = [other for other, share in zip(left, overlap, strict=True) if share > MIN_OVERLAP or other == best]
        weight = scores[group] / scores[group].sum()
        faces.append((weight @ boxes[group], np.tensordot(weight, points[group], 1), float(scores[best])))
        left = [other for other in left if other not in group]
    return faces


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    both = float(np.prod(sides))
    areas = [float(np.prod(np.clip(box[2:] - box[:2], 0, None))) for box in (one, other)]
    return both / max(sum(areas) - both, 1e-12)

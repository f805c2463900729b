"""BlazeFace (Bazarevsky et al., 2019, arXiv 1907.05047): boxes, scores and six points of the faces in a picture.

The 256 px network ("back camera"). Anchors, box code and the blending of overlapping boxes follow MediaPipe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loupe.data.align.geometry import box_transform, warp
from loupe.data.align.networks import Network

MODEL = "face_detection_back.tflite"
MIN_SCORE = 0.65  # false findings in a clip without a face reached .57, the faces of 204 photographs begin at .76 (docs/alignment.md)
MIN_OVERLAP = 0.3
_GRIDS = ((16, 2), (8, 6))  # cells a side, anchors a cell
BORDERS = (1.0, 2.0)  # side of the square looked at, in longer sides of the picture; the next one only where the one before shows no face


@dataclass(frozen=True)
class Detection:
    """box: left, top, right, bottom, px; points (6, 2) px: eyes (picture's left, right), nose tip, mouth, ears; score 0..1."""

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def area(self) -> float:
        return float(np.prod(self.box[2:] - self.box[:2]))


class BlazeFace:
    def __init__(self) -> None:
        self._network = Network(MODEL)
        self._anchors = _anchors()

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """Faces in uint8 (H, W, 3), largest first. A face that fills the picture is found with a black border around it."""
        height, width = pixels.shape[:2]
        for border in BORDERS:
            square = box_transform((width / 2, height / 2), border * max(height, width))
            found = self._in_square(pixels, square)
            if found:
                return sorted(found, key=lambda face: -face.area)
        return []

    def _in_square(self, pixels: np.ndarray, square) -> list[Detection]:
        size = self._network.size
        boxes, scores = self._network(warp(pixels, square, size, smooth=False) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-np.clip(scores.ravel(), -80, 80)))
        kept = scores > MIN_SCORE
        values = boxes[0][kept].reshape(-1, 8, 2) / size
        values[:, [0, *range(2, 8)]] += self._anchors[kept][:, None]
        centre, half = values[:, 0], values[:, 1] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        return [self._detection(square, *face) for face in _blend(corners, values[:, 2:], scores[kept])]

    @staticmethod
    def _detection(square, box: np.ndarray, points: np.ndarray, score: float) -> Detection:
        return Detection(square.inverse(box.reshape(2, 2)).ravel(), square.inverse(points), score)


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

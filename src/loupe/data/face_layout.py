"""Where an aligned face has its parts: one canonical layout for all faces, and boxes and points of one face from detected landmarks.

Everything is in shares of the image side, x to the right, y down, z towards the viewer, in the study's frame (`loupe.faces.frame`). The
layout was set once, in the usual five-point template: x and y are the mean of 1,230 generated near-frontal faces, made symmetric; z is the
depth of the template head. True landmarks of the face at hand, which only generated faces have, never enter: `landmarks` below are what a
detector found, NaN where it found nothing.
"""

from __future__ import annotations

import numpy as np
from skimage.transform import SimilarityTransform

from loupe.errors import LoupeError
from loupe.faces.frame import CLOSER, framed

# left, top, right, bottom (eyes with brows; room for an open mouth), in the usual template.
_BOXES = {
    "eyes": (0.19, 0.24, 0.81, 0.50),
    "nose": (0.38, 0.40, 0.62, 0.67),
    "mouth": (0.28, 0.63, 0.72, 0.87),
}
BOXES = {part: tuple(framed(np.reshape(box, (2, 2))).ravel()) for part, box in _BOXES.items()}

# The same point of the other half, for each of the 68 iBUG landmarks.
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip

# x, y, z of the landmarks on the picture's left half and on its middle line. The jaw is drawn shallower than it is: the outline of a
# turned head is not the outline of the frontal one, it runs over skin that lies further forward.
_HALF = {
    0: (0.142, 0.432, -0.160), 1: (0.152, 0.527, -0.160), 2: (0.162, 0.620, -0.160), 3: (0.204, 0.712, -0.150),
    4: (0.232, 0.795, -0.140), 5: (0.280, 0.873, -0.120), 6: (0.345, 0.926, -0.080), 7: (0.413, 0.954, -0.040), 8: (0.500, 0.961, 0.002),
    17: (0.234, 0.322, -0.045), 18: (0.292, 0.299, 0.003), 19: (0.334, 0.291, 0.025), 20: (0.400, 0.303, 0.049), 21: (0.450, 0.334, 0.060),
    27: (0.500, 0.412, 0.068), 28: (0.500, 0.482, 0.092), 29: (0.500, 0.545, 0.126), 30: (0.500, 0.597, 0.151),
    31: (0.418, 0.633, 0.064), 32: (0.455, 0.639, 0.084), 33: (0.500, 0.647, 0.095),
    36: (0.275, 0.387, -0.009), 37: (0.320, 0.373, 0.016), 38: (0.368, 0.369, 0.018),
    39: (0.414, 0.413, 0.009), 40: (0.366, 0.426, 0.014), 41: (0.319, 0.410, 0.004),
    48: (0.374, 0.740, 0.030), 49: (0.422, 0.704, 0.084), 50: (0.466, 0.695, 0.106), 51: (0.500, 0.696, 0.110),
    57: (0.500, 0.806, 0.087), 58: (0.466, 0.804, 0.082), 59: (0.418, 0.789, 0.059),
    60: (0.388, 0.736, 0.045), 61: (0.448, 0.735, 0.077), 62: (0.500, 0.734, 0.088), 66: (0.500, 0.752, 0.077), 67: (0.442, 0.747, 0.064),
}  # fmt: skip


def _canonical() -> np.ndarray:
    table = np.empty((68, 3))
    for point, (x, y, z) in _HALF.items():
        table[point], table[MIRRORED[point]] = (x, y, z), (1 - x, y, z)
    return np.column_stack([framed(table[:, :2]), CLOSER * table[:, 2]])


CANONICAL = _canonical()  # (68, 3)


def five_points(points: np.ndarray) -> np.ndarray:
    """Centres of the eyes (picture's left, right), nose tip, corners of the mouth: (..., 68 or 5, 2) -> (..., 5, 2)."""
    if points.shape[-2] == 5:
        return points
    eyes = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    return np.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], axis=-2)


_FIVE = five_points(CANONICAL[:, :2])
_DEPTH = CANONICAL[[*range(36, 48), 48, 54], 2].mean()  # of the eyes and the corners of the mouth: the axis the head turns about
_ANCHORS = {"eyes": [0, 1], "nose": [2], "mouth": [3, 4]}  # which of the five points hold a part


def check_landmarks(landmarks: np.ndarray, count: int) -> None:
    """Raise LoupeError unless `landmarks` are (count, 68, 2) or (count, 5, 2)."""
    if landmarks.ndim != 3 or landmarks.shape[0] != count or landmarks.shape[1] not in (5, 68) or landmarks.shape[2] != 2:
        raise LoupeError(
            f"The detected landmarks have shape {landmarks.shape}, but {count} faces need ({count}, 68, 2) or ({count}, 5, 2) in px."
        )


def part_boxes(count: int, landmarks: np.ndarray | None, jitter: float, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Boxes (count, 4) of each part: left, top, right, bottom.

    Without landmarks, or in a row where any of them is NaN, the canonical box, whose centre and side lengths vary with standard deviation
    `jitter` as a detector's would. A row of detected landmarks (shares of the side) is used as it is: its detector has erred already.
    """
    boxes = {}
    for name, (left, top, right, bottom) in BOXES.items():
        centre = np.array([(left + right) / 2, (top + bottom) / 2]) + generator.normal(0, jitter, (count, 2))
        side = np.array([right - left, bottom - top]) * (1 + generator.normal(0, jitter, (count, 2)))
        boxes[name] = np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)
    if landmarks is None:
        return boxes
    found = np.isfinite(landmarks).all((1, 2))
    five = five_points(landmarks[found])
    scale = np.maximum(
        _eye_distance(five) / _eye_distance(_FIVE), _face_length(five) / _face_length(_FIVE)
    )  # yaw shortens one, pitch the other
    for name, (left, top, right, bottom) in BOXES.items():
        anchor, canonical = five[:, _ANCHORS[name]].mean(1), _FIVE[_ANCHORS[name]].mean(0)
        corners = [anchor + scale[:, None] * (np.array(corner) - canonical) for corner in ((left, top), (right, bottom))]
        boxes[name][found] = np.concatenate(corners, axis=1)
    return boxes


def turned(landmarks: np.ndarray | None, yaw: float, jitter: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """68 points of one face, and where they come to lie after its head turns by `yaw` radians (positive: to the picture's right).

    landmarks (68, 2) or (5, 2) as detected, or None or NaN: then the canonical points, moved and resized with standard deviation `jitter`.
    Depth is the canonical one, scaled to the face. The middle between eyes and mouth stays in place, as an aligned crop keeps it.
    """
    if landmarks is None or not np.isfinite(landmarks).all():
        face = SimilarityTransform(scale=float(1 + generator.normal(0, jitter)), translation=generator.normal(0, jitter, 2))
        points = face(CANONICAL[:, :2])
    else:
        face = SimilarityTransform.from_estimate(_FIVE, five_points(landmarks))
        points = landmarks if len(landmarks) == 68 else face(CANONICAL[:, :2])
    upright = face.inverse(points)  # in the axes of the canonical face, so that a tilted head turns about its own axis
    centre = five_points(upright)[[0, 1, 3, 4]].mean(0)
    after = upright.copy()
    after[:, 0] = centre[0] + (upright[:, 0] - centre[0]) * np.cos(yaw) + (CANONICAL[:, 2] - _DEPTH) * np.sin(yaw)
    return points, face(after)


def _eye_distance(five: np.ndarray) -> np.ndarray:
    return np.linalg.norm(five[..., 1, :] - five[..., 0, :], axis=-1)


def _face_length(five: np.ndarray) -> np.ndarray:
    """From the middle of the eyes to the middle of the mouth."""
    return np.linalg.norm(five[..., 3:, :].mean(-2) - five[..., :2, :].mean(-2), axis=-1)

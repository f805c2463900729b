"""Where things are on the template head: brows, wrinkles, hairline, beard, flush, as functions of its 3-D coordinates.

The template (unmorphed MakeHuman head) stands in decimetres, x to its left, y up, z to the front. Its face texture chart stores the
template position of every texel, so a field painted here lands on the same anatomy for every person. Landmarks in dm: eyes (±.31, 7.28), brows (.10, 7.41) - (.37, 7.475) -
(.53, 7.41), nose tip y 6.90, mouth (0, 6.62) with corners at ±.26, chin y 6.2, hairline y 7.92.
"""

from __future__ import annotations

import numpy as np
from numba import njit

WRINKLES = ("forehead", "glabella", "nose_root", "crows_feet", "nasolabial", "marionette", "chin", "under_eye")
_HAIRLINE_DEGREES = (0, 20, 35, 50, 62, 75, 90, 105, 125, 150, 180)
_HAIRLINE_HEIGHT = (7.92, 7.92, 7.90, 7.78, 7.50, 7.24, 7.34, 7.26, 6.85, 6.50, 6.45)


def smoothstep(low, high, x):
    """Hermite step from 0 at `low` to 1 at `high` (either order)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x, y, centre_x, centre_y, width, height):
    """Gaussian bump exp(-(dx/width)^2 - (dy/height)^2)."""
    return np.exp(-(((x - centre_x) / width) ** 2) - ((y - centre_y) / height) ** 2)


def polyline_distance(points, x, y):
    """Distance of (x, y) to a polyline and the place along it (0 at the first point, 1 at the last)."""
    shape = x.shape
    flat = _polyline_distance(np.asarray(points, np.float32), np.ravel(x).astype(np.float32), np.ravel(y).astype(np.float32))
    return flat[0].reshape(shape), flat[1].reshape(shape)


@njit(cache=True)
def _polyline_distance(points, x, y):
    nearest, along = np.full(x.shape, np.float32(9)), np.zeros_like(x)
    count = points.shape[0] - 1
    for p in range(x.shape[0]):
        for i in range(count):
            ax, ay = points[i, 0], points[i, 1]
            dx, dy = points[i + 1, 0] - ax, points[i + 1, 1] - ay
            t = min(max(((x[p] - ax) * dx + (y[p] - ay) * dy) / (dx * dx + dy * dy), np.float32(0)), np.float32(1))
            distance = np.hypot(x[p] - ax - t * dx, y[p] - ay - t * dy)
            if distance < nearest[p]:
                nearest[p], along[p] = distance, (i + t) / count
    return nearest, along


def smooth_curve(points, samples: int = 10):
    """Polynomial of degree <= 3 through `points`, as `samples` points."""
    points = np.asarray(points, float)
    t, fine = np.linspace(0, 1, len(points)), np.linspace(0, 1, samples)
    degree = min(len(points) - 1, 3)
    return np.stack([np.polyval(np.polyfit(t, points[:, i], degree), fine) for i in (0, 1)], axis=1)


def hairline(position, recede: float = 0.0):
    """Signed height (dm) above the hairline of template positions (..., 3); positive = scalp. `recede` lifts its front."""
    degrees = np.degrees(np.arctan2(np.abs(position[..., 0]), position[..., 2] - 0.1))
    height = np.array(_HAIRLINE_HEIGHT) + recede * (np.arange(len(_HAIRLINE_HEIGHT)) < 4)
    return position[..., 1] - np.interp(degrees, _HAIRLINE_DEGREES, height)


def frontal(position):
    """1 on the front of the head, 0 behind."""
    return smoothstep(0.2, 0.5, position[..., 2])


def wrinkle_heights(position) -> np.ndarray:
    """Depth profile (0..1) of the eight wrinkle groups at template positions (H, W, 3): (H, W, 8), in the order of WRINKLES."""
    side, y = np.abs(position[..., 0]), position[..., 1]
    front = frontal(position)

    def groove(points, width, fade=True):
        distance, along = polyline_distance(smooth_curve(points), side, y)
        depth = np.exp(-((distance / width) ** 2))
        return depth * np.sqrt(np.clip(along * (1 - along) * 4, 0, 1)) if fade else depth

    forehead = sum(
        strength * groove([(0, h), (0.2, h + 0.015), (0.42, h + 0.03)], 0.014, False)
        for h, strength in ((7.62, 0.8), (7.71, 1), (7.80, 0.9), (7.88, 0.6))
    )
    nose_root = sum(groove([(0, h), (0.06, h - 0.015), (0.10, h - 0.045)], 0.011, False) for h in (7.34, 7.29, 7.24))
    groups = [
        forehead * (1 - smoothstep(0.25, 0.45, side)),
        groove([(0.055, 7.36), (0.06, 7.45), (0.075, 7.53)], 0.016) + 0.5 * groove([(0.03, 7.38), (0.03, 7.46)], 0.012),
        nose_root * (1 - smoothstep(0.08, 0.12, side)),
        sum(groove([(0.50, 7.285 + 0.3 * o), (0.56, 7.285 + 0.9 * o), (0.61, 7.285 + 1.4 * o)], 0.010) for o in (0.05, 0.0, -0.05, 0.1)),
        groove([(0.165, 6.93), (0.24, 6.80), (0.305, 6.66), (0.32, 6.58)], 0.022),
        groove([(0.27, 6.58), (0.30, 6.50), (0.30, 6.42)], 0.018),
        groove([(0, 6.405), (0.08, 6.395), (0.16, 6.37)], 0.02),
        groove([(0.17, 7.215), (0.28, 7.165), (0.42, 7.17), (0.5, 7.21)], 0.012)
        + 0.6 * groove([(0.16, 7.19), (0.26, 7.12), (0.38, 7.10)], 0.013),
    ]
    return np.stack(groups, axis=-1) * front[..., None]


def skin_zones(position) -> dict[str, np.ndarray]:
    """Soft masks (H, W) that the skin painter combines: flush, under_eye, lid, freckles, moustache, jaw_beard, nose_shine."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    side, front = np.abs(x), frontal(position)
    flush = (
        bump(side, y, 0.36, 6.98, 0.16, 0.14)
        + 0.9 * bump(side, y, 0, 6.93, 0.12, 0.10)
        + 0.4 * bump(side, y, 0, 6.30, 0.15, 0.10)
        + 0.8 * smoothstep(0.66, 0.74, side)
    )
    below = smoothstep(7.02, 6.85, y) * smoothstep(6.0, 6.2, y) * smoothstep(-0.1, 0.25, z)
    jaw = np.maximum(smoothstep(6.62, 6.42, y), smoothstep(0.42, 0.58, side) * smoothstep(7.15, 6.9, y))
    moustache = np.exp(-(((y - 6.755 + 0.03 * smoothstep(0, 0.25, side)) / 0.05) ** 2)) * smoothstep(0.34, 0.24, side)
    depth = smoothstep(0, 0.3, z)
    return {
        "flush": flush,
        "under_eye": bump(side, y, 0.31, 7.16, 0.16, 0.06) * front,
        "lid": bump(side, y, 0.31, 7.36, 0.17, 0.055) * front,
        "freckles": bump(side, y, 0.25, 7.02, 0.30, 0.18) * front,
        "moustache": moustache * below * depth,
        "jaw_beard": jaw * below * depth,
        "nose_shine": np.exp(-((side / 0.1) ** 2)) * front,
    }


# Parts of a face in template coordinates, for the ground-truth part masks: brows along the brow line, nose as a wedge below the eyes.
def brow_region(position):
    """True where the template carries a brow (..., 3) -> (...)."""
    distance, _ = polyline_distance(
        smooth_curve([(0.10, 7.412), (0.22, 7.455), (0.37, 7.475), (0.53, 7.41)], 12), np.abs(position[..., 0]), position[..., 1]
    )
    return (distance < 0.045) & (position[..., 2] > 0.6)


def nose_region(position):
    """True on the nose of the template (..., 3) -> (...)."""
    y = position[..., 1]
    half_width = np.interp(y, (6.78, 6.86, 7.0, 7.2, 7.3), (0.14, 0.19, 0.16, 0.08, 0.07))
    return (y > 6.78) & (y < 7.3) & (np.abs(position[..., 0]) < half_width) & (position[..., 2] > 1.2)

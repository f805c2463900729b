"""What stands behind the head while a clip is recorded, and how it moves: a drifting background, and somebody who walks past.

Values at a time are closed forms, so a frame rendered alone equals the frame of the full clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift

SOFT = 0.04  # width of the passing figure's edge, in shares of the image width: it is out of focus


@dataclass(frozen=True)
class Passer:
    """Head and shoulders of somebody behind the person, out of focus. Lengths in shares of the image width, speed in such shares per second."""

    start: float  # centre at time 0, from the left edge
    speed: float
    width: float  # of the shoulders
    top: float  # of the head, from the upper edge
    clothes: np.ndarray  # linear RGB
    head: np.ndarray

    def over(self, picture: np.ndarray, time: float) -> np.ndarray:
        """The picture (size, size, 3) with the figure in it."""
        for cover, colour in zip(self.covers(len(picture), time), (self.clothes, self.head), strict=True):
            picture = picture * (1 - cover) + cover * colour
        return picture

    def covers(self, size: int, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Share of each pixel that the clothes and that the head hides: (size, size, 1), 0 to 1."""
        y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
        beside, radius, corner = np.abs(x - self.start - self.speed * time), 0.28 * self.width, 0.4 * self.width
        head = np.hypot(beside, 0.8 * (y - self.top - 1.25 * radius)) - radius
        # A box open below, its upper corners rounded off: distance to its edge, negative inside.
        across, above = beside - self.width / 2 + corner, self.top + 2.3 * radius + corner - y
        trunk = np.hypot(np.maximum(across, 0), np.maximum(above, 0)) + np.minimum(np.maximum(across, above), 0) - corner
        return tuple(np.clip(0.5 - outside / SOFT, 0, 1)[..., None].astype(np.float32) for outside in (trunk, head))


@dataclass(frozen=True)
class Backdrop:
    """A background (size, size, 3), linear, of the kind `kind`, and its movement: `velocity` (right, down) in shares of the image width per second,
    `sway` (2, 3) amplitude, frequency in Hz and phase of the same two."""

    picture: np.ndarray
    kind: str
    velocity: np.ndarray
    sway: np.ndarray
    passer: Passer | None = None

    def moved(self, time: float) -> np.ndarray:
        """How far the background has gone since time 0: (right, down), in shares of the image width."""
        amplitude, frequency, phase = self.sway.T
        return self.velocity * time + amplitude * (np.sin(2 * np.pi * frequency * time + phase) - np.sin(phase))

    def at(self, time: float) -> np.ndarray:
        """The background at a time in seconds: (size, size, 3) float32, linear."""
        size, picture = len(self.picture), self.picture
        right, down = self.moved(time) * size
        if right or down:
            # Cubic: a linear blend would soften the picture in the rhythm of the movement. Channel by channel it takes a fifth of the time.
            channels = [shift(picture[..., channel], (down, right), order=3, mode="mirror") for channel in range(3)]
            picture = np.clip(np.stack(channels, axis=-1), 0, None)
        if self.passer is not None:
            picture = self.passer.over(picture, time)
        return np.ascontiguousarray(picture, np.float32)


def draw_backdrop(
    rng: np.random.Generator, picture: np.ndarray, kind: str, seconds: float, drift: float, passing: float, hertz: tuple[float, float]
) -> Backdrop:
    """Draw how a background moves in a clip of `seconds`. drift: sd of its way over the clip, in shares of the image width; passing: probability that
    somebody walks past; hertz: lowest and highest frequency of the sway. The same draws are made whatever the three are.
    """
    steady, jitter = rng.normal(0, 1, 2), rng.normal(0, 1, 2)
    sway = np.stack([0.5 * drift * np.abs(jitter), rng.uniform(*hertz, 2), rng.uniform(0, 2 * np.pi, 2)], axis=1)
    speed = rng.choice((-1, 1)) * rng.uniform(0.25, 0.9)
    # In the picture at a random instant of the clip, at a random place.
    place = rng.uniform(0, 1) - speed * rng.uniform(0, seconds)
    width, top = float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.0, 0.35))
    clothes = rng.uniform(0.02, 0.4) * (1 + 0.2 * rng.uniform(-1, 1, 3))
    head = rng.uniform(0.05, 0.45) * np.array((1.0, 0.68, 0.52))  # of any skin tone
    passer = Passer(float(place), float(speed), width, top, clothes.astype(np.float32), head.astype(np.float32))
    seen = rng.random() < passing
    return Backdrop(picture, kind, drift * steady / seconds, sway, passer if seen else None)

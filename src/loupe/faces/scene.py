"""What surrounds a face: pose, gaze, camera framing, light, background, occlusion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LIGHTS = ("soft", "side", "top", "front", "rim", "dim")
BACKGROUNDS = ("plain", "gradient", "room", "bokeh", "foliage", "clutter")
# Held out: they occur in the set `shift` and nowhere else.
SHIFT_LIGHTS = ("below", "split", "neon")
SHIFT_BACKGROUNDS = ("bricks", "sky", "stripes")
OCCLUSIONS = ("none", "glasses", "sunglasses", "mask", "hand", "block", "edge")
WORN = ("none", "glasses", "sunglasses", "mask")
# Azimuth and elevation (degrees, low and high), key strength, ambient strength; azimuths marked by a sign are drawn on either side.
_LIGHTS = {
    "soft": ((-50, 50), (20, 45), 0.80, 0.52, False),
    "side": ((45, 80), (5, 35), 1.10, 0.26, True),
    "top": ((-30, 30), (45, 65), 0.95, 0.36, False),
    "front": ((-15, 15), (8, 30), 0.85, 0.36, False),
    "rim": ((80, 115), (0, 40), 1.20, 0.34, True),
    "dim": ((-60, 60), (0, 50), 0.35, 0.20, False),
}


@dataclass(frozen=True)
class Light:
    """Two directional lights (2, 6: direction, linear colour) and an ambient sky (3, 3: sky, ground, up)."""

    kind: str
    lights: np.ndarray
    ambient: np.ndarray

    def scaled(self, gain: float) -> Light:
        """The same light at `gain` times the strength (flicker)."""
        lights, ambient = self.lights.copy(), self.ambient.copy()
        lights[:, 3:] *= gain
        ambient[:2] *= gain
        return replace(self, lights=lights, ambient=ambient)

    def turned(self, turn: np.ndarray) -> Light:
        """The same lamps as a camera sees them into whose axes the rotation `turn` (3, 3) leads."""
        lights, ambient = self.lights.copy(), self.ambient.copy()
        lights[:, :3] = lights[:, :3] @ turn.T
        ambient[2] = turn @ ambient[2]
        return replace(self, lights=lights, ambient=ambient)


@dataclass(frozen=True)
class View:
    """Head pose in radians, gaze, and the camera: distance (dm), zoom and shift as an aligner's residual error (widths of the usual
    template, `loupe.faces.frame`).

    `orbit` (radians) walks the camera round the scene about the vertical axis: everything, lamps included, is seen turned by it.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    distance: float = 11.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    orbit: float = 0.0


@dataclass(frozen=True)
class Occluder:
    """Something in front of the face; `colour` linear, `place` four numbers of the kind's own."""

    kind: str
    colour: np.ndarray
    place: tuple[float, float, float, float]


def draw_light(rng: np.random.Generator, probabilities: tuple[float, ...] = (0.34, 0.17, 0.15, 0.22, 0.05, 0.07)) -> Light:
    """Draw one of LIGHTS with its colours and directions."""
    kind = LIGHTS[rng.choice(len(LIGHTS), p=probabilities)]
    azimuths, elevations, key, sky, either = _LIGHTS[kind]
    warm = rng.uniform(-0.12, 0.12)
    tint = np.array((1 + warm, 1, 1 - warm))
    azimuth = np.radians(rng.uniform(*azimuths)) * (rng.choice((-1, 1)) if either else 1)
    elevation = np.radians(rng.uniform(*elevations))
    key, sky = key * rng.uniform(0.85, 1.15), sky * rng.uniform(0.8, 1.2)
    direction = np.array((np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)))
    fill = np.array((-direction[0] - 0.2, 0.15, 0.7))
    up = np.array((rng.normal(0, 0.25), 1, rng.normal(0.25, 0.25)))
    lights = np.stack([np.r_[direction, tint * key], np.r_[fill / np.linalg.norm(fill), (2 - tint) * key * rng.uniform(0.06, 0.25)]])
    ambient = np.stack([(2 - tint) * sky, np.array((1.05, 1, 0.95)) * sky * 0.6, up / np.linalg.norm(up)])
    return Light(kind, lights.astype(np.float32), ambient.astype(np.float32))


def draw_shift_light(rng: np.random.Generator) -> Light:
    """Draw one of SHIFT_LIGHTS: a warm lamp below the face, two equal lamps at the sides, or two of different colours."""
    kind = SHIFT_LIGHTS[rng.integers(len(SHIFT_LIGHTS))]
    side = rng.choice((-1, 1))
    if kind == "below":
        angles, colours, sky = ((rng.uniform(-40, 40), rng.uniform(-65, -30)), (180, 60)), ((1.0, 0.72, 0.45), (0.05, 0.05, 0.08)), 0.22
    elif kind == "split":
        colours, sky = ((0.85, 0.85, 0.85), (0.75, 0.75, 0.75)), 0.12
        angles = ((side * rng.uniform(70, 95), rng.uniform(0, 20)), (-side * rng.uniform(70, 95), rng.uniform(0, 20)))
    else:
        colours, sky = ((1.0, 0.25, 0.75), (0.15, 0.65, 0.95)), 0.20
        angles = ((side * rng.uniform(25, 65), rng.uniform(0, 30)), (-side * rng.uniform(25, 65), rng.uniform(0, 30)))
    lights = []
    for (azimuth, elevation), colour in zip(np.radians(angles), colours, strict=True):
        direction = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
        lights.append(np.r_[direction, np.array(colour) * rng.uniform(0.85, 1.15)])
    ambient = np.stack([np.full(3, sky), np.full(3, 0.6 * sky), (0, 1, 0)])
    return Light(kind, np.stack(lights).astype(np.float32), ambient.astype(np.float32))


def draw_background(rng: np.random.Generator, size: int, kinds: tuple[str, ...] = BACKGROUNDS) -> tuple[np.ndarray, str]:
    """Linear background (size, size, 3) float32 and its kind, one of `kinds`."""
    kind = kinds[rng.integers(len(kinds))]
    work = 96
    y, x = np.mgrid[0:work, 0:work] / work
    first, last = _wall_colour(rng), _wall_colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    base = first * (1 - 0.25 * ramp) if kind == "plain" else first * (1 - ramp) + last * ramp
    picture = Image.fromarray((np.clip(base, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    if kind == "room":
        _draw_room(pen, work, rng)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3.5)))
    elif kind == "bokeh":
        for _ in range(rng.integers(8, 30)):
            cx, cy, r = *rng.uniform(0, work, 2), rng.uniform(1.5, 7)
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=tuple(int(v) for v in rng.uniform(120, 255, 3)))
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 4)))
    elif kind == "clutter":
        for _ in range(rng.integers(4, 18)):
            left, top = rng.uniform(-0.2, 1, 2) * work
            box = (left, top, left + rng.uniform(0.04, 0.5) * work, top + rng.uniform(0.04, 0.5) * work)
            (pen.rectangle if rng.random() < 0.65 else pen.ellipse)(box, fill=tuple(int(v) for v in _wall_colour(rng) ** 0.45 * 255))
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    elif kind == "bricks":
        _draw_bricks(pen, work, rng)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    elif kind == "stripes":
        pitch, slope = rng.uniform(4, 14), rng.uniform(-0.8, 0.8)
        colour = tuple(int(v) for v in _wall_colour(rng) ** 0.45 * 255)
        for left in np.arange(-work, 2 * work, 2 * pitch):
            pen.polygon([(left, 0), (left + pitch, 0), (left + pitch + slope * work, work), (left + slope * work, work)], fill=colour)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    image = (np.asarray(picture.resize((size, size), Image.BICUBIC), np.float32) / 255) ** 2.2
    if kind == "foliage":
        leaves = sum(_cells(rng, n, size) / n**0.5 for n in (6, 14, 30))
        green = np.array((0.16, 0.26, 0.08)) * rng.uniform(0.6, 1.6, 3)
        image = np.clip(green * np.exp(0.9 * leaves[..., None]), 0, 1.2)
    elif kind == "sky":
        clouds = np.clip(sum(_cells(rng, n, size) / n**0.6 for n in (3, 7, 15)) * 0.9, 0, 1)[..., None]
        height = np.linspace(0, 1, size)[:, None, None]
        image = np.array((0.12, 0.28, 0.75)) * (1 - height) + np.array((0.50, 0.62, 0.80)) * height
        image = image * (1 - 0.8 * clouds) + 0.8 * clouds * 0.85
    return np.ascontiguousarray(image * rng.uniform(0.5, 1.1), np.float32), kind


def _wall_colour(rng) -> np.ndarray:
    """A linear colour; mostly of low saturation, as rooms and streets are."""
    grey = rng.uniform(0.03, 0.7)
    return np.clip(grey * (1 + rng.normal(0, 1, 3) * rng.choice((0.12, 0.6))), 0.01, 0.9)


def _draw_room(pen, size, rng) -> None:
    """A wall, a door or window, a shelf with things on it."""
    colour = lambda low, high: tuple(int(v) for v in np.clip(rng.uniform(low, high) + rng.normal(0, 18, 3), 0, 255))  # noqa: E731
    left = rng.uniform(-0.3, 0.75) * size
    pen.rectangle(
        (left, rng.uniform(-0.1, 0.3) * size, left + rng.uniform(0.25, 0.6) * size, size * rng.uniform(0.6, 1.1)),
        fill=colour(60, 250),
        outline=colour(20, 90),
        width=2,
    )
    shelf = rng.uniform(0.1, 0.9) * size
    pen.line((0, shelf, size, shelf + rng.normal(0, 3)), fill=colour(20, 160), width=int(rng.integers(1, 5)))
    place = 0.0
    while place < size:
        wide, tall = rng.uniform(2, 9), rng.uniform(4, 18)
        if rng.random() < 0.5:
            pen.rectangle((place, shelf - tall, place + wide, shelf), fill=tuple(int(v) for v in _wall_colour(rng) ** 0.45 * 255))
        place += wide + rng.uniform(0, 4)


def _draw_bricks(pen, size, rng) -> None:
    """A brick wall in running bond."""
    height, mortar = rng.uniform(5, 9), tuple(int(v) for v in rng.uniform(130, 210) + np.array((0, -4, -10)))
    pen.rectangle((0, 0, size, size), fill=mortar)
    width, base = 2.3 * height, np.array((rng.uniform(110, 190), rng.uniform(50, 95), rng.uniform(35, 75)))
    for course, top in enumerate(np.arange(-height, size, height)):
        for left in np.arange(-width * (1 + 0.5 * (course % 2)), size, width):
            colour = tuple(int(v) for v in np.clip(base * rng.uniform(0.75, 1.2), 0, 255))
            pen.rectangle((left, top, left + width - 1.3, top + height - 1.3), fill=colour)


def _cells(rng, count, size) -> np.ndarray:
    grid = Image.fromarray(rng.standard_normal((count, count), dtype=np.float32), "F")
    return np.asarray(grid.resize((size, size), Image.BICUBIC))


def draw_occluder(rng: np.random.Generator, probability: float = 0.15) -> Occluder:
    """Draw an occluder, or none."""
    kind = OCCLUSIONS[1 + rng.choice(6, p=(0.34, 0.14, 0.16, 0.12, 0.12, 0.12))] if rng.random() < probability else "none"
    colour = (
        rng.uniform(0.02, 0.75, 3) if kind in ("block", "edge") else rng.choice((0.6, 0.75, 0.12)) * rng.uniform((0.6, 0.8, 0.9), 1.0, 3)
    )
    return Occluder(kind, np.asarray(colour, np.float32), tuple(float(v) for v in rng.uniform(0, 1, 4)))


def overlay(image: np.ndarray, occluder: Occluder, light: Light, skin: np.ndarray) -> np.ndarray:
    """Draw a hand-like shape, a block or a covered edge over the linear image (S, S, 3).

    What is worn is no overlay: a mask is cloth shaded on the face itself, and glasses stand in space (loupe.faces.glasses).
    """
    if occluder.kind in WORN:
        return image
    size, fine = image.shape[0], 4
    cover = Image.new("L", (size * fine, size * fine), 0)
    pen = ImageDraw.Draw(cover)
    a, b, c, d = occluder.place
    if occluder.kind == "edge":
        depth = (0.10 + 0.15 * a) * size * fine
        whole = size * fine
        pen.rectangle(((0, 0, depth, whole), (whole - depth, 0, whole, whole), (0, whole - depth, whole, whole))[int(b * 2.999)], fill=255)
    elif occluder.kind == "block":
        width, height = (0.15 + 0.25 * a) * size * fine, (0.15 + 0.25 * b) * size * fine
        pen.rectangle(
            (c * 0.8 * size * fine, d * 0.8 * size * fine, c * 0.8 * size * fine + width, d * 0.8 * size * fine + height), fill=255
        )
    else:  # a few fingers from below
        root = (0.15 + 0.7 * a) * size * fine
        for finger in range(4):
            x = root + finger * 0.085 * size * fine
            top = (0.55 + 0.25 * b + 0.03 * abs(finger - 1.5)) * size * fine
            pen.rounded_rectangle((x, top, x + 0.075 * size * fine, size * fine * 1.1), radius=0.035 * size * fine, fill=255)
    cover = np.asarray(cover.resize((size, size), Image.BOX), np.float32)[..., None] / 255
    level = light.ambient[0] + 0.6 * light.lights[0, 3:]
    colour = skin if occluder.kind == "hand" else occluder.colour
    if occluder.kind == "hand":  # rounded fingers: darker towards their sides
        ripple = 0.75 + 0.25 * np.sin(np.linspace(0, np.pi * 4 / 0.34, size) - np.pi * 4 / 0.34 * (0.15 + 0.7 * a))[None, :, None] ** 2
        colour = colour * ripple
    return (image * (1 - cover) + cover * colour * level).astype(np.float32)

"""Procedural appearance of one person: albedo, shine, hair mask and fine relief on the head's texture chart.

All fields are painted where `template` says the anatomy is; nothing is photographed. Albedo is linear light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from loupe.faces.bake import object_gradient
from loupe.faces.template import bump, frontal, hairline, polyline_distance, smooth_curve, smoothstep

# sRGB colours, light to dark and by common frequency.
TONES = (
    np.array(
        [[246, 212, 190], [238, 196, 168], [226, 178, 146], [208, 156, 120], [182, 126, 90], [150, 98, 68], [112, 72, 50], [84, 54, 40]]
    )
    / 255
)
HAIR_COLOURS = (
    np.array([[18, 14, 12], [30, 20, 14], [52, 34, 22], [84, 54, 32], [128, 88, 52], [170, 130, 82], [150, 148, 145], [110, 44, 20]]) / 255
)
IRIS_COLOURS = np.array([[58, 34, 18], [82, 50, 26], [110, 76, 36], [96, 108, 70], [96, 124, 140], [70, 104, 140], [120, 130, 132]]) / 255
GREY_HAIR = 6
HAIR_STYLES = ("bald", "buzz", "short", "medium", "long")
SHIFT_HAIR_STYLES = ("bangs", "afro", "parted")  # held out: worn in the set `shift` and nowhere else


def linear(colour) -> np.ndarray:
    """sRGB (0..1) to linear light, by the usual power 2.2."""
    return np.asarray(colour, np.float32) ** 2.2


@dataclass(frozen=True)
class Looks:
    """Attributes of appearance drawn once a person. Colours are sRGB in 0..1."""

    tone: np.ndarray  # skin, (3,)
    tone_step: float  # 0 lightest .. 7 darkest
    hair: np.ndarray  # (3,)
    iris: np.ndarray  # (3,)
    style: str  # of HAIR_STYLES
    recede: float  # dm by which the front hairline is lifted
    fringe: tuple[float, float, float]  # depth (dm), centre, width of a lock over the forehead
    beard: float  # 0 none .. .9 full
    moustache: float
    make_up: np.ndarray | None  # lip colour


def draw_looks(rng: np.random.Generator, sex: float, age: float, tone_step: float) -> Looks:
    """Draw looks for sex (0 female .. 1 male), age (0 young .. 1 old) and skin tone step (0..7)."""
    tone = np.array([np.interp(tone_step, range(8), TONES[:, c]) for c in range(3)])
    tone = np.clip(tone * rng.uniform((0.97, 0.97, 0.95), (1.03, 1.03, 1.05)), 0, 1)
    fair = tone_step < 3
    hair = HAIR_COLOURS[rng.choice(8, p=(0.15, 0.2, 0.2, 0.17, 0.12, 0.08, 0.03, 0.05) if fair else (0.5, 0.33, 0.12, 0.02, 0, 0, 0.03, 0))]
    if age > 0.65 and rng.random() < 0.7:
        hair = HAIR_COLOURS[GREY_HAIR] * rng.uniform(0.7, 1.15)
    iris = (
        IRIS_COLOURS[rng.choice(7, p=(0.15, 0.2, 0.15, 0.12, 0.16, 0.16, 0.06))] if fair else IRIS_COLOURS[rng.choice(3, p=(0.6, 0.3, 0.1))]
    )
    male = sex > 0.5
    style = HAIR_STYLES[rng.choice(5, p=(0.10, 0.18, 0.38, 0.28, 0.06) if male else (0.01, 0.04, 0.17, 0.28, 0.50))]
    lock = rng.random() < {"bald": 0, "buzz": 0, "short": 0.25, "medium": 0.5, "long": 0.55}[style]
    fringe = (float(rng.uniform(0.1, 0.42)) if lock else 0.0, float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.35, 0.6)))
    beard = float(rng.choice((0.06, 0.22, 0.4, 0.85), p=(0.45, 0.25, 0.15, 0.15))) if male else 0.0
    moustache = float(np.clip(beard + rng.choice((0, 0.3), p=(0.85, 0.15)), 0, 0.85)) if male else 0.0
    painted = rng.random() < 0.3 and not male
    make_up = rng.uniform((0.5, 0.15, 0.18), (0.72, 0.34, 0.36)) if painted else None
    recede = float(rng.uniform(-0.06, 0.04) + 0.14 * sex * age)
    return Looks(tone, tone_step, hair, iris, style, recede, fringe, beard, moustache, make_up)


def paint(fields: dict[str, np.ndarray], looks: Looks, sex: float, age: float, rng: np.random.Generator) -> np.ndarray:
    """Texture (H, W, 8): linear albedo (3), specular strength, hair mask, relief gradient in object space (3).

    `fields` are the baked `field_*` arrays without the prefix.
    """
    position = fields["position"]
    front = frontal(position)
    tone = linear(looks.tone)
    darkness = looks.tone_step / 7
    melanin, redness = _pigment(fields, darkness, age, rng)
    skin = (tone * (0.86, 0.79, 0.74)).astype(np.float32)
    albedo = skin * np.exp(-melanin[..., None] * (1.0, 1.25, 1.4) - redness[..., None] * (-0.15, 1.1, 0.9))

    lip = fields["lip"]
    bare = looks.tone * (0.84, 0.66, 0.64)
    # Lipstick is a film: the darker the lips below, the darker it looks.
    painted = None if looks.make_up is None else 0.45 * bare + 0.55 * looks.make_up * (0.45 + 0.55 * looks.tone.mean() / TONES[0].mean())
    texture = 1 + 0.10 * _noise(rng, lip.shape, 90)
    albedo = _mix(albedo, linear(bare if painted is None else painted) * texture[..., None], lip * rng.uniform(0.35, 0.7))
    brow = _brows(position, sex, rng) * front
    albedo = _mix(albedo, linear(looks.hair * 0.75), brow)
    albedo, beard = _beard(albedo, fields, looks, rng)
    scalp, strands, hair_relief = _hair(fields, looks, rng)
    albedo = _mix(albedo, linear(looks.hair) * np.exp(strands)[..., None], scalp)

    specular = 0.42 + 0.06 * _noise(rng, lip.shape, 8, 2) + 0.05 * _noise(rng, lip.shape, 70)
    specular = (
        np.clip(specular, 0.1, 1) * (1 - 0.35 * darkness) * (1 - 0.5 * scalp) * (1 - 0.6 * brow) + 0.30 * lip + 0.15 * fields["nose_shine"]
    )
    pores = _noise(rng, lip.shape, 120) * 0.0007 + _noise(rng, lip.shape, 40) * 0.0006
    relief = object_gradient(pores * (1 + 1.2 * age) * (1 - scalp) + beard * 0.002 + hair_relief, fields["jacobian"])
    painted = np.concatenate([np.clip(albedo, 0.003, 0.95), specular[..., None], scalp[..., None], relief], axis=-1)
    return np.ascontiguousarray(painted, np.float32)


def _noise(rng, shape, frequency: int, octaves: int = 1, stretch: float = 1.0) -> np.ndarray:
    """Band-limited noise of about unit variance: smooth random grids, `frequency` cells wide (times `stretch`), summed over octaves."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows = max(2, int(frequency * 2**octave * height / width))
        columns = max(2, int(frequency * 2**octave * stretch))
        grid = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32), "F")
        total += np.asarray(grid.resize((width, height), Image.BICUBIC)) / 2**octave
    return total


def _mix(below, above, share):
    share = share[..., None]
    return below * (1 - share) + above * share


def _pigment(fields, darkness, age, rng):
    """Melanin and redness fields: blotches, flush, shadows round the eyes, freckles and moles."""
    position = fields["position"]
    x, y = position[..., 0], position[..., 1]
    shape = x.shape
    melanin = 0.055 * _noise(rng, shape, 5, 3) + 0.03 * _noise(rng, shape, 60, 2)
    melanin += fields["under_eye"] * rng.uniform(0.03, 0.14 + 0.08 * age) + fields["lid"] * rng.uniform(0.02, 0.18)
    speckle = smoothstep(1.5, 2.0, _noise(rng, shape, 110))
    melanin += 0.25 * speckle * fields["freckles"] * (1 if rng.random() < 0.3 else 0.15)
    for _ in range(rng.integers(0, 5)):
        size = rng.uniform(0.008, 0.016)
        melanin += bump(x, y, rng.uniform(-0.5, 0.5), rng.uniform(6.3, 7.9), size, size) * frontal(position) * rng.uniform(0.4, 1.2)
    redness = 0.035 * _noise(rng, shape, 7, 3) + fields["flush"] * rng.uniform(0.04, 0.16) * (1 - 0.5 * darkness)
    return melanin, redness


def _brows(position, sex, rng):
    """Coverage (H, W) of the brows: tapering strokes along a drawn curve."""
    shape = position.shape[:2]
    lift, arch = rng.uniform(-0.018, 0.012), rng.uniform(-0.02, 0.012) - 0.008 * sex
    points = [
        (rng.uniform(0.085, 0.13), 7.412 + lift),
        (0.22, 7.455 + lift + 0.5 * arch),
        (0.37, 7.475 + lift + arch),
        (0.53 + rng.uniform(-0.03, 0.03), 7.41 + lift),
    ]
    distance, along = polyline_distance(smooth_curve(points, 14), np.abs(position[..., 0]), position[..., 1])
    thickness = (
        rng.uniform(0.024, 0.042)
        * (1 + 0.25 * (sex - 0.5))
        * (1 - 0.65 * smoothstep(0.35, 1, along))
        * (0.75 + 0.25 * smoothstep(0, 0.2, along))
    )
    ragged = 0.5 * _noise(rng, shape, 55, 2) + 0.15 * rng.standard_normal(shape, dtype=np.float32)
    coverage = smoothstep(1.15, 0.35, distance / thickness + 0.28 * ragged) * (0.55 + 0.45 * smoothstep(0, 0.25, along))
    return coverage * (0.5 + 0.5 * smoothstep(0, 0.03, along)) * rng.uniform(0.7, 0.95)


def _beard(albedo, fields, looks, rng):
    """Stubble or beard over the albedo; returns the new albedo and the coverage."""
    shape = fields["lip"].shape
    density = np.maximum(fields["jaw_beard"] * looks.beard, fields["moustache"] * looks.moustache) * (1 - fields["lip"])
    if not density.any():
        return albedo, density
    coverage = np.clip(density * (0.85 + 0.16 * _noise(rng, shape, 90, 2)), 0, 0.95)
    shadow = linear(looks.hair) * 0.5 + linear(looks.tone * 0.6) * 0.5
    colour = linear(looks.hair) * 0.8 if looks.beard > 0.5 else shadow
    return _mix(albedo, colour, coverage), coverage * _noise(rng, shape, 150)


def _hair(fields, looks, rng):
    """Coverage of the scalp, log-brightness of strands, and their relief height (dm)."""
    position = fields["position"]
    shape = position.shape[:2]
    # the edge breaks up into strands, which run down the chart, not into blobs
    field = scalp_field(position, looks) + 0.010 * _noise(rng, shape, 14, 2) + 0.022 * _noise(rng, shape, 12, 2, stretch=10)
    soft = {"bald": 0.10, "buzz": 0.09}.get(looks.style, 0.08)
    coverage = smoothstep(-soft / 2, soft, field) * {"bald": 0.12, "buzz": 0.8}.get(looks.style, 1.0) * fields["painted"]
    strands = 0.22 * _noise(rng, shape, 10, 2, stretch=9) + 0.06 * rng.standard_normal(shape, dtype=np.float32)
    return coverage, strands, _noise(rng, shape, 14, 2, stretch=9) * 0.004 * coverage


def scalp_field(position, looks: Looks):
    """Signed height above the personal hairline, fringe included; positive where hair grows or falls. Template positions (..., 3)."""
    depth, centre, width = looks.fringe
    if looks.style == "parted":  # two curtains of hair fall from a parting
        side, front = np.abs(position[..., 0] - 0.4 * centre), np.clip((position[..., 2] - 0.2) / 0.3, 0, 1)
        return hairline(position, looks.recede) + (0.10 + 0.75 * np.clip(side - 0.06, 0, 0.75) ** 1.2) * front
    if looks.style == "bangs":  # a full straight fringe
        return hairline(position, looks.recede) + 0.36 * np.clip((position[..., 2] - 0.2) / 0.3, 0, 1)
    lock = depth * np.exp(-(((position[..., 0] - centre) / width) ** 2)) * np.clip((position[..., 2] - 0.2) / 0.3, 0, 1)
    return hairline(position, looks.recede) + lock

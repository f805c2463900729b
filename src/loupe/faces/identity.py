"""One person: morphed head, texture, eyes and hair as a function of a random generator alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from loupe.faces.bake import BODY, MOUTH, SKIN
from loupe.faces.raster import add_sparse, vertex_normals
from loupe.faces.skin import Looks, draw_looks, linear, paint, scalp_field
from loupe.faces.template import smoothstep

# Standard deviations of the shape modifiers by group; more than about twice these reads as caricature (feasibility study).
SHAPE_SD = {
    "head": 0.16,
    "nose": 0.26,
    "mouth": 0.24,
    "eyes": 0.24,
    "eyebrows": 0.25,
    "cheek": 0.28,
    "chin": 0.28,
    "ears": 0.30,
    "forehead": 0.25,
    "neck": 0.15,
}
SHAPE_LIMIT = 0.7
_CAREFUL = ("mouth-trans", "nose-trans", "l-eye-trans", "l-eye-push1", "l-eye-push2", "l-eye-height1", "l-eye-height2", "l-eye-height3")
_OPPOSITES = (
    ("-decr", "-incr"),
    ("-down", "-up"),
    ("-in", "-out"),
    ("-backward", "-forward"),
    ("-concave", "-convex"),
    ("-compress", "-uncompress"),
)
_FACE_FORMS = ("diamond", "oval", "rectangular", "round", "square", "triangular", "invertedtriangular")
_HAIR_THICKNESS = {"bald": (0, 0), "buzz": (0.012, 0.02), "short": (0.05, 0.10), "medium": (0.09, 0.16), "long": (0.07, 0.11)} | {
    "bangs": (0.07, 0.12), "afro": (0.26, 0.42), "parted": (0.10, 0.16)
}  # fmt: skip
_WRINKLES_BY_AGE = np.array((0.7, 0.6, 0.2, 0.7, 0.55, 0.5, 0.2, 0.7))
_WRINKLES_ALWAYS = np.array((0, 0, 0, 0, 0.10, 0, 0, 0.06))


@dataclass(frozen=True)
class Identity:
    """What is fixed about a person. Lengths in dm, colours in linear light."""

    vertices: np.ndarray  # (V, 3) neutral head, eye spheres and hair curtain
    texture: np.ndarray  # (H, W, 8), see skin.paint
    eye_centre: np.ndarray  # (2, 3): right, left
    eye_radius: np.ndarray  # (2,)
    mouth_centre: np.ndarray  # (3,)
    iris: np.ndarray
    pupil: float  # radians on the eye sphere
    body_colour: np.ndarray
    cloth: np.ndarray
    hair: np.ndarray
    long_hair: bool
    static_wrinkles: np.ndarray  # (8,)
    wrinkle_gain: float
    habit: np.ndarray  # (8,) standard normal: personal biases that the expression and motion samplers use
    age: float  # 0 young adult .. 1 old
    sex: float  # 0 female .. 1 male
    tone: float  # 0 lightest .. 7 darkest
    style: str
    beard: float


def make_identity(head: dict[str, np.ndarray], rng: np.random.Generator, style: str | None = None) -> Identity:
    """Draw a person. `head` are the baked arrays of `assets.load`; `style` replaces the haircut of this person, and nothing else."""
    male = int(rng.integers(2))
    sex = float(np.clip(male + (1 - 2 * male) * abs(rng.normal(0, 0.12)), 0, 1))
    age = float(rng.uniform(0, 1) ** 1.3)
    tone = float(rng.uniform(0, 7))
    ancestry = rng.dirichlet((0.15 + 1.6 * (tone / 7) ** 1.5, 0.5, 0.15 + 1.6 * (1 - tone / 7)))
    offsets = _shape(head, rng, sex, age, ancestry)
    looks = draw_looks(rng, sex, age, tone)
    if style is not None:
        looks = replace(looks, style=style)
    n_head = int(head["n_head"])
    vertices = head["vertices"].copy()
    vertices[:n_head] += offsets[:n_head]
    eyes = head["eye_points"] + offsets[n_head:].reshape(2, -1, 3)
    low, high = eyes.min(1), eyes.max(1)
    eye_centre, eye_radius = (low + high) / 2, 0.985 * ((high - low) / 2).mean(1)
    mouth = np.linalg.norm(head["vertices"][:n_head] - (0, 6.62, 1.5), axis=1).argmin()
    mouth_centre = vertices[mouth].copy()
    _grow_hair(head, vertices, offsets, looks, rng)

    wear = float(np.clip(1.1 * age - 0.15 + rng.normal(0, 0.05), 0, 0.9))
    fields = {name.removeprefix("field_"): value for name, value in head.items() if name.startswith("field_")}
    return Identity(
        vertices=np.ascontiguousarray(vertices, np.float32),
        texture=paint(fields, looks, sex, wear, rng),
        eye_centre=eye_centre.astype(np.float32),
        eye_radius=eye_radius.astype(np.float32),
        mouth_centre=mouth_centre,
        iris=linear(looks.iris) * rng.uniform(0.8, 1.3),
        pupil=float(rng.uniform(0.16, 0.26)),
        body_colour=linear(looks.tone) * 0.8,
        cloth=linear(rng.uniform(0.05, 0.9, 3)),
        hair=linear(looks.hair),
        long_hair=looks.style == "long",
        static_wrinkles=_WRINKLES_BY_AGE * wear + _WRINKLES_ALWAYS,
        wrinkle_gain=float(np.clip(0.55 + 0.6 * age + rng.normal(0, 0.1), 0.35, 1.3)),
        habit=rng.standard_normal(8),
        age=age,
        sex=sex,
        tone=tone,
        style=looks.style,
        beard=looks.beard,
    )


def _shape(head, rng, sex, age, ancestry) -> np.ndarray:
    """Displacement (n_head + eye points, 3) from macro targets (ancestry, sex, age, weight, muscle) and local modifiers."""
    flat = np.zeros((int(head["n_head"]) + head["eye_points"].shape[0] * head["eye_points"].shape[1]) * 3, np.float32)
    macro = _macro_weights(sex, age, ancestry, float(np.clip(rng.normal(0.5, 0.2), 0, 1)), float(np.clip(rng.normal(0.5, 0.15), 0, 1)))
    for kind, weights in (("macro", macro), ("local", _local_weights([str(name) for name in head["local_names"]], age, rng))):
        vector = np.array([weights.get(str(name), 0.0) for name in head[f"{kind}_names"]], np.float32)
        add_sparse(flat, vector, head[f"{kind}_starts"], head[f"{kind}_indices"], head[f"{kind}_values"])
    return flat.reshape(-1, 3)


def _macro_weights(sex, age, ancestry, weight, muscle) -> dict[str, float]:
    weights = {}
    weight_share = {"minweight": max(0, 1 - 2 * weight), "averageweight": 1 - abs(2 * weight - 1), "maxweight": max(0, 2 * weight - 1)}
    muscle_share = {"minmuscle": max(0, 1 - 2 * muscle), "averagemuscle": 1 - abs(2 * muscle - 1), "maxmuscle": max(0, 2 * muscle - 1)}
    for gender, gender_share in (("male", sex), ("female", 1 - sex)):
        for years, years_share in (("young", 1 - age), ("old", age)):
            for people, people_share in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                weights[f"{people}-{gender}-{years}"] = people_share * gender_share * years_share
            for m, muscle_part in muscle_share.items():
                for w, weight_part in weight_share.items():
                    weights[f"universal-{gender}-{years}-{m}-{w}"] = gender_share * years_share * muscle_part * weight_part
    return weights


def _local_weights(names: list[str], age: float, rng) -> dict[str, float]:
    """Signed modifiers: a normal draw moves one of the two opposite targets; left and right nearly together."""
    known, weights = set(names), {}
    for name in names:
        group, modifier = name.split("/")
        ends = next(((a, b) for a, b in _OPPOSITES if name.endswith(a) and name.removesuffix(a) + b in known), None)
        if ends is None or modifier.startswith(("r-", "head-trans", "neck-trans", "head-age")) or group == "asym":
            continue
        stem = modifier.removesuffix(ends[0])
        sd = SHAPE_SD[group] * (0.6 if stem in _CAREFUL else 1)
        value = float(np.clip(rng.normal(0, sd), -SHAPE_LIMIT, SHAPE_LIMIT))
        weights[f"{group}/{stem}{ends[value > 0]}"] = abs(value)
        if stem.startswith("l-"):
            other = value + float(rng.normal(0, 0.04))
            weights[f"{group}/r-{stem[2:]}{ends[other > 0]}"] = abs(other)
    weights[f"head/head-{rng.choice(_FACE_FORMS)}"] = float(rng.uniform(0, 0.45))
    weights["head/head-age-incr"] = max(0.0, (age - 0.5) * 0.8)
    for name in rng.choice([name for name in names if name.startswith("asym/")], 8, replace=False):
        weights[str(name)] = float(abs(rng.normal(0, 0.10)))
    return weights


def _grow_hair(head, vertices, offsets, looks: Looks, rng) -> None:
    """Raise the scalp along its normals and hang the curtain of long hair round the morphed head, in place."""
    n_head, n_eye = int(head["n_head"]), int(head["n_eye"])
    template, material, triangles = head["vertices"], head["material"], head["triangles"]
    low, high = _HAIR_THICKNESS[looks.style]
    thickness = float(rng.uniform(low, high))
    waves, phases = rng.normal(0, 2.4, (8, 3)), rng.uniform(0, 2 * np.pi, 8)
    if thickness > 0:
        normals = np.zeros_like(vertices)
        solid = np.ascontiguousarray(triangles[np.isin(material, (SKIN, BODY, MOUTH))])
        vertex_normals(vertices, solid, normals)
        position = template[:n_head]
        member = np.zeros(n_head, bool)
        member[np.unique(triangles[material == SKIN])] = True
        ear = (np.abs(position[:, 0]) > 0.70) & (position[:, 1] < 7.36) & (position[:, 1] > 6.75) & (position[:, 2] > -0.25)
        cover = smoothstep(0.0, 0.24, scalp_field(position, looks)) * member * ~ear  # slow: the mesh is too coarse for a steep edge
        rough = np.sin(position @ waves.T * (3 if looks.style == "afro" else 1) + phases).mean(1) * (0.25 if looks.style == "afro" else 0.7)
        crown = 0.7 + 0.7 * np.clip((position[:, 1] - 7.6) / 0.8, 0, 1)
        vertices[:n_head] += normals[:n_head] * (cover * thickness * (1 + rough) * crown)[:, None]
    length = float(rng.uniform(4.9, 6.5))
    curtain = template[n_head + 2 * n_eye :].copy()
    below = curtain[:, 1] < 7.2
    curtain[below, 1] = 7.2 - (7.2 - curtain[below, 1]) * (7.2 - length) / (7.2 - 5.0)
    sway = np.sin(curtain @ waves[:5].T + phases[:5]).mean(1)
    curtain[:, 0] *= 1 + 0.05 * sway
    curtain[:, 2] += 0.05 * sway
    vertices[n_head + 2 * n_eye :] = curtain + offsets[head["curtain_anchor"]]

"""Render one person's job: stills, unlabelled clip frames, micro clips or macro clips, with a manifest row for every image.

Every image is a pure function of (seed, role, subject number, sample or clip, frame).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loupe.faces import assets
from loupe.faces.backdrop import Backdrop, draw_backdrop
from loupe.faces.expression import STILL_CLASSES, draw_expression
from loupe.faces.identity import Identity, make_identity
from loupe.faces.motion import DIALS, EMOTIONS, MICRO_CLASSES, ClipScript, macro_script, micro_script
from loupe.faces.plan import DIAL_OF_SET, ROLES, Job, subject_name
from loupe.faces.render import Renderer
from loupe.faces.scene import (
    BACKGROUNDS,
    SHIFT_BACKGROUNDS,
    WORN,
    Light,
    Occluder,
    View,
    draw_background,
    draw_light,
    draw_occluder,
    draw_shift_light,
)
from loupe.faces.sensor import Camera, draw_clip_camera, draw_still_camera, expose
from loupe.faces.skin import SHIFT_HAIR_STYLES

_IDENTITY, _STILL, _CLIP, _FRAME, _SIDE, _SHIFT, _BACKDROP = range(7)  # streams of random numbers of a person
SIDE_DEGREES, SIDE_LIMIT = (20, 40), 55  # how far the second camera stands to the side, and the largest yaw it may see
ROLE_NAMES = ("onset", "rise", "apex", "fall", "offset")
CLASS_OF_EMOTION = {emotion: label for label, emotions in EMOTIONS.items() for emotion, _ in emotions}


@dataclass(frozen=True)
class Studio:
    """Head data and a renderer of one size: what a process needs to draw."""

    head: dict
    renderer: Renderer

    @classmethod
    def open(cls, size: int, cache_dir: Path) -> Studio:
        head = assets.load(Path(cache_dir))
        return cls(head, Renderer(head, size))


@dataclass(frozen=True)
class ClipScene:
    """What stays fixed while a clip is recorded."""

    script: ClipScript
    view: View
    light: Light
    backdrop: Backdrop
    camera: Camera
    shifted: bool = False


@dataclass
class Rendered:
    """Images (N, S, S, 3) uint8 with one manifest row each, and the second camera's, if any, likewise.

    For micro clips `truths` holds, one a clip: motion (S, S), parts (S, S), expression_flow and head_flow (S, S, 2).
    """

    images: np.ndarray
    rows: list[dict]
    clips: list[str]
    truths: dict[str, np.ndarray]
    side_images: np.ndarray
    side_rows: list[dict]


@dataclass(frozen=True)
class StillScene:
    """What stands before the cameras when a still is taken."""

    who: Identity
    au: np.ndarray
    prototype: str
    intensity: float
    view: View
    light: Light
    background: np.ndarray
    background_kind: str
    occluder: Occluder
    camera: Camera


def _stream(seed: int, role: str, number: int, *keys: int) -> np.random.Generator:
    return np.random.default_rng([seed, ROLES.index(role), number, *keys])


_people: dict = {}


def person(studio: Studio, seed: int, role: str, number: int, shifted: bool = False) -> Identity:
    """The person (seed, role, number), if `shifted` with a held-out haircut; the last one drawn is remembered."""
    key = (id(studio.head), seed, role, number, shifted)
    if key not in _people:
        _people.clear()
        style = SHIFT_HAIR_STYLES[_stream(seed, role, number, _SHIFT).integers(len(SHIFT_HAIR_STYLES))] if shifted else None
        _people[key] = make_identity(studio.head, _stream(seed, role, number, _IDENTITY), style)
    return _people[key]


def still_scene(studio: Studio, seed: int, role: str, number: int, sample: int, label: str, shifted: bool = False) -> StillScene:
    """Draw what a still shows; `shifted` takes light, background, hair and AU prototype from the held-out ones."""
    who = person(studio, seed, role, number, shifted)
    rng = _stream(seed, role, number, _SHIFT if shifted else _STILL, sample)
    intensity = float(rng.uniform(0.35, 1)) if label != "Neutral" else 0.0
    au, prototype = draw_expression(label, intensity, rng, 0.08 * who.habit[3], shifted)
    view = View(
        yaw=float(np.clip(rng.normal(0, 0.25), -0.7, 0.7)),
        pitch=float(rng.normal(0, 0.10)),
        roll=float(rng.normal(0, 0.06)),
        gaze=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.06))),
        distance=float(rng.uniform(6, 16)),
        zoom=float(np.exp(rng.normal(0, 0.03))),
        shift=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.012))),
    )
    light = draw_shift_light(rng) if shifted else draw_light(rng)
    background, kind = draw_background(rng, studio.renderer.size, SHIFT_BACKGROUNDS if shifted else BACKGROUNDS)
    return StillScene(who, au, prototype, intensity, view, light, background, kind, draw_occluder(rng), draw_still_camera(rng))


def side_scene(studio: Studio, scene: StillScene, rng: np.random.Generator) -> StillScene:
    """The same instant from a second camera, 20-40 degrees to the side, with its own distance, framing error, sensor and piece of background.

    Expression, gaze, pose, light and what is worn are the first camera's; a hand, block or edge that stood before the first camera alone is gone.
    """
    angle, side = np.radians(rng.uniform(*SIDE_DEGREES)), rng.choice((-1, 1))
    if abs(scene.view.yaw + side * angle) > np.radians(SIDE_LIMIT):
        side = -side
    view = replace(
        scene.view,
        orbit=float(side * angle),
        distance=float(rng.uniform(6, 16)),
        zoom=float(np.exp(rng.normal(0, 0.03))),
        shift=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.012))),
    )
    background, kind = draw_background(rng, studio.renderer.size, (scene.background_kind,))
    worn = scene.occluder if scene.occluder.kind in WORN else replace(scene.occluder, kind="none")
    return replace(scene, view=view, background=background, background_kind=kind, occluder=worn, camera=draw_still_camera(rng))


def render_still(
    studio: Studio, seed: int, role: str, number: int, sample: int, label: str, camera: int = 0, shifted: bool = False
) -> tuple[np.ndarray, dict]:
    """One still from the first (0) or second (1) camera: uint8 (S, S, 3) and its manifest row."""
    scene = still_scene(studio, seed, role, number, sample, label, shifted)
    rng = _stream(seed, role, number, _SIDE, sample, camera, int(shifted))
    if camera == 1:
        scene = side_scene(studio, scene, rng)
    view = scene.view
    linear, projection = studio.renderer.draw(scene.who, scene.au, view, scene.light, scene.background, scene.occluder)
    image = expose(linear, scene.camera, rng)
    row = _row(scene.who, seed, role, number, view, scene.light, scene.background_kind, scene.occluder)
    row["yaw"] += view.orbit
    row |= {"label": STILL_CLASSES.index(label), "label_name": label, "prototype": scene.prototype, "au": scene.au}
    row |= {"intensity": scene.intensity, "landmarks": studio.renderer.landmarks(projection).round(2)}
    return image, row


def clip_scene(
    studio: Studio, seed: int, role: str, number: int, clip: int, kind: str, item, nuisance: int, shifted: bool = False
) -> ClipScene:
    """Draw what happens in a clip. kind: `micro` (item: emotion or "none"), `macro` (item: classes). `shifted` takes light, background, hair and AU
    prototype of a micro clip from the held-out ones."""
    who = person(studio, seed, role, number, shifted)
    held_out = (_SHIFT,) if shifted else ()
    room = _stream(seed, role, number, *held_out, _CLIP)  # one laboratory a person
    rng = _stream(seed, role, number, *held_out, _CLIP, clip)
    if kind == "micro":
        fps = 200.0 if room.random() < 0.75 else 100.0
        script = micro_script(rng, None if item == "none" else item, who.habit, fps, nuisance, shifted)
    else:
        script = macro_script(rng, list(item), who.habit, nuisance)
    spread = 1.0 if kind == "micro" else 1.6
    view = View(
        yaw=float(rng.normal(0, 0.07 * spread)),
        pitch=float(rng.normal(0, 0.04 * spread)),
        roll=float(rng.normal(0, 0.02 * spread)),
        distance=float(room.uniform(9, 14)),
        zoom=float(np.exp(rng.normal(0, 0.02))),
        shift=(float(rng.normal(0, 0.006)), float(rng.normal(0, 0.006))),
    )
    usual = (0.55, 0.05, 0.10, 0.30, 0, 0) if kind == "micro" else (0.34, 0.17, 0.15, 0.22, 0.05, 0.07)
    light = draw_shift_light(room) if shifted else draw_light(room, usual)
    picture = draw_background(room, studio.renderer.size, SHIFT_BACKGROUNDS if shifted else BACKGROUNDS)
    moving = _stream(seed, role, number, *held_out, _BACKDROP, clip)
    drift, hertz = (1.0, (1.0, 4.0)) if kind == "micro" else (5.0, (0.1, 0.6))  # a macro clip lasts ten times as long
    dial, seconds = DIALS[nuisance], script.frames / script.fps
    backdrop = draw_backdrop(moving, *picture, seconds, drift * dial.background, dial.passing, hertz)
    return ClipScene(script, view, light, backdrop, draw_clip_camera(rng, nuisance), shifted)


def render_frame(studio: Studio, seed: int, role: str, number: int, clip: int, frame: int, scene: ClipScene) -> tuple[np.ndarray, dict]:
    """One frame of a clip: uint8 (S, S, 3) and its manifest row (class columns are left to the caller)."""
    who = person(studio, seed, role, number, scene.shifted)
    script = scene.script
    view = View(**{**scene.view.__dict__, "gaze": script.gaze_at(frame)})
    rng = _stream(seed, role, number, *((_SHIFT,) if scene.shifted else ()), _FRAME, clip, frame)
    jitter = 1 + 0.1 * script.flicker[0] * rng.normal()
    light = scene.light.scaled(script.gain(frame) * jitter)
    head = script.head(frame)
    linear, projection = studio.renderer.draw(who, script.au(frame), view, light, scene.backdrop.at(frame / script.fps), motion=head)
    row = _row(who, seed, role, number, view, light, scene.backdrop.kind, None)
    for name, turned in zip(("yaw", "pitch", "roll"), head.rotation, strict=True):
        row[name] += float(turned)
    row |= {"clip": f"{subject_name(role, number)}-{clip:03d}", "frame": frame, "fps": script.fps, "au": script.expression(frame)}
    row["landmarks"] = studio.renderer.landmarks(projection).round(2)
    return expose(linear, scene.camera, rng), row


def _row(who: Identity, seed, role, number, view: View, light: Light, background: str, occluder: Occluder | None) -> dict:
    return {
        "subject": subject_name(role, number),
        "yaw": view.yaw,
        "pitch": view.pitch,
        "roll": view.roll,
        "light": light.kind,
        "background": background,
        "occlusion": occluder.kind if occluder else "none",
        "age": who.age,
        "sex": who.sex,
        "tone": who.tone,
        "hair": who.style,
        "beard": who.beard,
        "source": f"loupe.faces seed {seed}",
    }


def render_job(studio: Studio, job: Job, seed: int, nuisance: int, macro_stride: int) -> Rendered:
    """All images of one person in one set."""
    drawing = {"stills": _stills, "shift": _shift, "clips": _clips, "micro": _micro, "micro_shift": _micro_shift, "macro": _macro}
    frames, fields = drawing.get(job.set, _micro_dial)(studio, job, seed, nuisance, macro_stride)
    size = studio.renderer.size
    sides = _sides(studio, job, seed) if job.cameras == 2 else []
    for taken, name in ((frames, job.set), (sides, "camera")):
        for _, row in taken:
            row |= {"set": name, "split": job.split}
    return Rendered(
        images=np.stack([image for image, _ in frames]),
        rows=[row for _, row in frames],
        clips=[clip for clip, _ in fields],
        truths={
            "motion": np.array([truth[0] for _, truth in fields], np.float32).reshape(-1, size, size),
            "parts": np.array([truth[1] for _, truth in fields], np.uint8).reshape(-1, size, size),
            "expression_flow": np.array([truth[2] for _, truth in fields], np.float32).reshape(-1, size, size, 2),
            "head_flow": np.array([truth[3] for _, truth in fields], np.float32).reshape(-1, size, size, 2),
        },
        side_images=np.array([image for image, _ in sides], np.uint8).reshape(-1, size, size, 3),
        side_rows=[row for _, row in sides],
    )


def _stills(studio, job, seed, nuisance, macro_stride):
    return [render_still(studio, seed, job.role, job.number, sample, label) for sample, label in enumerate(job.items)], []


def _sides(studio, job, seed):
    return [render_still(studio, seed, job.role, job.number, sample, label, camera=1) for sample, label in enumerate(job.items)]


def _shift(studio, job, seed, nuisance, macro_stride):
    return [render_still(studio, seed, job.role, job.number, sample, label, shifted=True) for sample, label in enumerate(job.items)], []


def _clips(studio, job, seed, nuisance, macro_stride):
    """Unlabelled frames: micro and macro movements in turn; the frames of a clip lie within a quarter of a second."""
    drawn = []
    for clip, count in enumerate(job.items):
        rng = _stream(seed, job.role, job.number, _CLIP, clip, 9)
        if clip % 2 == 0:
            label = MICRO_CLASSES[rng.integers(3)]
            names, shares = zip(*EMOTIONS[label], strict=True)
            scene = clip_scene(studio, seed, job.role, job.number, clip, "micro", names[rng.choice(len(names), p=shares)], nuisance)
        else:
            labels = tuple(STILL_CLASSES[1 + rng.integers(7)] for _ in range(2))
            scene = clip_scene(studio, seed, job.role, job.number, clip, "macro", labels, nuisance)
        window = min(scene.script.frames, int(scene.script.fps // 4) + 1)
        first = int(rng.integers(0, scene.script.frames - window + 1))
        for frame in sorted(first + rng.choice(window, min(count, window), replace=False)):
            image, row = render_frame(studio, seed, job.role, job.number, clip, int(frame), scene)
            drawn.append((image, row | {"label": -1, "label_name": ""}))
    return drawn, []


def stored_frames(script: ClipScript) -> dict[str, int]:
    """The five frames kept of a micro clip, by role, around the annotated onset, apex and offset."""
    numbers = (script.onset, (script.onset + script.apex) // 2, script.apex, (script.apex + script.offset) // 2, script.offset)
    return dict(zip(ROLE_NAMES, numbers, strict=True))


def _micro(studio, job, seed, nuisance, macro_stride):
    return _annotated(studio, job, seed, nuisance, first=0, shifted=False)


def _micro_shift(studio, job, seed, nuisance, macro_stride):
    return _annotated(studio, job, seed, nuisance, first=250, shifted=True)  # numbers apart from those of the person's other clips


def _micro_dial(studio, job, seed, nuisance, macro_stride):
    return _annotated(studio, job, seed, DIAL_OF_SET[job.set], first=0, shifted=False)


def _annotated(studio, job, seed, nuisance, first, shifted):
    """Micro clips with their annotated frames and true fields; clips are numbered from `first`, those without a name are left out."""
    drawn, fields = [], []
    who = person(studio, seed, job.role, job.number, shifted)
    for clip, emotion in enumerate(job.items, start=first):
        if not emotion:
            continue
        scene = clip_scene(studio, seed, job.role, job.number, clip, "micro", emotion, nuisance, shifted)
        script, label = scene.script, CLASS_OF_EMOTION.get(emotion)
        for role, frame in stored_frames(script).items():
            image, row = render_frame(studio, seed, job.role, job.number, clip, frame, scene)
            row |= {"onset": script.onset, "apex": script.apex, "offset": script.offset, "role": role}
            row |= {"label": MICRO_CLASSES.index(label) if label else -1, "label_name": label or "none"}
            row["intensity"] = script.amplitude * script.expressions[0].level(frame / script.fps)
            drawn.append((image, row))
        view = View(**{**scene.view.__dict__, "gaze": script.gaze_at(script.onset)})
        start = script.base + script.expression(script.onset)
        apex = script.base + script.expression(script.apex)
        motion, expression, head = studio.renderer.motion_fields(
            who, start, apex, view, script.head(script.onset), script.head(script.apex)
        )
        fields.append((drawn[-1][1]["clip"], (motion, studio.renderer.parts(who, start, view), expression, head)))
    return drawn, fields


def _macro(studio, job, seed, nuisance, macro_stride):
    drawn = []
    for index, labels in enumerate(job.items):
        clip = 500 + index  # apart from any other clip of the person
        scene = clip_scene(studio, seed, job.role, job.number, clip, "macro", labels, nuisance)
        for frame in range(0, scene.script.frames, macro_stride):
            image, row = render_frame(studio, seed, job.role, job.number, clip, frame, scene)
            label, intensity = scene.script.macro_state(frame)
            drawn.append((image, row | {"label": STILL_CLASSES.index(label), "label_name": label, "intensity": intensity}))
    return drawn, []

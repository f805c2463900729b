"""Render one person's job: stills, unlabelled clip frames, micro clips or macro clips, with a manifest row for every image.

Every image is a pure function of (seed, role, subject number, sample or clip, frame).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loupe.faces import assets
from loupe.faces.expression import STILL_CLASSES, draw_expression
from loupe.faces.identity import Identity, make_identity
from loupe.faces.motion import EMOTIONS, MICRO_CLASSES, ClipScript, macro_script, micro_script
from loupe.faces.plan import ROLES, Job, subject_name
from loupe.faces.render import Renderer
from loupe.faces.scene import Light, Occluder, View, draw_background, draw_light, draw_occluder
from loupe.faces.sensor import Camera, draw_clip_camera, draw_still_camera, expose

_IDENTITY, _STILL, _CLIP, _FRAME = range(4)  # streams of random numbers of a person
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
    background: np.ndarray
    background_kind: str
    camera: Camera


@dataclass
class Rendered:
    """Images (N, S, S, 3) uint8 with one manifest row each; for micro clips also a motion field and part mask a clip."""

    images: np.ndarray
    rows: list[dict]
    clips: list[str]
    motion: np.ndarray
    parts: np.ndarray


def _stream(seed: int, role: str, number: int, *keys: int) -> np.random.Generator:
    return np.random.default_rng([seed, ROLES.index(role), number, *keys])


_people: dict = {}


def person(studio: Studio, seed: int, role: str, number: int) -> Identity:
    """The person (seed, role, number); the last one drawn is remembered."""
    key = (id(studio.head), seed, role, number)
    if key not in _people:
        _people.clear()
        _people[key] = make_identity(studio.head, _stream(seed, role, number, _IDENTITY))
    return _people[key]


def render_still(studio: Studio, seed: int, role: str, number: int, sample: int, label: str) -> tuple[np.ndarray, dict]:
    """One still: uint8 (S, S, 3) and its manifest row."""
    who = person(studio, seed, role, number)
    rng = _stream(seed, role, number, _STILL, sample)
    intensity = float(rng.uniform(0.35, 1)) if label != "Neutral" else 0.0
    au, _ = draw_expression(label, intensity, rng, 0.08 * who.habit[3])
    view = View(
        yaw=float(np.clip(rng.normal(0, 0.25), -0.7, 0.7)),
        pitch=float(rng.normal(0, 0.10)),
        roll=float(rng.normal(0, 0.06)),
        gaze=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.06))),
        distance=float(rng.uniform(6, 16)),
        zoom=float(np.exp(rng.normal(0, 0.03))),
        shift=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.012))),
    )
    light = draw_light(rng)
    background, background_kind = draw_background(rng, studio.renderer.size)
    occluder = draw_occluder(rng)
    linear, projection = studio.renderer.draw(who, au, view, light, background, occluder)
    image = expose(linear, draw_still_camera(rng), rng)
    row = _row(who, seed, role, number, view, light, background_kind, occluder)
    row |= {"label": STILL_CLASSES.index(label), "label_name": label, "au": au, "intensity": intensity}
    row["landmarks"] = studio.renderer.landmarks(projection).round(2)
    return image, row


def clip_scene(studio: Studio, seed: int, role: str, number: int, clip: int, kind: str, item, nuisance: int) -> ClipScene:
    """Draw what happens in a clip. kind: `micro` (item: emotion or "none"), `macro` (item: classes)."""
    who = person(studio, seed, role, number)
    room = _stream(seed, role, number, _CLIP)  # one laboratory a person
    rng = _stream(seed, role, number, _CLIP, clip)
    if kind == "micro":
        fps = 200.0 if room.random() < 0.75 else 100.0
        script = micro_script(rng, None if item == "none" else item, who.habit, fps, nuisance)
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
    light = draw_light(room, (0.55, 0.05, 0.10, 0.30, 0, 0) if kind == "micro" else (0.34, 0.17, 0.15, 0.22, 0.05, 0.07))
    background, background_kind = draw_background(room, studio.renderer.size)
    return ClipScene(script, view, light, background, background_kind, draw_clip_camera(rng, nuisance))


def render_frame(studio: Studio, seed: int, role: str, number: int, clip: int, frame: int, scene: ClipScene) -> tuple[np.ndarray, dict]:
    """One frame of a clip: uint8 (S, S, 3) and its manifest row (class columns are left to the caller)."""
    who = person(studio, seed, role, number)
    script = scene.script
    view = View(**{**scene.view.__dict__, "gaze": script.gaze_at(frame)})
    rng = _stream(seed, role, number, _FRAME, clip, frame)
    jitter = 1 + 0.1 * script.flicker[0] * rng.normal()
    light = scene.light.scaled(script.gain(frame) * jitter)
    head = script.head(frame)
    linear, projection = studio.renderer.draw(who, script.au(frame), view, light, scene.background, motion=head)
    row = _row(who, seed, role, number, view, light, scene.background_kind, None)
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
        "source": f"loupe.faces seed {seed}",
    }


def render_job(studio: Studio, job: Job, seed: int, nuisance: int, macro_stride: int) -> Rendered:
    """All images of one person in one set."""
    frames, fields = {"stills": _stills, "clips": _clips, "micro": _micro, "macro": _macro}[job.set](
        studio, job, seed, nuisance, macro_stride
    )
    size = studio.renderer.size
    for _, row in frames:
        row |= {"set": job.set, "split": job.split}
    return Rendered(
        images=np.stack([image for image, _ in frames]),
        rows=[row for _, row in frames],
        clips=[clip for clip, _, _ in fields],
        motion=np.array([motion for _, motion, _ in fields], np.float32).reshape(-1, size, size),
        parts=np.array([parts for _, _, parts in fields], np.uint8).reshape(-1, size, size),
    )


def _stills(studio, job, seed, nuisance, macro_stride):
    return [render_still(studio, seed, job.role, job.number, sample, label) for sample, label in enumerate(job.items)], []


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
    drawn, fields = [], []
    who = person(studio, seed, job.role, job.number)
    for clip, emotion in enumerate(job.items):
        scene = clip_scene(studio, seed, job.role, job.number, clip, "micro", emotion, nuisance)
        script, label = scene.script, CLASS_OF_EMOTION.get(emotion)
        for role, frame in stored_frames(script).items():
            image, row = render_frame(studio, seed, job.role, job.number, clip, frame, scene)
            row |= {"onset": script.onset, "apex": script.apex, "offset": script.offset, "role": role}
            row |= {"label": MICRO_CLASSES.index(label) if label else -1, "label_name": label or "none"}
            row["intensity"] = script.amplitude * script.expressions[0].level(frame / script.fps)
            drawn.append((image, row))
        view = View(**{**scene.view.__dict__, "gaze": script.gaze_at(script.onset)})
        start = script.base + script.expression(script.onset)
        field = studio.renderer.motion_field(who, start, script.base + script.expression(script.apex), view)
        fields.append((drawn[-1][1]["clip"], field, studio.renderer.parts(who, start, view)))
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

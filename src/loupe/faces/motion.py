"""How faces move in time: micro-expression and macro clips as scripts that any single frame can be read from.

A script is drawn once from a generator; every value at a frame is a closed form of time, so a frame rendered alone equals the frame of the full clip.
The nuisance dial 0/1/2 scales what is not the expression: head drift, blinks, gaze shifts, speech, flicker, what moves behind the head, annotation error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from loupe.faces.expression import asymmetric, au_vector, draw_expression, resting
from loupe.faces.render import Motion
from loupe.faces.template import smoothstep

MICRO_CLASSES = ("negative", "positive", "surprise")  # MEGC2019 (See et al. 2019)
# CASME II emotions behind each class, with their shares inside it.
EMOTIONS = {
    "negative": (("disgust", 0.45), ("repression", 0.20), ("anger", 0.15), ("sadness", 0.10), ("fear", 0.10)),
    "positive": (("happiness", 1.0),),
    "surprise": (("surprise", 1.0),),
}
# Variants as they occur in CASME II codings: mostly one to three units, many shared between classes. S is the drawn side.
MICRO_PROTOTYPES: dict[str, tuple[dict[str, float], ...]] = {
    "disgust": (
        {"AU4": 0.8, "AU9": 0.8},
        {"AU4": 1.0},
        {"AU4": 0.7, "AU7": 0.8},
        {"AU10": 1.0},
        {"AU9": 0.7, "AU10": 0.7},
        {"AU4S": 1.0, "AU7S": 0.7},
    ),
    "repression": ({"AU14": 1.0}, {"AU15": 0.7, "AU17": 0.8}, {"AU12": 0.45, "AU14": 0.6, "AU24": 0.8}, {"AU14S": 1.1}, {"AU17": 1.0}),
    "anger": ({"AU4": 1.0, "AU7": 0.6}, {"AU4": 0.9, "AU24": 0.7}, {"AU7": 1.0}),
    "sadness": ({"AU1": 1.0}, {"AU1": 0.6, "AU4": 0.6}, {"AU15": 1.0}, {"AU15": 0.7, "AU17": 0.7}),
    "fear": ({"AU1": 0.8, "AU2": 0.3, "AU4": 0.5}, {"AU1": 0.7, "AU20": 0.7}, {"AU5": 0.8, "AU20": 0.6}),
    "happiness": (
        {"AU12": 1.0},
        {"AU6": 0.8, "AU12": 0.8},
        {"AU12S": 1.1},
        {"AU6": 0.9, "AU7": 0.5},
        {"AU12": 0.7, "AU14": 0.4},
        {"AU12": 0.5, "AU24": 0.5},
    ),
    "surprise": (
        {"AU1": 0.8, "AU2": 1.0},
        {"AU2": 1.1},
        {"AU1": 0.7, "AU2": 0.8, "AU5": 0.7},
        {"AU1": 0.9},
        {"AU2S": 1.2},
        {"AU1": 0.5, "AU25": 0.9, "AU26": 0.3},
    ),
}


# Held out: what people show in the clips of the set `micro_shift` and nowhere else.
SHIFT_MICRO_PROTOTYPES: dict[str, tuple[dict[str, float], ...]] = {
    "disgust": ({"AU9": 1.0}, {"AU7": 0.7, "AU10": 0.8}, {"AU9": 0.7, "AU17": 0.6}),
    "repression": ({"AU15S": 1.1}, {"AU14": 0.7, "AU17": 0.7}, {"AU24": 1.0}),
    "anger": ({"AU4": 0.7, "AU17": 0.7}, {"AU7": 0.8, "AU24": 0.8}),
    "sadness": ({"AU1": 0.7, "AU17": 0.7}, {"AU4": 0.5, "AU15": 0.8}),
    "fear": ({"AU1": 0.6, "AU5": 0.8}, {"AU20": 1.0}),
    "happiness": ({"AU6": 1.0}, {"AU10": 0.3, "AU12": 0.8}, {"AU12": 0.7, "AU17": 0.4}),
    "surprise": ({"AU5": 1.0}, {"AU2": 0.8, "AU25": 0.7}, {"AU1S": 1.2}),
}


@dataclass(frozen=True)
class Dial:
    """Strength of what is not the expression. Lengths in shares of the image width, angles in radians, times in seconds."""

    translation: float  # sd of the head's shift over one clip
    rotation: float  # sd of the head's turn over one clip
    blink: float  # probability of a blink inside a micro clip
    gaze: float  # probability of a gaze shift inside a micro clip
    speech: float  # probability of a twitch of the mouth or brow that is no expression
    flicker: float  # relative amplitude of mains flicker
    light: float  # relative change of the light over one clip
    apex: float  # sd of the annotated apex
    background: float  # sd of the background's way over one micro clip
    passing: float  # probability that somebody walks past behind the head


DIALS = (
    Dial(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    Dial(0.0022, 0.0038, 0.12, 0.18, 0.18, 0.004, 0.02, 0.010, 0.0022, 0.10),
    Dial(0.0065, 0.0110, 0.30, 0.40, 0.40, 0.008, 0.05, 0.025, 0.0065, 0.30),
)


@dataclass(frozen=True)
class Event:
    """A movement with smooth rise, hold and fall: times in seconds, `au` its vector at full strength."""

    start: float
    rise: float
    hold: float
    fall: float
    au: np.ndarray
    label: str = ""
    intensity: float = 1.0
    shape: float = 1.0  # > 1: late rise, < 1: early rise

    def level(self, time: float) -> float:
        """Strength 0..1 at a time."""
        up = smoothstep(self.start, self.start + self.rise, time) ** self.shape
        down = smoothstep(self.start + self.rise + self.hold, self.start + self.rise + self.hold + self.fall, time)
        return float(up * (1 - down))

    @property
    def peak(self) -> float:
        """Time at which full strength is first reached."""
        return self.start + self.rise

    @property
    def end(self) -> float:
        return self.start + self.rise + self.hold + self.fall


@dataclass(frozen=True)
class ClipScript:
    """Everything that happens in a clip. `onset`, `apex`, `offset` are what a coder would have written down (frame numbers, -1 unused)."""

    fps: float
    frames: int
    base: np.ndarray  # resting AU vector
    expressions: tuple[Event, ...]
    distractors: tuple[Event, ...] = ()
    gaze_shift: tuple[float, float, float, float] = (0.0, 0.06, 0.0, 0.0)  # start, duration, right, up
    gaze: tuple[float, float] = (0.0, 0.0)
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(5))  # rotation (3), translation (2) per second
    sway: np.ndarray = field(default_factory=lambda: np.zeros((5, 3)))  # amplitude, frequency (Hz), phase of the same five
    flicker: tuple[float, float] = (0.0, 0.0)  # amplitude, phase
    light_change: float = 0.0  # relative, over the clip
    onset: int = -1
    apex: int = -1
    offset: int = -1
    label: str = ""
    amplitude: float = 0.0

    def expression(self, frame: int) -> np.ndarray:
        """AU vector of the expression alone at a frame."""
        time = frame / self.fps
        return sum((event.level(time) * event.au for event in self.expressions), np.zeros_like(self.base))

    def au(self, frame: int) -> np.ndarray:
        """AU vector of the whole face at a frame: rest, expression, blinks, twitches."""
        time = frame / self.fps
        total = self.base + self.expression(frame)
        for event in self.distractors:
            total = total + event.level(time) * event.au
        return np.clip(total, 0, 1.3)

    def gaze_at(self, frame: int) -> tuple[float, float]:
        """Gaze (right, up; radians)."""
        start, duration, right, up = self.gaze_shift
        moved = float(smoothstep(start, start + duration, frame / self.fps))
        return self.gaze[0] + moved * right, self.gaze[1] + moved * up

    def head(self, frame: int) -> Motion:
        """Head motion since frame 0."""
        time = frame / self.fps
        amplitude, frequency, phase = self.sway.T
        moved = self.velocity * time + amplitude * (np.sin(2 * np.pi * frequency * time + phase) - np.sin(phase))
        return Motion(moved[:3], moved[3:])

    def gain(self, frame: int) -> float:
        """Relative strength of the light: 100 Hz mains flicker and a slow change."""
        time = frame / self.fps
        amplitude, phase = self.flicker
        return 1 + amplitude * np.sin(2 * np.pi * 100 * time + phase) + self.light_change * frame / max(1, self.frames - 1)

    def macro_state(self, frame: int) -> tuple[str, float]:
        """Class of still expressions shown at a frame and its intensity; Neutral below intensity .15."""
        time = frame / self.fps
        strongest = max(self.expressions, key=lambda event: event.level(time) * event.intensity)
        intensity = strongest.level(time) * strongest.intensity
        return (strongest.label, intensity) if intensity >= 0.15 else ("Neutral", intensity)


def micro_script(
    rng: np.random.Generator, emotion: str | None, habit: np.ndarray, fps: float, nuisance: int, shifted: bool = False
) -> ClipScript:
    """A micro-expression of 0.25-0.5 s, or with `emotion=None` a clip of the same length without one.

    `habit` (8,) is the person's: preferred variant, expressiveness, asymmetry, drift. The same draws are made at every dial. `shifted` draws from the
    held-out SHIFT_MICRO_PROTOTYPES.
    """
    dial = DIALS[nuisance]
    lead, duration = float(rng.uniform(0.03, 0.08)), float(rng.uniform(0.25, 0.50))
    rise = duration * float(rng.uniform(0.28, 0.5))
    hold = duration * float(rng.uniform(0.02, 0.14))
    au, amplitude, name = _micro_units(rng, SHIFT_MICRO_PROTOTYPES if shifted else MICRO_PROTOTYPES, emotion, habit)
    event = Event(lead, rise, hold, duration - rise - hold, amplitude * au, name, amplitude, float(rng.uniform(0.7, 1.5)))
    frames = int(np.ceil((event.end + rng.uniform(0.02, 0.06)) * fps)) + 1
    length = frames / fps
    onset = int(np.clip(round(lead * fps + 0.3 * dial.apex * fps * rng.normal()), 0, frames - 3))
    apex = round((event.peak + hold / 2) * fps + dial.apex * fps * rng.normal())
    offset = int(np.clip(round((event.end + 0.5 * dial.apex * rng.normal()) * fps), onset + 2, frames - 1))
    steady, jitter = rng.normal(0, 1, 5), rng.normal(0, 1, 5)
    scale = np.r_[np.full(3, dial.rotation), np.full(2, dial.translation)]
    sway = np.stack([0.5 * scale * np.abs(jitter), rng.uniform(1, 4, 5), rng.uniform(0, 2 * np.pi, 5)], axis=1)
    return ClipScript(
        fps=fps,
        frames=frames,
        base=resting(rng),
        expressions=(event,),
        distractors=_distractors(rng, length, dial, emotion is None and nuisance > 0),
        gaze_shift=_gaze_shift(rng, length, dial.gaze),
        gaze=tuple(rng.normal(0, 0.04, 2)),
        velocity=scale * steady / length,
        sway=sway,
        flicker=(dial.flicker * float(rng.uniform(0.4, 1)), float(rng.uniform(0, 2 * np.pi))),
        light_change=dial.light * float(rng.normal()),
        onset=onset,
        apex=int(np.clip(apex, onset + 1, offset - 1)),
        offset=offset,
        label=name,
        amplitude=amplitude,
    )


def _micro_units(rng, prototypes, emotion, habit) -> tuple[np.ndarray, float, str]:
    """AU vector at full strength, amplitude .03-.25 and name. People keep to a favourite variant half of the time."""
    variants = prototypes[emotion or "happiness"]
    favourite = int(abs(habit[0]) * 1000) % len(variants)
    variant = variants[favourite if rng.random() < 0.5 else int(rng.integers(len(variants)))]
    side = "L" if rng.random() < 0.5 + 0.35 * np.tanh(habit[1]) else "R"
    au = au_vector({unit.replace("S", side): strength * rng.uniform(0.7, 1.15) for unit, strength in variant.items()})
    amplitude = float(np.clip(np.exp(rng.uniform(np.log(0.068), np.log(0.25))) * np.exp(0.2 * habit[2]), 0.03, 0.28))
    au = asymmetric(au, float(np.clip(0.18 * habit[3] + rng.normal(0, 0.18), -0.8, 0.8)))
    return (au, amplitude, emotion) if emotion else (np.zeros_like(au), 0.0, "none")


def _distractors(rng, length: float, dial: Dial, forced: bool) -> tuple[Event, ...]:
    """Blinks and small movements that are no expression; at least one if `forced` on a coin toss."""
    forced = forced and rng.random() < 0.5
    draws = rng.random(2)
    blink = Event(float(rng.uniform(-0.1, length)), 0.08, 0.02, 0.14, au_vector({"AU43": rng.uniform(0.3, 1.0)}))
    kinds = ({"AU26": 0.10, "AU25": 0.15}, {"AU18": 0.12}, {"AU17": 0.18}, {"AU2": 0.12}, {"AU24": 0.25}, {"AU14": 0.12}, {"AU4": 0.10})
    units = kinds[rng.integers(len(kinds))]
    twitch = Event(float(rng.uniform(-0.1, 0.8 * length)), 0.08, float(rng.uniform(0, 0.1)), 0.12, au_vector(units) * rng.uniform(0.4, 1.2))
    chosen = []
    if draws[0] < dial.blink:
        chosen.append(blink)
    if draws[1] < dial.speech or (forced and not chosen):
        chosen.append(twitch)
    return tuple(chosen)


def _gaze_shift(rng, length: float, probability: float) -> tuple[float, float, float, float]:
    shift = (float(rng.uniform(0, length)), 0.05, float(rng.normal(0, 0.09)), float(rng.normal(0, 0.05)))
    return shift if rng.random() < probability else (0.0, 0.05, 0.0, 0.0)


def macro_script(rng: np.random.Generator, labels: list[str], habit: np.ndarray, nuisance: int, fps: float = 30.0) -> ClipScript:
    """A clip of 3-6 s that shows the expressions `labels` (1-3 of STILL_CLASSES without Neutral) one after another."""
    dial = DIALS[nuisance]
    length = float(rng.uniform(3, 6))
    slot = length / len(labels)
    events = []
    for i, label in enumerate(labels):
        intensity = float(rng.uniform(0.35, 1))
        au, name = draw_expression(label, intensity, rng, 0.1 * habit[3])
        rise, fall = float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.35, 0.8))
        hold = max(0.1, slot * float(rng.uniform(0.5, 0.75)) - rise - fall)
        start = i * slot + float(rng.uniform(0, max(0.02, slot - rise - hold - fall)))
        events.append(Event(start, rise, hold, fall, au, label, intensity))
    frames = int(length * fps)
    blinks = [
        Event(float(t + rng.uniform(-0.5, 0.5)), 0.08, 0.03, 0.15, au_vector({"AU43": 0.95}))
        for t in np.arange(rng.uniform(0.3, 2.5), length, rng.uniform(2, 4))
        if dial.blink > 0
    ]
    strength = 12.0 * np.r_[np.full(3, dial.rotation), np.full(2, 0.4 * dial.translation)]
    sway = np.stack([strength * np.abs(rng.normal(0, 1, 5)), rng.uniform(0.1, 0.6, 5), rng.uniform(0, 2 * np.pi, 5)], axis=1)
    return ClipScript(
        fps=fps,
        frames=frames,
        base=resting(rng),
        expressions=tuple(events),
        distractors=tuple(blinks),
        gaze_shift=_gaze_shift(rng, length, min(1.0, 3 * dial.gaze)),
        gaze=tuple(rng.normal(0, 0.06, 2)),
        sway=sway,
        flicker=(dial.flicker, float(rng.uniform(0, 2 * np.pi))),
        light_change=dial.light * float(rng.normal()),
    )

"""What a study set consists of: how many people, stills and clips, and the job list that follows from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError
from loupe.faces.assets import ASSET_SHA256
from loupe.faces.expression import STILL_CLASSES
from loupe.faces.motion import EMOTIONS, MICRO_CLASSES

# A person's role decides its seed and its name, so roles never share a person, whatever the counts.
ROLES = ("pretrain", "train", "val", "test", "clip", "micro")
# MEGC2019 composite: 250 negative, 109 positive, 83 surprise of 442.
MICRO_SHARES = (0.56, 0.25, 0.19)
DIAL_OF_SET = {"micro_calm": 0, "micro_wild": 2}  # sets of clips drawn again at another position of the nuisance dial
FRAMES_PER_CLIP = 6  # frames kept of each unlabelled clip, all within a quarter of a second
LARGEST = 10_000_000
NOT_THE_SET = ("sheets.py",)  # pictures about the set


@dataclass(frozen=True)
class StudySetPlan:
    """Counts of a study set. `size` px; `nuisance` dial of the clips 0/1/2; every `macro_stride`-th frame of a macro clip is kept.

    With `second_cameras` 1, every labelled still is also taken by a second camera at the same instant (set `camera`). `shift_stills` of each
    test person have held-out lights, backgrounds, hair and AU prototypes (set `shift`), and so have `shift_clips` micro clips of the
    micro subjects (set `micro_shift`). Of the micro clips about `dial_clips` (all, where there are fewer) are drawn again with nuisances off
    (set `micro_calm`) and at their strongest (`micro_wild`): the same draws, so the same expressions of the same people.
    """

    seed: int
    size: int
    pretrain_subjects: int = 0
    train_subjects: int = 0
    val_subjects: int = 0
    test_subjects: int = 0
    stills_per_subject: int = 0
    clip_subjects: int = 0
    frames_per_clip_subject: int = 0
    micro_subjects: int = 0
    micro_clips: int = 0
    none_clips: int = 0
    macro_clips: int = 0
    macro_stride: int = 1
    nuisance: int = 1
    second_cameras: int = 0
    shift_stills: int = 0
    shift_clips: int = 0
    dial_clips: int = 0

    def check(self) -> None:
        """Raise LoupeError naming the first count that makes no sense."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise LoupeError(
                    f"The key {item.name} of the study set is {value!r}, but must be a whole number; correct it in conf/data or on the command line."
                )
            if not 0 <= value <= (2**63 if item.name == "seed" else LARGEST):
                raise LoupeError(
                    f"The key {item.name} of the study set is {value}, but must lie between 0 and {LARGEST:,}; correct it in conf/data or on the command line."
                )
        if not 16 <= self.size <= 512:
            raise LoupeError(
                f"The key size of the study set is {self.size} px, but must lie between 16 and 512; correct it in conf/scale or on the command line."
            )
        if self.nuisance not in (0, 1, 2):
            raise LoupeError(
                f"The key nuisance of the study set is {self.nuisance}, but the dial has the positions 0, 1 and 2; choose one of them."
            )
        if self.second_cameras > 1:
            raise LoupeError(
                f"The key second_cameras of the study set is {self.second_cameras}, but there is one second camera or none; choose 0 or 1."
            )
        if self.macro_stride < 1:
            raise LoupeError("The key macro_stride of the study set is 0, but at least every frame can be kept (1); choose 1 or more.")
        if self.micro_clips + self.none_clips + self.shift_clips > 0 and self.micro_subjects == 0:
            raise LoupeError(
                "The key micro_subjects of the study set is 0, but micro clips are asked for; raise it or set micro_clips, none_clips and shift_clips to 0."
            )
        if self.macro_clips > 0 and self.train_subjects + self.val_subjects + self.test_subjects == 0:
            raise LoupeError(
                "The key macro_clips of the study set asks for clips, but there are no train, val or test subjects to show; raise train_subjects."
            )
        if self.images() > LARGEST:
            raise LoupeError(
                f"The study set would hold {self.images():,} images, more than {LARGEST:,}; lower stills_per_subject or the numbers of subjects."
            )

    def images(self) -> int:
        """Images of the set, macro frames counted at their longest."""
        labelled = self.train_subjects + self.val_subjects + self.test_subjects
        people = self.pretrain_subjects + labelled * (1 + self.second_cameras)
        clips = self.clip_subjects * self.frames_per_clip_subject + 5 * (
            self.micro_clips + self.none_clips + self.shift_clips + 2 * min(self.dial_clips, self.micro_clips)
        )
        clips += self.test_subjects * self.shift_stills
        return people * self.stills_per_subject + clips + self.macro_clips * (180 // max(1, self.macro_stride) + 1)


@dataclass(frozen=True)
class Job:
    """All images of one person in one set. `items` says what: class names, emotions (or "none"), lists of classes, or frame counts.

    With `cameras` 2 a still is taken a second time from the side, for the set `camera`.
    """

    set: str
    split: str
    role: str
    number: int
    items: tuple
    cameras: int = 1

    @property
    def subject(self) -> str:
        return subject_name(self.role, self.number)


def subject_name(role: str, number: int) -> str:
    """Name of a person: `g`, digit of the role, running number."""
    return f"g{ROLES.index(role)}{number:05d}"


def jobs(plan: StudySetPlan) -> list[Job]:
    """Every job of the plan in the order in which the store is written."""
    listed = []
    people = {"pretrain": plan.pretrain_subjects, "train": plan.train_subjects, "val": plan.val_subjects, "test": plan.test_subjects}
    for role, count in people.items():
        cameras = 1 + plan.second_cameras * (role != "pretrain")
        listed += [Job("stills", role, role, n, items, cameras) for n in range(count) if (items := _classes(plan.stills_per_subject))]
    listed += [Job("shift", "test", "test", n, items) for n in range(plan.test_subjects) if (items := _classes(plan.shift_stills))]
    for n in range(plan.clip_subjects):
        whole, rest = divmod(plan.frames_per_clip_subject, FRAMES_PER_CLIP)
        items = (FRAMES_PER_CLIP,) * whole + ((rest,) if rest else ())
        if items:
            listed.append(Job("clips", "unlabelled", "clip", n, items))
    emotions, shifted = micro_emotions(plan.seed, plan.micro_clips), micro_emotions(plan.seed, plan.shift_clips)
    for n in range(plan.micro_subjects):
        items = tuple(emotions[n :: plan.micro_subjects]) + ("none",) * len(range(n, plan.none_clips, plan.micro_subjects))
        if items:
            listed.append(Job("micro", "loso", "micro", n, items))
    for n in range(plan.micro_subjects if shifted else 0):
        if items := tuple(shifted[n :: plan.micro_subjects]):
            listed.append(Job("micro_shift", "loso", "micro", n, items))
    dialled = min(plan.dial_clips, plan.micro_clips)
    again = quotas([1] * plan.micro_subjects, dialled) if dialled else []
    for name in DIAL_OF_SET if again else ():
        for n, count in enumerate(again):
            if items := _some_of(tuple(emotions[n :: plan.micro_subjects]), count):
                listed.append(Job(name, "loso", "micro", n, items))
    return listed + _macro_jobs(plan)


def _some_of(emotions: tuple[str, ...], count: int) -> tuple[str, ...]:
    """A person's clips with all but `count` of them left out (""), so that those that stay keep their numbers; evenly over the list, that is over
    classes, which stand in it one after another."""
    chosen = set(np.linspace(0, len(emotions) - 1, count).round().astype(int)) if count else set()
    return tuple(emotion if clip in chosen else "" for clip, emotion in enumerate(emotions)) if chosen else ()


def _classes(count: int) -> tuple[str, ...]:
    """Classes of a person's stills, in turn."""
    return tuple(STILL_CLASSES[i % len(STILL_CLASSES)] for i in range(count))


def micro_emotions(seed: int, clips: int) -> list[str]:
    """Emotion of each of `clips` micro clips: class and emotion quotas by largest remainder, dealt to the subjects in turn."""
    emotions = []
    for label, count in zip(MICRO_CLASSES, quotas(MICRO_SHARES, clips), strict=True):
        names, shares = zip(*EMOTIONS[label], strict=True)
        chosen = [name for name, n in zip(names, quotas(shares, count), strict=True) for _ in range(n)]
        order = np.random.default_rng([seed, 71, MICRO_CLASSES.index(label)]).permutation(len(chosen))
        emotions += [chosen[i] for i in order]
    return emotions


def quotas(shares, total: int) -> list[int]:
    """Whole numbers that sum to `total` and follow `shares` (largest remainder)."""
    exact = np.asarray(shares) / np.sum(shares) * total
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[i] += 1
    return [int(count) for count in counts]


def _macro_jobs(plan: StudySetPlan) -> list[Job]:
    """Macro clips shared among train, val and test in proportion to their people, classes in turn."""
    people = (plan.train_subjects, plan.val_subjects, plan.test_subjects)
    rng = np.random.default_rng([plan.seed, 72])
    listed = []
    for role, subjects, clips in zip(
        ("train", "val", "test"), people, quotas(people, plan.macro_clips) if plan.macro_clips else (0, 0, 0), strict=True
    ):
        deck: list[str] = []
        shown: list[list[tuple[str, ...]]] = [[] for _ in range(subjects)]
        for clip in range(clips):
            labels = []
            for _ in range(int(rng.integers(1, 4))):
                if not deck:
                    deck = [STILL_CLASSES[1:][i] for i in rng.permutation(len(STILL_CLASSES) - 1)]
                labels.append(deck.pop())
            shown[clip % subjects].append(tuple(labels))
        listed += [Job("macro", role, role, n, tuple(items)) for n, items in enumerate(shown) if items]
    return listed


@lru_cache(maxsize=1)
def generator_version() -> str:
    """Short hash over the generator's sources (sub-packages are no part of it) and its head data; a change of either is a new study set."""
    digest = hashlib.sha256(ASSET_SHA256.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in NOT_THE_SET:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]

"""Micro-expression clips: from annotated onset, apex and offset to one row a frame, the same way for every set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from loupe.data.sources.listing import Dropped
from loupe.data.sources.paths import unpacked
from loupe.data.sources.pictures import numbered_pictures, strays, subfolders
from loupe.data.sources.sheets import whole

CLASSES = ("negative", "positive", "surprise")  # MEGC2019, labels 0, 1, 2
_COLUMNS = [
    "path",
    "subject",
    "clip",
    "frame",
    "fps",
    "onset",
    "apex",
    "offset",
    "role",
    "label",
    "label_name",
    "emotion",
    "apex_from",
    "units",
]


@dataclass(frozen=True)
class Clip:
    """One annotated micro-expression. item: file and row, for the reader; folder: where its frames lie, or None; emotion: as annotated;
    kind: its MEGC2019 class or "" where it has none; row: 0-based number in the annotation table, which published corrections use.
    """

    item: str
    row: int
    subject: str
    clip: str
    folder: Path | None
    onset: int | None
    apex: int | None
    offset: int | None
    fps: float
    emotion: str
    kind: str
    units: str = ""

    @classmethod
    def of(
        cls,
        entry: Mapping,
        item: str,
        *,
        subject: str,
        clip: str,
        folder: Path | None,
        fps: float,
        kinds: Mapping[str, str],
    ) -> Clip:
        """A row of an annotation table, with the columns that the sets share: row, onset, apex (not in all), offset, emotion, units.
        `kinds`: emotion -> MEGC2019 class; an emotion that is not in it has none.
        """
        emotion = entry.get("emotion", "").lower()
        return cls(
            item=item,
            row=entry["row"],
            subject=subject,
            clip=clip,
            folder=folder,
            onset=whole(entry["onset"]),
            apex=whole(entry.get("apex", "")),
            offset=whole(entry["offset"]),
            fps=fps,
            emotion=emotion,
            kind=kinds.get(emotion, ""),
            units=entry.get("units", ""),
        )

    @property
    def label(self) -> int:
        return CLASSES.index(self.kind) if self.kind else -1


def clip_rows(
    clips: Iterable[Clip],
    root: Path,
    dropped: Dropped,
    corrections: Mapping[int, Mapping[str, int]] | None = None,
    frames_of: Callable[[Path], dict[int, Path]] = numbered_pictures,
) -> tuple[pd.DataFrame, list[str]]:
    """One row for every frame onset..offset that has a picture, and sentences about what was mended.

    Files beside the frames that are none go to `dropped`, too. A clip is dropped, with a reason, when it has no folder, no onset or offset,
    offset not after onset, no picture at one of them (a last or first frame off by one is moved inwards and reported), or when the same
    clip is annotated twice. `corrections` (row -> column -> value) are applied only where the annotation contradicts itself or the
    pictures: a later release may have mended the file. A missing apex, one outside (onset, offset] and one without a picture become the
    picture nearest to the midpoint, and `apex_from` says so.
    """
    rows: list[tuple] = []
    mended: list[str] = []
    seen: set[str] = set()
    listed: dict[Path, dict[int, Path]] = {}
    for clip in clips:
        if clip.folder is None:
            dropped.add(clip.item, "no folder of frames", clip.clip)
            continue
        if clip.folder not in listed:
            listed[clip.folder] = frames_of(clip.folder)
            place = clip.folder.relative_to(root).as_posix()
            for item, why in strays(clip.folder, listed[clip.folder]):
                dropped.add(f"{place}/{item}", why)
        frames = listed[clip.folder]
        change = (corrections or {}).get(clip.row)
        if change and not _consistent(clip, frames):
            clip = replace(clip, **change)
            mended.append(f"{clip.item}: {', '.join(f'{key} set to {value}' for key, value in change.items())} (published correction)")
        reason, onset, offset = _extent(clip, frames)
        if reason:
            dropped.add(clip.item, reason, f"{clip.clip}: onset {clip.onset}, apex {clip.apex}, offset {clip.offset}")
            continue
        if clip.clip in seen:
            dropped.add(clip.item, "clip annotated twice", clip.clip)
            continue
        seen.add(clip.clip)
        if (onset, offset) != (clip.onset, clip.offset):
            mended.append(f"{clip.item}: {clip.onset}..{clip.offset} became {onset}..{offset}, one frame inwards, where the pictures are")
        numbers = [number for number in frames if onset <= number <= offset]
        apex, origin = _apex(clip.apex, onset, offset, numbers)
        shared = (clip.label, clip.kind or clip.emotion, clip.emotion, origin, clip.units)
        for number in numbers:
            path = frames[number].relative_to(root).as_posix()
            rows.append((path, clip.subject, clip.clip, number, clip.fps, onset, apex, offset, role(number, onset, apex, offset), *shared))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(split="loso"), mended


def child(folder: Path, *names: str) -> Path | None:
    """Follow folder names without regard to case; None where one is missing."""
    for name in names:
        direct = folder / name
        if not os.path.isdir(direct):  # Path.is_dir raises for names that are too long
            direct = next((entry for entry in subfolders(folder) if entry.name.lower() == name.lower()), None)
        if direct is None:
            return None
        folder = unpacked(direct)
    return folder


def _consistent(clip: Clip, frames: dict[int, Path]) -> bool:
    marks = [mark for mark in (clip.onset, clip.apex, clip.offset) if mark is not None]
    ordered = all(a <= b for a, b in zip(marks, marks[1:], strict=False))
    return (
        clip.onset is not None
        and clip.offset is not None
        and clip.onset < clip.offset
        and ordered
        and all(mark in frames for mark in marks)
    )


def _extent(clip: Clip, frames: dict[int, Path]) -> tuple[str, int, int]:
    """Reason to drop the clip or "", and onset and offset, each moved inwards by at most one frame."""
    if not frames:
        return "folder without pictures", 0, 0
    if clip.onset is None or clip.offset is None:
        return "no onset or offset", 0, 0
    if clip.offset <= clip.onset:
        return "offset is not after onset", 0, 0
    onset = next((n for n in (clip.onset, clip.onset + 1) if n in frames), None)
    offset = next((n for n in (clip.offset, clip.offset - 1) if n in frames), None)
    if onset is None:
        return "no picture of the onset frame", 0, 0
    if offset is None:
        return "no picture of the offset frame", 0, 0
    if offset <= onset:
        return "fewer than two pictures", 0, 0
    return "", onset, offset


def _apex(annotated: int | None, onset: int, offset: int, numbers: list[int]) -> tuple[int, str]:
    if annotated is not None and onset < annotated <= offset and annotated in numbers:
        return annotated, "annotated"
    middle = (onset + offset) // 2
    return min((number for number in numbers if number > onset), key=lambda number: (abs(number - middle), number)), "midpoint"


def role(number: int, onset: int, apex: int, offset: int) -> str:
    """Place of a frame in its clip: onset, rise, apex, fall or offset."""
    if number == onset:
        return "onset"
    if number == apex:
        return "apex"
    if number == offset:
        return "offset"
    return "rise" if number < apex else "fall"

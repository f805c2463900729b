"""CAS(ME)3 (Li et al., TPAMI 2023), parts A and C: 30 fps, RGB frames (`color`) with depth beside them.

Part A: `cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx` and `ME_A/spNO.1/b/color/175.jpg` (or `Part_A_ME_clip/frame/spNO.1_b_175/175.jpg`). One
letter holds several micro-expressions, so a clip is named by subject, letter and onset. Part C: `CAS(ME)3_part_C_ME.xlsx` and
`ME_C/01/1/color/*.jpg` (or `part_C/01/a/color/*.jpg`); it has no apex. Releases differ in size: the table says which one was read.
"""

from __future__ import annotations

import re
from pathlib import Path

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.micro import Clip, child, clip_rows
from loupe.data.sources.pictures import check_root, find_file, find_folder, numbered_pictures, subfolders
from loupe.data.sources.sheets import Cells, excel_sheets, find_table, whole
from loupe.errors import LoupeError

TITLE = "CAS(ME)3"
FPS = 30.0
KINDS = dict.fromkeys(("disgust", "fear", "anger", "sad", "sadness"), "negative") | dict.fromkeys(("happy", "happiness"), "positive")
KINDS |= {"surprise": "surprise"}
RELEASES = {943: "as in the paper and in HTNet's table", 860: "v2 as tvaranka/meb loads it", 862: "v2 with 862 rows"}
CORRECTIONS = {  # tvaranka/meb, meb/datasets/datasets.py, Casme3
    128: {"apex": 160},
    708: {"offset": 34},
    749: {"onset": 2647},
    750: {"onset": 1, "apex": 1},
    796: {"offset": 1845},
    798: {"offset": 2403},
}
_A = {
    "subject": ("Subject", "sub"),
    "clip": ("Filename", "seq"),
    "onset": ("Onset",),
    "apex": ("Apex",),
    "offset": ("Offset",),
    "units": ("AU", "Action Units"),
    "objective": ("Objective class",),
    "emotion": ("emotion", "Estimated Emotion"),
}
_C = {
    "subject": ("sub", "Subject"),
    "clip": ("count",),
    "onset": ("onset",),
    "offset": ("offset",),
    "units": ("au", "AU"),
    "emotion": ("emotion",),
}


def read_a(root: Path) -> Listing:
    """Part A; raises LoupeError where the table or the folder of frames is absent, or a column is missing."""
    check_root(root, TITLE)
    book = find_file(root, r"cas\(me\)\^?3_part_A_ME_label_JpgIndex.*\.xlsx?", "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx")
    base = find_folder(root, ["frame"]) or find_folder(root, ["ME_A", "ME_A_cropped"]) or find_folder(root, ["part_A"])
    if base is None:
        raise LoupeError(f"{root} holds no folder ME_A or Part_A_ME_clip/frame: unpack the frames of part A there.")
    dropped = Dropped()
    clips, found = parse_a(excel_sheets(book), book.name, base, dropped)
    table, mended = clip_rows(clips, root, dropped, CORRECTIONS)
    used = len(table.drop_duplicates(["subject", "clip"]))
    counts = [Count("clips in the table", found, tuple(RELEASES), source="releases differ: 943, 862, 860")]
    counts.append(Count("clips with frames", used, (found,), source="every row has frames"))
    release = f"{book.name}, {found} rows ({RELEASES.get(found, 'no known release')}), {base.name}"
    return Listing(finish(table, "casme3a", release), dropped.table(), found, used, "clip", release, counts, tuple(mended))


def parse_a(sheets: dict[str, Cells], name: str, base: Path, dropped: Dropped) -> tuple[list[Clip], int]:
    """Annotated clips of part A and how many rows were read; rows without subject, letter or onset go to `dropped`."""
    cells = find_table(sheets, _A, ("units", "objective"), name)
    people = {folder.name.lower(): folder for folder in subfolders(base)}
    clips = []
    for entry in cells.to_dict("records"):
        item, onset = f"{name} row {entry['row']}", whole(entry["onset"])
        letter = re.sub(r"\d+$", "", entry["clip"].lower())
        person = re.fullmatch(r"spno\.?0*(\d{1,4})", entry["subject"].lower(), re.ASCII)
        if not person or not re.fullmatch(r"[a-z]", letter) or onset is None:
            dropped.add(item, "no subject, letter or onset", f"{entry['subject']} {entry['clip']} {entry['onset']}")
            continue
        subject = f"spNO.{int(person.group(1))}"
        folder, units = _folder_a(people, subject.lower(), letter, onset), entry.get("units", "").replace("，", "+")
        name = f"casme3a-{subject}-{letter}-{onset}"
        clips.append(Clip.of({**entry, "units": units}, item, subject=f"casme3a-{subject}", clip=name, folder=folder, fps=FPS, kinds=KINDS))
    return clips, len(cells)


def _folder_a(people: dict[str, Path], subject: str, letter: str, onset: int) -> Path | None:
    """ME_A/<subject>/<letter>/color, one of the split copies <letter>2, <letter>3 ... that holds the onset, or
    frame/<subject>_<letter>_<onset>."""
    flat = people.get(f"{subject}_{letter}_{onset}")
    if flat or subject not in people:
        return flat
    candidates = [folder for folder in subfolders(people[subject]) if re.fullmatch(rf"{letter}\d*", folder.name.lower(), re.ASCII)]
    candidates = [child(folder, "color") or folder for folder in candidates]
    return next((folder for folder in candidates if onset in numbered_pictures(folder)), candidates[0] if candidates else None)


def read_c(root: Path) -> Listing:
    """Part C; raises LoupeError where the table or the folder of frames is absent, or a column is missing."""
    check_root(root, TITLE)
    book = find_file(root, r"CAS\(ME\)\^?3_part_C_ME\.xlsx?", "CAS(ME)3_part_C_ME.xlsx")
    base = find_folder(root, ["ME_C", "ME_C_cropped"]) or find_folder(root, ["part_C"])
    if base is None:
        raise LoupeError(f"{root} holds no folder ME_C or part_C: unpack the frames of part C there.")
    dropped = Dropped()
    clips, found = parse_c(excel_sheets(book), book.name, base, dropped)
    table, mended = clip_rows(clips, root, dropped)
    used = len(table.drop_duplicates(["subject", "clip"]))
    counts = [
        Count("clips in the table", found, (166,), source="1,109 micro-expressions less 943 of part A"),
        Count("clips with frames", used, (166,), source="every row has frames"),
        Count("subjects", len({clip.subject for clip in clips}), (31,), source="Li et al. 2023"),
    ]
    release = f"{book.name}, {base.name}"
    return Listing(finish(table, "casme3c", release), dropped.table(), found, used, "clip", release, counts, tuple(mended))


def parse_c(sheets: dict[str, Cells], name: str, base: Path, dropped: Dropped) -> tuple[list[Clip], int]:
    """Annotated clips of part C and how many rows were read. `emotion` is optional: releases without it give clips without a class."""
    cells = find_table(sheets, _C, ("emotion", "units"), name)
    clips = []
    for entry in cells.to_dict("records"):
        item = f"{name} row {entry['row']}"
        number, count, onset = whole(entry["subject"]), whole(entry["clip"]), whole(entry["onset"])
        if number is None or count is None or onset is None:
            dropped.add(item, "no subject, count or onset", f"{entry['subject']} {entry['clip']} {entry['onset']}")
            continue
        person, kinds = f"{number:02d}", KINDS | {"negative": "negative", "positive": "positive"}
        options = [child(base, person, part, "color") for part in (str(count), f"{number}_{count}", f"{person}_{count}", "a")]
        options.append(child(base, person, "color", f"{number}_{count}"))
        folder = next((option for option in options if option), None)
        units = entry.get("units", "").replace(",", "+").replace("，", "+").replace(" ", "")
        name = f"casme3c-{person}-{count}-{onset}"
        clips.append(Clip.of({**entry, "units": units}, item, subject=f"casme3c-{person}", clip=name, folder=folder, fps=FPS, kinds=kinds))
    return clips, len(cells)

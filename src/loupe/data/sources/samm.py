"""SAMM (Davison et al., 2018): 200 fps, grey pictures, annotated onset, apex and offset.

Layout: `SAMM_Micro_FACS_Codes_v2.xlsx` (the header stands below 13 rows of text) beside `SAMM/006/006_1_2/006_05562.jpg`. Six folders name
their pictures in another pattern (MER2); the frame number is the last number of a name in all of them. Classes of MEGC2019: negative =
anger, contempt, disgust, fear, sadness; positive = happiness; surprise; "Other" has none. Counts and traps: tvaranka/meb.
"""

from __future__ import annotations

from pathlib import Path

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.micro import Clip, child, clip_rows
from loupe.data.sources.pictures import check_root, find_file, subfolders
from loupe.data.sources.sheets import Cells, excel_sheets, find_table, whole
from loupe.errors import LoupeError

TITLE = "SAMM"
FPS = 200.0
KINDS = dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), "negative") | {"happiness": "positive", "surprise": "surprise"}
CLASS_COUNTS = {"negative": 92, "positive": 26, "surprise": 15}
CORRECTIONS = {56: {"offset": 5739}}  # tvaranka/meb, meb/datasets/datasets.py, SAMM
_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename", "File name"),
    "onset": ("Onset Frame", "Onset"),
    "apex": ("Apex Frame", "Apex"),
    "offset": ("Offset Frame", "Offset"),
    "units": ("Action Units", "AU"),
    "emotion": ("Estimated Emotion", "Emotion"),
}


def read(root: Path) -> Listing:
    """Read the download; raises LoupeError where the annotation file or the folders of frames are absent, or a column is missing."""
    check_root(root, TITLE)
    book = find_file(root, r"SAMM.*Micro_FACS_Codes.*\.xlsx?", "SAMM_Micro_FACS_Codes_v2.xlsx")
    frames = _frames(root)
    dropped = Dropped()
    clips, found = parse(excel_sheets(book), book.name, frames, dropped)
    table, mended = clip_rows(clips, root, dropped, CORRECTIONS)
    kinds = [clip.kind for clip in clips]
    counts = [Count("clips in the table", found, (159,), source="tvaranka/meb")]
    counts += [Count(f"{name} clips", kinds.count(name), (n,), source="MEGC2019") for name, n in CLASS_COUNTS.items()]
    used = len(table.drop_duplicates(["subject", "clip"]))
    counts.append(Count("clips with frames", used, (159,), source="one folder a clip"))
    release = f"{book.name}, {frames.name}"
    return Listing(finish(table, "samm", release), dropped.table(), found, used, "clip", release, counts, tuple(mended))


def parse(sheets: dict[str, Cells], name: str, frames: Path, dropped: Dropped) -> tuple[list[Clip], int]:
    """Annotated clips and how many rows were read; rows without a usable subject or clip name, or where the two differ, go to
    `dropped`."""
    cells = find_table(sheets, _COLUMNS, ("units",), name)
    clips = []
    for entry in cells.to_dict("records"):
        item = f"{name} row {entry['row']}"
        number = whole(entry["subject"])
        if number is None or number < 1 or not entry["clip"]:
            dropped.add(item, "no subject or clip name", f"{entry['subject']} {entry['clip']}")
            continue
        person, clip = f"{number:03d}", entry["clip"]
        if not clip.startswith(f"{person}_"):
            dropped.add(item, "clip name is of another subject", f"{entry['subject']} {clip}")
            continue
        folder = child(frames, person, clip)
        clips.append(Clip.of(entry, item, subject=f"samm-{person}", clip=f"samm-{clip}", folder=folder, fps=FPS, kinds=KINDS))
    return clips, len(cells)


def _frames(root: Path) -> Path:
    """The folder, at or up to two levels below root, whose sub-folders are subjects (three digits)."""
    level = [root]
    for _ in range(3):
        for folder in level:
            if any(len(entry.name) == 3 and entry.name.isdigit() for entry in subfolders(folder)):
                return folder
        level = [entry for folder in level for entry in subfolders(folder)]
    raise LoupeError(f"{root} holds no folders of subjects (006, 007, ...): unpack the SAMM frames there.")

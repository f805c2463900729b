"""CASME II (Yan et al., PLoS ONE 2014): 200 fps, annotated onset, apex and offset.

Layout: `CASME2-coding-*.xlsx` beside `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`, or the cropped copy (`reg_img46.jpg`), which is taken
where both are there. Classes of MEGC2019: negative = disgust and repression (fear, sadness and others have none); positive = happiness;
surprise. Counts and traps: tvaranka/meb.
"""

from __future__ import annotations

from pathlib import Path

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.micro import Clip, child, clip_rows
from loupe.data.sources.pictures import check_root, find_file, find_folder
from loupe.data.sources.sheets import Cells, excel_sheets, find_table, whole
from loupe.errors import LoupeError

TITLE = "CASME II"
FPS = 200.0
KINDS = {"disgust": "negative", "repression": "negative", "happiness": "positive", "surprise": "surprise"}
EMOTIONS = {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}
CORRECTIONS = {60: {"offset": 91}}  # tvaranka/meb, meb/datasets/datasets.py, Casme2
_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename", "File name"),
    "onset": ("OnsetFrame", "Onset", "OnsetF"),
    "apex": ("ApexFrame", "Apex", "ApexF"),
    "offset": ("OffsetFrame", "Offset", "OffsetF"),
    "units": ("Action Units", "AU"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
_FOLDERS = ("Cropped", "Cropped_original", "CASME2_RAW_selected", "CASME2-RAW", "CASME2_RAW")


def read(root: Path) -> Listing:
    """Read the download; raises LoupeError where the annotation file or the folder of frames is absent, or a column is missing."""
    check_root(root, TITLE)
    book = find_file(root, r"CASME2-coding.*\.xlsx?", "CASME2-coding-*.xlsx")
    frames = next((found for name in _FOLDERS if (found := find_folder(root, [name]))), None)
    if frames is None:
        raise LoupeError(f"{root} holds no CASME2_RAW_selected or Cropped folder: unpack the frames there.")
    dropped = Dropped()
    clips, found = parse(excel_sheets(book), book.name, frames, dropped)
    table, mended = clip_rows(clips, root, dropped, CORRECTIONS)
    counts = [Count("clips in the table", found, (255, 256), source="255 in the release of 2014, 256 in `-updated` (tvaranka/meb)")]
    emotions = [clip.emotion for clip in clips]
    counts += [Count(f"clips of {name}", emotions.count(name), (n,), source="tvaranka/meb") for name, n in EMOTIONS.items()]
    counts.append(Count("clips with frames", table["clip"].nunique() if len(table) else 0, (255, 256), source="one folder a clip"))
    release = f"{book.name}, {frames.name}"
    used = len(table.drop_duplicates(["subject", "clip"]))
    return Listing(finish(table, "casme2", release), dropped.table(), found, used, "clip", release, counts, tuple(mended))


def parse(sheets: dict[str, Cells], name: str, frames: Path, dropped: Dropped) -> tuple[list[Clip], int]:
    """Annotated clips and how many rows were read. Rows without a usable subject or clip name go to `dropped`; an empty emotion is kept:
    the clip has no class then (reported of sub09 EP02_02f and sub24 EP02_07).
    """
    cells = find_table(sheets, _COLUMNS, ("units",), name)
    clips = []
    for entry in cells.to_dict("records"):
        item = f"{name} row {entry['row']}"
        number = whole(entry["subject"].lower().removeprefix("sub"))
        if number is None or number < 1 or not entry["clip"]:
            dropped.add(item, "no subject or clip name", f"{entry['subject']} {entry['clip']}")
            continue
        person, clip = f"sub{number:02d}", entry["clip"]
        folder = child(frames, person, clip)
        clips.append(Clip.of(entry, item, subject=f"casme2-{person}", clip=f"casme2-{person}-{clip}", folder=folder, fps=FPS, kinds=KINDS))
    return clips, len(cells)

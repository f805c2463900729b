"""RAF-DB, basic emotions (Li et al., CVPR 2017): 15,339 aligned faces.

Layout: `EmoLabel/list_patition_label.txt` (spelt so; `train_00001.jpg 5` a line) and `Image/aligned/train_00001_aligned.jpg`. The order of
its labels (1 Surprise, 2 Fear, 3 Disgust, 4 Happiness, 5 Sadness, 6 Anger, 7 Neutral) is mapped by name to the Aff-Wild2 order. Who a
person is is not
published: every picture is a subject of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import check_root, find_file, find_folder, picture_names
from loupe.data.sources.sheets import lines, whole
from loupe.errors import LoupeError

TITLE = "RAF-DB"
CODES = {1: "Surprise", 2: "Fear", 3: "Disgust", 4: "Happiness", 5: "Sadness", 6: "Anger", 7: "Neutral"}
OFFICIAL = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
_NAME = re.compile(r"(train|test)_(\d+)\.jpg", re.ASCII)


def read(root: Path) -> Listing:
    """Read the download; raises LoupeError where the list or the folder of aligned faces is absent."""
    check_root(root, TITLE)
    path = find_file(root, r"list_pa(r)?tition_label\.txt", "EmoLabel/list_patition_label.txt")
    folder = find_folder(root, ["aligned"])
    if folder is None:
        raise LoupeError(f"{root} holds no folder Image/aligned: unpack RAF-DB's aligned faces there.")
    dropped = Dropped()
    table, found = parse(lines(path), path.name, set(picture_names(folder)), dropped)
    if table.empty:
        raise LoupeError(f"No face listed in {path} lies in {folder}: are both of the basic-emotion part?")
    per_class = table.groupby(["split", "label_name"]).size()
    table["path"] = folder.relative_to(root).as_posix() + "/" + table["path"]
    counts = [Count("lines", found, (15339,), source="list_patition_label.txt")]
    for split, numbers in OFFICIAL.items():
        for (_, name), number in zip(CODES.items(), numbers, strict=True):
            counts.append(Count(f"{split} {name}", int(per_class.get((split, name), 0)), (number,), source="RAF-DB's site"))
    release = f"basic, {folder.name}"
    return Listing(finish(table, "rafdb", release), dropped.table(), found, len(table), "image", release, counts)


def parse(rows: list[str], name: str, present: set[str], dropped: Dropped) -> tuple[pd.DataFrame, int]:
    """Rows (path = aligned file name) and how many lines were read. Labels 1..7 in RAF-DB's order; a list numbered from 0 is refused, since
    its order cannot be known.
    """
    if any([whole(cell) for cell in row.split()[1:]] == [0] for row in rows):
        raise LoupeError(f"{name} has the label 0, but RAF-DB counts from 1: use the official list, not one renumbered by somebody.")
    kept, found, seen = [], 0, set()
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        found += 1
        fields = row.split()
        match = _NAME.fullmatch(fields[0])
        code = whole(fields[1]) if len(fields) == 2 else None
        picture = fields[0].replace(".jpg", "_aligned.jpg")
        if not match or code not in CODES:
            dropped.add(f"{name} line {number}", "damaged line", row[:80])
        elif picture not in present:
            dropped.add(f"{name} line {number}", "picture is missing", picture)
        elif picture in seen:
            dropped.add(f"{name} line {number}", "picture listed twice", picture)
        else:
            seen.add(picture)
            kept.append((picture, match.group(1), f"rafdb-{fields[0][:-4]}", STILL_CLASSES.index(CODES[code]), CODES[code]))
    return pd.DataFrame(kept, columns=["path", "split", "subject", "label", "label_name"]), found

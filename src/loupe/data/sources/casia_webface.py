"""CASIA-WebFace (Yi et al., 2014): for pre-training, one folder a person, or InsightFace's aligned 112 px copy as MXNet RecordIO.

Layout: `CASIA-WebFace/0000045/001.jpg`, or `train.rec` with `train.idx` (lines `number<TAB>byte offset`) and, where there, `property`.
Record 0 of RecordIO tells how many pictures there are; the records after them list each person's range and hold no picture.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import OTHER_ENDING, SUFFIXES, check_root, find_file, left_over, picture_names, subfolders
from loupe.data.sources.recordio import read_record
from loupe.data.sources.sheets import lines
from loupe.errors import LoupeError

TITLE = "CASIA-WebFace"
PICTURES, PEOPLE = 494414, 10575
ALIGNED = 490623  # of InsightFace's copy, faces_webface_112x112


def read(root: Path) -> Listing:
    """Read folders or RecordIO, whichever is there; raises LoupeError where neither is, or the container is damaged."""
    check_root(root, TITLE)
    base = _people(root)
    if base is None:
        return _read_records(root)
    dropped, rows = Dropped(), []
    for person in subfolders(base):
        names = picture_names(person)
        where = person.relative_to(root).as_posix()
        if not _is_number(person.name):
            dropped.add(where, "folder is not named by a number", f"{len(names)} pictures")
        elif not names:
            dropped.add(where, "folder without pictures")
        else:
            rows += [(f"{where}/{name}", f"casia-{int(person.name)}") for name in names]
            for item, why in left_over(person, set(names), SUFFIXES, "deeper than <person>/<picture>"):
                dropped.add(f"{where}/{item}", why)
    release = base.relative_to(root).as_posix()
    return _listing(rows, dropped, "folders" if release == "." else release, (PICTURES,))


def _read_records(root: Path) -> Listing:
    record, index = find_file(root, r"train\.rec", "folders of people or train.rec"), find_file(root, r"train\.idx", "train.idx")
    offsets = parse_index(lines(index), str(index))
    if 0 not in offsets:
        raise LoupeError(f"{index} has no record 0: it is not the index of InsightFace's {TITLE}.")
    first = read_record(record, offsets[0])
    announced = first.flag == 2 and first.labels[0].is_integer() and 0 < first.labels[0] <= len(offsets) + 1
    pictures = range(1, int(first.labels[0])) if announced else sorted(set(offsets) - {0})
    name, dropped, rows = record.relative_to(root).as_posix(), Dropped(), []
    for number in pictures:
        if number not in offsets:
            dropped.add(f"{index.name} record {number}", "record is not in the index")
            continue
        try:
            content = read_record(record, offsets[number])
        except LoupeError as error:
            dropped.add(f"{name}#{offsets[number]}", "damaged record", str(error))
            continue
        if not content.image or not content.labels or not content.labels[0].is_integer() or content.labels[0] < 0:
            dropped.add(f"{name}#{offsets[number]}", "damaged record", "no picture or no person")
        else:
            rows.append((f"{name}#{offsets[number]}", f"casia-record-{int(content.labels[0])}"))
    return _listing(rows, dropped, "InsightFace RecordIO, 112 px aligned", (ALIGNED, PICTURES))


def parse_index(rows: list[str], name: str) -> dict[int, int]:
    """Record number -> byte offset; raises LoupeError naming a damaged or repeated line."""
    offsets: dict[int, int] = {}
    for number, row in enumerate(rows, start=1):
        fields = row.split()
        if not fields:
            continue
        values = [int(field) if field.isascii() and field.isdigit() and len(field) < 16 else None for field in fields]
        if len(values) != 2 or None in values or values[0] in offsets:
            raise LoupeError(f"{name}, line {number}, is not a new record number and a byte offset: download the file again.")
        offsets[values[0]] = values[1]
    return offsets


def _listing(rows: list[tuple[str, str]], dropped: Dropped, release: str, pictures: tuple[int, ...]) -> Listing:
    table = pd.DataFrame(rows, columns=["path", "subject"]).assign(split="pretrain")
    if table.empty:
        raise LoupeError(f"The {TITLE} download ({release}) holds no pictures: unpack it again.")
    counts = [Count("pictures", len(table), pictures, source="Yi et al.; InsightFace's copy has 490,623")]
    counts.append(Count("people", table["subject"].nunique(), (PEOPLE, 10572), source="Yi et al.; InsightFace's copy has 10,572"))
    counts.append(
        Count("missing or damaged", sum(row[1] != OTHER_ENDING for row in dropped.rows), (0,), source="every person has pictures")
    )
    found = len(table) + len(dropped.rows)
    return Listing(finish(table, "casia-webface", release), dropped.table(), found, len(table), "image", release, counts)


def _people(root: Path) -> Path | None:
    """The folder, at or up to two levels below root, whose sub-folders are people (numbers)."""
    level = [root]
    for _ in range(3):
        for folder in level:
            if any(_is_number(entry.name) for entry in subfolders(folder)):
                return folder
        level = [entry for folder in level for entry in subfolders(folder)]
    return None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()

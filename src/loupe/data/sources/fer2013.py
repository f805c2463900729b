"""FER2013 (Goodfellow et al., 2013) with its own labels, or with those of FER+ (Barsoum et al., 2016).

Layout: `fer2013.csv` (`emotion,pixels,Usage`; the columns of other copies, `emotion, Usage, pixels`, work too) and, for FER+,
`fer2013new.csv` beside it, line by line the same pictures. FER2013's order (Angry, Disgust, Fear, Happy, Sad, Surprise, Neutral) is mapped
by name to the Aff-Wild2 order; Contempt of FER+ has no class there and stays with label -1. Training -> train, PublicTest -> val,
PrivateTest -> test. Public copies hold hundreds of equal pictures in two splits: the import reports them.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import check_root, find_file
from loupe.data.sources.sheets import csv_table, encoding_error, separator, whole
from loupe.errors import LoupeError

TITLE = "FER2013"
CODES = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
SIZES = {"train": 28709, "val": 3589, "test": 3589}
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def read(root: Path) -> Listing:
    """FER2013 with its own labels; raises LoupeError where the CSV is absent or lacks a column."""
    return _read(root, plus=False)


def read_plus(root: Path) -> Listing:
    """FER2013's pictures with the votes of FER+; raises LoupeError where a CSV is absent, lacks a column, or the two do not fit
    together."""
    return _read(root, plus=True)


def _read(root: Path, *, plus: bool) -> Listing:
    check_root(root, TITLE)
    path = find_file(root, r"fer2013\.csv|icml_face_data\.csv", "fer2013.csv")
    cells, offsets = pixel_lines(path)
    dropped = Dropped()
    table = parse(cells, path.name, dropped)
    if plus:
        votes = csv_table(find_file(root, r"fer2013new\.csv", "fer2013new.csv"), ("Usage", "Image name", *VOTES))
        table = parse_votes(votes, cells, table, dropped)
    if table.empty:
        raise LoupeError(f"{path} holds no labelled picture: download it again.")
    sizes = cells["Usage"].map(USAGE).value_counts()
    counts = [Count(f"{split} lines", int(sizes.get(split, 0)), (number,), source="Goodfellow et al.") for split, number in SIZES.items()]
    damaged = sum(row[1] in ("damaged line", "lines of the two files differ") for row in dropped.rows)
    counts.append(Count("damaged lines", damaged, (0,), source="official files have none"))
    name = "ferplus" if plus else "fer2013"
    table["path"] = [f"{path.relative_to(root).as_posix()}#{offsets[line]}" for line in table["line"]]
    table["subject"] = "fer2013-" + table["line"].astype(str)
    release = path.name + (", fer2013new.csv" if plus else "")
    return Listing(finish(table, name, release), dropped.table(), len(cells), len(table), "image", release, counts)


def pixel_lines(path: Path) -> tuple[pd.DataFrame, list[int]]:
    """Columns emotion, Usage and `whole` (are there 2,304 values?) of every line, without keeping the pixels, and each line's byte offset.

    Raises LoupeError naming the file for a missing column or a file that is not text.
    """
    rows, offsets = [], []
    with path.open("rb") as file:
        head = file.readline()
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise encoding_error(path)
        head = file.readline() if _clean(head).lower().startswith("sep=") else head
        mark = separator(_clean(head)).encode()
        header = [_clean(field) for field in head.split(mark)]
        for column in ("emotion", "Usage", "pixels"):
            if column not in header:
                raise LoupeError(f"{path} lacks the column {column!r}: use the official fer2013.csv.")
        place = {column: header.index(column) for column in ("emotion", "Usage", "pixels")}
        while True:
            offset, line = file.tell(), file.readline()
            if not line:
                break
            if not line.strip():
                continue
            fields = line.split(mark)
            get = lambda column: _clean(fields[place[column]]) if place[column] < len(fields) else ""  # noqa: B023 (used at once)
            rows.append((get("emotion"), get("Usage"), len(fields) == len(header) and get("pixels").count(" ") == 48 * 48 - 1))
            offsets.append(offset)
    return pd.DataFrame(rows, columns=["emotion", "Usage", "whole"]), offsets


def parse(cells: pd.DataFrame, name: str, dropped: Dropped) -> pd.DataFrame:
    """Labelled lines in the Aff-Wild2 order; lines with another usage, code or number of pixels go to `dropped`."""
    kept = []
    for line, (emotion, usage, complete) in enumerate(cells.itertuples(index=False)):
        code = whole(emotion)
        if not complete or usage not in USAGE or code is None or not 0 <= code < len(CODES):
            dropped.add(f"{name} line {line + 2}", "damaged line", f"emotion {emotion[:20]}, usage {usage[:20]}")
        else:
            kept.append((line, USAGE[usage], STILL_CLASSES.index(CODES[code]), CODES[code], CODES[code]))
    return pd.DataFrame(kept, columns=["line", "split", "label", "label_name", "emotion"])


def parse_votes(votes: pd.DataFrame, cells: pd.DataFrame, table: pd.DataFrame, dropped: Dropped) -> pd.DataFrame:
    """`table` with the labels of FER+: single votes are outliers, the winner needs more than half of the rest (the organisers' "majority").

    Dropped: pictures that FER+ takes out (no image name), and those voted not a face. Without a majority, or with the winner unknown or
    contempt, the label is -1. Raises LoupeError where the two files have different numbers of lines.
    """
    if len(votes) != len(cells):
        raise LoupeError(
            f"fer2013new.csv has {len(votes)} lines, but fer2013.csv has {len(cells)}: use the two official files, unshuffled."
        )
    kept = []
    for row in table.itertuples(index=False):
        vote = votes.iloc[row.line]
        item = f"fer2013new.csv line {row.line + 2}"
        numbers = [whole(vote[name]) for name in VOTES]
        if USAGE.get(vote["Usage"]) != row.split:
            dropped.add(item, "lines of the two files differ", f"usage {vote['Usage'][:20]}")
        elif any(number is None or number < 0 for number in numbers):
            dropped.add(item, "damaged line", "votes are no counts")
        elif not vote["Image name"].strip():
            dropped.add(item, "taken out by FER+", "no image name")
        else:
            winner = majority(dict(zip(VOTES, numbers, strict=True)))
            if winner == "NF":
                dropped.add(item, "not a face by FER+ votes")
            else:
                name = winner.capitalize()
                label = STILL_CLASSES.index(name) if name in STILL_CLASSES else -1
                kept.append((row.line, row.split, label, name, name))
    return pd.DataFrame(kept, columns=["line", "split", "label", "label_name", "emotion"])


def majority(votes: dict[str, int]) -> str:
    """The class with more than half of the votes left when single votes are taken out, else "no majority"."""
    left = {name: number for name, number in votes.items() if number > 1}
    winner = max(left, key=left.get, default="")
    return winner if winner and left[winner] > sum(left.values()) / 2 else "no majority"


def _clean(field: bytes) -> str:
    return field.decode("utf-8-sig", errors="replace").strip().strip('"').strip()

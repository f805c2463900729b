"""Your own labelled faces, for `loupe data import folder`, `import csv` and `make study DATA=folder`: class sub-folders, or a CSV beside
the pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.examining import square
from loupe.data.imported import from_zero, labelled_rows
from loupe.data.manifest import check_manifest, complete
from loupe.data.sources.classes import told
from loupe.data.sources.listing import Dropped, Listing, finish
from loupe.data.sources.paths import unpacked
from loupe.data.sources.pictures import SUFFIXES, check_root, left_over, load_picture, picture_names, subfolders
from loupe.data.sources.sheets import csv_table
from loupe.data.sources.sheets import name as plain
from loupe.data.sources.table import NEEDED, WITHOUT_LABEL, parse, stills
from loupe.errors import LoupeError
from loupe.progress import track

TABLE = "faces.csv"
SUBJECT = "([^_.]+)"


def read_csv(root: Path, classes: str | None = None, csv: str = TABLE, needed: tuple[str, ...] = NEEDED) -> Listing:
    """Read a table of faces; raises LoupeError where it is missing, lacks a column, or a label, split, frame or mark makes no sense."""
    check_root(root, "CSV")
    base = root if (root / csv).is_file() else unpacked(root)
    if not (base / csv).is_file():
        hint = "correct data.folder.csv or " if csv != TABLE else ""
        raise LoupeError(f"{base} holds no {csv}, it is missing: {hint}write it with the columns {', '.join(needed)} (see data/README.md).")
    cells, dropped = csv_table(base / csv, ()), Dropped()
    table = parse(cells, csv, dropped, base, classes, needed)
    table["path"] = _below(root, base) + table["path"]
    return Listing(finish(table, "csv", csv), dropped.table(), len(cells), len(table), "row", csv, [], told(table))


def read_classes(root: Path, classes: str | None = None, subject_pattern: str = SUBJECT) -> Listing:
    """`<class>/<picture>`; the first group of the pattern, found in a picture's name, is its subject. Raises LoupeError where there is no
    picture."""
    check_root(root, "folder")
    base = unpacked(root)
    paths = [group / name for group in subfolders(base) for name in picture_names(group)]
    if not paths:
        raise LoupeError(
            f"{root} holds no pictures in sub-folders: put each class into a sub-folder, or write a {TABLE} and import it as csv."
        )
    pattern, dropped, rows = re.compile(subject_pattern), Dropped(), []
    for path in paths:
        subject, place = pattern.search(plain(path.stem)), path.relative_to(root).as_posix()
        if not subject or not subject.groups() or not subject.group(1):
            dropped.add(place, f"its name tells no subject by the pattern {subject_pattern}")
        else:
            rows.append((place, plain(path.parent.name), subject.group(1)))
    table = stills(pd.DataFrame(rows, columns=["path", "label", "subject"]), root.name, classes)
    for item, why in left_over(root, {path.relative_to(root).as_posix() for path in paths}, SUFFIXES, "not in <class>/<picture>"):
        dropped.add(item, why)
    found = len(table) + len(dropped.rows)
    return Listing(finish(table, "folder", root.name), dropped.table(), found, len(table), "image", root.name, [], told(table))


@dataclass(frozen=True)
class FolderSource:
    """Where the pictures are and how to read them.

    root: folder; csv: file name inside it or None for class sub-folders; subject_pattern: see `read_classes`; crop: left, top, right,
    bottom of the face square as shares of the picture; val_share, test_share: shares of the subjects, drawn with `seed`, where the CSV
    gives no such split;
    classes: see `loupe.data.sources.classes`.
    """

    root: Path
    csv: str | None
    subject_pattern: str
    crop: tuple[float, float, float, float]
    val_share: float
    test_share: float
    seed: int
    classes: str | None = None

    def __post_init__(self) -> None:
        left, top, right, bottom = self.crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise LoupeError(f"data.folder.crop is {list(self.crop)}, but must be left, top, right, bottom between 0 and 1.")
        if not (0 < self.val_share and 0 < self.test_share and self.val_share + self.test_share < 1):
            raise LoupeError("data.folder.val_share and test_share must be above 0 and leave something for training.")


def read_folder(source: FolderSource, size: int, dropped: Dropped | None = None) -> tuple[np.ndarray, pd.DataFrame]:
    """Read every picture with a class, cut its face square, resize it to `size` px. What was left out and why goes to `dropped`.

    Returns (uint8 (N, size, size, 3), manifest), classes counted from 0. Raises LoupeError for a missing root or CSV, a missing column, a
    senseless label or split, fewer than two classes, an unreadable picture, or a subject in two splits; it names the file.
    """
    if not source.root.is_dir():
        hint = "unpack the archive there first" if source.root.exists() else "put your faces there or correct `raw` in conf/study.yaml"
        raise LoupeError(f"The data root {source.root} is not a folder: {hint}.")
    if source.csv:
        listing = read_csv(source.root, source.classes, source.csv, (*NEEDED, "label"))
    else:
        listing = read_classes(source.root, source.classes, source.subject_pattern)
    where, table = str(source.root / (source.csv or "")), listing.table
    if not table["split"].isin(["train", "val", "test"]).all():
        raise LoupeError(f"{where}: split must be train, val or test here; unlabelled faces and clips go through `loupe data import csv`.")
    check_manifest(table, where)
    left = Dropped([*listing.dropped.itertuples(index=False, name=None)])
    for row in table[table["label"] < 0].itertuples():
        left.add(row.path, WITHOUT_LABEL, row.label_name)
    table = table[table["label"] >= 0].reset_index(drop=True)
    if table["label"].nunique() < 2:
        hint = f"; left out were {len(left.rows)}, first {': '.join(left.rows[0][:2])}" if left.rows else ""
        raise LoupeError(f"{where} has fewer than two classes ({', '.join(sorted(set(table['label_name'])))}){hint}.")
    if dropped is not None:
        dropped.rows += left.rows
    for sentence in listing.mended:
        print(f"{where}: {sentence}")
    images = np.stack([_face(source, path, size) for path in track(table["path"], "reading faces")])
    shares = {"test": source.test_share, "val": source.val_share / (1 - source.test_share)}
    _, split = labelled_rows(table, source.seed, where, shares)
    check = complete(from_zero(table).assign(split=split, sample=range(len(table))))
    check_manifest(check, where)
    return images, check


def _face(source: FolderSource, path: str, size: int) -> np.ndarray:
    _, pixels = load_picture(source.root, path)
    height, width = pixels.shape[:2]
    left, top, right, bottom = source.crop
    return square(pixels, (left * width, top * height, (right - left) * width, (bottom - top) * height), size)


def _below(root: Path, base: Path) -> str:
    return "" if base == root else base.relative_to(root).as_posix() + "/"

"""`csv`: your own faces, as the table `faces.csv` beside them; `folder`: a sub-folder a class, subjects by the start of the file names.

Columns: `path` (below the folder; `film.mp4#12` is frame 12 of a video) and `subject`; as far as there are any: `label`, `split` (train, val, test or
pretrain), `clip`, `frame`, `fps`, `time` (s), `onset`, `apex`, `offset`. Rows with an onset are micro-expression clips: one row a frame, apex may be
empty (then the frame nearest to the midpoint), labels negative, positive, surprise; any other name has no class, and `none` says that nothing is
shown. Otherwise labels are the eight Aff-Wild2 names, or other names, or whole numbers from 0; an empty one has no class.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.listing import Dropped, Listing, finish
from loupe.data.sources.micro import CLASSES, role
from loupe.data.sources.pictures import SUFFIXES, check_root, left_over, picture_names, subfolders
from loupe.data.sources.sheets import csv_table, whole
from loupe.errors import LoupeError

TITLE = "CSV"
TABLE = "faces.csv"
SPLITS = ("train", "val", "test", "pretrain")
OPTIONAL = ("label", "split", "clip", "frame", "fps", "time", "onset", "apex", "offset")
WITHOUT_LABEL, NO_PATH = "no class", "no path or subject"


def read(root: Path) -> Listing:
    """Read faces.csv; raises LoupeError where it is missing, lacks a column, or a label, split, frame or mark makes no sense."""
    check_root(root, TITLE)
    if not (root / TABLE).is_file():
        raise LoupeError(f"{root} holds no {TABLE}: write one with the columns path and subject (see data/README.md).")
    cells = csv_table(root / TABLE, ())
    dropped = Dropped()
    table = parse(cells, TABLE, dropped)
    return Listing(finish(table, "csv", TABLE), dropped.table(), len(cells), len(table), "row", TABLE, [])


def read_folder(root: Path) -> Listing:
    """`<class>/<subject>_anything.jpg`; raises LoupeError where there is none. A subject is a file name up to its first `_` or `.`."""
    check_root(root, "folder")
    paths = [(group.name, name) for group in subfolders(root) for name in picture_names(group)]
    if not paths:
        raise LoupeError(
            f"{root} holds no pictures in sub-folders: put each class into a sub-folder, or write a {TABLE} and import it as csv."
        )
    cells = pd.DataFrame(
        [(f"{group}/{name}", group, re.split(r"[_.]", name)[0]) for group, name in paths], columns=["path", "label", "subject"]
    )
    dropped = Dropped()
    table = parse(cells, root.name, dropped)
    for item, why in left_over(root, set(cells["path"]), SUFFIXES, "not in <class>/<picture>"):
        dropped.add(item, why)
    found = len(table) + len(dropped.rows)
    return Listing(finish(table, "folder", root.name), dropped.table(), found, len(table), "image", root.name, [])


def parse(cells: pd.DataFrame, name: str, dropped: Dropped) -> pd.DataFrame:
    """Rows of the table (text throughout, "" for an empty cell); those without a path or subject, or doubled, go to `dropped`."""
    columns = {str(column).strip().lower(): column for column in cells}
    for column in ("path", "subject"):
        if column not in columns:
            raise LoupeError(f"{name} lacks the column {column}: it needs path and subject, and takes {', '.join(OPTIONAL)}.")
    cells = pd.DataFrame(
        {key: cells[column].astype(str).str.strip() for key, column in columns.items() if key in ("path", "subject", *OPTIONAL)}
    )
    seen, rows = set(), []
    for line, cell in enumerate(cells.to_dict("records"), start=2):
        item, path = f"{name} line {line}", cell["path"].replace("\\", "/")
        if not path or not cell["subject"]:
            dropped.add(item, NO_PATH, f"{path} {cell['subject']}".strip())
        elif PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise LoupeError(f"{item}: {path} leads out of the folder; name pictures below it.")
        elif path in seen:
            dropped.add(item, "picture listed twice", path)
        else:
            seen.add(path)
            rows.append({**cell, **_numbers(cell, item), "path": path, "item": item})
    table = pd.DataFrame(rows, columns=[*cells, *(c for c in ("path", "item") if c not in cells)])
    if table.empty:
        return pd.DataFrame(columns=["path", "subject", "split", "label", "label_name"])
    table = _micro(table, dropped) if "onset" in table and (table["onset"] >= 0).any() else _plain(table)
    return table.drop(columns="item")


def _numbers(cell: dict, item: str) -> dict:
    """Frames and marks as whole numbers (-1 where empty), fps and time as numbers (NaN where empty)."""
    found = {}
    for key in ("frame", "onset", "apex", "offset"):
        if key in cell:
            value = whole(cell[key])
            if cell[key] and (value is None or value < 0):
                raise LoupeError(f"{item}: {key} is {cell[key]!r}, but must be a whole number, 0 or more.")
            found[key] = -1 if value is None else value
    for key in ("fps", "time"):
        if key in cell:
            try:
                found[key] = float(cell[key]) if cell[key] else float("nan")
            except ValueError as error:
                raise LoupeError(f"{item}: {key} is {cell[key]!r}, but must be a number.") from error
            if found[key] < 0 or found[key] == float("inf"):
                raise LoupeError(f"{item}: {key} is {cell[key]!r}, but must be a number, 0 or more.")
    return found


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    if "split" in table:
        wrong = table[~table["split"].isin(SPLITS)]
        if len(wrong):
            raise LoupeError(f"{wrong['item'].iloc[0]}: split is {wrong['split'].iloc[0]!r}, but must be one of {', '.join(SPLITS)}.")
    else:
        table = table.assign(split="train" if "label" in table else "pretrain")
    names = table["label"] if "label" in table else pd.Series("", index=table.index)
    numbers = _class_numbers(sorted(set(names) - {""}), table["item"].iloc[0].split(" line ")[0])
    spelt = {name: STILL_CLASSES[number] if name.capitalize() in STILL_CLASSES else name for name, number in numbers.items()}
    return table.assign(label=[numbers.get(name, -1) for name in names], label_name=[spelt.get(name, "") for name in names])


def _class_numbers(names: list[str], where: str) -> dict[str, int]:
    if names and all(name.capitalize() in STILL_CLASSES for name in names):
        return {name: STILL_CLASSES.index(name.capitalize()) for name in names}
    if names and all(re.fullmatch(r"-?\d+", name, re.ASCII) for name in names):
        numbers = sorted({int(name) for name in names if int(name) != -1})
        if numbers != list(range(len(numbers))):
            raise LoupeError(
                f"{where}: the labels {', '.join(map(str, numbers[:9]))} must count from 0 without gaps (-1 or empty: no class)."
            )
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _micro(table: pd.DataFrame, dropped: Dropped) -> pd.DataFrame:
    """Micro-expression clips: whole or not at all."""
    for column in ("clip", "frame", "offset", "label"):
        if column not in table:
            raise LoupeError(f"{table['item'].iloc[0]}: a table with onset needs the column {column}, too.")
    parts = []
    for clip, rows in table.groupby("clip", sort=False):
        marks = rows[["onset", "offset", "subject", "label", *(["apex"] if "apex" in rows else [])]].drop_duplicates()
        item = rows["item"].iloc[0]
        if len(marks) > 1:
            raise LoupeError(f"{item}: the rows of clip {clip} disagree about subject, label or marks; give each clip one of each.")
        onset, offset = int(marks["onset"].iloc[0]), int(marks["offset"].iloc[0])
        listed = rows["item"]
        rows = rows.drop_duplicates("frame").sort_values("frame")
        inside = rows[(rows["frame"] >= onset) & (rows["frame"] <= offset)]
        later = inside.loc[inside["frame"] > onset, "frame"]
        if not clip or onset < 0 or onset not in set(inside["frame"]) or later.empty:
            for row in listed:
                dropped.add(row, "clip without a picture of its onset and a later one", clip)
            continue
        for row in listed[~listed.isin(inside["item"])]:
            dropped.add(row, "frame outside onset..offset, or listed twice", clip)
        given = int(marks["apex"].iloc[0]) if "apex" in marks else -1
        apex = given if given in set(later) else min(later, key=lambda frame: (abs(frame - (onset + offset) // 2), frame))
        name = marks["label"].iloc[0].lower()
        parts.append(
            inside.assign(
                apex=apex,
                offset=offset,
                role=[role(frame, onset, apex, offset) for frame in inside["frame"]],
                label=CLASSES.index(name) if name in CLASSES else -1,
                label_name=name,
                apex_from="annotated" if apex == given else "midpoint",
            )
        )
    if not parts:
        return pd.DataFrame(columns=["path", "subject", "split", "label", "label_name", "item"])
    return pd.concat(parts, ignore_index=True).assign(split="loso")

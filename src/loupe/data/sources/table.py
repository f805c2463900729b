"""Rows of one's own table: stills with classes and splits, or micro-expression clips.

Columns: `path` (below the folder; `film.mp4#12` is frame 12 of a video) and `subject`; as far as there are any: `label`, `split` (train,
val, test or pretrain), `clip`, `frame`, `fps`, `time` (s), `onset`, `apex`, `offset`. Rows with an onset are micro-expression clips: one
row a frame, apex may be empty (then the frame nearest to the midpoint), labels negative, positive, surprise; any other name has no class,
and `none` says that nothing is shown. Otherwise labels are names or whole numbers from 0 (loupe.data.sources.classes); an empty one, NaN,
None and -1 have no class.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from reprlib import repr as brief  # a damaged cell can be thousands of characters long

import pandas as pd

from loupe.data.sources.classes import class_numbers
from loupe.data.sources.listing import Dropped
from loupe.data.sources.micro import CLASSES, role
from loupe.data.sources.paths import spelt
from loupe.data.sources.sheets import name as plain
from loupe.data.sources.sheets import whole
from loupe.errors import LoupeError

SPLITS = ("train", "val", "test", "pretrain")
OPTIONAL = ("label", "split", "clip", "frame", "fps", "time", "onset", "apex", "offset")
NEEDED = ("path", "subject")
WITHOUT_LABEL, NO_PATH = "no class", "no path or subject"
_EMPTY = ("nan", "NaN", "None", "<NA>", "N/A", "n/a", "#N/A", "null", "NULL")  # as programs write a cell without a value


def parse(
    cells: pd.DataFrame,
    name: str,
    dropped: Dropped,
    root: Path | None = None,
    classes: str | None = None,
    needed: tuple[str, ...] = NEEDED,
) -> pd.DataFrame:
    """Rows of the table (text throughout, "" for an empty cell); those that lack what is needed, or are doubled, go to `dropped`.

    root: where the pictures lie, so that their names are looked up in either Unicode form; classes: see `class_numbers`. Raises LoupeError
    where a column is missing, or a label, split, frame or mark makes no sense.
    """
    columns = {plain(str(column)).lower(): column for column in reversed(list(cells))}
    for column in needed:
        if column not in columns:
            raise LoupeError(
                f"{name} lacks the column {column}: it needs {', '.join(needed)}, takes {', '.join(OPTIONAL)}, "
                f"and has {', '.join(columns)[:99]}."
            )
    cells = pd.DataFrame(
        {key: [_cell(key, value) for value in cells[column]] for key, column in columns.items() if key in (*NEEDED, *OPTIONAL)},
        index=cells.index,
        dtype=object,
    )
    seen, rows = set(), []
    for line, cell in zip(cells.index + 2, cells.to_dict("records"), strict=True):
        item, path = f"{name} line {line}", cell["path"]
        if path and (PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
            raise LoupeError(f"{item}: {path} leads out of the folder; name pictures below it.")
        path = spelt(root, path) if root else path
        if any(not cell[column] for column in needed):
            dropped.add(item, NO_PATH if not path or not cell["subject"] else WITHOUT_LABEL, f"{path} {cell['subject']}".strip())
        elif path in seen:
            dropped.add(item, "picture listed twice", path)
        else:
            seen.add(path)
            rows.append({**cell, **_numbers(cell, item), "path": path, "item": item})
    table = pd.DataFrame(rows, columns=[*cells, "item"])
    if table.empty:
        return pd.DataFrame(columns=["path", "subject", "split", "label", "label_name"])
    table = _micro(table, dropped) if "onset" in table and (table["onset"] >= 0).any() else stills(table, name, classes)
    return table.drop(columns="item")


def _cell(column: str, value: object) -> str:
    """A cell as it is compared. One person is one, as `7` and `7.0`, too; NA stands for no value, but may be somebody's initials."""
    value = str(value).strip()
    if value in _EMPTY or (value == "NA" and column != "subject"):
        return ""
    if column == "path":
        return PurePosixPath(value.replace("\\", "/")).as_posix() if value else ""
    value = plain(value)
    return value[:-2] if column in ("subject", "clip") and value.endswith(".0") and whole(value) is not None else value


def _numbers(cell: dict, item: str) -> dict:
    """Frames and marks as whole numbers (-1 where empty), fps and time as numbers (NaN where empty)."""
    found = {}
    for key in ("frame", "onset", "apex", "offset"):
        if key in cell:
            value = whole(cell[key])
            if cell[key] and (value is None or value < 0):
                raise LoupeError(f"{item}: {key} is {brief(cell[key])}, but must be a whole number, 0 or more.")
            found[key] = -1 if value is None else value
    for key in ("fps", "time"):
        if key in cell:
            try:
                found[key] = float(cell[key]) if cell[key] else float("nan")
            except ValueError as error:
                raise LoupeError(f"{item}: {key} is {brief(cell[key])}, but must be a number with a decimal point.") from error
            if found[key] < 0 or found[key] == float("inf"):
                raise LoupeError(f"{item}: {key} is {brief(cell[key])}, but must be a number, 0 or more.")
    return found


def stills(table: pd.DataFrame, name: str, classes: str | None = None) -> pd.DataFrame:
    """Splits and class numbers of a table with path, subject and, as far as it has them, label and split. `emotion` keeps labels that were
    renamed."""
    if "split" in table:
        wrong = table[~table["split"].isin(SPLITS)]
        if len(wrong):
            raise LoupeError(f"{wrong['item'].iloc[0]}: split is {brief(wrong['split'].iloc[0])}, but must be one of {', '.join(SPLITS)}.")
    else:
        table = table.assign(split="train" if "label" in table else "pretrain")
    given = table["label"] if "label" in table else pd.Series("", index=table.index)
    meaning = class_numbers(set(given), name, classes)
    if classes or any(number >= 0 and named != label and whole(label) is None for label, (number, named) in meaning.items()):
        table = table.assign(emotion=given)
    return table.assign(label=[meaning[label][0] for label in given], label_name=[meaning[label][1] for label in given])


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

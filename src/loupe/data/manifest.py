"""The manifest: one row an image, in one schema for every source."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError, unreadable

STILL_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")  # Aff-Wild2 order

COLUMNS = {
    "sample": "int64",
    "set": "str",
    "split": "str",
    "subject": "str",
    "clip": "str",
    "frame": "int64",
    "fps": "float64",
    "onset": "int64",
    "apex": "int64",
    "offset": "int64",
    "role": "str",
    "label": "int64",
    "label_name": "str",
    "au": "list",
    "intensity": "float64",
    "yaw": "float64",
    "pitch": "float64",
    "roll": "float64",
    "light": "str",
    "background": "str",
    "occlusion": "str",
    "landmarks": "list",
    "age": "float64",
    "sex": "float64",
    "tone": "float64",
    "source": "str",
}
_EMPTY = {"int64": -1, "float64": float("nan"), "str": "", "list": ()}


def read_manifest(path: Path) -> pd.DataFrame:
    """Read and check a manifest.

    Raises LoupeError naming the file for an absent or damaged file, a missing column, rows out of order, a label without a name, or a
    subject that stands in two splits.
    """
    if not path.exists():
        raise LoupeError(f"{path} is missing: run `dvc repro data` to make it.")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, "delete it and run `dvc repro data` again.") from error
    check_manifest(table, str(path))
    return table


def check_manifest(table: pd.DataFrame, name: str) -> None:
    """Raise LoupeError, naming `name`, where the table breaks the schema or a subject stands in two splits."""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise LoupeError(f"{name} lacks the column {missing[0]}: it was not written by this version; run `dvc repro data` again.")
    if list(table["sample"]) != list(range(len(table))):
        raise LoupeError(f"{name} has rows out of order (sample must count from 0): run `dvc repro data` again.")
    pairs = table[["subject", "split"]].drop_duplicates()  # in one piece: pre-training sets have a subject a picture
    torn = pairs["subject"][pairs["subject"].duplicated()]
    if len(torn):
        subject = sorted(torn)[0]
        found = " and ".join(sorted(pairs["split"][pairs["subject"] == subject]))
        raise LoupeError(f"{name}: subject {subject} stands in the splits {found}; give each person one split only.")
    names = table.loc[table["label"] >= 0].groupby("label")["label_name"].unique()
    for label, found in names.items():
        if len(found) > 1:
            raise LoupeError(f"{name}: label {label} has two names, {' and '.join(found)}; mend the source's labels.")


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Fill absent columns with their empty value and order columns and types as the schema says."""
    filled = {}
    for column, kind in COLUMNS.items():
        if column in table:
            values = table[column]
        else:
            values = pd.Series([_EMPTY[kind]] * len(table), index=table.index)
        filled[column] = values if kind == "list" else values.astype(kind)
    return pd.DataFrame(filled).reset_index(drop=True)

"""Any labelled faces: class sub-folders, or a CSV with the columns path, label, subject, split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from loupe.data.decoding import decode
from loupe.data.manifest import check_manifest, complete
from loupe.errors import LoupeError
from loupe.progress import track

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class FolderSource:
    """Where the pictures are and how to read them.

    root: folder; csv: file name inside it or None for class sub-folders; subject_pattern: regular expression whose first group, found in a
    file's name, is its subject (class sub-folders only); crop: left, top, right, bottom of the face square as shares of the picture;
    val_share, test_share: shares of the subjects, drawn with `seed`, where no split column says otherwise.
    """

    root: Path
    csv: str | None
    subject_pattern: str
    crop: tuple[float, float, float, float]
    val_share: float
    test_share: float
    seed: int


def read_folder(source: FolderSource, size: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Read every picture, cut its face square, resize it to `size` px.

    Returns (uint8 (N, size, size, 3), manifest). Classes are the sorted label names, unless the CSV gives numbers.
    Raises LoupeError for a missing root or CSV, a missing column, a label that is empty or outside the class list, an unreadable or
    zero-byte picture, or a subject in two splits; it names the file.
    """
    if not source.root.is_dir():
        hint = "unpack the archive there first" if source.root.exists() else "put your faces there or correct `raw` in conf/study.yaml"
        raise LoupeError(f"The data root {source.root} is not a folder: {hint}.")
    table = _from_csv(source) if source.csv else _from_class_folders(source)
    if table.empty:
        raise LoupeError(f"{source.root} holds no pictures ({', '.join(_SUFFIXES)}): put each class into a sub-folder or name a CSV.")
    table = _with_classes(table, source)
    if "split" not in table:
        table["split"] = _draw_splits(table["subject"], source)
    check = complete(table.assign(sample=range(len(table))))
    check_manifest(check, source.csv or str(source.root))
    images = np.stack([_read_face(source.root / path, source.crop, size) for path in track(table["source"], "reading faces")])
    return images, check


def _from_csv(source: FolderSource) -> pd.DataFrame:
    path = source.root / source.csv
    if not path.is_file():
        raise LoupeError(f"{path} is missing: correct data.folder.csv or put the file there.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise LoupeError(f"{path} is not a readable CSV ({error}): save it as UTF-8 with commas and a header line.") from error
    for column in ("path", "label", "subject"):
        if column not in table:
            raise LoupeError(f"{path} lacks the column {column}: it needs path, label, subject and, if you have one, split.")
        empty = table.index[table[column].str.strip() == ""]
        if len(empty):
            raise LoupeError(f"{path}, line {empty[0] + 2}: {column} is empty; fill it in or delete the line.")
    if "split" in table:
        wrong = table.index[~table["split"].isin(["train", "val", "test"])]
        if len(wrong):
            raise LoupeError(f"{path}, line {wrong[0] + 2}: split is {table['split'][wrong[0]]!r}, but must be train, val or test.")
    return table.rename(columns={"path": "source", "label": "label_name"}).drop(columns=[c for c in ("sample",) if c in table])


def _from_class_folders(source: FolderSource) -> pd.DataFrame:
    pattern = re.compile(source.subject_pattern)
    rows = []
    for path in sorted(source.root.glob("*/*")):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        found = pattern.search(path.stem)
        if not found or not found.groups():
            raise LoupeError(f"{path} tells no subject by the pattern {source.subject_pattern!r}: correct data.folder.subject_pattern.")
        rows.append({"source": path.relative_to(source.root).as_posix(), "label_name": path.parent.name, "subject": found.group(1)})
    return pd.DataFrame(rows, columns=["source", "label_name", "subject"])


def _with_classes(table: pd.DataFrame, source: FolderSource) -> pd.DataFrame:
    """Number the classes. All-numeric labels keep their numbers and must count from 0 without gaps."""
    names = sorted(table["label_name"].unique())
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        numbers = sorted(int(name) for name in names)
        if numbers != list(range(len(numbers))):
            bad = next((n for i, n in enumerate(numbers) if n != i), numbers[0])
            line = table.index[table["label_name"].astype(int) == bad][0]
            raise LoupeError(
                f"{source.root / (source.csv or '')}, picture {table['source'][line]}: label {bad} is outside the class list 0..{len(numbers) - 1}; "
                "number the classes from 0 without gaps or write their names."
            )
        names = [str(n) for n in numbers]
    if len(names) < 2:
        raise LoupeError(f"{source.root} has one class only ({names[0]}): at least two are needed.")
    return table.assign(label=table["label_name"].map({name: i for i, name in enumerate(names)}))


def _draw_splits(subjects: pd.Series, source: FolderSource) -> np.ndarray:
    """Whole subjects go to one split each."""
    people = np.array(sorted(subjects.unique()))
    order = np.random.default_rng(source.seed).permutation(people)
    test = round(len(people) * source.test_share)
    val = max(1, round(len(people) * source.val_share))
    if test < 1 or len(people) - test - val < 1:
        raise LoupeError(f"{source.root} has {len(people)} subject(s), too few for train, val and test: check data.folder.subject_pattern.")
    split = {person: "test" for person in order[:test]} | {person: "val" for person in order[test : test + val]}
    return subjects.map(lambda person: split.get(person, "train")).to_numpy()


def _read_face(path: Path, crop: tuple[float, float, float, float], size: int) -> np.ndarray:
    if not path.is_file():
        raise LoupeError(f"{path} is listed but missing: put the picture there or delete its line.")
    picture = Image.fromarray(decode(path.read_bytes(), str(path)))
    box = tuple(share * side for share, side in zip(crop, picture.size * 2, strict=True))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0))

"""AffectNet (Mollahosseini et al., 2019), the old layout with CSV files and the new one with npy files.

Old: `training.csv`, `validation.csv` (`subDirectory_filePath, face_x, ..., expression, valence, arousal`) and
`Manually_Annotated/Manually_Annotated_Images/<dir>/<file>`. New: `train_set|val_set/{images/<id>.jpg, annotations/<id>_exp.npy ...}`.

AffectNet's order of classes is not Aff-Wild2's: labels are mapped by name to the Aff-Wild2 order. Contempt has no class there (it is not
"Other") and "None" and "Uncertain" are no expressions: those faces stay, with label -1. "Non-Face" pictures are dropped. Who a person is is
not
published: every picture is a subject of its own, so a person may stand in both splits. Counts: Mollahosseini et al., table 3.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import check_root, find_folder, picture_names, subfolders
from loupe.data.sources.sheets import csv_table, whole
from loupe.errors import LoupeError

TITLE = "AffectNet"
CODES = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt", "None", "Uncertain", "Non-Face")
NON_FACE = 10
TRAIN = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750, 33088, 11645, 82415)
OFFICIAL = {"old": {"train": TRAIN, "val": (500,) * 11}, "new": {"train": TRAIN[:8], "val": None}}
NEW_VAL = 3999  # 500 a class but one
_CSV = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression", "valence", "arousal")


def read(root: Path) -> Listing:
    """Read whichever layout is there; raises LoupeError where neither is, or a column or folder is missing."""
    check_root(root, TITLE)
    if find_folder(root, ["train_set"]):
        return _read_new(root)
    csv = [(split, found) for split, name in (("train", "training.csv"), ("val", "validation.csv")) if (found := _below(root, name))]
    if not csv:
        raise LoupeError(f"{root} holds neither train_set/ nor training.csv: unpack AffectNet there.")
    base = find_folder(root, ["Manually_Annotated_Images"])
    if base is None:
        raise LoupeError(f"{root} holds no folder Manually_Annotated_Images: unpack AffectNet's pictures there.")
    present = {f"{folder.name}/{name}" for folder in subfolders(base) for name in picture_names(folder)}
    dropped, parts, found, tallies = Dropped(), [], 0, {}
    for split, path in csv:
        cells = csv_table(path, _CSV)
        found += len(cells)
        part, tallies[split] = parse_old(cells, split, path.name, present, dropped)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table["path"] = base.relative_to(root).as_posix() + "/" + table["path"]
    return _listing(table, dropped, found, tallies, "old")


def parse_old(cells: pd.DataFrame, split: str, name: str, present: set[str], dropped: Dropped) -> tuple[pd.DataFrame, list[int]]:
    """Rows of one CSV (paths below the folder of pictures) and how often each code occurs.

    Dropped: codes outside 0..10, non-faces, pictures that are not there, and pictures listed twice.
    """
    tally, rows, seen = [0] * len(CODES), [], set()
    for row in cells[list(_CSV)].itertuples():
        item, code = f"{name} line {row.Index + 2}", whole(row.expression)
        path = PureWindowsPath(row.subDirectory_filePath).as_posix()
        if code is None or not 0 <= code < len(CODES):
            dropped.add(item, "expression is no code 0..10", row.expression)
            continue
        tally[code] += 1
        if code == NON_FACE:
            dropped.add(item, "non-face", path)
        elif path not in present:
            dropped.add(item, "picture is missing", path)
        elif path in seen:
            dropped.add(item, "picture listed twice", path)
        else:
            seen.add(path)
            box = [whole(value) for value in (row.face_x, row.face_y, row.face_width, row.face_height)]
            box = [] if None in box or min(box) < 0 or min(box[2:]) < 1 else [float(value) for value in box]
            rows.append((path, code, _points(row.facial_landmarks), box, _affect(row.valence), _affect(row.arousal)))
    table = pd.DataFrame(rows, columns=["path", "code", "landmarks", "box", "valence", "arousal"])
    return table.assign(split=split), tally


def _read_new(root: Path) -> Listing:
    dropped, parts, found, tallies = Dropped(), [], 0, {}
    for split, name in (("train", "train_set"), ("val", "val_set")):
        folder = find_folder(root, [name])
        images, annotations = (folder and find_folder(folder, [part], depth=1) for part in ("images", "annotations"))
        if not images or not annotations:
            raise LoupeError(f"{root} holds no {name}/images and {name}/annotations: unpack AffectNet there.")
        tally, rows = [0] * len(CODES), []
        for picture in picture_names(images):
            found += 1
            path = (images / picture).relative_to(root).as_posix()
            stem = annotations / Path(picture).stem
            code = number_in(Path(f"{stem}_exp.npy"))
            if code is None or code != int(code) or not 0 <= code < 8:
                dropped.add(path, "expression is no code 0..7" if Path(f"{stem}_exp.npy").exists() else "no expression file", "")
                continue
            tally[int(code)] += 1
            valence, arousal = (number_in(Path(f"{stem}_{kind}.npy")) for kind in ("val", "aro"))
            rows.append((path, int(code), _affect(valence), _affect(arousal)))
        pictures = {Path(picture).stem for picture in picture_names(images)}
        for annotation in sorted(annotations.glob("[!.]*_exp.npy")):
            if annotation.name.removesuffix("_exp.npy") not in pictures:
                found += 1
                dropped.add(annotation.relative_to(root).as_posix(), "picture is missing")
        parts.append(pd.DataFrame(rows, columns=["path", "code", "valence", "arousal"]).assign(split=split))
        tallies[split] = tally
    return _listing(pd.concat(parts, ignore_index=True), dropped, found, tallies, "new")


def _listing(table: pd.DataFrame, dropped: Dropped, found: int, tallies: dict[str, list[int]], layout: str) -> Listing:
    if table.empty:
        raise LoupeError("No annotated AffectNet picture was found: are pictures and annotations of the same release?")
    names = table["code"].map(dict(enumerate(CODES)))
    table = table.assign(label_name=names, emotion=names, label=names.map(to_affwild2))
    table["subject"] = "affectnet-" + table["path"].str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
    counts = []
    for split, tally in tallies.items():
        official = OFFICIAL[layout][split]
        if official is None:
            counts.append(Count(f"{split} annotations", sum(tally), (NEW_VAL,), source="AffectNet's site"))
        for code, number in enumerate(official or ()):
            counts.append(Count(f"{split} {CODES[code]}", tally[code], (number,), source="Mollahosseini et al., table 3"))
    missing = sum(row[1] != "non-face" for row in dropped.rows)
    counts.append(Count("missing or damaged", missing, (0,), source="every annotation has a picture"))
    release = f"{layout} layout"
    return Listing(finish(table, "affectnet", release), dropped.table(), found, len(table), "image", release, counts)


def to_affwild2(name: str) -> int:
    """Class number in the Aff-Wild2 order, -1 for names without a class there."""
    return STILL_CLASSES.index(name) if name in STILL_CLASSES else -1


def _points(field: str) -> np.ndarray | tuple[()]:
    """`x1;y1;...` of 68 points, float32, px of the picture; () where it is anything else."""
    try:
        values = np.array(field.split(";") if field else [], dtype=np.float32)
    except (ValueError, OverflowError):
        return ()
    return values if len(values) == 136 and np.isfinite(values).all() else ()


def _affect(value: str | float | None) -> float:
    """Valence or arousal in -1..1; NaN for -2 (missing) and anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
    return number if -1 <= number <= 1 else float("nan")


def number_in(path: Path) -> float | None:
    """The one number of an npy file (stored as a number or as text); None where there is none. Pickled files are refused."""
    try:
        number = float(np.load(path, allow_pickle=False).reshape(-1)[0])
    except Exception:  # numpy reads the header as Python and believes it: damage raises TokenError, SystemError and a dozen others
        return None
    return number if np.isfinite(number) else None


def _below(root: Path, name: str) -> Path | None:
    folders = [root, *subfolders(root)]
    return next((folder / name for folder in sorted(folders) if (folder / name).is_file()), None)

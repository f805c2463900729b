"""IMDB-WIKI (Rothe et al., 2015), the cropped faces: for pre-training, with age and sex as the crawl guessed them.

Layout: `imdb_crop/imdb.mat` and `imdb_crop/00/*.jpg`, `wiki_crop/wiki.mat` and `wiki_crop/00/*.jpg`; one of the two suffices. A face_score
of -inf means that no face was found: the picture is dropped. Age = photo_taken (mid-year) less dob (a MATLAB day number); outside 0..100 it
is unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.matlab import Absent, Unreadable, number, struct_fields, text
from loupe.data.sources.pictures import check_root, find_folder, picture_names, subfolders
from loupe.errors import LoupeError

TITLE = "IMDB-WIKI"
OFFICIAL = {"imdb": 460723, "wiki": 62328}
NUMBERS, TEXTS = ("dob", "photo_taken", "gender", "face_score"), ("full_path", "name")
_DAYS_A_YEAR = 365.2425
_DAMAGED = ("damaged row", "picture is missing", "picture listed twice")


def read(root: Path) -> Listing:
    """Read whichever halves are there; raises LoupeError where none is, or a .mat file is damaged or lacks a field."""
    check_root(root, TITLE)
    dropped, parts, found, counts = Dropped(), [], 0, []
    for half, official in OFFICIAL.items():
        folder = find_folder(root, [f"{half}_crop"])
        if folder is None:
            continue
        columns = load(folder / f"{half}.mat", half)
        base = folder.relative_to(root).as_posix()
        present = {f"{child.name}/{name}" for child in subfolders(folder) for name in picture_names(child)}
        rows = len(columns["full_path"])
        parts.append(parse(columns, half, base, present, dropped))
        found += rows
        counts.append(Count(f"{half} rows", rows, (official,), source="Rothe et al."))
    if not parts:
        raise LoupeError(f"{root} holds neither imdb_crop nor wiki_crop: unpack imdb_crop.tar and wiki_crop.tar there.")
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise LoupeError(f"No picture listed in {root} is there with a face: unpack imdb_crop.tar and wiki_crop.tar whole.")
    counts.append(Count("missing or damaged", sum(row[1] in _DAMAGED for row in dropped.rows), (0,), source="every row has a picture"))
    release = " and ".join(sorted(table["partition"].unique()))
    return Listing(finish(table, "imdb-wiki", release), dropped.table(), found, len(table), "image", release, counts)


def load(path: Path, half: str) -> dict[str, np.ndarray]:
    """The fields of imdb.mat or wiki.mat, each (n,); raises LoupeError for a missing or damaged file and a missing field."""
    if not path.is_file():
        raise LoupeError(f"{path} is missing: it comes inside {half}_crop.tar.")
    try:
        columns = struct_fields(path, half, NUMBERS, TEXTS)
    except Unreadable as error:
        raise LoupeError(f"{path} cannot be read as a MATLAB file with the variable {half} ({error}): unpack it again.") from error
    except Absent as error:
        raise LoupeError(f"{path} lacks the field {str(error)!r}: use the official {half}.mat.") from error
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) != 1:
        raise LoupeError(f"{path} has fields of different lengths ({sizes}): unpack it again.")
    return columns


def parse(columns: dict[str, np.ndarray], half: str, base: str, present: set[str], dropped: Dropped) -> pd.DataFrame:
    """Rows with a picture and a face; paths below the root."""
    ages = age(columns["dob"], columns["photo_taken"])
    rows, seen = [], set()
    for i in range(len(columns["full_path"])):
        item, path, name = f"{half}.mat row {i}", text(columns["full_path"][i]), text(columns["name"][i])
        score, sex = number(columns["face_score"][i]), number(columns["gender"][i])
        if not path or np.isnan(score):
            dropped.add(item, "damaged row", path)
        elif path not in present:
            dropped.add(item, "picture is missing", path)
        elif path in seen:
            dropped.add(item, "picture listed twice", path)
        elif score == -np.inf:
            dropped.add(item, "no face found (face_score -inf)", path)
        else:
            seen.add(path)
            subject = f"{half}-{name}" if name else f"{half}-unknown-{i}"
            rows.append((f"{base}/{path}", subject, ages[i], sex if sex in (0.0, 1.0) else float("nan")))
    table = pd.DataFrame(rows, columns=["path", "subject", "age", "sex"])
    return table.assign(split="pretrain", partition=half)


def age(dob: np.ndarray, photo_taken: np.ndarray) -> np.ndarray:
    """Age in years (n,) from MATLAB day numbers and years; NaN outside 0..100. Photos are taken in mid-year, as the authors assume."""
    born = np.array([number(value) for value in dob]) / _DAYS_A_YEAR
    taken = np.array([number(value) for value in photo_taken]) + 0.5
    years = taken - born
    return np.where((years >= 0) & (years <= 100), years, np.nan)

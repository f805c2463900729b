"""Import an official download: read its annotations, open every picture once, and write manifest, dropped rows and a record of the import.

Pieces that are done are kept under `partial/` in the output folder, so that a killed import continues. Memory holds the table, one piece of
pictures and nothing else, however many there are.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loupe.data.examining import DAMAGED, PIECE, Plan, examine
from loupe.data.imagehash import across_splits
from loupe.data.manifest import check_manifest
from loupe.data.sources.films import DAMAGED_FILM
from loupe.data.sources.listing import Count, Listing
from loupe.data.sources.registry import source
from loupe.errors import LoupeError

CLIP_DAMAGED = "onset or apex picture is missing or damaged"


@dataclass(frozen=True)
class Report:
    """What an import found. counts: figures beside the official ones; reasons: reason -> entries dropped; ok: nothing disagrees."""

    name: str
    root: str
    release: str
    entry: str
    found: int
    used: int
    rows: int
    reasons: dict[str, int]
    unlabelled: dict[str, int]
    counts: list[Count]
    mended: list[str]
    equal_across_splits: int
    near_across_splits: int
    size: int | None
    partial: bool
    aligned: bool = False

    @property
    def disagreeing(self) -> list[Count]:
        return [count for count in self.counts if not count.agrees]

    @property
    def ok(self) -> bool:
        return self.partial or not self.disagreeing


@dataclass(frozen=True)
class ImportOptions:
    """size: px of the squares to store, none are stored without it. align: find the face and align it (loupe.data.align). partial: you hold
    only a part of the set, so counts that differ do not fail. skip_damaged: drop missing and damaged pictures and films. classes: your own
    names of classes (loupe.data.sources.classes). Raises LoupeError for values that make no sense."""

    size: int | None = None
    workers: int = 2
    partial: bool = False
    skip_damaged: bool = False
    align: bool = False
    classes: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 8 <= self.size <= 1024:
            raise LoupeError(f"--size {self.size} is not between 8 and 1024 px.")
        if self.align and self.size is None:
            raise LoupeError("--align needs --size: it stores aligned squares of so many px.")
        if self.workers < 1:
            raise LoupeError(f"--workers {self.workers} is not at least 1.")


def import_set(name: str, root: Path, out: Path, **options: Any) -> Report:
    """Import the data set `name` from its official download at `root` into `out`, and return the report.

    options: fields of `ImportOptions`. Writes manifest.parquet (with path below root, sha256, width and height), dropped.csv,
    duplicates.csv and import.json; with `size` also images.npy (pictures cut to their annotated box, where the set has one, then to the
    central square, and resized to size px). With `align`, pictures without a face are dropped and listed, and `piece` counts the pieces
    between the cuts of a film.

    Raises LoupeError for an unknown set, a missing or misshapen download, a subject in two splits, and, unless `skip_damaged`, for pictures
    that are missing or damaged (dropped.csv then lists them all).
    """
    asked = ImportOptions(**options)
    classes = asked.classes
    if classes and name not in ("folder", "csv"):
        raise LoupeError(f"--classes names the classes of your own faces (folder, csv); those of {name} are known.")
    listing = source(name).read(root, classes) if classes else source(name).read(root)
    if not asked.skip_damaged:
        _refuse(out, listing.dropped[listing.dropped["reason"] == DAMAGED_FILM], listing.dropped)
    if listing.table.empty:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in listing.dropped["reason"].value_counts().items())
        raise LoupeError(f"None of the {listing.found} {listing.entry}s listed in {root} can be used: {reasons or 'the list is empty'}.")
    check_manifest(listing.table, f"{source(name).title} in {root}")
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(root, out / "partial", asked.size, asked.align, asked.workers)
    facts = examine(listing.table, plan)
    damaged = facts["reason"] == DAMAGED
    lost = pd.DataFrame({"item": listing.table["path"][damaged], "reason": DAMAGED, "detail": facts["error"][damaged]})
    if not asked.skip_damaged:
        _refuse(out, lost, pd.concat([listing.dropped, lost], ignore_index=True))
    keep, dropped, used = _usable(listing, facts)
    facts = facts.drop(columns=["reason", "error"])
    table = pd.concat([listing.table.drop(columns=[c for c in facts if c in listing.table]), facts], axis=1)[keep].reset_index(drop=True)
    table = table.assign(sample=range(len(table)))
    if table.empty:
        raise LoupeError(f"None of the pictures of {root} can be used: {', '.join(sorted(set(dropped['reason'])))}.")
    copies = across_splits(table)
    found = _findings(listing, table, dropped, copies)
    report = Report(name=name, root=str(root.resolve()), used=used, size=asked.size, partial=asked.partial, aligned=asked.align, **found)
    _write(out, table, plan.squares if asked.size is not None else None, keep, dropped, copies, report)
    return report


def _refuse(out: Path, damaged: pd.DataFrame, dropped: pd.DataFrame) -> None:
    """Where anything is damaged, write all of `dropped` and raise LoupeError."""
    if damaged.empty:
        return
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "dropped.csv", dropped)
    raise LoupeError(
        f"{damaged['detail'].iloc[0].rstrip('.')} ({len(damaged)} such {damaged['reason'].iloc[0].split()[0]}(s), "
        f"all in {out / 'dropped.csv'}; what is done is kept; --skip-damaged imports without them)."
    )


def _usable(listing: Listing, facts: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame, int]:
    """Rows to keep; dropped rows; entries used. A clip without its onset or apex picture, or without a face, goes as a whole."""
    table, reason = listing.table, facts["reason"].to_numpy()
    broken = reason != ""
    if not broken.any():
        return ~broken, listing.dropped, listing.used
    gone = broken.copy()
    parts = [pd.DataFrame({"item": table["path"][broken], "reason": reason[broken], "detail": facts["error"][broken]})]
    used = listing.used - int(broken.sum())
    if listing.entry == "clip":
        key = broken & table["role"].isin(["onset", "apex"]).to_numpy()
        lost = pd.DataFrame({"item": table["clip"][key], "detail": facts["error"][key]})
        lost["reason"] = np.where(reason[key] == DAMAGED, CLIP_DAMAGED, reason[key])
        lost = lost.drop_duplicates("item")
        gone |= table["clip"].isin(lost["item"]).to_numpy()
        parts = [lost]
        spare = broken & ~table["clip"].isin(lost["item"]).to_numpy()
        parts.append(
            pd.DataFrame({"item": table["path"][spare], "reason": reason[spare] + " (its clip is kept)", "detail": facts["error"][spare]})
        )
        used = listing.used - len(lost)
    return ~gone, pd.concat([listing.dropped, *parts], ignore_index=True), used


def _findings(listing: Listing, table: pd.DataFrame, dropped: pd.DataFrame, copies: pd.DataFrame) -> dict[str, Any]:
    """What of a `Report` follows from the tables."""
    entries = table.drop_duplicates("clip") if listing.entry == "clip" else table
    labelled = (table["label"] >= 0).any()
    without = entries.loc[entries["label"] < 0, "label_name"].value_counts() if labelled else {}
    damaged = int(dropped["reason"].isin([DAMAGED, CLIP_DAMAGED]).sum())
    counts = [*listing.counts, Count("damaged pictures", damaged, (0,), source="every picture can be opened")]
    return {
        "release": listing.release,
        "entry": listing.entry,
        "found": listing.found,
        "rows": len(table),
        "reasons": {str(key): int(value) for key, value in dropped["reason"].value_counts().items()},
        "unlabelled": {str(key) or "(no emotion given)": int(value) for key, value in without.items()},
        "counts": counts,
        "mended": [*listing.mended, *_cuts(table)],
        "equal_across_splits": int((copies["kind"] == "equal").sum()),
        "near_across_splits": int((copies["kind"] == "near").sum()),
    }


def _cuts(table: pd.DataFrame) -> list[str]:
    last = table.groupby("clip")["piece"].max() if "piece" in table else pd.Series(dtype=int)
    return [f"{clip}: cut {cuts} time(s); the face after a cut is taken for the same person's" for clip, cuts in last[last > 0].items()]


def _write(
    out: Path, table: pd.DataFrame, squares: Path | None, keep: np.ndarray, dropped: pd.DataFrame, copies: pd.DataFrame, report: Report
) -> None:
    """Write all files, the record last: an import without import.json is not finished. Then the pieces go."""
    for name in ("import.json", "images.npy"):
        (out / name).unlink(missing_ok=True)
    table.to_parquet(out / "manifest.tmp", index=False)
    os.replace(out / "manifest.tmp", out / "manifest.parquet")
    _write_csv(out / "dropped.csv", dropped)
    _write_csv(out / "duplicates.csv", copies)
    if squares is not None:
        os.replace(squares if keep.all() else _kept(squares, keep), out / "images.npy")
    (out / "import.tmp").write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    os.replace(out / "import.tmp", out / "import.json")
    shutil.rmtree(out / "partial")


def _kept(squares: Path, keep: np.ndarray) -> Path:
    """The chosen squares in a file beside, copied piece by piece."""
    rows, kept = np.flatnonzero(keep), squares.with_name("kept.npy")
    shape = np.load(squares, mmap_mode="r").shape
    with kept.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape[1:])})
        for start in range(0, len(rows), PIECE):
            file.write(np.load(squares, mmap_mode="r")[rows[start : start + PIECE]].tobytes())
    return kept


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path.with_suffix(".tmp"), index=False)
    os.replace(path.with_suffix(".tmp"), path)

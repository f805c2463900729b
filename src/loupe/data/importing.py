"""Import an official download: read its annotations, open every picture once, and write manifest, dropped rows and a record of the import.

Pictures are examined in pieces by several threads; a piece that is done is kept under `partial/` in the output folder, so that a killed import
continues. Memory holds the table, one piece of pictures and nothing else, however many there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from loupe.data.imagehash import across_splits, picture_hash
from loupe.data.manifest import check_manifest
from loupe.data.sources.listing import Count, Listing
from loupe.data.sources.pictures import load_picture
from loupe.data.sources.registry import source
from loupe.data.store import write_store
from loupe.errors import LoupeError
from loupe.progress import track

PIECE = 1024
DAMAGED = "picture is missing or damaged"
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

    @property
    def disagreeing(self) -> list[Count]:
        return [count for count in self.counts if not count.agrees]

    @property
    def ok(self) -> bool:
        return self.partial or not self.disagreeing


def import_set(
    name: str,
    root: Path,
    out: Path,
    *,
    size: int | None = None,
    workers: int = 2,
    partial: bool = False,
    skip_damaged: bool = False,
) -> Report:
    """Import the data set `name` from its official download at `root` into `out`, and return the report.

    Writes manifest.parquet (with path below root, sha256, width and height), dropped.csv, duplicates.csv and import.json; with `size` also
    images.npy (pictures cut to their annotated box, where the set has one, then to the central square, and resized to size px). `partial`:
    you hold only a part of the set, so counts that differ are shown but do not fail. `skip_damaged`: drop missing and damaged pictures.

    Raises LoupeError for an unknown set, a missing or misshapen download, a subject in two splits, and, unless `skip_damaged`, for pictures
    that are missing or damaged (dropped.csv then lists them all).
    """
    if size is not None and not 8 <= size <= 1024:
        raise LoupeError(f"--size {size} is not between 8 and 1024 px.")
    if workers < 1:
        raise LoupeError(f"--workers {workers} is not at least 1.")
    listing = source(name).read(root)
    if listing.table.empty:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in listing.dropped["reason"].value_counts().items())
        raise LoupeError(f"None of the {listing.found} {listing.entry}s listed in {root} can be used: {reasons or 'the list is empty'}.")
    check_manifest(listing.table, f"{source(name).title} in {root}")
    out.mkdir(parents=True, exist_ok=True)
    facts, pixels = _examine(listing.table, root, out, size, workers)
    broken = facts["error"] != ""
    dropped = listing.dropped
    if broken.any():
        lost = pd.DataFrame({"item": listing.table["path"][broken], "reason": DAMAGED, "detail": facts["error"][broken]})
        if not skip_damaged:
            _write_csv(out / "dropped.csv", pd.concat([dropped, lost], ignore_index=True))
            raise LoupeError(
                f"{facts['error'][broken].iloc[0].rstrip('.')} ({int(broken.sum())} such picture(s), all in {out / 'dropped.csv'}; "
                "what is done is kept; --skip-damaged imports without them)."
            )
    keep, dropped, used = _without_damage(listing, broken.to_numpy(), dropped)
    table = pd.concat([listing.table, facts.drop(columns="error")], axis=1)[keep].reset_index(drop=True)
    table = table.assign(sample=range(len(table)))
    if table.empty:
        raise LoupeError(f"None of the pictures of {root} can be read: copy the download again.")
    copies = across_splits(table)
    report = _report(name, root, listing, table, dropped, copies, used, size, partial)
    _write(out, table, pixels, keep, dropped, copies, report)
    return report


def _examine(table: pd.DataFrame, root: Path, out: Path, size: int | None, workers: int) -> tuple[pd.DataFrame, np.ndarray | None]:
    """sha, dhash, width, height and error ("" where whole) of every picture; the pixels at `size`, memory-mapped, or None."""
    scratch = out / "partial"
    scratch.mkdir(parents=True, exist_ok=True)
    has_box = "box" in table
    tag = hashlib.sha256("\n".join([str(root.resolve()), str(size), *table["path"]]).encode()).hexdigest()[:16]
    if not (scratch / tag).exists():  # another list, root or size: what lies there is of no use
        shutil.rmtree(scratch)
        scratch.mkdir()
        (scratch / tag).touch()
    pixels = None
    if size is not None:
        shape = (len(table), size, size, 3)
        mode = "r+" if (scratch / "pixels.npy").exists() else "w+"
        pixels = np.lib.format.open_memmap(scratch / "pixels.npy", mode=mode, dtype=np.uint8, shape=shape)
    facts = []
    with ThreadPoolExecutor(workers) as pool:
        for start in track(range(0, len(table), PIECE), "pictures", total=-(-len(table) // PIECE)):
            done = scratch / f"{start:09d}.parquet"
            if done.exists():
                facts.append(pd.read_parquet(done))
                continue
            part = table.iloc[start : start + PIECE]
            boxes = part["box"] if has_box else [()] * len(part)
            results = list(pool.map(lambda pair: _look(root, pair[0], pair[1], size), zip(part["path"], boxes, strict=True)))
            piece = pd.DataFrame([result[0] for result in results], columns=["sha", "dhash", "width", "height", "error"])
            if pixels is not None:
                for row, (_, small) in enumerate(results, start=start):
                    if small is not None:
                        pixels[row] = small
                pixels.flush()
            if not (piece["error"] != "").any():  # damaged pictures are looked at again next time: they may have been mended
                piece.to_parquet(scratch / "piece.tmp", index=False)
                os.replace(scratch / "piece.tmp", done)
            facts.append(piece)
    return pd.concat(facts, ignore_index=True), pixels


def _look(root: Path, path: str, box: object, size: int | None) -> tuple[tuple[str, str, int, int, str], np.ndarray | None]:
    try:
        data, pixels = load_picture(root, path)
    except LoupeError as error:
        return ("", "", 0, 0, str(error)), None
    height, width = pixels.shape[:2]
    small = None if size is None else square(pixels, box, size)
    return (hashlib.sha256(data).hexdigest(), f"{picture_hash(pixels):016x}", width, height, ""), small


def square(pixels: np.ndarray, box: object, size: int) -> np.ndarray:
    """Cut a picture, uint8 (H, W, 3), to its box (x, y, width, height in px; empty for the whole), then to the central square; (size, size, 3)."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if box is not None and len(box) == 4:
        x, y, w, h = (float(value) for value in box)
        clipped = max(x, 0.0), max(y, 0.0), min(x + w, right), min(y + h, bottom)
        if clipped[2] - clipped[0] >= 1 and clipped[3] - clipped[1] >= 1:
            left, top, right, bottom = clipped
    side = min(right - left, bottom - top)
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side), reducing_gap=3.0)
    return np.asarray(picture)


def _without_damage(listing: Listing, broken: np.ndarray, dropped: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame, int]:
    """Rows to keep; dropped rows; entries used. A clip without its onset or apex picture goes as a whole."""
    table = listing.table
    if not broken.any():
        return ~broken, dropped, listing.used
    gone = broken.copy()
    reasons = [pd.DataFrame({"item": table["path"][broken], "reason": DAMAGED, "detail": table["clip"][broken]})]
    used = listing.used - int(broken.sum())
    if listing.entry == "clip":
        lost = table["clip"][broken & table["role"].isin(["onset", "apex"]).to_numpy()].unique()
        gone |= table["clip"].isin(lost).to_numpy()
        reasons = [pd.DataFrame({"item": lost, "reason": CLIP_DAMAGED, "detail": ""})]
        spare = broken & ~table["clip"].isin(lost).to_numpy()
        reasons.append(
            pd.DataFrame({"item": table["path"][spare], "reason": f"{DAMAGED} (its clip is kept)", "detail": table["clip"][spare]})
        )
        used = listing.used - len(lost)
    return ~gone, pd.concat([dropped, *reasons], ignore_index=True), used


def _report(
    name: str,
    root: Path,
    listing: Listing,
    table: pd.DataFrame,
    dropped: pd.DataFrame,
    copies: pd.DataFrame,
    used: int,
    size: int | None,
    partial: bool,
) -> Report:
    entries = table.drop_duplicates("clip") if listing.entry == "clip" else table
    labelled = (table["label"] >= 0).any()
    without = entries.loc[entries["label"] < 0, "label_name"].value_counts() if labelled else {}
    damaged = int(dropped["reason"].isin([DAMAGED, CLIP_DAMAGED]).sum())
    counts = [*listing.counts, Count("damaged pictures", damaged, (0,), source="every picture can be opened")]
    return Report(
        name=name,
        root=str(root.resolve()),
        release=listing.release,
        entry=listing.entry,
        found=listing.found,
        used=used,
        rows=len(table),
        reasons={str(key): int(value) for key, value in dropped["reason"].value_counts().items()},
        unlabelled={str(key) or "(no emotion given)": int(value) for key, value in without.items()},
        counts=counts,
        mended=list(listing.mended),
        equal_across_splits=int((copies["kind"] == "equal").sum()),
        near_across_splits=int((copies["kind"] == "near").sum()),
        size=size,
        partial=partial,
    )


def _write(
    out: Path, table: pd.DataFrame, pixels: np.ndarray | None, keep: np.ndarray, dropped: pd.DataFrame, copies: pd.DataFrame, report: Report
) -> None:
    """Write all files, the record last: an import without import.json is not finished. Then the pieces go."""
    for name in ("import.json", "images.npy"):
        (out / name).unlink(missing_ok=True)
    if pixels is not None:
        write_store(out, pixels if keep.all() else _kept(pixels, keep, out / "partial" / "kept.npy"), table)
    table.to_parquet(out / "manifest.tmp", index=False)  # with path, sha and the set's own columns, which the store leaves out
    os.replace(out / "manifest.tmp", out / "manifest.parquet")
    _write_csv(out / "dropped.csv", dropped)
    _write_csv(out / "duplicates.csv", copies)
    (out / "import.tmp").write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    os.replace(out / "import.tmp", out / "import.json")
    shutil.rmtree(out / "partial")


def _kept(pixels: np.ndarray, keep: np.ndarray, path: Path) -> np.ndarray:
    """The chosen rows of a memory map as another one, copied piece by piece."""
    rows = np.flatnonzero(keep)
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), *pixels.shape[1:]))
    for start in range(0, len(rows), PIECE):
        kept[start : start + PIECE] = pixels[rows[start : start + PIECE]]
    return kept


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path.with_suffix(".tmp"), index=False)
    os.replace(path.with_suffix(".tmp"), path)

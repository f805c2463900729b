"""Check an import again, and print what was found, used and dropped beside the official counts."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.examining import PIECE
from loupe.data.importing import Report
from loupe.data.manifest import read_manifest
from loupe.data.sources.listing import Count
from loupe.data.sources.pictures import load_picture
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.progress import track


def check_set(out: Path, *, workers: int = 2) -> Report:
    """Verify an imported set: schema, splits, files beside the manifest, and every picture against its checksum. Returns its report.

    Raises LoupeError naming the first thing that is wrong.
    """
    report = read_report(out)
    manifest = read_manifest(out / "manifest.parquet")
    if report.size is not None:
        read_store(out)
    for column in ("path", "sha"):
        if column not in manifest:
            raise LoupeError(f"{out / 'manifest.parquet'} lacks the column {column}: import the set again.")
    if len(manifest) != report.rows:
        raise LoupeError(f"{out / 'manifest.parquet'} has {len(manifest)} rows, but {report.rows} were imported: import the set again.")
    dropped = _csv(out / "dropped.csv")
    if len(dropped) != sum(report.reasons.values()):
        raise LoupeError(f"{out / 'dropped.csv'} has {len(dropped)} rows, but {sum(report.reasons.values())} were written: import again.")
    _csv(out / "duplicates.csv")
    changed = _changed(manifest, Path(report.root), workers)
    if changed:
        raise LoupeError(f"{changed[0].rstrip('.')} ({len(changed)} such picture(s)): restore the download or import the set again.")
    return report


def read_report(out: Path) -> Report:
    """The record that the import left; raises LoupeError where it is absent or damaged."""
    path = out / "import.json"
    if not path.is_file():
        raise LoupeError(f"{path} is missing: the import has not been finished; run `loupe data import` (again).")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        counts = [Count(**{**count, "official": tuple(count["official"])}) for count in fields.pop("counts")]
        return Report(counts=counts, **fields)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise LoupeError(f"{path} is damaged ({type(error).__name__}): import the set again.") from error


def describe(report: Report) -> str:
    """The table that import and check end with."""
    lines = [
        f"{report.name}: {report.release}",
        f"  {report.entry}s found {report.found:,}, used {report.used:,} ({report.rows:,} pictures)",
    ]
    lines += [f"  dropped {number:>9,}  {reason}" for reason, number in report.reasons.items()]
    lines += [f"  without a class {number:,}: {name}" for name, number in report.unlabelled.items()]
    lines += [f"  mended: {sentence}" for sentence in report.mended]
    if report.equal_across_splits or report.near_across_splits:
        equal, near = report.equal_across_splits, report.near_across_splits
        lines.append(f"  WARNING: {equal:,} equal and {near:,} nearly equal pairs of pictures in different splits: see duplicates.csv")
    width = max(len(count.name) for count in report.counts)
    lines.append(f"  {'count':<{width}}  {'found':>9}  {'official':>19}")
    for count in report.counts:
        official = " or ".join(f"{value:,}" for value in count.official) or "-"
        verdict = "" if not count.official else "ok" if count.agrees else "DIFFERS"
        lines.append(f"  {count.name:<{width}}  {count.found:>9,}  {official:>19}  {verdict:<7}  {count.source}".rstrip())
    if report.disagreeing:
        end = "shown only, since you hold a part of the set" if report.partial else "see data/README.md for what may be missing"
        lines.append(f"  {len(report.disagreeing)} count(s) differ: {end}")
    return "\n".join(lines)


def _changed(manifest: pd.DataFrame, root: Path, workers: int) -> list[str]:
    """Sentences about pictures that are missing, unreadable or not what was imported."""
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for start in track(range(0, len(manifest), PIECE), "pictures", total=-(-len(manifest) // PIECE)):
            part = manifest.iloc[start : start + PIECE]
            found += [
                sentence
                for sentence in pool.map(lambda pair: _verify(root, *pair), zip(part["path"], part["sha"], strict=True))
                if sentence
            ]
    return found


def _verify(root: Path, path: str, sha: str) -> str:
    try:
        data, pixels = load_picture(root, path)
    except LoupeError as error:
        return str(error)
    if hashlib.sha256(data).hexdigest() != sha or not np.size(pixels):
        return f"{root / path} is not the picture that was imported"
    return ""


def _csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise LoupeError(f"{path} is missing: import the set again.")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise LoupeError(f"{path} cannot be read ({type(error).__name__}): import the set again.") from error

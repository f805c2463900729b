"""Scratch area of one stage: what is finished stays finished when the process dies.

DVC deletes a stage's outputs before it runs the stage, so partial work lives here and moves to the output when whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from loupe.errors import LoupeError

_PUBLISHED = "published"


class Bench:
    """Folder with finished `cells/`, `checkpoints/` and `out/` (what will be published). One process at a time holds it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.out = folder / "out"
        for name in ("cells", "checkpoints", "out"):
            _guard(folder, lambda name=name: (folder / name).mkdir(parents=True, exist_ok=True))
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process works on {folder.name}: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        (folder / _PUBLISHED).unlink(missing_ok=True)
        self.out.mkdir(exist_ok=True)  # published a moment ago, by another process or by a run that DVC did not record

    def cell(self, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The finished table `name`, computed once. A kill before it is whole leaves nothing behind."""
        path = self.cell_path(name)
        if not path.exists():
            write_parquet(compute(), path)
        return pd.read_parquet(path)

    def cell_path(self, name: str) -> Path:
        return self.folder / "cells" / f"{name}.parquet"

    def cells(self) -> pd.DataFrame:
        """All finished cells, in the order of their names."""
        return pd.concat([pd.read_parquet(path) for path in sorted((self.folder / "cells").glob("*.parquet"))], ignore_index=True)

    def checkpoint(self, name: str) -> Path:
        """Folder for the checkpoints of the run `name`."""
        return self.folder / "checkpoints" / name

    def write(self, name: str, table: pd.DataFrame) -> None:
        """Write a table that will be published under `name`."""
        write_parquet(table, self.out / name)

    def publish(self, destination: Path) -> None:
        """Move `out/` to `destination` in one step (nothing, where nothing was written).

        Cells and checkpoints stay, marked as published, until `clear_published`: DVC records a stage only after it, and a kill between the
        two must cost seconds, not the stage.
        """
        if any(self.out.iterdir()):
            destination.parent.mkdir(parents=True, exist_ok=True)
            if destination.exists():
                shutil.rmtree(destination)
            os.replace(self.out, destination)
        (self.folder / _PUBLISHED).touch()
        self._lock.close()


def clear_published(scratch: Path, lock: Path, stage: str) -> None:
    """Remove published areas under `scratch` that are no longer needed.

    DVC runs stages one after another, so when `stage` starts, all others are recorded; its own is recorded once `lock` (dvc.lock) is younger
    than the mark, and then a forced run must start afresh.
    """
    for mark in scratch.glob(f"*/{_PUBLISHED}"):
        own = re.fullmatch(rf"{re.escape(stage)}-[0-9a-f]{{12}}", mark.parent.name)
        recorded = lock.exists() and lock.stat().st_mtime_ns > mark.stat().st_mtime_ns
        if not own or recorded:
            shutil.rmtree(mark.parent, ignore_errors=True)


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write atomically: a reader sees the whole file or none. Raises LoupeError naming the folder when the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")

    def write() -> None:
        table.to_parquet(temporary, index=False)
        os.replace(temporary, path)

    _guard(path.parent, write)


def _guard(folder: Path, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LoupeError(
                f"No space left on the disk while writing to {folder}: free some space and run the same command again; what is finished is kept."
            ) from error
        if isinstance(error, PermissionError):
            raise LoupeError(f"{folder} is not writable: change its permissions and run the same command again.") from error
        raise

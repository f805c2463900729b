"""One process at a time makes a folder."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from loupe.errors import LoupeError

_PATIENCE = 600.0  # seconds for which another process is waited for


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which ends with its process; another process that holds it is waited for. Where the file system knows no
    locks, go on without one and say so. Raises LoupeError after ten minutes of waiting."""
    path = folder.with_name(f"{folder.name}.lock")
    lock = _locked(path)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _locked(path: Path) -> IO[str]:
    patience = time.monotonic() + _PATIENCE
    told = False
    while True:
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):  # not one that its last holder has just removed
                return lock
        except BlockingIOError:
            holder, name = path.read_text(encoding="utf-8").strip() or "unknown", path.stem
            if time.monotonic() > patience:
                raise LoupeError(
                    f"Process {holder} is still making {name}: wait for it, or end it with `kill {holder}`, then run this again."
                ) from None
            if not told:
                print(f"process {holder} is making {name}: waiting for it (`kill {holder}` ends it)", file=sys.stderr, flush=True)
            told = True
            time.sleep(0.5)
        except OSError as error:
            _tell_of_no_locks(path.parent, error.strerror)
            return lock
        lock.close()


@cache
def _tell_of_no_locks(folder: Path, reason: str) -> None:
    """Once a process."""
    print(f"{folder} lies on a file system without locks ({reason}): start no second run beside this one.", file=sys.stderr)

"""One study in a folder at a time, and a clean start after a kill."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import yaml


class OneStudy:
    """One study a folder at a time, and a clean start after a kill: what a killed DVC left half-written is set right."""

    def __init__(self, home: Path):
        self.tmp = home / ".dvc" / "tmp"
        self.lock_file = home / "dvc.lock"
        self.owner = self.tmp / "study.pid"

    def __enter__(self) -> None:
        self.tmp.mkdir(parents=True, exist_ok=True)
        running = self._running()
        if running:
            sys.exit(f"The study already runs here (process {running}): wait for it, or end it with `kill {running}` and start again.")
        self.owner.write_text(f"{os.getpid()} {psutil.Process().create_time()}", encoding="utf-8")
        self._restore_locks()

    def __exit__(self, *_: object) -> None:
        self.owner.unlink(missing_ok=True)

    def _running(self) -> int | None:
        try:
            pid, created = self.owner.read_text(encoding="utf-8").split()
            return int(pid) if abs(psutil.Process(int(pid)).create_time() - float(created)) < 1 else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _restore_locks(self) -> None:
        rwlock = self.tmp / "rwlock"
        if rwlock.is_file():
            # The DVC of a study that was killed a moment ago needs a second to notice. After that, DVC itself speaks of owners that run.
            # Dead ones are cleared here: DVC believes them alive when another process got their number (always so in a restarted
            # container).
            psutil.wait_procs([psutil.Process(pid) for pid in owners(rwlock) if dvc_runs(pid)], timeout=15)
            if not any(dvc_runs(pid) for pid in owners(rwlock)):
                rwlock.unlink()
        if self.lock_file.is_file() and not is_whole(self.lock_file):
            if b"<<<<<<< " in self.lock_file.read_bytes():
                sys.exit(
                    f"{self.lock_file} holds the marks of a merge: finish it (`git checkout --theirs dvc.lock`, or --ours) and start again."
                )
            kept = shutil.move(self.lock_file, self.tmp / f"dvc.lock-{time.time_ns()}")
            print(
                f"dvc.lock was cut short: it is kept as {kept}. What it said of finished stages stands in DVC's run cache, too.", flush=True
            )


def is_whole(lock_file: Path) -> bool:
    """Whether DVC would accept its lock file. DVC writes it in place, so a kill can cut it short."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock_file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        return False
    return True


def owners(rwlock: Path) -> Iterable[int]:
    """Process numbers in DVC's lock file; none when a kill cut it short."""
    try:
        found = json.loads(rwlock.read_text(encoding="utf-8"))
        held = [*found.get("write", {}).values(), *(reader for readers in found.get("read", {}).values() for reader in readers)]
        return {int(entry["pid"]) for entry in held}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def dvc_runs(pid: int) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False

"""Watching processes in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that work in `folder` (kernels and their workers keep the runner's directory)."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def command_of(process: psutil.Process) -> list[str]:
    """Its words; none where it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []

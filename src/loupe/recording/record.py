"""The record of a run: what ran, on what, how fast, in how much memory, and the loss of every step.

Written to `data/logs/runs/<stage>/<run>/` as `run.json` and `steps.jsonl`, by the loop itself, wherever a session is open. All of this
differs between equal runs, so none of it may reach an output that DVC hashes.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loupe.checkout import commit_that_runs
from loupe.config import Config
from loupe.machine import device_name

if TYPE_CHECKING:
    from accelerate import Accelerator

    from loupe.training.loop import Recipe

_PACKAGES = ("loupe", "torch", "timm", "accelerate", "numpy", "safetensors")
_SECONDS_PER_WRITE = 5.0


@dataclass(frozen=True)
class Place:
    """Where the runs of one stage are recorded, and the settings they share. Goes to worker processes as it is."""

    root: Path
    stage: str
    config: Config

    @property
    def folder(self) -> Path:
        return self.root / "data" / "logs" / "runs" / self.stage

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What all runs in this place share; asked once a process."""
        commit, dirty = commit_that_runs(self.root)
        return {"commit": commit, "dirty": dirty, "versions": versions(), "config": asdict(self.config)}


_place: Place | None = None


def record_in(place: Place | None) -> None:
    """From here on the runs of this process are recorded in `place`; None: they are not."""
    global _place
    _place = place


def recording_place() -> Place | None:
    return _place


class RunRecord:
    """One run. A run that continues after a kill goes on in the same folder: each process that worked on it is a leg."""

    def __init__(self, folder: Path | None, facts: dict[str, Any], device: torch.device):
        self.folder, self.facts, self.device = folder, facts, device
        self._lines: list[str] = []
        self._written = self._began = time.monotonic()

    @classmethod
    def none(cls) -> RunRecord:
        """A record that is not kept: no session is open, or another process keeps it."""
        return cls(None, {}, torch.device("cpu"))

    @classmethod
    def open(cls, checkpoints: Path, label: str, recipe: Recipe, first: int, accelerator: Accelerator) -> RunRecord:
        """The record of the run that keeps its checkpoints in `checkpoints`, continued where `first`, its next step, is above 0."""
        if _place is None:
            return cls.none()
        pointer = checkpoints / "record"
        known = _place.folder / pointer.read_text(encoding="utf-8") if first and pointer.exists() else None
        if known is not None and (known / "run.json").exists():
            folder, legs = known, json.loads((known / "run.json").read_text(encoding="utf-8"))["legs"]
            _cut(folder / "steps.jsonl", first)
        else:
            folder, legs = _new_folder(_place.folder, checkpoints.name), []
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.write_text(folder.name, encoding="utf-8")
        legs.append({"started": _now(), "host": platform.node(), "pid": os.getpid(), "first_step": first, "steps": 0, "seconds": 0.0})
        device = accelerator.device
        facts = {
            "stage": _place.stage,
            "run": folder.name,
            "label": label,
            "status": "running",
            "seed": recipe.seed,
            "steps": len(recipe.lr),
            "batch": recipe.batch,
            "precision": recipe.precision,
            "processes": accelerator.num_processes,
            "device": device_name(device),
            "threads": torch.get_num_threads(),
            **_place.facts,
            "legs": legs,
        }
        record = cls(folder, facts, device)
        record.write()
        return record

    def add(self, entries: list[dict[str, float]]) -> None:
        """Steps that are done: {"step", "loss", name: value}."""
        if self.folder is None or not entries:
            return
        self._lines += [json.dumps(entry) for entry in entries]
        leg = self.facts["legs"][-1]
        leg["steps"] = int(entries[-1]["step"]) + 1 - leg["first_step"]
        self.facts["last_loss"] = entries[-1]["loss"]
        if time.monotonic() - self._written > _SECONDS_PER_WRITE:
            self.write()

    def write(self) -> None:
        """Bring the files up to date."""
        if self.folder is None:
            return
        self._written = time.monotonic()
        leg = self.facts["legs"][-1]
        leg["seconds"] = round(self._written - self._began, 3)
        leg["peak_memory_mb"] = _peak_memory_mb(self.device)
        self.facts |= summary(self.facts)
        if self._lines:
            with (self.folder / "steps.jsonl").open("a", encoding="utf-8") as file:
                file.write("\n".join(self._lines) + "\n")
            self._lines = []
        temporary = self.folder / "run.tmp"
        temporary.write_text(json.dumps(self.facts, indent=1), encoding="utf-8")
        os.replace(temporary, self.folder / "run.json")

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.folder is None:
            return
        self.facts["status"] = "finished" if kind is None else "stopped" if kind in (SystemExit, KeyboardInterrupt) else "failed"
        if self.facts["status"] == "failed":
            self.facts["error"] = str(error)
        self.facts["legs"][-1]["ended"] = _now()
        self.write()


def summary(facts: dict[str, Any]) -> dict[str, float | None]:
    """Seconds, speed and memory of a run over all its legs."""
    legs = facts["legs"]
    steps, seconds = sum(leg["steps"] for leg in legs), sum(leg["seconds"] for leg in legs)
    return {
        "seconds": round(seconds, 3),
        "images_per_second": round(steps * facts["batch"] / seconds, 2) if steps and seconds else None,
        "peak_memory_mb": max((leg["peak_memory_mb"] for leg in legs if leg.get("peak_memory_mb")), default=None),
    }


def _new_folder(parent: Path, name: str) -> Path:
    """An empty folder `<name>-<time>`; where two runs of one name start in one second, a number follows."""
    stamp = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1000):
        folder = parent / (stamp if not number else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{parent / stamp} and 999 more")


def _cut(path: Path, first: int) -> None:
    """Drop what was logged after the checkpoint from which the run goes on, and a line that a kill left unfinished."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] < first:
                kept.append(line)
        except ValueError:
            break
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    os.replace(temporary, path)


def versions() -> dict[str, str | None]:
    """Of Python, the platform and the packages that train; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found["cuda"] = torch.version.cuda
    return found


def _peak_memory_mb(device: torch.device) -> int:
    """Most memory that torch held on a GPU; else most memory of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")

"""Where the results come from: versions, machine, commit, scale, minutes. Nothing of it ever enters a hashed output."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import loupe
from loupe.checkout import commit_of
from loupe.errors import LoupeError
from loupe.machine import processor_name

PACKAGES = (
    "loupe",
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "timm",
    "numba",
    "matplotlib",
    "dvc",
    "papermill",
    "hydra-core",
)

_NOTES = Path("data/logs/made.jsonl")


def collect(root: Path) -> dict[str, Any]:
    """Facts about the checkout at `root` and this machine; what cannot be found out is None.

    Keys: python, packages {name: version}, platform, cpu, cores, memory_gb, gpu, commit, dirty, scale, data, seeds, changed (see
    `changed`), stages (the last finished run of each: see `stage_log`), minutes (their sum).
    """
    settings = _yaml(root / "conf" / "study.yaml")
    scale = settings.get("scale")
    stages = stage_log(root)
    commit, dirty = commit_of(root)
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": processor_name() or None,
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu(),
        "commit": commit,
        "dirty": dirty,
        "scale": scale,
        "data": settings.get("data"),
        "seeds": _yaml(root / "conf" / "scale" / f"{scale}.yaml").get("seeds"),
        "changed": changed(root),
        "stages": stages,
        "minutes": round(sum(entry["seconds"] for entry in stages) / 60, 1) if stages else None,
    }


def write(root: Path) -> Path:
    """Write `reports/provenance.json`."""
    path = root / "reports" / "provenance.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(collect(root), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def changed(root: Path) -> list[str]:
    """A sentence for each result below `reports/` that is not what its stage wrote by `dvc.lock`; one that is missing is not among them."""
    stages = _yaml(root / "dvc.lock").get("stages") or {}
    outs = [(stage, root / out["path"], out.get("md5")) for stage, entry in stages.items() for out in entry.get("outs", [])]
    return [
        f"{path.relative_to(root).as_posix()} is not what stage {stage} wrote: it was changed since, by hand or by an unfinished run, "
        f"and differs from dvc.lock. `dvc repro {stage}` makes it again."
        for stage, path, noted in outs
        if path.is_relative_to(root / "reports") and noted and path.exists() and _dvc_hash(path) != noted
    ]


def _dvc_hash(path: Path) -> str:
    """The MD5 that DVC notes of a file, or of a folder: of the JSON list of its files' MD5s and names."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    names = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    seen = {
        name: file for name, file in names.items() if not any(part.startswith(".") for part in name.split("/"))
    }  # editors', systems' own
    listed = json.dumps([{"md5": _dvc_hash(file), "relpath": name} for name, file in sorted(seen.items())])
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest() + ".dir"


def stage_log(root: Path) -> list[dict[str, Any]]:
    """The last run of each stage from `data/logs`, in the order in which they ended; a torn last line is left out.

    Keys: stage, scale, seconds, peak_mb (MB, of the notebook's own process without its workers), finished, device (`cpu` where that is the
    setting; else the one on which the stage trained by its run records; else the setting) and, where the runner noted them after this run,
    commit, dirty, made (see `note`).

    Raises LoupeError where a line in the middle is damaged.
    """
    notes = {note["stage"]: note for note in _lines(root / _NOTES, stage=str, noted=datetime.fromisoformat)}
    last: dict[str, dict[str, Any]] = {}
    for entry in _lines(root / "data" / "logs" / "stages.jsonl", stage=str, seconds=float):
        last.pop(entry["stage"], None)
        last[entry["stage"]] = entry
    for stage, entry in last.items():
        if entry.get("device") != "cpu" and (device := _trained_on(root, stage)):  # which processor, the machine's own row says
            entry["device"] = device
        elif entry.get("device") == "auto":
            entry["device"] = "no training recorded"
        note = notes.get(stage)
        # A run whose runner was killed before its note must not get that of the run before.
        if note and "finished" in entry and note["noted"] >= datetime.fromisoformat(entry["finished"]):
            entry |= {name: note[name] for name in ("commit", "dirty", "made")}
    return list(last.values())


def note(root: Path, stage: str, commit: str | None, dirty: bool | None) -> None:
    """Note, after `stage` has ended well, the commit that it ran from and the SHA-256 of the figures and tables it left.

    The hashes tell results of this run from those that a later `git pull` or `dvc checkout` puts in their place. Into `data/logs`, never
    into an output that DVC hashes.
    """
    folders = [f"reports/{kind}/{stage}" for kind in ("figures", "tables")]
    made = {folder: digest(root / folder) for folder in folders if (root / folder).is_dir()}
    line = {"stage": stage, "commit": commit, "dirty": dirty, "made": made, "noted": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    path = root / _NOTES
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def digest(folder: Path) -> str:
    """SHA-256 over names and contents of all files below `folder`."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _lines(path: Path, **kinds: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """The records of a log, one a line, with these keys turned into these types. A torn last line is left out, other damage is a
    LoupeError."""
    if not path.exists():
        return []
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            found.append(entry | {key: kind(entry[key]) for key, kind in kinds.items()})
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # a kill while the line was written
            raise LoupeError(f"{path}, line {number}, is not a stage record ({error}): delete the line.") from error
    return found


def _trained_on(root: Path, stage: str) -> str | None:
    """The device of the stage's youngest recorded training; None where none is recorded (or its record is damaged)."""
    started: dict[str, str] = {}
    for path in (root / "data" / "logs" / "runs" / stage).glob("*/run.json"):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            count = facts["processes"]
            started[facts["legs"][-1]["started"]] = facts["device"] if count == 1 else f"{count} x {facts['device']}"
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            continue
    return started[max(started)] if started else None


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _version(name: str) -> str | None:
    if name == "loupe":
        return loupe.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _gpu() -> str | None:
    """Name of the first GPU if torch is loaded or can be; never starts CUDA in a process that has not imported torch."""
    if "torch" not in sys.modules:
        return None
    torch = sys.modules["torch"]
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None

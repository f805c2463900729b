"""Where the results come from: versions, machine, commit, scale, minutes. Nothing of it ever enters a hashed output."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import loupe
from loupe.errors import LoupeError

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


def collect(root: Path) -> dict[str, Any]:
    """Facts about the checkout at `root` and this machine; what cannot be found out is None.

    Keys: python, packages {name: version}, platform, cpu, cores, memory_gb, gpu, commit, dirty, scale, data, seeds, stages (the last
    finished run of each: stage, scale, seconds, peak_mb, device, finished), minutes (their sum).
    """
    settings = _yaml(root / "conf" / "study.yaml")
    scale = settings.get("scale")
    stages = stage_log(root)
    commit, dirty = commit_of(root)
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu(),
        "commit": commit,
        "dirty": dirty,
        "scale": scale,
        "data": settings.get("data"),
        "seeds": _yaml(root / "conf" / "scale" / f"{scale}.yaml").get("seeds"),
        "stages": stages,
        "minutes": round(sum(entry["seconds"] for entry in stages) / 60, 1) if stages else None,
    }


def write(root: Path) -> Path:
    """Write `reports/provenance.json`."""
    path = root / "reports" / "provenance.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(collect(root), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def stage_log(root: Path) -> list[dict[str, Any]]:
    """The last line of each stage in `data/logs/stages.jsonl`, in the order in which they ended; a torn last line is left out.

    Raises LoupeError where a line in the middle is damaged.
    """
    path = root / "data" / "logs" / "stages.jsonl"
    if not path.exists():
        return []
    last: dict[str, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entry["seconds"] = float(entry["seconds"])
            stage = entry["stage"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # a kill while the line was written
            raise LoupeError(f"{path}, line {number}, is not a stage record ({error}): delete the line.") from error
        last.pop(stage, None)
        last[stage] = entry
    return list(last.values())


def commit_of(root: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout at `root` and whether tracked files differ from it; (None, None) without git or history.

    A scratch copy (`.scratch/<scale>` inside a checkout) speaks of that checkout; a ZIP unpacked inside somebody else's repository does not.
    """
    home = _checkout(root)
    commit = home and _git(home, "rev-parse", "HEAD")
    if not home or not commit:
        return None, None
    changed = _git(home, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changed is None else bool(changed)


def committed_in(root: Path, path: Path) -> str | None:
    """The commit that holds `path` (file or folder below `root`) as it stands now; None where it differs from what is committed."""
    if _checkout(root) != root.resolve():
        return None
    if _git(root, "status", "--porcelain", "--", str(path)) != "":
        return None
    return _git(root, "log", "-1", "--format=%H", "--", str(path)) or None


def _checkout(root: Path) -> Path | None:
    found = _git(root, "rev-parse", "--show-toplevel")
    if not found:
        return None
    top, here = Path(found).resolve(), root.resolve()
    return top if here == top or here.is_relative_to(top / ".scratch") else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


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


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None


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

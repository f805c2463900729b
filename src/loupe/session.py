"""One call at the top of each notebook: settings, folders, device, and a scratch area that survives a kill.

Under the runner (`LOUPE_BATCH=1`) a stage writes its DVC outputs. In JupyterLab the same notebook reads the same inputs but writes to
`data/scratch/student/<stage>`, so that running or saving a student's notebook never makes a stage stale.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loupe.bench import Bench, clear_published
from loupe.config import Config, find_root, load
from loupe.errors import LoupeError
from loupe.recording.record import Place, record_in
from loupe.training.device import prepare_torch

_HASHED_CODE = ("loupe.faces", "loupe.data", "loupe.models", "loupe.training")


class Session:
    """Settings and folders of one stage. `inputs` are folders or files of earlier stages; one that is missing is named in the error."""

    def __init__(self, stage: str, config: Config, root: Path, inputs: Sequence[str]):
        self.stage, self.config, self.root = stage, config, root
        self.batch = os.environ.get("LOUPE_BATCH") == "1"
        home = root if self.batch else root / "data" / "scratch" / "student" / stage
        self.figures = home / "reports" / "figures" / stage
        self.tables = home / "reports" / "tables" / stage
        self.runs = home / "data" / "runs" / stage
        self.prepared_out = home / "data" / "prepared"
        self.reports = home / "reports"
        self._started = time.time()
        for name in inputs:
            if not (root / name).exists():
                raise LoupeError(
                    f"{name} is missing, and stage {stage} reads it: run `dvc repro {stage}` (it makes what comes before, too)."
                )
        self._key = _hash_of_inputs(config, root, inputs)
        self._bench: Bench | None = None

    @property
    def bench(self) -> Bench:
        """The stage's scratch area: finished cells and checkpoints, keyed by the hash of settings, code and inputs."""
        if self._bench is None:
            owner = self.stage if self.batch else f"student-{self.stage}"
            scratch = self.root / "data" / "scratch"
            clear_published(scratch, self.root / "dvc.lock", owner)
            self._bench = Bench(scratch / f"{owner}-{self._key}")
        return self._bench

    def prepared(self, name: str) -> Path:
        """Folder of a prepared set (`stills`, `labelled`, `clips`, `micro`, `macro`)."""
        return self.root / "data" / "prepared" / name

    def output_of(self, stage: str) -> Path:
        """Folder in which an earlier stage left its weights and predictions."""
        return self.root / "data" / "runs" / stage

    def finish(self) -> None:
        """Publish what the stage made and log its time. Times go to data/logs, never into a hashed output."""
        if self._bench is not None:
            self._bench.publish(self.runs)
            self._bench = None
        if not self.batch:
            return
        logs = self.root / "data" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        entry = {
            "stage": self.stage,
            "scale": self.config.scale.name,
            "seconds": round(time.time() - self._started, 1),
            "peak_mb": round(peak),
            "device": self.config.scale.device,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        with (logs / "stages.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        gc.freeze()  # the kernel ends now: the interpreter need not search all that was imported for cycles again (1.5 s a notebook)


def start(stage: str, overrides: Sequence[str] = (), inputs: Sequence[str] = ()) -> Session:
    """Change to the project's root, compose the settings and open the stage. Safe to call again when a cell is rerun.

    Raises LoupeError with one sentence for bad settings or a missing input.
    """
    root = find_root()
    os.chdir(root)
    session = Session(stage, load(list(overrides), root), root, inputs)
    prepare_torch(session.config.scale.threads)
    record_in(Place(root, stage if session.batch else f"student-{stage}", session.config))
    for folder in (session.figures, session.tables):
        if session.batch and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    return session


def _hash_of_inputs(config: Config, root: Path, inputs: Sequence[str]) -> str:
    """Short hash of settings, input bytes and the imported code that trains: partial work is reused only for exactly the same work."""
    digest = hashlib.sha256()
    settings = asdict(config)
    settings.pop("overrides")
    digest.update(json.dumps(settings, sort_keys=True).encode())
    paths = sorted(Path(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(_HASHED_CODE) and module.__file__)
    for name in inputs:
        path = root / name
        paths += [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]

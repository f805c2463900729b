"""One call at the top of each notebook: settings, inputs, device, and the shelf of finished steps.

Under the runner (`LOUPE_BATCH=1`) a stage writes its DVC outputs. In JupyterLab the same notebook reads the same finished steps; what an
experiment there computes anew stays in `data/scratch`, and nothing is written to `data/runs` or `reports`: running or saving a student's
notebook makes no stage stale.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import Config, find_root, load
from loupe.errors import LoupeError
from loupe.evaluation.guards import Vault
from loupe.recording.record import Place, record_in
from loupe.reporting import tables
from loupe.reporting.drawing import Drawing, save
from loupe.steps import KEY, Shelf, Step, full_disk_told
from loupe.study import Study
from loupe.training.device import prepare_torch, resolve_device, workers_on
from loupe.training.jobs import Workers


class Session(Study):
    """Settings, inputs and outputs of one stage. `inputs`: folders or files of earlier stages; one that is missing is named in the
    error."""

    def __init__(self, stage: str, config: Config, root: Path, inputs: Sequence[str] = ()):
        super().__init__(root)
        self.stage, self.config = stage, config
        self.batch = os.environ.get("LOUPE_BATCH") == "1"
        for name in inputs:
            if not (root / name).exists():
                raise LoupeError(
                    f"{name} is missing, and stage {stage} reads it: run `dvc repro {stage}` (it makes what comes before, too)."
                )
        scratch = root / "data" / "scratch"
        home = root / "data" if stage == "data" else root / "data" / "runs" / stage  # the step of stage data is the folder data/prepared
        self.shelf = Shelf(home, scratch / "steps", publish=self.batch)
        self.out = root / "data" / "runs" / stage if self.batch else scratch / "notebook" / stage
        self.figures, self.tables = (root / "reports" / kind / stage for kind in ("figures", "tables"))
        self._steps: dict[str, Path] = {}
        self._written: set[str] = set()
        self._started = time.time()

    @property
    def scratch(self) -> Path:
        """Folder of helpers that are made again in seconds (`loupe.training.stills.with_view`)."""
        return self.root / "data" / "scratch" / "views"

    @property
    def device(self):
        return resolve_device(self.config.scale.device)

    @property
    def vault(self) -> Vault:
        """Where the stage takes its test rows from; every opening is written down."""
        return Vault(self.stage, self.root / "data" / "logs" / "vault.jsonl")

    def make(self, step: Step) -> Path:
        """The folder of a finished step, made in this process where it is not there yet (`loupe.steps`)."""
        return self._noted([step], [self.shelf.make(step)])[0]

    def make_all(self, steps: Sequence[Step], label: str) -> list[Path]:
        """The folders of finished steps; those that are missing are made side by side, `scale.workers` at once."""
        workers = Workers(workers_on(self.device, self.config.scale.workers), label)
        return self._noted(steps, self.shelf.make_all(steps, workers))

    def _noted(self, steps: Sequence[Step], folders: list[Path]) -> list[Path]:
        self._steps |= {step.name: folder for step, folder in zip(steps, folders, strict=True)}
        return folders

    def needed(self, path: Path) -> Path:
        """As for any study, but of its own stage a session sees what it has made itself."""
        if path.as_posix() == "reports/claims.csv" and not self.batch and "claims.csv" in getattr(self, "_written", ()):
            return self.out / "claims.csv"
        own = {("data", "runs", self.stage): 3, ("data", "prepared"): 1}
        for area, place in own.items():
            if path.parts[: len(area)] == area and len(path.parts) > place:
                name, rest = path.parts[place], path.parts[place + 1 :]
                if name in getattr(self, "_steps", {}):
                    return self._steps[name].joinpath(*rest)
                if name in getattr(self, "_written", ()):
                    return self.out.joinpath(name, *rest)
        return super().needed(path)

    def write(self, name: str, result: pd.DataFrame | np.ndarray) -> None:
        """Write a table (Parquet) or an array (NumPy) among the stage's outputs; each appears whole or not at all."""
        path = self.out / name
        partial = path.with_name(f".{name}")
        with full_disk_told(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            if isinstance(result, pd.DataFrame):
                result.to_parquet(partial, index=False)
            else:
                with partial.open("wb") as file:
                    np.save(file, result)
            os.replace(partial, path)
        self._written.add(name)

    def prepared(self, name: str) -> Path:
        """Folder of a prepared set (`stills`, `labelled`, `clips`, `micro`, `macro`)."""
        return self.needed(Path("data") / "prepared" / name)

    def draw(self, name: str) -> Drawing | None:
        """The stage's figure `name`, as `loupe figure` draws it; a batch run saves it. None where these faces or this scale have nothing to
        show."""
        from loupe.reporting.figures import NothingToDraw, draw

        try:
            drawing = draw(self, f"{self.stage}/{name}")
        except NothingToDraw as reason:
            print(reason)
            return None
        if self.batch:
            save(drawing, self.figures, name)
        return drawing

    def table(self, table: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """The table as people read it; a batch run saves it under `name`, as CSV, Markdown and LaTeX."""
        if self.batch:
            tables.write(table, self.tables, name, caption)
        return tables.readable(table)

    def write_claims(self, claims: pd.DataFrame) -> None:
        """The verdicts: `reports/claims.csv` in a batch run."""
        path = self.root / "reports" / "claims.csv" if self.batch else self.out / "claims.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(".claims.csv")
        claims.to_csv(partial, index=False, lineterminator="\n")
        os.replace(partial, path)
        self._written.add("claims.csv")

    def finish(self) -> None:
        """Tidy the stage's outputs and log its time. Times go to data/logs, never into a hashed output."""
        if not self.batch:
            return
        if self.stage != "data" and self.out.exists():
            self.shelf.tidy()
            for path in self.out.iterdir():
                if path.name not in self._written and not (path / KEY).exists():
                    path.unlink() if path.is_file() else shutil.rmtree(path)
        logs = self.root / "data" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        entry = {
            "stage": self.stage,
            "scale": self.config.scale.name,
            "seconds": round(time.time() - self._started, 1),
            "steps": len(self._steps),
            "steps_made": self.shelf.made,
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
    record_in(Place(root, stage if session.batch else f"notebook-{stage}", session.config))
    if session.batch:
        for folder in (session.figures, session.tables):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
    return session

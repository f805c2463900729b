"""A checkout of the study: its settings, and what its finished stages left."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd

from loupe.config import Config, load
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError


class Study:
    """What the finished stages of the checkout at `root` left. Nothing is computed here; a missing file's error names the command that
    makes it."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def config(self) -> Config:
        return load((), self.root)

    def store(self, name: str) -> Store:
        """A prepared set (`stills`, `labelled`, `clips`, `micro`, `macro`, ...)."""
        return read_store(self.needed(Path("data") / "prepared" / name))

    def run(self, stage: str, file: str) -> Path:
        """A file that `stage` left in data/runs; what one step of it made lies in a folder of that step (`pretraining/history.parquet`)."""
        return self.needed(Path("data") / "runs" / stage / file)

    def predictions(self, stage: str) -> pd.DataFrame:
        return pd.read_parquet(self.run(stage, "predictions.parquet"))

    def needed(self, path: Path) -> Path:
        """`path`, relative to the root, where it is there. Raises LoupeError that names the stage to run."""
        if (self.root / path).exists():
            return self.root / path
        area = path.parts[:2]
        stage = path.parts[2] if area in (("data", "runs"), ("reports", "tables")) else "data" if area == ("data", "prepared") else "claims"
        raise LoupeError(
            f"{path.as_posix()} is missing: run `dvc repro {stage}`, or `dvc pull` where results are shared (docs/sharing.md)."
        )

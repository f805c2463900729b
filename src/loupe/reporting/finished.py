"""What a figure is drawn again from: the files that the finished stages of a checkout left."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import pandas as pd

from loupe.config import Config, load
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError


class Finished:
    """What the finished stages of the checkout at `root` left, and the words of the figure `name` (`stage/figure`)."""

    def __init__(self, root: Path, name: str):
        self.root, self.name = root, name
        try:
            about = json.loads((root / "reports" / "figures" / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            about = {}
        self.caption, self.alt = about.get("caption", ""), about.get("alt", "")

    @cached_property
    def config(self) -> Config:
        return load((), self.root)

    def store(self, name: str) -> Store:
        return read_store(self.needed(Path("data") / "prepared" / name))

    def run(self, stage: str, file: str) -> Path:
        """A file that `stage` left in data/runs. Raises LoupeError that names the command which makes it."""
        return self.needed(Path("data") / "runs" / stage / file)

    def predictions(self, stage: str) -> pd.DataFrame:
        return pd.read_parquet(self.run(stage, "predictions.parquet"))

    def needed(self, path: Path) -> Path:
        if not (self.root / path).exists():
            raise LoupeError(
                f"{path.as_posix()} is missing, and {self.name} is drawn from it: "
                f"run `dvc repro {self.name.split('/')[0]}`, or `dvc pull` where results are shared (docs/sharing.md)."
            )
        return self.root / path

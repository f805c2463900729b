"""`loupe forget`: let a stage compute its steps anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import typer
import yaml

from loupe.config import find_root
from loupe.errors import LoupeError
from loupe.steps import KEY, read_key


def forget(stage: str = typer.Argument(help="A stage of dvc.yaml, e.g. mae-face.")) -> None:
    """Throw away a stage's finished steps, so that `dvc repro STAGE` computes them again. Predictions, tables and figures stay until
    then."""
    root = find_root()
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    if stage not in stages:
        raise LoupeError(f"There is no stage {stage!r}: choose one of {', '.join(stages)}.")
    home = root / "data" if stage == "data" else root / "data" / "runs" / stage
    steps = [path.parent for path in home.glob(f"*/{KEY}")]
    spare = {folder for step in steps for folder in _spare(root, step)}
    for folder in (*steps, *spare):
        shutil.rmtree(folder)
    print(f"{len(steps)} finished steps of {stage} forgotten: run `dvc repro {stage}`.")


def _spare(root: Path, step: Path) -> list[Path]:
    """What lies in data/scratch/steps under the step's name and a key of 16 hexadecimal digits, finished or not, or under its key and
    another name: a step is found again by its key alone."""
    kept = root / "data" / "scratch" / "steps"
    return [*kept.glob(f"{step.name}-{'[0-9a-f]' * 16}*/"), *kept.glob(f"*-{read_key(step)}*/")]

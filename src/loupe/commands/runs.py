"""`loupe runs`: the trainings of this project, with their speed and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from loupe.config import find_root
from loupe.errors import LoupeError

COLUMNS = ("stage", "run", "status", "steps", "last loss", "images/s", "memory MB", "seconds", "commit")


def runs(
    stage: str = typer.Argument(None, help="Only this stage; all if not given."),
    last: int = typer.Option(30, help="Show this many, the youngest last; 0 = all."),
    as_json: bool = typer.Option(False, "--json", help="Print the records themselves, settings included."),
) -> None:
    """List recorded trainings (data/logs/runs): how far, how fast, in how much memory, from which commit."""
    found = read_runs(find_root() / "data" / "logs" / "runs", stage)
    if not found:
        raise LoupeError("No training is recorded in data/logs/runs yet: run a stage that trains, e.g. `dvc repro mae-face`.")
    chosen = found[-last:] if last else found
    if as_json:
        print(json.dumps(chosen, indent=1))
        return
    rows = [COLUMNS, *(row(facts) for facts in chosen)]
    widths = [max(len(line[i]) for line in rows) for i in range(len(COLUMNS))]
    for line in rows:
        print(
            "  ".join(cell.ljust(width) if i < 3 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        )


def read_runs(folder: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """All records below `folder`, oldest first. A run that says it is running on this machine, and is not, was killed."""
    found = []
    for path in folder.glob(f"{stage or '*'}/*/run.json"):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LoupeError(f"{path} is damaged ({error}): delete its folder; results do not depend on it.") from error
        if facts["status"] == "running" and not _lives(facts["legs"][-1]):
            facts["status"] = "killed"
        found.append(facts)
    return sorted(found, key=lambda facts: (facts["legs"][-1]["started"], facts["stage"], facts["run"]))


def row(facts: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table. Steps are those that the last leg reached, of all."""
    leg = facts["legs"][-1]
    loss, commit = facts.get("last_loss"), facts["commit"]
    return (
        facts["stage"],
        facts["run"],
        facts["status"],
        f"{leg['first_step'] + leg['steps']}/{facts['steps']}",
        "-" if loss is None else f"{loss:.4g}",
        "-" if facts["images_per_second"] is None else f"{facts['images_per_second']:.1f}",
        "-" if facts["peak_memory_mb"] is None else str(facts["peak_memory_mb"]),
        f"{facts['seconds']:.1f}",
        "-" if commit is None else commit[:8] + ("+" if facts["dirty"] else ""),
    )


def _lives(leg: dict[str, Any]) -> bool:
    """Whether the leg's process is there; on another machine (a shared folder) it is taken at its word."""
    import platform

    import psutil

    return leg["host"] != platform.node() or psutil.pid_exists(leg["pid"])

"""`loupe figure` and `loupe table`: what a paper takes from the study, without running it."""

from __future__ import annotations

from pathlib import Path

import typer

from loupe.config import find_root


def figure(
    name: str = typer.Argument(None, help="Figure to draw, `stage/name`; without one, all names are listed."),
    out: Path = typer.Option(None, help="Folder to write; data/scratch/figures if not given. The study's own figures stay."),  # noqa: B008
    style: Path = typer.Option(None, help="A matplotlib style file on top of the study's own."),  # noqa: B008
) -> None:
    """Draw one figure again from predictions, in seconds: PNG, SVG and PDF. Nothing is trained."""
    from loupe.reporting import figures
    from loupe.study import Study

    root = find_root()
    if name is None:
        print("\n".join(figures.names()))
        return
    for path in figures.write(Study(root), name, out or root / "data" / "scratch" / "figures", style):
        print(path)


def table(
    name: str = typer.Argument(None, help="Table to print, `stage/name`; without one, all names are listed."),
    form: str = typer.Option("csv", "--format", help="csv, latex or markdown."),
) -> None:
    """Print one results table as CSV, LaTeX (booktabs) or Markdown."""
    from loupe.reporting.tables import read_table, table_names

    root = find_root()
    print("\n".join(table_names(root)) if name is None else read_table(root, name, form), end="\n" if name is None else "")

"""`loupe export`: a supplement for a paper."""

from __future__ import annotations

from pathlib import Path

import typer

from loupe.config import find_root


def export(out: Path = typer.Option(Path("loupe-results.zip"), help="Zip file to write.")) -> None:  # noqa: B008
    """Pack figures, tables, claims, settings and provenance into one zip file; equal results give equal bytes."""
    from loupe.reporting.export import export as pack

    path = pack(find_root(), out.absolute())
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")

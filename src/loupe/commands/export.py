"""`loupe export`: a supplement for a paper."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from loupe.config import find_root


def export(out: Path = typer.Option(Path("loupe-results.zip"), help="Zip file to write.")) -> None:  # noqa: B008
    """Pack figures, tables, claims, settings and provenance into one zip file; equal results give equal bytes."""
    from loupe.reporting import provenance
    from loupe.reporting.export import export as pack

    root = find_root()
    path = pack(root, out.absolute())
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    for sentence in provenance.changed(root):
        print(sentence, file=sys.stderr)

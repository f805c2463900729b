"""`loupe data`: official downloads of face data sets."""

from __future__ import annotations

from pathlib import Path

import typer

from loupe.config import find_root

data = typer.Typer(help="Official downloads of face data sets (see data/README.md).", no_args_is_help=True)


@data.command("list")
def list_sets() -> None:
    """Name the data sets that can be imported."""
    from loupe.data.sources.registry import SOURCES

    for name, source in SOURCES.items():
        print(f"{name:<14} {source.title:<20} {source.use}")


@data.command("import")
def import_data(
    name: str = typer.Argument(help="Data set; `loupe data list` names them."),
    root: Path = typer.Argument(help="Folder of the official download, unpacked; it is never written to."),  # noqa: B008
    out: Path = typer.Option(None, help="Folder to write; data/imported/<set> of the project if not given."),  # noqa: B008
    size: int = typer.Option(None, help="Also store the pictures as squares of this many px (images.npy)."),
    workers: int = typer.Option(2, help="Threads that read pictures."),
    partial: bool = typer.Option(False, "--partial", help="You hold a part of the set: show the official counts, but do not fail on them."),
    skip_damaged: bool = typer.Option(False, "--skip-damaged", help="Drop pictures that are missing or damaged instead of stopping."),
    align: bool = typer.Option(
        False,
        "--align",
        help="Find the faces and align them (needs the extra `align`, and --size); for pictures that are not cut to faces yet.",
    ),
    classes: str = typer.Option(
        None, help="Classes of your own faces in the order of their numbers, with a new name where one gets it: angry=Anger,wink."
    ),
) -> None:
    """Import an official download; ends with found, used, dropped and official counts. Exit code 1 where they disagree."""
    from loupe.data.checking import describe
    from loupe.data.importing import import_set

    out = out or find_root() / "data" / "imported" / name
    report = import_set(
        name, root, out, size=size, workers=workers, partial=partial, skip_damaged=skip_damaged, align=align, classes=classes
    )
    print(describe(report))
    raise typer.Exit(0 if report.ok else 1)


@data.command("check")
def check_data(
    out: Path = typer.Argument(help="Folder that `loupe data import` wrote."),  # noqa: B008
    workers: int = typer.Option(2, help="Threads that read pictures."),
) -> None:
    """Verify an import: files, splits, and every picture against its checksum. Exit code 1 where something is wrong."""
    from loupe.data.checking import check_set, describe

    report = check_set(out, workers=workers)
    print(describe(report))
    raise typer.Exit(0 if report.ok else 1)

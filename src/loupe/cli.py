"""The `loupe` command."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from loupe.config import find_root, load
from loupe.errors import LoupeError

app = typer.Typer(
    help="Loupe: a reproducible study workbook about reading faces with few labels.", no_args_is_help=True, add_completion=False
)
weights = typer.Typer(help="Checkpoints of other projects.", no_args_is_help=True)
app.add_typer(weights, name="weights")
data = typer.Typer(help="Official downloads of face data sets (see data/README.md).", no_args_is_help=True)
app.add_typer(data, name="data")


@app.command()
def page() -> None:
    """Build reports/index.html from the finished stages."""
    from loupe.reporting.page import build_page

    print(build_page(find_root()))


@app.command()
def config(overrides: list[str] = typer.Argument(None, help="Hydra overrides, e.g. scale=smoke mae_face.mask_ratio=0.5")) -> None:  # noqa: B008
    """Compose and check the settings, and print them."""
    from dataclasses import asdict

    import yaml

    settings = asdict(load(overrides or []))
    settings.pop("overrides")
    print(yaml.safe_dump(settings, sort_keys=False), end="")


@weights.command()
def convert(
    source: Path,
    target: Path,
    layout: str | None = typer.Option(None, help="loupe, mae, mae-face, timm or micron-bert; not needed for *.safetensors (loupe)."),
    heads: int | None = typer.Option(None, help="Attention heads, only where the file does not tell."),
) -> None:
    """Rewrite a checkpoint of MAE, MAE-Face, timm, Micron-BERT or ours in another of these layouts."""
    from loupe.models.pretrained import convert as convert_weights

    done = convert_weights(source, target, layout, heads)
    print(f"{source} ({done.source}) -> {target} ({done.target})")
    for name, reason in done.dropped.items():
        print(f"left out: {name} ({reason})")


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
    out: Path = typer.Option(None, help="Folder to write; data/prepared/<set> of the project if not given."),  # noqa: B008
    size: int = typer.Option(None, help="Also store the pictures as squares of this many px (images.npy)."),
    workers: int = typer.Option(2, help="Threads that read pictures."),
    partial: bool = typer.Option(False, "--partial", help="You hold a part of the set: show the official counts, but do not fail on them."),
    skip_damaged: bool = typer.Option(False, "--skip-damaged", help="Drop pictures that are missing or damaged instead of stopping."),
) -> None:
    """Import an official download; ends with found, used, dropped and official counts. Exit code 1 where they disagree."""
    from loupe.data.checking import describe
    from loupe.data.importing import import_set

    out = out or find_root() / "data" / "prepared" / name
    report = import_set(name, root, out, size=size, workers=workers, partial=partial, skip_damaged=skip_damaged)
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


def main() -> None:
    """Run the command; an expected error is one sentence on stderr and exit code 1."""
    try:
        app()
    except LoupeError as error:
        sys.exit(f"loupe: {error}")


if __name__ == "__main__":
    main()

"""The `loupe` command."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from loupe.config import find_root, load
from loupe.errors import LoupeError

app = typer.Typer(help="Loupe: a reproducible study workbook about reading faces with few labels.", no_args_is_help=True, add_completion=False)
weights = typer.Typer(help="Checkpoints of other projects.", no_args_is_help=True)
app.add_typer(weights, name="weights")


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


def main() -> None:
    """Run the command; an expected error is one sentence on stderr and exit code 1."""
    try:
        app()
    except LoupeError as error:
        sys.exit(f"loupe: {error}")


if __name__ == "__main__":
    main()

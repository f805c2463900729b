"""The `loupe` command."""

from __future__ import annotations

import sys

import typer

from loupe.commands.data import data
from loupe.commands.doctor import doctor
from loupe.commands.exercise import exercise
from loupe.commands.export import export
from loupe.commands.faces import faces
from loupe.commands.figure import figure, table
from loupe.commands.forget import forget
from loupe.commands.report import page
from loupe.commands.runs import runs
from loupe.commands.use import use
from loupe.commands.verify import verify
from loupe.commands.weights import weights
from loupe.config import load
from loupe.errors import LoupeError

app = typer.Typer(
    help="Loupe: a reproducible study workbook about reading faces with few labels.", no_args_is_help=True, add_completion=False
)
app.add_typer(data, name="data")
app.add_typer(faces, name="faces")
app.add_typer(weights, name="weights")
app.command()(page)
app.command()(figure)
app.command()(table)
app.command()(verify)
app.command()(doctor)
app.command()(export)
app.command()(use)
app.command()(runs)
app.command()(forget)
app.command()(exercise)


@app.command()
def config(
    overrides: list[str] = typer.Argument(None, help="Hydra overrides, e.g. scale=smoke mae_face.mask_ratio=0.5"),  # noqa: B008
) -> None:
    """Compose and check the settings, and print them."""
    from dataclasses import asdict

    import yaml

    settings = asdict(load(overrides or []))
    for derived in ("views", "overrides"):
        settings.pop(derived)
    print(yaml.safe_dump(settings, sort_keys=False), end="")


def main() -> None:
    """Run the command; an expected error is one sentence on stderr and exit code 1."""
    try:
        app()
    except LoupeError as error:
        sys.exit(f"loupe: {error}")


if __name__ == "__main__":
    main()

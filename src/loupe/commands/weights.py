"""`loupe weights`: checkpoints of other projects."""

from __future__ import annotations

from pathlib import Path

import typer

weights = typer.Typer(help="Checkpoints of other projects.", no_args_is_help=True)


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

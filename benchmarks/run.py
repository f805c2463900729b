"""Speed on this machine, measured so that a stranger can measure it again: `python benchmarks/run.py --rows a,c`.

Variants take turns, in at least five rounds; medians and bests are printed. The peers, transformers and lightly, come with the package's
extra `peers`; without them their lines say so.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import typer

import loupe.models  # noqa: F401  (makes torchvision and timm importable)
from loupe.config import find_root, load
from loupe.errors import LoupeError
from loupe.machine import device_name
from loupe.recording.record import versions
from loupe.training.device import resolve_device
from rows import ROWS, Setting

app = typer.Typer(add_completion=False)


@app.command()
def main(
    overrides: list[str] = typer.Argument(None, help="Hydra overrides, e.g. scale.device=auto scale.precision=bf16."),  # noqa: B008
    *,
    rows: str = typer.Option(
        "a,c,d,e", help="a MAE step, b with input pipeline, c utilisation, d LOSO heads, e input paths, f time to quality."
    ),
    scale: str = typer.Option("laptop", help="Scale whose sizes are timed."),
    rounds: int = typer.Option(5, "-n", "--rounds", help="Times each variant is run; a claim needs at least 5."),
    big: bool = typer.Option(False, "--vit-b", help="Also ViT-B/16 at 224 px: minutes a row on a CPU."),
    compiled: bool = typer.Option(False, "--compile", help="Also each model of rows a and c under torch.compile."),
    seeds: int = typer.Option(3, help="Seeds of row f, which trains twice for each."),
    target: Path = typer.Option(None, "--json", help="Also write everything, each time included, to this file."),  # noqa: B008
) -> None:
    """Time our parts against each other and against transformers and lightly, interleaved; prints medians and bests."""
    chosen = [name.strip() for name in rows.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in ROWS]
    if unknown or not chosen:
        raise LoupeError(f"--rows has {', '.join(unknown) or 'no row'}: choose among {', '.join(ROWS)}, e.g. --rows a,c,d.")
    if rounds < 1:
        raise LoupeError(f"--rounds is {rounds}, but must be at least 1.")
    root = find_root()
    config = load([f"scale={scale}", *(overrides or [])], root)
    torch.set_num_threads(
        config.scale.threads
    )  # and no deterministic kernels: the peers' customary form does without, and all are treated alike
    setting = Setting(config, root, resolve_device(config.scale.device), config.scale.precision, rounds, big, seeds, compiled)
    machine = {"device": device_name(setting.device), "threads": config.scale.threads, "precision": setting.precision, "scale": scale,
               "rounds": rounds, "versions": versions() | peer_versions()}  # fmt: skip
    print(
        f"{machine['device']}, {machine['threads']} threads, {machine['precision']}, {rounds} rounds"
        + ("" if rounds >= 5 else ": too few for a claim")
    )
    lines = []
    for name in chosen:
        found = ROWS[name](setting)
        lines += found
        for line in found:
            print(describe(line), flush=True)
        if target is not None:  # after each row: a long one that is killed costs no other
            target.write_text(json.dumps({"machine": machine, "lines": lines}, indent=1), encoding="utf-8")


def peer_versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in ("transformers", "lightly"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe(line: dict) -> str:
    """One line of the table: row, what, variant, median, best."""
    value = "-" if line["value"] is None else f"{line['value']:.4g}"
    best = f" (best {line['best']:.4g})" if line.get("best") is not None else ""
    return f"{line['row']}  {line['what']:<58} {line['variant']:<22} {value:>9}{best} {line['unit']}"


if __name__ == "__main__":
    try:
        app()
    except LoupeError as error:
        sys.exit(f"benchmarks: {error}")

"""`loupe faces`: render generated faces into a folder of one's own, and write the data card of a prepared study set."""

from __future__ import annotations

from pathlib import Path

import typer

from loupe.config import find_root

faces = typer.Typer(help="Generated faces: nobody's, with every label known.", no_args_is_help=True)


@faces.command("render")
def render(
    out: Path = typer.Option(..., help="Folder to write, new or empty. The same command continues a run that was killed."),  # noqa: B008
    stills: int = typer.Option(8, help="Stills of each person, classes in turn."),
    clips: int = typer.Option(0, help="Micro-expression clips of each person: five frames and the true motion of each."),
    subjects: int = typer.Option(8, help="People."),
    size: int = typer.Option(112, help="Width and height in px, 16 to 512."),
    seed: int = typer.Option(0, help="Other seeds, other people. The study's own set is seed 0."),
    workers: int = typer.Option(2, help="Processes; the bytes do not depend on it."),
    nuisance: int = typer.Option(1, help="Dial of the clips 0, 1 or 2: head drift, blinks, flicker, speech, late coding."),
    cameras: int = typer.Option(1, help="2 also takes every still from 20 to 40 degrees to the side (set camera)."),
    form: str = typer.Option("png", help="png: a file an image. store: one uint8 array a set."),
) -> None:
    """Write images, manifest.parquet (labels, action units, landmarks, pose, looks), datacard.md and contact.png."""
    from loupe.faces.folder.render import Order, render_folder

    order = Order(subjects=subjects, stills=stills, clips=clips, size=size, seed=seed, nuisance=nuisance, cameras=cameras, form=form)
    counts = render_folder(order, out, workers, find_root() / "data" / "scratch" / "assets")
    print(f"{out}: " + ", ".join(f"{count} images in {name}" for name, count in sorted(counts.items())))


@faces.command("card")
def card(
    prepared: Path = typer.Argument(None, help="Folder of prepared sets; data/prepared of the project if not given."),  # noqa: B008
    out: Path = typer.Option(None, help="Markdown file to write; printed if not given."),  # noqa: B008
) -> None:
    """The data card of a prepared study set: what it is, how made, balance, and what it must not be used to claim."""
    from loupe.faces.folder.prepared_card import prepared_card

    text = prepared_card(prepared or find_root() / "data" / "prepared")
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")

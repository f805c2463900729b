"""Each figure of the study, drawn from what its stage left behind: predictions, records, maps, weights. Nothing is trained.

Notebooks and `loupe figure` call the same function. One that loads a network imports it itself: most figures need none.
"""

from __future__ import annotations

from pathlib import Path

from loupe.errors import LoupeError
from loupe.reporting.drawing import PLOT_FORMATS, Drawing, save
from loupe.reporting.figures import claims, data, micro, stills  # noqa: F401  (importing them registers their figures)
from loupe.reporting.figures.registry import FIGURES, NothingToDraw, figure
from loupe.reporting.style import styled_by
from loupe.study import Study

__all__ = ["NothingToDraw", "draw", "figure", "full_name", "names", "write"]


def names() -> list[str]:
    """`stage/name` of every figure."""
    return list(FIGURES)


def full_name(name: str) -> str:
    """`stage/name` of the figure `name`, whose stage may be left out where no other has one of that name.

    Raises LoupeError for an unknown name; the message lists the likely ones.
    """
    if name in FIGURES:
        return name
    ending = [full for full in FIGURES if full.split("/")[1] == name]
    if len(ending) == 1:
        return ending[0]
    raise LoupeError(f"There is no figure {name!r}: choose one of {', '.join(ending or FIGURES)}.")


def draw(study: Study, name: str) -> Drawing:
    """The figure `name` of `study`, with its caption and alternative text.

    Raises LoupeError for an unknown name and a missing input, NothingToDraw where these faces or this scale lack what it shows.
    """
    return FIGURES[full_name(name)](study)


def write(study: Study, name: str, out: Path, style_file: Path | None = None) -> list[Path]:
    """Draw the figure `name` into `out/<stage>` as PNG, SVG and PDF; returns the paths of the pictures.

    Notebooks save photographs as PNG alone; here they get the other two as well, as pixels inside, under labels that stay text or outlines.

    style_file: a matplotlib style on top of the study's own.

    Raises LoupeError as `draw` does, and for an unreadable style file.
    """
    name = full_name(name)
    stage, short = name.split("/")
    with styled_by(style_file):
        return save(draw(study, name), out / stage, short, command=f"loupe figure {name}", formats=PLOT_FORMATS)

"""Each figure of the study, drawn from what its stage left behind: predictions, records, maps, weights. Nothing is trained.

Notebooks and `loupe figure` call the same function. One that loads a network imports it itself: most figures need none.
"""

from __future__ import annotations

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing
from loupe.reporting.figures import claims, data, micro, stills  # noqa: F401  (importing them registers their figures)
from loupe.reporting.figures.registry import FIGURES, NothingToDraw, figure
from loupe.study import Study

__all__ = ["NothingToDraw", "draw", "figure", "full_name", "names"]


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

"""Figures by name. A drawing function takes the study alone and composes its own caption and alternative text."""

from __future__ import annotations

from collections.abc import Callable

from loupe.errors import LoupeError
from loupe.reporting.drawing import Drawing
from loupe.study import Study

Draws = Callable[[Study], Drawing]
FIGURES: dict[str, Draws] = {}


class NothingToDraw(LoupeError):
    """These faces, or this scale, lack what the figure shows. A notebook prints the sentence and goes on."""


def figure(name: str) -> Callable[[Draws], Draws]:
    """Register a drawing function as `stage/name`."""

    def register(function: Draws) -> Draws:
        FIGURES[name] = function
        return function

    return register

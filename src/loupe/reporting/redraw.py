"""Every figure of the study again, in seconds, from what its stage left behind: predictions, records, maps, weights. Nothing is trained.

A figure drawn here has the bytes of the one its notebook saved, in every format that the notebook saved; a test of the whole study compares all
of them. Caption and alternative text are those saved beside the figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loupe.errors import LoupeError
from loupe.reporting import style
from loupe.reporting.drawing import PLOT_FORMATS, save
from loupe.reporting.drawn_again import FIGURES
from loupe.reporting.finished import Finished


def redraw(root: Path, name: str, out: Path, style_file: Path | None = None) -> list[Path]:
    """Draw the figure `name` (`stage/figure`) into `out/<stage>` as PNG, SVG and PDF; returns the paths of the pictures.

    Notebooks save photographs as PNG alone; here they get the other two as well, as pixels inside, under labels that stay text or outlines.

    style_file: a matplotlib style on top of the study's own.

    Raises LoupeError for an unknown name (the message lists the likely ones), a missing input and an unreadable style file.
    """
    name = _known(name)
    stage, short = name.split("/")
    with _styled_by(style_file):
        return save(FIGURES[name](Finished(root, name)), out / stage, short, command=f"loupe figure {name}", formats=PLOT_FORMATS)


def _known(name: str) -> str:
    if name in FIGURES:
        return name
    ending = [full for full in FIGURES if full.split("/")[1] == name]
    if len(ending) == 1:
        return ending[0]
    raise LoupeError(f"There is no figure {name!r}: choose one of {', '.join(ending or FIGURES)}.")


@contextmanager
def _styled_by(style_file: Path | None) -> Iterator[None]:
    if style_file is None:
        yield
        return
    from matplotlib import rc_params_from_file, rcParams

    try:
        lines = [line.split("#")[0] for line in style_file.read_text(encoding="utf-8").splitlines()]
        unknown = [line.split(":")[0].strip() for line in lines if line.strip() and line.split(":")[0].strip() not in rcParams]
        if unknown:  # matplotlib itself would only log a warning
            raise ValueError(f"it has no setting {unknown[0]!r}")
        rc_params_from_file(style_file, fail_on_error=True, use_default_template=False)
    except (OSError, ValueError) as error:
        raise LoupeError(f"{style_file} is no matplotlib style file ({error}): write lines such as `font.size: 9`.") from error
    style.LAYERS.append(str(style_file))
    try:
        yield
    finally:
        style.LAYERS.pop()

"""A figure with the words that belong to it, saved so that equal drawings give equal bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loupe.errors import LoupeError
from loupe.reporting.style import styled

PLOT_FORMATS = ("png", "svg", "pdf")
IMAGE_FORMATS = ("png",)

# matplotlib would write its version and the hour into each file; None leaves the field out.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A matplotlib figure, its caption and its alternative text (what it shows, for somebody who cannot see it).

    As the last expression of a notebook cell it shows itself, with the alternative text attached. `formats` are the file types that
    `save` writes unless told otherwise: PNG alone for photographs, SVG and PDF as well for plots.
    """

    figure: Figure
    caption: str
    alt: str
    formats: tuple[str, ...] = PLOT_FORMATS

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
        return {"image/png": render(self, "png", dpi=110)}, {"image/png": {"alt": self.alt}}


def blank(width: float, height: float, fixed_aspect: bool = False) -> Figure:
    """An empty figure of `width` x `height` inches that pyplot knows nothing of (nothing shows twice, nothing stays open).

    `fixed_aspect` packs axes that hold pictures close to each other.
    """
    figure = Figure(figsize=(width, height), layout="compressed" if fixed_aspect else "constrained")
    if fixed_aspect:
        figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.02, hspace=0.02)
    FigureCanvasAgg(figure)
    return figure


def named_rows(figure: Figure, names: Sequence[str], xlabel: str) -> Axes:
    """Axes whose height has a row for each name, the first on top."""
    axis = figure.subplots()
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(xlabel)
    return axis


@styled
def render(drawing: Drawing, kind: str, dpi: int = 200) -> bytes:
    """The drawing as bytes of type `kind` (png, svg or pdf), without dates or versions inside.

    Raises LoupeError for any other type.
    """
    if kind not in _METADATA:
        raise LoupeError(f"Figures cannot be written as {kind!r}: choose png, svg or pdf.")
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=kind, metadata=_METADATA[kind], dpi=dpi)
    return buffer.getvalue()


def save(
    drawing: Drawing,
    folder: Path,
    name: str,
    *,
    stage: str | None = None,
    command: str | None = None,
    formats: tuple[str, ...] | None = None,
) -> list[Path]:
    """Write `<name>.png` (and .svg, .pdf for plots) and `<name>.json` into `folder`; returns the paths of the pictures.

    The JSON holds caption, alternative text, stage (the folder's name unless given) and the command that makes the figure again
    (`dvc repro <stage>` unless given); the page shows them.

    Raises LoupeError for an empty caption or alternative text, and for an unknown format.
    """
    for field in ("caption", "alt"):
        if not getattr(drawing, field).strip():
            raise LoupeError(f"Figure {name} has no {field}: give one, the page shows it.")
    stage = stage or folder.name
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in formats or drawing.formats:
        path = folder / f"{name}.{kind}"
        path.write_bytes(render(drawing, kind))
        written.append(path)
    about = {"caption": drawing.caption, "alt": drawing.alt, "stage": stage, "command": command or f"dvc repro {stage}"}
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written

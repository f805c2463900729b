"""Pictures inside a page: as data URIs, small enough for the page's limit."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_SVG_LIMIT = 250_000  # bytes; beyond it the PNG is lighter to draw
_AS_IS = 120_000  # bytes; a PNG below this is not worth encoding again
_WIDTHS = (1400, 1000, 700, 450)  # px, tried in turn until all pictures fit


def embed(paths: Sequence[Path], budget: int) -> dict[Path, str]:
    """A data URI for each picture (PNG paths; the SVG beside one is taken where it is light).

    Large PNGs become WebP at most 1400 px wide; while the sum of all URIs exceeds `budget` bytes, all of them are made narrower, and in the
    end the largest are left out (no entry). A file that is no picture has no entry either.
    """
    found: dict[Path, str] = {}
    for width in _WIDTHS:
        found = {path: uri for path in paths if (uri := _picture(path, width)) is not None}
        if sum(map(len, found.values())) <= budget:
            return found
    for path in sorted(found, key=lambda path: len(found[path]), reverse=True):
        if sum(map(len, found.values())) <= budget:
            break
        del found[path]
    return found


def _picture(path: Path, width: int) -> str | None:
    vector = path.with_suffix(".svg")
    if vector.is_file() and vector.stat().st_size <= _SVG_LIMIT:
        return data_uri("svg+xml", vector.read_bytes())
    try:
        with Image.open(path) as image:
            image.load()
            if image.width <= width and path.stat().st_size <= _AS_IS:
                return data_uri("png", path.read_bytes())
            picture = image.convert("RGB")
    except (OSError, ValueError):
        return None
    if picture.width > width:
        picture = picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=86, method=4)
    return data_uri("webp", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """`content` as a data URI of type image/`kind`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

"""The data card of the prepared faces, for the page and the supplement."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from loupe.errors import LoupeError
from loupe.faces.folder.prepared_card import prepared_card
from loupe.reporting.documents import document_html


def card_text(root: Path) -> str | None:
    """Markdown card of the generated faces in `data/prepared`; None where there are none, or not of one seed."""
    try:
        return prepared_card(root / "data" / "prepared")
    except LoupeError:
        return None


def card_html(text: str) -> Markup:
    """The card as a part of the page: headings two levels down."""
    return document_html(_deeper(text), "the data card")


def _deeper(text: str) -> str:
    fenced = False
    lines = []
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines)

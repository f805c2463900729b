"""The data card of the prepared faces, for the page and the supplement."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import mistune
from markupsafe import Markup

from loupe.errors import LoupeError
from loupe.faces.folder.prepared_card import prepared_card


def card_text(root: Path) -> str | None:
    """Markdown card of the generated faces in `data/prepared`; None where there are none, or not of one seed."""
    try:
        return prepared_card(root / "data" / "prepared")
    except LoupeError:
        return None


def card_html(text: str) -> Markup:
    """The card as a part of the page: headings two levels down, tables that slide sideways and can be reached by keyboard."""
    body = str(mistune.create_markdown(plugins=["table"])(_deeper(text)))
    numbers = itertools.count(1)
    body = re.sub(
        r"<table>(.*?)</table>",
        lambda found: (
            f'<div class="wide" tabindex="0" role="region" aria-label="Table {next(numbers)} of the data card">{found.group(0)}</div>'
        ),
        body,
        flags=re.DOTALL,
    )
    return Markup(body)


def _deeper(text: str) -> str:
    fenced = False
    lines = []
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines)

"""Markdown as HTML: a part of the page, or a page of its own beside it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import mistune
from jinja2 import Environment
from markupsafe import Markup

from loupe.reporting.notebooks import Rendered


def document_html(text: str, name: str) -> Markup:
    """Tables slide sideways and can be reached by keyboard; `name` says in their labels where they stand."""
    body = str(mistune.create_markdown(plugins=["table"])(text))
    numbers = itertools.count(1)
    body = re.sub(
        r"<table>(.*?)</table>",
        lambda found: f'<div class="wide" tabindex="0" role="region" aria-label="Table {next(numbers)} of {name}">{found.group(0)}</div>',
        body,
        flags=re.DOTALL,
    )
    return Markup(body)


def render_documents(reports: Path, environment: Environment) -> list[Rendered]:
    """Write each `reports/*.md` as `reports/<name>.html`, for readers and for printing to PDF; pictures stay where they are."""
    rendered = []
    for path in sorted(reports.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ").strip()
        page = path.with_suffix(".html")
        body = document_html(text, title)
        page.write_text(
            environment.get_template("notebook.html.j2").render(title=title, body=body, home="index.html", colours="", dark_colours=""),
            encoding="utf-8",
        )
        rendered.append(Rendered(path.stem, title, page))
    return rendered

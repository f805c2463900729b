"""Executed notebooks as HTML that needs no network: formulas become MathML, pictures stay inside, no script is loaded."""

from __future__ import annotations

import html
import itertools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Environment, pass_context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from loupe.errors import unreadable
from loupe.reporting.images import data_uri

# The two styles of Pygments whose every colour keeps a contrast of 4.5 on the page's code background, light and dark.
_LIGHT, _DARK = "xcode", "lightbulb"
_UNDESCRIBED = "Picture made by the code above; it was shown without a description."


@dataclass(frozen=True)
class Rendered:
    """One notebook as a page: file name, title (its first heading) and path."""

    name: str
    title: str
    path: Path


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw themselves."""

    def block_math(self, body: str) -> str:
        return f'<div class="formula" tabindex="0" role="region" aria-label="formula">{mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source):  # overrides nbconvert's filter, which leaves formulas to a script from the network
        renderer = _Renderer(escape=False, anchor_link_text="", exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    def default_filters(self):
        yield from super().default_filters()
        yield ("markdown2html", self.markdown2html)


def mathml(formula: str, display: str = "inline") -> str:
    """LaTeX to MathML; a formula that the converter does not know stays readable as code."""
    try:
        return convert(formula.strip(), display=display)
    except Exception:  # the converter has a dozen unrelated error types; none is worth a page
        return f"<code>{html.escape(formula.strip())}</code>"


def render_notebooks(source: Path, target: Path, environment: Environment) -> list[Rendered]:
    """Write each `source/*.ipynb` as `target/<name>.html` with one exporter; returns them in the order of their names.

    What stood in `target` before is removed, so that no page outlives its notebook.

    Drawings that the text refers to (`pictures/x.svg` beside the notebooks' sources, `../../notebooks/pictures/x.svg` from `source`) are
    put inside.

    Raises LoupeError for a file that is no notebook.
    """
    shutil.rmtree(target, ignore_errors=True)
    paths = sorted(source.glob("*.ipynb")) if source.is_dir() else []
    if not paths:
        return []
    target.mkdir(parents=True)
    exporter = _Exporter(template_name="basic")
    exporter.mathjax_url = exporter.require_js_url = exporter.mermaid_js_url = ""
    template = environment.get_template("notebook.html.j2")
    colours = HtmlFormatter(style=_LIGHT).get_style_defs(".highlight")
    dark = HtmlFormatter(style=_DARK).get_style_defs(".highlight")
    rendered = []
    for path in paths:
        try:
            notebook = nbformat.read(path, as_version=4)
        except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
            raise unreadable(path, error, "delete it and run its stage again (`dvc repro`).") from error
        body, _ = exporter.from_notebook_node(notebook)
        title = _title(notebook) or path.stem
        page = target / f"{path.stem}.html"
        body = _with_pictures(_reachable(body), source.parents[1] / "notebooks")
        page.write_text(template.render(title=title, body=body, home="../index.html", colours=colours, dark_colours=dark), encoding="utf-8")
        rendered.append(Rendered(path.stem, title, page))
    return rendered


def _title(notebook: nbformat.NotebookNode) -> str:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE)):
            return found.group(1).strip()
    return ""


def _with_pictures(body: str, folder: Path) -> str:
    def inside(found: re.Match[str]) -> str:
        path = folder / found.group(1)
        return f'src="{data_uri("svg+xml", path.read_bytes())}"' if path.is_file() else found.group(0)

    return re.sub(r'src="(?:[./]*notebooks/)?(pictures/[\w-]+\.svg)"', inside, body)


def _reachable(body: str) -> str:
    """Outputs that may scroll sideways can be reached by keyboard; every picture has an alternative text, and no header cell is empty."""
    body = body.replace("<th></th>", "<td></td>")  # the corner of a data frame
    numbers = itertools.count(1)
    body = re.sub(
        r'<div class="output_html ',
        lambda _: f'<div tabindex="0" role="region" aria-label="Table {next(numbers)}" class="output_html ',
        body,
    )
    formulas = itertools.count(1)
    body = re.sub(r'aria-label="formula"', lambda _: f'aria-label="Formula {next(formulas)}"', body)
    body = body.replace('alt="No description has been provided for this image"', f'alt="{_UNDESCRIBED}"')  # nbconvert's own words
    return re.sub(r"<img (?![^>]*\balt=)", f'<img alt="{_UNDESCRIBED}" ', body)

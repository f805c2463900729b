"""The study's page: one HTML file that answers first, shows what the answer rests on, and needs no network."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from loupe.checkout import committed_in
from loupe.errors import LoupeError
from loupe.evaluation.claims import NOT_RUN
from loupe.reporting import provenance, tables
from loupe.reporting.card import card_html, card_text
from loupe.reporting.documents import render_documents
from loupe.reporting.drawing import render
from loupe.reporting.effects import effect_plot
from loupe.reporting.images import data_uri, embed
from loupe.reporting.notebooks import render_notebooks
from loupe.reporting.style import metric_name

LIMIT = 15_000_000  # bytes of the page
_PICTURES = 12_000_000  # of these for pictures
_ROWS = 60  # of a table; the rest is in its CSV

PAPERS = {
    "emotic-mae": "Emotic MAE (arXiv 2403.13039)",
    "micron-bert": "Micron-BERT (arXiv 2304.03195)",
}

# What each stage asks, in the order in which the study tells it. Stages that are not named here follow, under their own names.
STAGES = {
    "mae-face": "Can it rebuild three quarters of a hidden face?",
    "dual-view": "Does a second view of the face help?",
    "micron-bert": "What do Diagonal Micro-Attention and Patch of Interest see in two frames?",
    "micro-expressions": "Micro-expressions, one person left out at a time",
    "ablations": "Which part earns its place?",
    "low-label": "How far do few labels go?",
    "claims": "How the claims were decided",
}
_ELSEWHERE = ("data", "start-here")  # shown under Data, or not at all

_MARKS = {"supported": ("yes", "✓"), "not supported": ("no", "✗"), "inconclusive": ("open", "?"), NOT_RUN: ("none", "–")}


@dataclass(frozen=True)
class Source:
    """Stage, command and commit that a figure or table came from, in words."""

    stage: str
    command: str
    commit: str


@dataclass(frozen=True)
class Figure:
    name: str
    path: Path
    caption: str
    alt: str
    source: Source
    files: list[tuple[str, str]]  # format, link


@dataclass(frozen=True)
class Table:
    name: str
    caption: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    cut: int  # rows left out
    source: Source
    files: list[tuple[str, str]]
    problem: str = ""


@dataclass
class Stage:
    name: str
    question: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def build_page(root: Path) -> Path:
    """Write `reports/index.html`, a page for each document (`reports/*.md`) and notebook, and `reports/provenance.json`; returns the first.

    Whatever is missing is named on the page in a sentence. Raises LoupeError only where `root` is no checkout, and where a file is damaged
    that the answer rests on (claims.csv, stages.jsonl, a notebook).
    """
    if not (root / "conf").is_dir():
        raise LoupeError(f"{root} is not a Loupe checkout (no conf/): change into the project folder first.")
    reports = root / "reports"
    reports.mkdir(exist_ok=True)
    facts = json.loads(provenance.write(root).read_text(encoding="utf-8"))
    environment = Environment(
        loader=PackageLoader("loupe.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = lambda commit: commit[:9]
    notebooks = render_notebooks(reports / "notebooks", reports / "notebooks-html", environment)
    stages = _stages(root, facts)
    claims = _claims(reports / "claims.csv")
    pictures = embed([figure.path for stage in stages.values() for figure in stage.figures], _PICTURES)
    decided_by = next((item.source for item in (*stages["claims"].tables, *stages["claims"].figures)), None)
    answer_figures = [figure for figure in stages["claims"].figures if figure.name.startswith("effects")]
    stages["claims"].figures = [figure for figure in stages["claims"].figures if figure not in answer_figures]
    if answer_figures and not stages["claims"].figures and not stages["claims"].tables:
        del stages["claims"]  # all it has stands in the answer
    page = environment.get_template("page.html.j2").render(
        facts=facts,
        claims=claims,
        decided_by=decided_by,
        answer_figures=answer_figures,
        drawn=None if answer_figures or claims is None else _drawn(claims["decided"]),
        data=stages.pop("data"),
        card=None if (text := card_text(root)) is None else card_html(text),
        stages=list(stages.values()),
        pictures=pictures,
        documents=[{"title": item.title, "href": _link(item.path, reports)} for item in render_documents(reports, environment)],
        notebooks=[{"name": item.name, "title": item.title, "href": _link(item.path, reports)} for item in notebooks],
        built=time.strftime("%Y-%m-%d %H:%M %Z"),
        read_me=_exists(root / "README.md", reports),
    )
    if len(page.encode()) > LIMIT:
        raise LoupeError(
            f"The page would weigh {len(page.encode()) / 1e6:.0f} MB, above {LIMIT / 1e6:.0f}: look for a huge table in reports/tables."
        )
    path = reports / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _claims(path: Path) -> dict[str, Any] | None:
    """The claims as the page shows them, or None where nothing has been decided."""
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
        decided, open_ = table[table["effect"].notna()], table[table["effect"].isna()]
        table["verdict"].map(lambda verdict: _MARKS[verdict])
        papers = [
            {"name": paper, "title": PAPERS.get(paper, paper), "rows": [_claim(row) for row in part.to_dict("records")]}
            for paper, part in decided.groupby("paper", sort=False)
        ]
        counts = {verdict: int((decided["verdict"] == verdict).sum()) for verdict in ("supported", "not supported", "inconclusive")}
        return {"papers": papers, "counts": counts, "decided": decided, "open": [_claim(row) for row in open_.to_dict("records")]}
    except (OSError, ValueError, KeyError) as error:
        raise LoupeError(f"{path} cannot be read ({type(error).__name__}: {error}): run `dvc repro claims` again.") from error


def _claim(row: dict[str, Any]) -> dict[str, Any]:
    kind, mark = _MARKS[row["verdict"]]
    shown = {name: ("–" if pd.isna(value) else value) for name, value in row.items()}
    for name in ("value_a", "value_b"):
        shown[name] = _signed(row[name], plain=True)
    for name in ("effect", "low", "high"):
        shown[name] = _signed(row[name])
    for name in ("n_subjects", "n_seeds", "n_pretrainings"):
        shown[name] = "–" if pd.isna(row.get(name)) else f"{int(row[name])}"
    p = row["p_holm"]
    shown["p"] = "–" if pd.isna(p) else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")
    shown["detectable"], shown["smallest"] = _signed(row["detectable"], plain=True), _signed(row["sesoi"], plain=True)
    bound = row["sesoi"]
    shown["terms"] = [f"not worse: held against a loss of {-bound:g}"] if bound < 0 else []
    on_floor = row.get("floor") is True  # empty for a claim that was not run
    shown["floor"] = [f"both arms within {abs(bound):g} of guessing ({row['guess']:.3f}), a floor that decides nothing"] if on_floor else []
    return shown | {"kind": kind, "mark": mark, "metric": metric_name(str(row["metric"]))}


def _signed(value: float, plain: bool = False) -> str:
    if pd.isna(value):
        return "–"
    value = round(value, 3) or 0.0  # no "-0.000"
    return (f"{value:.3f}" if plain or value == 0 else f"{value:+.3f}").replace("-", "−")


def _drawn(decided: pd.DataFrame) -> dict[str, str] | None:
    """The effect plot, drawn from claims.csv itself where no stage has drawn one."""
    if decided.empty:
        return None
    drawing = effect_plot(decided)
    return {"picture": data_uri("svg+xml", render(drawing, "svg")), "alt": drawing.alt, "caption": drawing.caption}


def _stages(root: Path, facts: dict[str, Any]) -> dict[str, Stage]:
    """All stages with what they left in reports/figures and reports/tables; those that left nothing are there, too, and empty."""
    reports = root / "reports"
    stages = {name: Stage(name, question) for name, question in ({"data": "Data"} | STAGES).items()}
    logged = {entry["stage"]: entry for entry in facts["stages"]}
    commits: dict[Path, str] = {}

    def source(path: Path, about: dict[str, str], stage: str) -> Source:
        if path.parent not in commits:
            commits[path.parent] = _commit(root, path.parent, logged.get(stage, {}), facts)
        return Source(stage, about.get("command") or f"dvc repro {stage}", commits[path.parent])

    for path in sorted((reports / "figures").glob("*/*.png")):
        about = _about(path)
        name = about.get("stage") or path.parent.name
        files = [
            (kind.upper(), _link(path.with_suffix(f".{kind}"), reports))
            for kind in ("png", "svg", "pdf")
            if path.with_suffix(f".{kind}").exists()
        ]
        caption = about.get("caption") or path.stem.replace("-", " ")
        alt = about.get("alt") or f"Figure {path.stem} of stage {name}; it was saved without a description."
        figure = Figure(path.stem, path, caption, alt, source(path, about, name), files)
        stages.setdefault(name, Stage(name, name)).figures.append(figure)
    for path in sorted((reports / "tables").rglob("*.csv")):
        about = _about(path)
        name = about.get("stage") or (path.parent.name if path.parent != reports / "tables" else path.stem)
        stages.setdefault(name, Stage(name, name)).tables.append(_table(path, about, source(path, about, name), reports))
    return {name: stage for name, stage in stages.items() if name == "data" or name not in _ELSEWHERE}


def _commit(root: Path, folder: Path, entry: dict[str, Any], facts: dict[str, Any]) -> str:
    """The commit that the files in `folder` were made from, where their run noted it and they are still what it left; else what git
    knows."""
    if entry.get("commit") and entry["made"].get(folder.relative_to(root).as_posix()) == provenance.digest(folder):
        return str(entry["commit"])[:9] + (" with local changes" if entry["dirty"] else "")
    if held := committed_in(root, folder):
        return f"{held[:9]}, the last that changed these files (no run here noted its own)"
    if facts["commit"]:
        return (
            "not noted, and these files are not committed; "
            f"checkout at {facts['commit'][:9]}{' with local changes' if facts['dirty'] else ''}"
        )
    return "unknown (no git history)"


def _about(path: Path) -> dict[str, str]:
    """What `save` or `write` noted beside the file; empty where there is nothing to read."""
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _table(path: Path, about: dict[str, str], source: Source, reports: Path) -> Table:
    files = [
        (kind.upper(), _link(path.with_suffix(f".{kind}"), reports))
        for kind in ("csv", "md", "tex")
        if path.with_suffix(f".{kind}").exists()
    ]
    caption = about.get("caption") or path.stem.replace("-", " ")
    try:
        whole = pd.read_csv(path)
        shown = tables.readable(whole.head(_ROWS))
        if "metric" in shown:
            shown["metric"] = shown["metric"].map(metric_name)
    except (OSError, ValueError) as error:
        problem = f"{_link(path, reports)} cannot be read ({error}): run `{source.command}` again."
        return Table(path.stem, caption, [], [], [], 0, source, files, problem)
    numeric = [tables.is_numeric(shown[column]) for column in shown.columns]
    for column in shown.columns[numeric]:
        shown[column] = shown[column].str.replace("-", "−")
    return Table(path.stem, caption, list(shown.columns), shown.to_numpy().tolist(), numeric, max(0, len(whole) - _ROWS), source, files)


def _link(path: Path, reports: Path) -> str:
    return Path(os.path.relpath(path, reports)).as_posix()


def _exists(path: Path, reports: Path) -> str | None:
    return _link(path, reports) if path.exists() else None

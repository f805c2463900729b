"""Write what is said of the committed results from `reports/` and docs/timings.csv: `python scripts/results.py`; `--check` only compares.

Whole files: reports/results.md, reports/reproducibility-report.md and, for `dvc metrics`, reports/metrics.json. Between marks: README.md,
docs/setup.md, docs/ja.md. The words are templates in scripts/results/; no number that a study measures is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loupe.errors import LoupeError
from loupe.evaluation.claims import NOT_RUN, read_claims
from loupe.reporting.style import metric_name

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = "scripts/results"
WHOLE = ("reports/results.md", "reports/reproducibility-report.md")
METRICS = "reports/metrics.json"
PARTS = (("README.md", "findings"), ("docs/setup.md", "times"), ("docs/ja.md", "findings-ja"))
UNITS = {"energy_inside": "share of the map"}  # metrics that a reader of one line knows by another name
FIGURE = "low-label/curves"  # on the first screen
TOLD_ELSEWHERE = ("claims/decided", "start-here/verdicts")  # tables that repeat the claims


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file says something else than reports/")
    options = parser.parse_args(arguments)
    try:
        stale = {path: fresh for path, fresh in texts(root) if not path.exists() or path.read_text(encoding="utf-8") != fresh}
    except LoupeError as error:
        sys.exit(f"results: {error}")
    if options.check and stale:
        named = ", ".join(path.relative_to(root).as_posix() for path in stale)
        sys.exit(f"Not what reports/ and docs/timings.csv say: {named}. Run `python scripts/results.py`.")
    for path, fresh in stale.items():
        path.write_text(fresh, encoding="utf-8")
        print(path.relative_to(root))


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Each file that holds results, and its whole text as it should be."""
    environment = Environment(loader=FileSystemLoader(root / TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.keep_trailing_newline = True
    facts = collect(root)
    yield root / METRICS, json.dumps(facts["metrics"], indent=1) + "\n"
    for name in WHOLE:
        yield root / name, environment.get_template(f"{Path(name).stem}.md.j2").render(facts)
    for name, part in PARTS:
        text = (root / name).read_text(encoding="utf-8")
        first, last = f"<!-- {part}: written by scripts/results.py -->\n", f"<!-- end of {part} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise LoupeError(
                f"{name} must hold the lines `{first.strip()}` and `{last}` once each: put them back where the results belong."
            )
        before, rest = text.split(first)
        yield root / name, before + first + environment.get_template(f"{part}.md.j2").render(facts) + last + rest.split(last)[1]


def collect(root: Path) -> dict[str, Any]:
    """What the templates may speak of. A claim of the book that claims.csv does not hold yet was not run."""
    reports = root / "reports"
    if not (reports / "claims.csv").is_file():
        raise LoupeError("reports/claims.csv is missing: run `dvc repro claims` first.")
    decided = {row["id"]: row for row in pd.read_csv(reports / "claims.csv").to_dict("records")}
    book = [
        decided.get(entry.id) or asdict(entry) | {"cells": entry.cells, "verdict": NOT_RUN}
        for entry in read_claims(root / "conf" / "claims.yaml").claims
    ]
    claims = {row["id"]: claim(row) for row in book}
    papers = yaml.safe_load((root / TEMPLATES / "headlines.yaml").read_text(encoding="utf-8"))
    for name, paper in papers.items():
        if missing := [identity for identity in paper["findings"] if identity not in claims]:
            raise LoupeError(
                f"scripts/results/headlines.yaml names {', '.join(missing)}, which conf/claims.yaml does not hold: name others."
            )
        paper["claims"] = [claims[row["id"]] for row in book if row["paper"] == name]
        paper["findings"] = [claims[identity] | {"ja": said} for identity, said in paper["findings"].items()]
    run = [row for row in book if row["verdict"] != NOT_RUN]
    return {
        "papers": papers,
        "on_record": len(book),
        "run": len(run),
        "counts": {verdict: sum(row["verdict"] == verdict for row in run) for verdict in ("supported", "not supported", "inconclusive")},
        "over": "people and seeds" if any(row.get("over") == "people and seeds" for row in run) else "people",
        "floor": sum(str(row["floor"]) == "True" for row in run),
        "scale": yaml.safe_load((root / "conf" / "study.yaml").read_text(encoding="utf-8"))["scale"],
        "metrics": {name: {row["id"]: row["effect"] for row in run if row["paper"] == name} for name in papers},
        "stages": stages(root),
        "figure": about(reports / "figures" / f"{FIGURE}.json") | {"path": f"figures/{FIGURE}.png"},
        "times": times(root),
    }


def claim(row: dict[str, Any]) -> dict[str, Any]:
    """One claim in words. `result` and `people` are empty where it was not run."""
    said = {"id": row["id"], "sentence": row["sentence"], "verdict": row["verdict"], "cells": row["cells"], "source": row["source"]}
    said["over"] = row.get("over", "people")  # what the interval draws; tables of earlier studies do not say, theirs drew people
    said |= {"paper_number": row["paper_number"], "result": "", "people": "", "counts": {}, "p": "", "real": row.get("real", "not run")}
    if row["verdict"] == NOT_RUN:
        return said
    if str(row["floor"]) == "True":
        said["verdict"] += " (floor)"
    effect, low, high = (f"{row[name]:+.3f}".replace("-", "−") for name in ("effect", "low", "high"))
    counts = {name: int(row[f"n_{name}"]) for name in ("subjects", "seeds", "pretrainings")}
    people = ", ".join(
        f"{counts[name]} {word}{'s' * (counts[name] != 1)}" for name, word in (("seeds", "seed"), ("pretrainings", "pre-training"))
    )
    return said | {
        "result": f"{effect} [{low}, {high}] {UNITS.get(row['metric']) or metric_name(row['metric'])}",
        "people": f"{counts['subjects']} people, {people}",
        "counts": counts,
        "p": "< .001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}".lstrip("0"),
    }


def stages(root: Path) -> list[dict[str, Any]]:
    """Tables and figures of each stage of dvc.yaml, in its order, then those of pipelines beside the study."""
    reports, found = root / "reports", []
    names = list(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    names += sorted({path.name for path in reports.glob("tables/*/") if path.is_dir()} - set(names))
    for stage in names:
        written = [path for path in sorted((reports / "tables" / stage).glob("*.md")) if f"{stage}/{path.stem}" not in TOLD_ELSEWHERE]
        tables = [about(path.with_suffix(".json")) | {"text": path.read_text(encoding="utf-8").strip()} for path in written]
        pictures = sorted((reports / "figures" / stage).glob("*.png"))
        figures = [about(path.with_suffix(".json")) | {"path": path.relative_to(reports).as_posix()} for path in pictures]
        if tables or figures:
            found.append({"name": stage, "tables": tables, "figures": figures, "command": [*tables, *figures][0]["command"]})
    return found


def about(path: Path) -> dict[str, str]:
    """Caption, alternative text and command of a figure or table."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoupeError(f"{path} cannot be read ({type(error).__name__}): run `dvc repro {path.parent.name}`.") from error


def times(root: Path) -> list[dict[str, Any]]:
    """Minutes within the stages of every scale, and where they were measured; none where nobody has run it."""
    table = pd.read_csv(root / "docs" / "timings.csv")
    found = []
    for scale in ("smoke", "laptop", "gpu", "paper"):
        rows = table[table["scale"] == scale]
        machines, notes = (" / ".join(rows[column].dropna().unique()) for column in ("machine", "note"))
        stages = [{"name": row.stage, "minutes": f"{row.minutes:.1f}"} for row in rows.itertuples()]
        facts = {
            "minutes": f"{rows['minutes'].sum():.0f}",
            "peak_gb": f"{rows['peak_mb'].max() / 1000:.1f}",
            "hours": f"{rows['minutes'].sum() / 60:.1f}",
        }
        found.append({"scale": scale, "stages": stages, "machine": machines, "note": notes, **(facts if stages else {})})
    return found


if __name__ == "__main__":
    main()

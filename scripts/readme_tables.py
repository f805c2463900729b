"""Keep README's results those of `reports/`: `python scripts/readme_tables.py` rewrites them between their two marks, `--check` only compares."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from loupe.reporting import tables
from loupe.reporting.selection import usual
from loupe.reporting.style import arm_label, metric_name

ROOT = Path(__file__).resolve().parents[1]
FIRST, LAST = "<!-- results: scripts/readme_tables.py writes these from reports/ -->", "<!-- end of results -->"
UNITS = {"energy_inside": "share of the map"}  # metrics that a reader of one line knows by another name
STILLS = ("mae-fusion", "mae", "scratch", "hog", "majority", "au-oracle")
VIEWS = ("concat", "single", "single-deep", "duplicate")
CLIPS = ("micron-bert", "flow-svm", "difference-svm", "majority")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where README says something else than reports/")
    options = parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if text.count(FIRST) != 1 or text.count(LAST) != 1:
        sys.exit(f"{path} must hold the marks `{FIRST}` and `{LAST}` once each.")
    before, rest = text.split(FIRST)
    fresh = before + FIRST + "\n" + results(ROOT / "reports") + LAST + rest.split(LAST)[1]
    if options.check:
        sys.exit("README.md does not show the results in reports/: run `python scripts/readme_tables.py`." if fresh != text else 0)
    path.write_text(fresh, encoding="utf-8")


def results(reports: Path) -> str:
    """The part of README between the marks."""
    claims = pd.read_csv(reports / "claims.csv")
    return "\n".join(
        [
            claims_in_words(claims),
            claims_table(claims[claims["verdict"] != "not run at this scale"]),
            "Scores behind them (mean ± sd over seeds; people unseen in training; each row from the stage named, `dvc repro <stage>`):\n",
            scores(reports, "low-label", "arms", STILLS, ("macro_f1", "accuracy"), ("n_seeds", "n_subjects")),
            scores(reports, "dual-view", "arms", VIEWS, ("macro_f1", "accuracy"), ("n_seeds", "n_subjects")),
            scores(reports, "micro-expressions", "loso", CLIPS, ("uf1", "uar"), ("n_seeds", "n_subjects", "n_samples")),
            scores(
                reports, "micro-expressions", "spotting", CLIPS, ("auroc", "sensitivity_at_fpr05"), ("n_seeds", "n_subjects", "n_clips")
            ),
            "A lesson, not a result: what it fakes to choose the step on the people who are scored (noise: features in which there is nothing to learn):\n",
            lesson(reports),
        ]
    )


def claims_in_words(claims: pd.DataFrame) -> str:
    run = claims[claims["verdict"] != "not run at this scale"]
    count = run["verdict"].value_counts()
    floor = int((run["verdict"].eq("inconclusive") & run["floor"].eq(True)).sum())
    said = ", ".join(f"{count.get(verdict, 0)} {verdict}" for verdict in ("supported", "not supported", "inconclusive"))
    return (
        f"Laptop scale, generated faces, committed in `reports/`. Of {len(claims)} claims on record {len(run)} were run: **{said}** ({floor} of these because "
        "both arms lie on the floor of guessing). Rule and intervals: notebook 11. All rows: `reports/claims.csv`.\n"
    )


def claims_table(claims: pd.DataFrame) -> str:
    rows = [
        (
            claim.sentence,
            f"`{claim.cells}`",
            f"{claim.effect:+.3f} [{claim.low:+.3f}, {claim.high:+.3f}] {UNITS.get(claim.metric) or metric_name(claim.metric)}",
            claim.verdict + " (floor)" * (claim.verdict == "inconclusive" and claim.floor is True),
        )
        for claim in claims.itertuples()
    ]
    return markdown(("claim (on generated faces)", "cells", "effect, 95 % interval", "verdict"), rows, "--:-")


def scores(reports: Path, stage: str, name: str, arms: tuple[str, ...], metrics: tuple[str, ...], counts: tuple[str, ...]) -> str:
    """Rows of one table of a stage in the usual state, in the order of `arms` as far as they are there; test people where it has several splits."""
    table = usual(pd.read_csv(reports / "tables" / stage / f"{name}.csv"))
    if "split" in table:
        table = table[table["split"].isin(("test", "loso"))]
    table = table[table["arm"].isin(arms)].sort_values("arm", key=lambda names: names.map(arms.index), kind="stable")
    share = ["fraction"] if "fraction" in table and stage != "micro-expressions" else []
    columns = ["arm", *share, *(f"{metric}_{how}" for metric in metrics for how in ("mean", "sd")), *counts]
    return tables.markdown(tables.readable(table[columns]).assign(stage=stage, command=f"`dvc repro {stage}`")) + "\n"


def lesson(reports: Path) -> str:
    table = pd.read_csv(reports / "tables" / "micro-expressions" / "best-epoch.csv")
    rows = [
        (arm_label(row["arm"]), row["rule"], mean_and_spread(row, "uf1"), f"{row['points']:+.1f}", f"{row['n_seeds']}", f"{row['n_steps']}")
        for _, row in table.iterrows()
    ]
    return markdown(("features", "the step that counts", "UF1", "points added", "seeds", "steps to choose from"), rows, "--::::")


def mean_and_spread(row: pd.Series, metric: str) -> str:
    mean, spread = row[f"{metric}_mean"], row[f"{metric}_sd"]
    return f"{mean:.3f}" + ("" if pd.isna(spread) else f" ± {spread:.3f}")


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]], right: str) -> str:
    """A table; `right` has a colon for each column of numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if mark == ":" else "---" for mark in right) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


if __name__ == "__main__":
    main()

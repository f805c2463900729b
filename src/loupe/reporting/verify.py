"""A rerun against the committed results, row by row: identical, within seed noise, or different.

What is compared: `reports/claims.csv`, every `reports/tables/<stage>/<name>.csv`, and the stages' output hashes in `dvc.lock`. Rows are
paired by their words (and shares of labels); a row that only one side has is a difference.

A row is **identical** where every cell is the same text, and **different** where a word or a count (`n_*`) differs, a verdict above all, or
where a number lies outside its noise. Else it is **within seed noise**. Noise of a number x (a: committed, b: rerun) is judged by the first
rule that applies:

1. The row has `x_mean`, `x_sd` and `n_seeds` above one on both sides. `x_mean`: |a - b| <= t(.975, nu) sqrt(sd_a^2/n_a + sd_b^2/n_b),
Welch's
   interval for the difference of two means of seeds. `x_sd`: the ratio of variances lies between the .025 and .975 quantiles of F(n_a - 1,
   n_b - 1).
2. The row has `effect`, `low` and `high`. `effect`: each side's effect lies inside the other's interval. The columns beside it (`value_a`,
`value_b`,
   `low`, `high`, `detectable`): |a - b| is at most half the width of the wider interval. Beside a verdict, `p`, `p_holm` and the kind of
   `interval` follow from the effect and are judged through the verdict. (These intervals hold people and seeds.)
3. Neither: |a - b| <= 1 % of |a|. One seed, or none, tells no spread; this is room for another processor's order of sums, not for another
result.

Numbers on one side only (a score that became undefined) are different. Rule 3 with equal seeds on one machine should never be needed:
there, equal studies write equal bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml
from scipy import stats

from loupe.checkout import checkout_of, git
from loupe.errors import LoupeError

IDENTICAL, NOISE, DIFFERENT = "identical", "within seed noise", "different"
UNSPREAD = 0.01  # rule 3
_FOLLOW = ("p", "p_holm", "interval")  # of the effect: judged through the verdict
_SHARES = ("fraction", "dose")  # numbers that name a row

Row = Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """One row that is not identical. `number`: the column that decided; empty where the row is on one side only."""

    table: str
    row: str
    status: str
    number: str = ""
    committed: str = ""
    now: str = ""
    why: str = ""

    def __str__(self) -> str:
        values = f", {self.number} {self.committed} -> {self.now}" if self.number else ""
        return f"{self.table}: {self.row}{values} ({self.why})"


@dataclass
class StageReport:
    """What the comparison found for one stage: rows by status, findings, and outputs whose bytes differ (from dvc.lock)."""

    stage: str
    identical: int = 0
    findings: list[Finding] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        kinds = {finding.status for finding in self.findings}
        return DIFFERENT if DIFFERENT in kinds else NOISE if NOISE in kinds else IDENTICAL


def verify(root: Path, against: str = "HEAD") -> list[StageReport]:
    """Compare the results in the checkout at `root` with those of `against`: a git revision, or a folder that holds `claims.csv` and
    `tables/`.

    Returns one report a stage, in the order of `dvc.yaml`. Raises LoupeError where there is nothing to compare, or no such revision.
    """
    before, after = _committed(root, against), _read_folder(root / "reports", root)
    if not any(name.endswith(".csv") for name in before):
        raise LoupeError(
            f"{against} holds no results (reports/claims.csv, reports/tables): name another revision or folder with --against."
        )
    if not any(name.endswith(".csv") for name in after):
        raise LoupeError("There are no results here yet (reports/claims.csv, reports/tables): run `make study` first.")
    order = list((yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8")) or {}).get("stages", {}))
    reports: dict[str, StageReport] = {}
    for name in sorted({name for name in before | after if name.endswith(".csv")}):
        stage = "claims" if name == "claims.csv" else name.split("/")[1]
        report = reports.setdefault(stage, StageReport(stage))
        short = Path(name).stem
        if name not in before or name not in after:
            side = "committed results lack it" if name not in before else "the rerun did not write it"
            report.findings.append(Finding(short, "whole table", DIFFERENT, why=side))
            continue
        identical, findings = compare_tables(_table(before[name], name), _table(after[name], name), short)
        report.identical += identical
        report.findings += findings
    for stage, outputs in _changed_outputs(before.get("dvc.lock", b""), after.get("dvc.lock", b"")).items():
        reports.setdefault(stage, StageReport(stage)).outputs = outputs
    return sorted(reports.values(), key=lambda report: (order.index(report.stage) if report.stage in order else len(order), report.stage))


def compare_tables(before: pd.DataFrame, after: pd.DataFrame, name: str) -> tuple[int, list[Finding]]:
    """Number of identical rows, and a finding for each other row. Both tables hold strings as the CSV has them ("" where empty)."""
    if list(before.columns) != list(after.columns):
        changed = sorted(set(before.columns) ^ set(after.columns)) or ["their order"]
        return 0, [Finding(name, "whole table", DIFFERENT, why=f"columns differ: {', '.join(changed)}")]
    numeric = [all(text == "" or _number(text) is not None for text in [*before[column], *after[column]]) for column in before]
    keys = [column for column, number in zip(before, numeric, strict=True) if column in _SHARES or not number]
    # A verdict is what is compared, not a name; where it is the only word, it names the row.
    keys = ["id"] if "id" in before else [column for column in keys if column != "verdict"] or keys
    ours, theirs = _by_key(before, keys), _by_key(after, keys)
    identical, findings = 0, []
    for key in ours | theirs:
        row = " / ".join(part for part in key[:-1] if part) or f"row {key[-1] + 1}"
        if key not in ours or key not in theirs:
            why = "committed results lack this row" if key not in ours else "the rerun lacks this row"
            findings.append(Finding(name, row, DIFFERENT, why=why))
        elif ours[key] == theirs[key]:
            identical += 1
        else:
            findings.append(_judge(name, row, ours[key], theirs[key]))
    return identical, findings


def _by_key(table: pd.DataFrame, keys: list[str]) -> dict[tuple, dict[str, str]]:
    """Rows by their words; equal words are counted, so that tables of numbers alone are paired by place."""
    place = table.groupby(keys).cumcount() if keys else range(len(table))
    rows = zip(table.to_dict("records"), place, strict=True)
    return {(*(row[name] for name in keys), number): row for row, number in rows}


def _judge(table: str, row: str, a: Row, b: Row) -> Finding:
    """The first of a row's cells that is different, else the first within noise; for rows that differ."""
    findings = []
    for column in (column for column in a if a[column] != b[column]):
        inside, why = _cell(column, a, b)
        status = NOISE if inside else DIFFERENT
        findings.append(Finding(table, row, status, column, a[column] or "(none)", b[column] or "(none)", why))
    return min(findings, key=lambda finding: finding.status != DIFFERENT)


def _cell(column: str, a: Row, b: Row) -> tuple[bool, str]:
    """Whether a cell that differs does so within noise, and why."""
    if column in _FOLLOW and "verdict" in a:
        return True, "follows from the effect"
    x, y = _number(a[column]), _number(b[column])
    if x is None or y is None:
        return False, "only one side has a number" if (x is None) != (y is None) else "another word"
    if column.startswith("n_"):
        return False, "another count"
    if column.endswith(("_mean", "_sd")) and (spread := _spread(column, a, b)):
        return spread
    bounds = [[_number(side.get(name, "")) for name in ("low", "high", "effect")] for side in (a, b)]
    if None in [*bounds[0], *bounds[1]]:
        return _within(abs(x - y), UNSPREAD * abs(x), f"one seed: noise unknown, {UNSPREAD:.0%} allowed")
    (low_a, high_a, _), (low_b, high_b, _) = bounds  # rule 2
    if column == "effect":
        inside = low_b <= x <= high_b and low_a <= y <= high_a
        return inside, f"{'inside' if inside else 'outside'} the other's interval [{low_a:g}, {high_a:g}]"
    return _within(abs(x - y), max(high_a - low_a, high_b - low_b) / 2, "half the interval's width")


def _spread(column: str, a: Row, b: Row) -> tuple[bool, str] | None:
    """Rule 1, or None where the spread of seeds is not known."""
    base = column.removesuffix("_mean").removesuffix("_sd")
    means, sds, counts = ([_number(side.get(name, "")) for side in (a, b)] for name in (f"{base}_mean", f"{base}_sd", "n_seeds"))
    if None in [*means, *sds, *counts] or min(counts) < 2:
        return None
    if column.endswith("_sd"):
        if min(sds) == 0:
            return _within(max(sds), 0.0, "seeds did not vary on one side")
        ratio = (sds[1] / sds[0]) ** 2
        low, high = stats.f.ppf([0.025, 0.975], counts[1] - 1, counts[0] - 1)
        return bool(low <= ratio <= high), f"variance ratio {ratio:.2f}, noise {low:.2f} to {high:.2f}"
    errors = [sd**2 / count for sd, count in zip(sds, counts, strict=True)]
    if sum(errors) == 0:
        return _within(abs(means[0] - means[1]), 0.0, "seeds did not vary")
    freedom = sum(errors) ** 2 / sum(error**2 / (count - 1) for error, count in zip(errors, counts, strict=True))
    return _within(abs(means[0] - means[1]), float(stats.t.ppf(0.975, freedom)) * math.sqrt(sum(errors)), "seed noise")


def _within(gap: float, allowed: float, what: str) -> tuple[bool, str]:
    # Cells are rounded to six decimals; half a unit of the last one must not decide.
    return gap <= allowed + 5e-7, f"off by {gap:.6f}, {what} ±{allowed:.6f}"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _table(content: bytes, name: str) -> pd.DataFrame:
    try:
        return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise LoupeError(f"reports/{name} is no table ({error}): run its stage again.") from error


def _committed(root: Path, against: str) -> dict[str, bytes]:
    folder = Path(against)
    if folder.is_dir():
        reports = folder / "reports" if (folder / "reports").is_dir() else folder
        return _read_folder(reports, reports.parent)
    if checkout_of(root) != root.resolve():
        raise LoupeError(
            "This is no git checkout, so nothing is committed to compare with: name a folder of results, `loupe verify --against FOLDER`."
        )
    listed = git(root, "ls-tree", "-r", "--name-only", "-z", against, "--", "reports/claims.csv", "reports/tables", "dvc.lock")
    if listed is None:
        raise LoupeError(f"{against!r} is neither a folder nor a git revision here: name one of them with --against.")
    names = [name for name in listed.decode().split("\0") if name.endswith(".csv") or name == "dvc.lock"]
    return {name.removeprefix("reports/"): git(root, "cat-file", "blob", f"{against}:{name}") or b"" for name in names}


def _read_folder(reports: Path, home: Path) -> dict[str, bytes]:
    paths = [reports / "claims.csv", *sorted((reports / "tables").glob("*/*.csv")), home / "dvc.lock"]
    return {
        path.name if path.parent == home else path.relative_to(reports).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


def _changed_outputs(before: bytes, after: bytes) -> dict[str, list[str]]:
    """Outputs of each stage whose hash in dvc.lock differs; stages that one side lacks are left out (their tables speak)."""
    locks = []
    for content in (before, after):
        stages = (yaml.safe_load(content) or {}).get("stages", {})
        locks.append({name: {(out["path"], out.get("md5")) for out in stage.get("outs", [])} for name, stage in stages.items()})
    changed = {stage: {path for path, _ in locks[0][stage] ^ locks[1][stage]} for stage in locks[0].keys() & locks[1].keys()}
    return {stage: sorted(paths) for stage, paths in changed.items() if paths}

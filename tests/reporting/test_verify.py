"""The comparison of a rerun with the committed results: planted changes of every kind, and the noise rules against their own formulas."""

from __future__ import annotations

import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from loupe.cli import app
from loupe.errors import LoupeError
from loupe.reporting.verify import DIFFERENT, IDENTICAL, NOISE, compare_tables, verify

ARMS = """task,split,arm,fraction,macro_f1_mean,macro_f1_sd,n_seeds,n_subjects
stills,test,concat,0.100000,0.400000,0.020000,5,40
stills,test,hog,0.100000,0.300000,,1,40
stills,test,hog,1.000000,0.410000,,1,40
"""
CLAIMS = """id,effect,low,high,p,p_holm,value_a,sesoi,verdict,interval
one,0.1,0.05,0.15,0.001,0.002,0.4,0.05,supported,bca
two,0.01,-0.02,0.04,0.5,0.5,0.3,0.05,not supported,bca
"""
LOCK = """schema: '2.0'
stages:
  low-label:
    outs:
    - {path: data/runs/low-label, md5: aaa}
"""


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "study"
    (root / "conf").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {low-label: {}, claims: {}}\n")
    (root / "dvc.lock").write_text(LOCK)
    tables = root / "reports" / "tables" / "low-label"
    tables.mkdir(parents=True)
    (tables / "arms.csv").write_text(ARMS)
    (root / "reports" / "claims.csv").write_text(CLAIMS)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "results"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return root


def change(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def found(root):
    return {report.stage: report for report in verify(root)}


def test_untouched_results_are_identical(checkout):
    reports = verify(checkout)
    assert [(report.stage, report.status, report.identical) for report in reports] == [
        ("low-label", IDENTICAL, 3),
        ("claims", IDENTICAL, 2),
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "stage", "status", "number"),
    [
        ("reports/tables/low-label/arms.csv", "0.400000", "0.415000", "low-label", NOISE, "macro_f1_mean"),
        ("reports/tables/low-label/arms.csv", "0.400000", "0.450000", "low-label", DIFFERENT, "macro_f1_mean"),
        ("reports/tables/low-label/arms.csv", "0.020000", "0.030000", "low-label", NOISE, "macro_f1_sd"),
        ("reports/tables/low-label/arms.csv", "0.020000", "0.200000", "low-label", DIFFERENT, "macro_f1_sd"),
        ("reports/tables/low-label/arms.csv", "0.300000", "0.301000", "low-label", NOISE, "macro_f1_mean"),
        ("reports/tables/low-label/arms.csv", "0.300000", "0.310000", "low-label", DIFFERENT, "macro_f1_mean"),
        ("reports/tables/low-label/arms.csv", ",5,40", ",4,40", "low-label", DIFFERENT, "n_seeds"),
        ("reports/tables/low-label/arms.csv", "0.410000", "", "low-label", DIFFERENT, "macro_f1_mean"),
        ("reports/tables/low-label/arms.csv", "hog,1.000000", "svm,1.000000", "low-label", DIFFERENT, ""),
        ("reports/claims.csv", "one,0.1,0.05,0.15", "one,0.11,0.06,0.16", "claims", NOISE, "effect"),
        ("reports/claims.csv", "one,0.1,0.05,0.15", "one,0.2,0.15,0.25", "claims", DIFFERENT, "effect"),
        ("reports/claims.csv", "not supported,bca", "inconclusive,bca", "claims", DIFFERENT, "verdict"),
        ("reports/claims.csv", "0.5,0.5,0.3", "0.6,0.6,0.3", "claims", NOISE, "p"),
        ("reports/claims.csv", "two,", "three,", "claims", DIFFERENT, ""),
    ],
)
def test_a_planted_change_is_told_with_its_stage_and_number(checkout, file, old, new, stage, status, number):
    change(checkout, file, old, new)
    reports = found(checkout)
    assert reports[stage].status == status
    assert reports[stage].findings[0].number == number
    assert all(report.status == IDENTICAL for name, report in reports.items() if name != stage)


def test_a_lost_table_is_different_and_changed_outputs_are_named(checkout):
    (checkout / "reports/tables/low-label/arms.csv").unlink()
    change(checkout, "dvc.lock", "aaa", "bbb")
    report = found(checkout)["low-label"]
    assert report.status == DIFFERENT and "whole table" in str(report.findings[0])
    assert report.outputs == ["data/runs/low-label"]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.floats(0.001, 0.1), st.floats(0.001, 0.1), st.floats(-0.2, 0.2))
def test_noise_of_a_mean_is_welchs_interval(n, sd_a, sd_b, gap):
    def row(mean, sd):
        return pd.DataFrame([{"arm": "x", "f_mean": repr(mean), "f_sd": repr(sd), "n_seeds": str(n)}])

    p = stats.ttest_ind_from_stats(0.5, sd_a, n, 0.5 + gap, sd_b, n, equal_var=False).pvalue
    if abs(p - 0.05) < 1e-3 or abs(gap) < 1e-5:
        return
    _, findings = compare_tables(row(0.5, sd_a), row(0.5 + gap, sd_b), "t")
    mean = [finding for finding in findings if finding.number == "f_mean"]
    if p < 0.05:
        assert mean and mean[0].status == DIFFERENT
    else:
        assert not any(finding.status == DIFFERENT for finding in mean)


def test_equal_recipes_with_fresh_seeds_are_mostly_within_noise():
    """Two studies of one truth, other seeds: the rule calls about 5 % of means different, not half of them, and a real change nearly
    always."""
    rng = np.random.default_rng(0)

    def table(shift):
        runs = rng.normal(0.5 + shift, 0.02, (300, 5))
        rows = {"arm": [f"a{i}" for i in range(300)], "f_mean": runs.mean(1).astype(str), "f_sd": ["0.02"] * 300, "n_seeds": ["5"] * 300}
        return pd.DataFrame(rows)

    _, same = compare_tables(table(0), table(0), "t")
    _, moved = compare_tables(table(0), table(0.08), "t")
    assert sum(finding.status == DIFFERENT for finding in same) < 0.1 * 300
    assert sum(finding.status == DIFFERENT for finding in moved) > 0.95 * 300


def test_rows_of_numbers_alone_are_paired_by_place():
    before, after = (pd.DataFrame({"n": values}) for values in (["1", "2"], ["1", "3"]))
    identical, findings = compare_tables(before, after, "t")
    assert identical == 1 and findings[0].status == DIFFERENT and findings[0].row == "row 2"


def test_another_folder_another_revision_and_no_git(checkout, tmp_path):
    results = tmp_path / "given"
    (results / "tables" / "low-label").mkdir(parents=True)
    (results / "tables" / "low-label" / "arms.csv").write_text(ARMS.replace("0.400000", "0.900000"))
    (results / "claims.csv").write_text(CLAIMS)
    assert {report.stage: report.status for report in verify(checkout, str(results))} == {"low-label": DIFFERENT, "claims": IDENTICAL}
    with pytest.raises(LoupeError, match="neither a folder nor a git revision"):
        verify(checkout, "no-such-branch")
    (checkout / ".git").rename(tmp_path / "gone")
    with pytest.raises(LoupeError, match="--against FOLDER"):
        verify(checkout)


@pytest.mark.parametrize(("old", "new", "flags", "code"), [
    ("0.4,", "0.4,", [], 0),
    ("one,0.1,0.05", "one,0.11,0.05", [], 0),
    ("one,0.1,0.05", "one,0.11,0.05", ["--exact"], 1),
    ("one,0.1,0.05", "one,0.3,0.05", [], 1),
])  # fmt: skip
def test_exit_code_is_for_ci(checkout, monkeypatch, old, new, flags, code):
    change(checkout, "reports/claims.csv", old, new)
    monkeypatch.chdir(checkout)
    result = CliRunner().invoke(app, ["verify", *flags])
    assert result.exit_code == code, result.output
    assert "claims" in result.output

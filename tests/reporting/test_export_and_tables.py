"""The supplement is the same zip for the same results, whole, and complete; stored tables are found by name."""

from __future__ import annotations

import hashlib
import os
import zipfile

import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.reporting import tables
from loupe.reporting.export import export


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "study.yaml").write_text("scale: smoke\n")
    (root / "dvc.lock").write_text("stages: {}\n")
    frame = pd.DataFrame({"arm": ["concat"], "macro_f1_mean": [0.4], "macro_f1_sd": [0.01]})
    tables.write(frame, root / "reports" / "tables" / "dual-view", "arms", "Arms & scores.")
    tables.write(frame, root / "reports" / "tables" / "low-label", "arms", "Arms.")
    tables.write(frame, root / "reports" / "tables" / "low-label", "other", "Others.")
    (root / "reports" / "claims.csv").write_text("id,effect\none,0.1\n")
    return root


def test_equal_results_give_equal_bytes_whatever_their_dates_and_the_name_of_the_file(study, tmp_path):
    first = export(study, tmp_path / "a.zip").read_bytes()
    for path in study.rglob("*.csv"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert export(study, tmp_path / "deep" / "b.zip").read_bytes() == first
    (study / "reports" / "claims.csv").write_text("id,effect\none,0.2\n")
    assert export(study, tmp_path / "c.zip").read_bytes() != first


def test_everything_is_inside_and_the_sums_are_right(study, tmp_path, monkeypatch):
    monkeypatch.setattr("loupe.reporting.export.card_text", lambda root: "# Data card\n")
    with zipfile.ZipFile(export(study, tmp_path / "a.zip")) as archive:
        inside = {name.removeprefix("loupe-results/"): archive.read(name) for name in archive.namelist()}
    for name in (
        "claims.csv",
        "provenance.json",
        "README.txt",
        "data-card.md",
        "dvc.lock",
        "conf/study.yaml",
        "tables/low-label/other.tex",
    ):
        assert name in inside
    sums = dict(reversed(line.split("  ")) for line in inside.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in inside.items()}


def test_nothing_to_export_is_one_sentence(study, tmp_path):
    (study / "reports" / "claims.csv").unlink()
    with pytest.raises(LoupeError, match="make study"):
        export(study, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_tables_by_name_and_format(study):
    assert tables.table_names(study) == ["dual-view/arms", "low-label/arms", "low-label/other"]
    assert tables.read_table(study, "other", "csv").startswith("arm,macro_f1_mean")
    assert r"\toprule" in tables.read_table(study, "dual-view/arms", "latex")
    assert tables.read_table(study, "dual-view/arms", "markdown").startswith("| arm | macro-F1 |")
    with pytest.raises(LoupeError, match="dual-view/arms, low-label/arms"):
        tables.read_table(study, "arms", "csv")
    with pytest.raises(LoupeError, match="csv, latex, markdown"):
        tables.read_table(study, "other", "html")

"""Tables: numbers from predictions, equal in CSV, Markdown and LaTeX."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from loupe.errors import LoupeError
from loupe.reporting import tables


def test_results_are_means_over_seeds_of_pooled_scores(predictions):
    table = tables.results(predictions, {"stills": 2}, metrics=("macro_f1", "uar", "accuracy"))
    assert list(table["arm"]) == ["mae", "mae", "scratch", "scratch"]
    for row in table.to_dict("records"):
        part = predictions[(predictions["arm"] == row["arm"]) & (predictions["fraction"] == row["fraction"])]
        runs = [(run["label"], run["pred"]) for _, run in part.groupby("seed")]
        oracles = {
            "macro_f1": [f1_score(*run, average="macro", labels=[0, 1], zero_division=0) for run in runs],
            "uar": [recall_score(*run, average="macro", labels=[0, 1], zero_division=0) for run in runs],
            "accuracy": [accuracy_score(*run) for run in runs],
        }
        for metric, scores in oracles.items():
            assert row[f"{metric}_mean"] == pytest.approx(np.mean(scores)), metric
            assert row[f"{metric}_sd"] == pytest.approx(np.std(scores, ddof=1)), metric
        assert (row["n_seeds"], row["n_subjects"], row["n_samples"]) == (2, 4, 16)


def test_splits_stay_apart_and_a_single_seed_has_no_spread(predictions):
    both = pd.concat([predictions[predictions["seed"] == 0], predictions[predictions["seed"] == 0].assign(split="val", pred=0)])
    table = tables.results(both, 2)
    assert sorted(set(table["split"])) == ["test", "val"]
    assert table["macro_f1_sd"].isna().all()
    assert set(table.loc[table["split"] == "val", "accuracy_mean"]) == {0.5}
    assert "±" not in tables.readable(table).to_csv()


def test_results_refuse_unknown_metrics_tasks_and_columns(predictions):
    with pytest.raises(LoupeError, match="no metric 'f2'"):
        tables.results(predictions, 2, metrics=("f2",))
    with pytest.raises(LoupeError, match="task 'stills'"):
        tables.results(predictions, {"micro": 3})
    with pytest.raises(LoupeError, match="column 'seed'"):
        tables.results(predictions.drop(columns="seed"), 2)


def test_csv_markdown_and_latex_hold_the_same_cells(predictions, tmp_path):
    table = tables.results(predictions, 2)
    csv, markdown, latex = tables.write(table, tmp_path / "low-label", "arms", "50 % of_it & more.")
    assert np.allclose(pd.read_csv(csv)["macro_f1_mean"], table["macro_f1_mean"], atol=5e-7)
    shown = tables.readable(table)
    lines = markdown.read_text().splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "task",
        "split",
        "arm",
        "labels",
        "macro-F1",
        "accuracy",
        "seeds",
        "subjects",
        "samples",
    ]
    assert lines[1] == "|---|---|---|---:|---:|---:|---:|---:|---:|"
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
    assert rows == list(shown.itertuples(index=False, name=None))
    body = latex.read_text().split("\\midrule\n")[1].split("\\bottomrule")[0]
    written = [tuple(cell.strip() for cell in line.removesuffix("\\\\").split(" & ")) for line in body.splitlines()]
    unescaped = [tuple(cell.replace("$\\pm$", "±").replace("\\%", "%") for cell in row) for row in written]
    assert unescaped == rows
    assert "\\caption{50 \\% of\\_it \\& more.}" in latex.read_text()
    assert json.loads(csv.with_suffix(".json").read_text()) == {
        "caption": "50 % of_it & more.",
        "stage": "low-label",
        "command": "dvc repro low-label",
    }
    before = [path.read_bytes() for path in (csv, markdown, latex)]
    tables.write(table, tmp_path / "low-label", "arms", "50 % of_it & more.")
    assert before == [path.read_bytes() for path in (csv, markdown, latex)]


def test_readable_merges_rounds_and_names():
    table = pd.DataFrame(
        {
            "arm": ["mae", "new"],
            "fraction": [0.02, 1.0],
            "uf1_mean": [0.12345, 0.5],
            "uf1_sd": [0.01, np.nan],
            "n_seeds": [2, 1],
            "note": ["a|b", None],
        }
    )
    shown = tables.readable(table)
    assert shown.to_dict("list") == {
        "arm": ["MAE, single view", "new"], "labels": ["2 %", "100 %"], "UF1": ["0.123 ± 0.010", "0.500"], "seeds": ["2", "1"],
        "note": ["a|b", "–"],
    }  # fmt: skip
    assert "a\\|b" in tables.markdown(shown)


def test_a_state_is_a_row_of_its_own_and_a_column_where_it_does_not_go_without_saying(predictions):
    usual = {"condition": "", "regime": "labels", "smoothed": False, "pretraining": "mae-face", "dose": np.nan}
    few = predictions[predictions["fraction"] == 0.1].assign(**usual)
    assert list(tables.results(few, 2)) == list(tables.results(predictions, 2))
    states = pd.concat([few, few.assign(regime="people"), few.assign(dose=0.5), few.assign(dose=1.0)])
    table = tables.results(states, 2)
    assert list(table)[:5] == ["task", "split", "arm", "regime", "dose"]
    assert list(table["arm"]) == ["mae"] * 4 + ["scratch"] * 4 and set(table["n_samples"]) == {16} and set(table["n_seeds"]) == {2}
    assert list(tables.readable(table)["dose"][:4]) == ["–", "0.500", "1.000", "–"]
    assert list(tables.results(few.assign(smoothed=True), 2)["smoothed"]) == [True, True]


def test_a_table_without_a_caption_is_refused(tmp_path):
    with pytest.raises(LoupeError, match="Table arms has no caption"):
        tables.write(pd.DataFrame({"a": [1]}), tmp_path, "arms", "")

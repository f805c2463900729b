"""The table and figure of further conditions, on predictions whose scores are known by hand."""

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.evaluation.metrics import macro_f1
from loupe.reporting.conditions import condition_plot, condition_scores
from loupe.reporting.drawing import render


def predictions(arm, wrong, split="test", condition="", seeds=(0, 1), people=4):
    """Two classes in turn; in seed s the first wrong + s of 20 are taken for the other one."""
    label = np.tile([0, 1], 10)
    rows = []
    for seed in seeds:
        pred = np.where(np.arange(20) < wrong + seed, 1 - label, label)
        about = {"task": "stills", "arm": arm, "fraction": 0.1, "seed": seed, "split": split, "condition": condition}
        subjects = [f"s{i % people}" for i in range(20)]
        rows.append(pd.DataFrame({**about, "sample": range(20), "subject": subjects, "label": label, "pred": pred}))
    return pd.concat(rows, ignore_index=True)


CLEAN = pd.concat([predictions("concat", 2), predictions("concat", 20, "val"), predictions("concat-camera", 0), predictions("single", 4)])
COVERED = pd.concat([predictions(arm, wrong, condition="covered") for arm, wrong in (("single", 8), ("concat", 6))])
SHIFTED = pd.concat([predictions(arm, wrong, condition="shifted", people=3) for arm, wrong in (("concat", 10), ("single", 12))])
ALL = pd.concat([CLEAN, COVERED, SHIFTED])


def test_each_arm_has_its_score_in_each_condition_and_no_other():
    table = condition_scores(ALL, 2)
    found = {(row.arm, row.condition): row for row in table.itertuples()}
    wrong = {
        ("concat", "clean"): 2,
        ("concat", "shifted"): 10,
        ("concat", "covered"): 6,
        ("single", "clean"): 4,
        ("single", "shifted"): 12,
        ("single", "covered"): 8,
    }
    assert list(found) == list(wrong)  # in this order; neither validation people nor the arm without a condition
    for key, count in wrong.items():
        runs = [predictions("x", count, seeds=(seed,)) for seed in (0, 1)]
        scores = [macro_f1(run["label"], run["pred"], 2) for run in runs]
        assert found[key].macro_f1_mean == pytest.approx(np.mean(scores)) and found[key].macro_f1_sd == pytest.approx(
            np.std(scores, ddof=1)
        )
        assert (
            found[key].n_subjects == (3 if key[1] == "shifted" else 4)
            and found[key].n_seeds == 2
            and found[key].guess == pytest.approx(0.5)
        )


def test_without_shifted_pictures_the_condition_is_left_out():
    table = condition_scores(pd.concat([CLEAN, COVERED]), 2)
    assert set(table["condition"]) == {"clean", "covered"}
    assert "shifted" not in condition_plot(table).alt
    with pytest.raises(LoupeError, match="further conditions hold no rows"):
        condition_scores(CLEAN, 2)


def test_the_figure_draws_the_table_and_its_words_say_it():
    table = condition_scores(ALL, 2)
    drawing = condition_plot(table)
    drawn = sorted(round(float(x), 9) for box in drawing.figure.axes[0].containers for x in box.lines[0].get_xdata())
    assert drawn == sorted(round(value, 9) for value in table["macro_f1_mean"])
    assert f"dual view (concat) shifted {table['macro_f1_mean'][1]:.3f}" in drawing.alt and "guessing 0.500" in drawing.alt
    assert "4 unseen people" in drawing.caption
    assert render(drawing, "svg") == render(condition_plot(table), "svg")
    assert render(condition_plot(condition_scores(ALL[ALL["seed"] == 0], 2)), "png")  # one seed: no spread

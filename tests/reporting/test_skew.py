"""The dose curve draws the scores of its own arms, the untrained copy as a level, and says both in words."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from sklearn.metrics import f1_score

from loupe.errors import LoupeError
from loupe.reporting.skew import skew_curve, skew_points
from loupe.reporting.style import ARMS

DOSES = [0.5, 0.75, 1.0]
RIGHTS = {0.5: [4, 3, 4], 0.75: [3, 3, 2], 1.0: [3, 1, 2], np.nan: [1, 2, 1]}


@pytest.fixture
def doses(run_of):
    """Two head seeds a dose; rows that the figure must not take in stand beside them: the whole method, and the untrained copy on other
    looks."""

    def runs(dose, rights, condition=""):
        arm = "micron-bert" if dose == dose else "micron-bert-untrained"
        tables = [run_of("", 1.0, seed, [min(4, right + seed) for right in rights], task="micro", split="loso") for seed in (0, 1)]
        return pd.concat(tables).assign(dose=dose, condition=condition, arm=arm)

    strangers = [runs(np.nan, [0, 0, 0]).assign(arm="micron-bert"), runs(np.nan, [0, 0, 0], "shifted")]
    return pd.concat([*(runs(dose, rights) for dose, rights in RIGHTS.items()), *strangers], ignore_index=True)


def test_points_are_the_pooled_scores_with_intervals_that_hold_them(doses):
    points = skew_points(doses, DOSES, 2, 300)
    assert points["dose"].tolist()[:3] == DOSES and np.isnan(points["dose"].iloc[3])
    assert points["arm"].tolist() == ["micron-bert"] * 3 + ["micron-bert-untrained"]
    for place in range(len(RIGHTS)):
        runs = doses.iloc[24 * place : 24 * (place + 1)].groupby("seed")
        oracle = np.mean([f1_score(run["label"], run["pred"], average="macro", labels=[0, 1], zero_division=0) for _, run in runs])
        assert points["value"][place] == pytest.approx(oracle, abs=1e-12)
    assert (points["low"] <= points["value"]).all() and (points["value"] <= points["high"]).all() and (points["low"] < points["high"]).any()
    assert set(points["n_subjects"]) == {3} and set(points["n_seeds"]) == {2}


def test_the_curve_stands_where_the_points_are_and_the_untrained_copy_is_a_level(doses):
    points = skew_points(doses, DOSES, 2, 300)
    drawing = skew_curve(points.sample(frac=1, random_state=0))
    (axis,) = drawing.figure.axes
    (curve,), untrained = [line for line in axis.lines if len(line.get_xdata()) == 3], points.iloc[3]
    assert curve.get_xydata().tolist() == points.iloc[:3][["dose", "value"]].to_numpy().tolist()
    (level,) = [line for line in axis.lines if line.get_label() == ARMS["micron-bert-untrained"].label]
    assert (
        set(level.get_ydata()) == {untrained["value"]} and to_hex(level.get_color()).lower() == ARMS["micron-bert-untrained"].colour.lower()
    )
    (bars,) = axis.collections
    for bar, row in zip(bars.get_segments(), points.iloc[:3].itertuples(), strict=True):
        np.testing.assert_allclose(bar, [[row.dose, row.low], [row.dose, row.high]], atol=1e-12)
    (band,) = axis.patches
    assert band.get_y() == pytest.approx(untrained["low"]) and band.get_y() + band.get_height() == pytest.approx(untrained["high"])
    for row in points.itertuples():
        assert f"{row.value:.3f}, interval {row.low:.3f} to {row.high:.3f}" in drawing.alt
    assert "3 people" in drawing.caption and "one pre-training each" in drawing.caption


def test_what_cannot_be_drawn_is_one_sentence(doses):
    with pytest.raises(LoupeError, match="more: true"):
        skew_points(doses, [], 2, 100)
    with pytest.raises(LoupeError, match="predictions of micron-bert, dose 0.6 hold no rows"):
        skew_points(doses, [0.6], 2, 100)
    with pytest.raises(LoupeError, match="several values of 'task'"):
        skew_points(pd.concat([doses, doses.assign(task="spotting")]), DOSES, 2, 100)

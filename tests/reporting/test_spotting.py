"""Spotting scores counted by hand."""

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.reporting.spotting import spotting_scores


def run(arm: str, seed: int, positive: list[float], negative: list[float]) -> pd.DataFrame:
    scores = positive + negative
    label = [1] * len(positive) + [0] * len(negative)
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "sample": range(len(scores)),
            "subject": [f"p{i % 3}" for i in range(len(scores))],
            "label": label,
            "p1": scores,
        }
    )


def test_area_and_sensitivity_by_hand():
    quiet = [i / 100 for i in range(20)]  # 5 % false alarms: one of twenty, the one at .19
    table = spotting_scores(
        pd.concat(
            [run("b", 0, [0.5, 0.185, 0.0, 0.0], quiet), run("b", 1, [0.5, 0.5, 0.5, 0.5], quiet), run("a", 0, [0.5, 0.0], [0.2] * 20)]
        )
    )
    assert table["arm"].tolist() == ["a", "b"] and table["n_seeds"].tolist() == [1, 2]
    assert table["auroc_mean"].tolist() == pytest.approx([0.5, ((20 + 19 + 0.5 + 0.5) / 80 + 1) / 2])
    assert table["sensitivity_at_fpr05_mean"].tolist() == pytest.approx([0.5, (0.5 + 1) / 2])
    assert table["sensitivity_at_fpr05_sd"][1] == pytest.approx(np.std([0.5, 1], ddof=1)) and np.isnan(table["auroc_sd"][0])
    assert set(table["n_clips"]) == {24} and set(table["n_subjects"]) == {3}


def test_predictions_of_another_task_are_refused():
    with pytest.raises(LoupeError, match="p1"):
        spotting_scores(run("a", 0, [0.5], [0.1]).drop(columns="p1"))

"""MEGC pooling against a three-fold example worked by hand, and the log format."""

import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.evaluation.megc import megc_scores, read_log, write_log
from loupe.evaluation.metrics import uf1


def rows(text: str) -> pd.DataFrame:
    """One letter pair a clip, truth then prediction, folds by subject."""
    table = []
    for line in text.split("\n"):
        dataset, subject, *pairs = line.split()
        table += [(dataset, subject, f"c{i}", int(pair[0]), int(pair[1])) for i, pair in enumerate(pairs)]
    return pd.DataFrame(table, columns=["dataset", "subject", "clip", "label", "pred"])


# Pooled: TP 0: 3, 1: 1, 2: 1; predicted 0: 4, 1: 2, 2: 2; true 0: 4, 1: 2, 2: 2.
THREE_FOLDS = rows("casme2 sub01 00 00 01\nsmic s01 00 11 20\nsmic s02 12 22")


def test_pooling_equals_the_worked_example_and_not_the_mean_of_folds():
    full = megc_scores(THREE_FOLDS).set_index("dataset").loc["full"]
    # F1: 6/8, 2/4, 2/4. Recall: 3/4, 1/2, 1/2. Accuracy 5/8.
    assert full["uf1"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert full["uar"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert full["accuracy"] == pytest.approx(5 / 8)
    assert (full["n_subjects"], full["n_clips"]) == (3, 8)
    # Folds alone, in the order s01, s02, sub01.
    of_folds = [uf1(fold["label"], fold["pred"]) for _, fold in THREE_FOLDS.groupby("subject")]
    assert of_folds == pytest.approx([(2 / 3 + 1) / 3, (2 / 3) / 3, (4 / 5) / 3])
    assert abs(sum(of_folds) / 3 - full["uf1"]) > 0.2


def test_a_data_set_is_scored_from_the_same_run_over_all_classes():
    scores = megc_scores(THREE_FOLDS).set_index("dataset")
    assert list(scores.index) == ["full", "casme2", "smic"]
    assert scores.loc["casme2", "uf1"] == pytest.approx((4 / 5) / 3)
    assert scores.loc["casme2", "uar"] == pytest.approx((2 / 3) / 3)
    # smic pooled over its two folds: class 0 2/3, class 1 TP 1 of 2 true 1 predicted 2/3, class 2 TP 1 of 2 true, 2 predicted 1/2.
    assert scores.loc["smic", "uf1"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)


def test_majority_on_the_real_composite_counts():
    # 250 negative, 109 positive, 83 surprise (MEGC2019): the majority guess has accuracy .565 in the literature, UF1 far below.
    table = pd.DataFrame({"dataset": "all", "subject": "s", "clip": range(442), "label": [0] * 250 + [1] * 109 + [2] * 83, "pred": 0})
    scores = megc_scores(table).iloc[0]
    assert scores["accuracy"] == pytest.approx(0.5656, abs=1e-4)
    assert scores["uf1"] == pytest.approx(2 * 250 / (250 + 442) / 3)
    assert scores["uar"] == pytest.approx(1 / 3)


def test_log_layout_and_round_trip(tmp_path):
    path = tmp_path / "logs" / "run.txt"
    write_log(THREE_FOLDS.sample(frac=1, random_state=0), path)
    assert path.read_text().splitlines()[:6] == ["casme2 sub01", "c0 0 0", "c1 0 0", "c2 0 1", "smic s01", "c0 0 0"]
    back = read_log(path)
    pd.testing.assert_frame_equal(back, THREE_FOLDS)
    pd.testing.assert_frame_equal(megc_scores(back), megc_scores(THREE_FOLDS))


def test_bad_logs_are_refused(tmp_path):
    with pytest.raises(LoupeError, match="white space"):
        write_log(THREE_FOLDS.assign(clip="a b"), tmp_path / "x")
    with pytest.raises(LoupeError, match="occurs twice"):
        write_log(pd.concat([THREE_FOLDS, THREE_FOLDS]), tmp_path / "x")
    with pytest.raises(LoupeError, match="column dataset"):
        write_log(THREE_FOLDS.drop(columns="dataset"), tmp_path / "x")
    bad = tmp_path / "bad.txt"
    for text, message in [
        ("c0 0 0\n", "line 1"),
        ("smic s01\nc0 0 x\n", "line 2"),
        ("smic s01\nc0 0 -1\n", "line 2"),
        ("\n", "no prediction"),
    ]:
        bad.write_text(text)
        with pytest.raises(LoupeError, match=message):
            read_log(bad)

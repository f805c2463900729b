"""A comparison at the floor decides nothing, and the table says so."""

import numpy as np
import pandas as pd
import pytest

from loupe.evaluation.claims import Cell, Claim, ClaimBook, claims_table
from loupe.evaluation.metrics import CONFUSION_METRICS, auroc, confusion, guessing_score


@pytest.mark.parametrize("metric", ["macro_f1", "uf1", "uar", "accuracy"])
def test_guessing_score_is_what_guessing_scores(metric):
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 200_000, p=[0.56, 0.25, 0.19])
    guess = generator.integers(0, 3, len(labels))
    assert guessing_score(metric, labels, 3) == pytest.approx(CONFUSION_METRICS[metric](confusion(labels, guess, 3)), abs=0.005)


@pytest.mark.parametrize("metric", ["macro_f1", "uar", "accuracy"])
def test_guessing_yes_or_no_about_each_of_three_things(metric):
    """Six classes, two of which answer a row; the things are asked unequally often, and the last is never there."""
    generator = np.random.default_rng(2)
    thing = generator.choice(3, 300_000, p=[0.5, 0.3, 0.2])
    labels = 2 * thing + (generator.random(len(thing)) < np.array([0.4, 0.1, 0.0])[thing])
    guess = 2 * thing + generator.integers(0, 2, len(thing))
    scored = CONFUSION_METRICS[metric](confusion(labels, guess, 6))
    wanted = scored if metric != "uar" else scored * 6 / 5  # a class that is absent has recall 0; the level counts those that are there
    assert guessing_score(metric, labels, 6, 2) == pytest.approx(wanted, abs=0.005)
    assert guessing_score(metric, labels, 6) < guessing_score(metric, labels, 6, 2)


def test_guessing_score_of_auroc_and_of_metrics_without_one():
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20_000)
    assert guessing_score("auroc", labels, 2) == pytest.approx(auroc(labels, generator.random(len(labels))), abs=0.01)
    assert np.isnan(guessing_score("rank_correlation", labels, 1))


def predictions(skill, seed):
    """24 people with 16 samples each; a sample is right with probability `skill`, else a uniform guess among 4 classes."""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(4), 24 * 4)
    guess = generator.integers(0, 4, len(labels))
    right = generator.random(len(labels)) < skill
    return pd.DataFrame(
        {"task": "toy", "fraction": 1.0, "seed": 0, "fold": "", "split": "test", "sample": np.arange(len(labels)),
         "subject": np.repeat([f"s{i:02d}" for i in range(24)], 16), "clip": "", "condition": "", "regime": "labels",
         "pretraining": "none", "dose": np.nan, "smoothed": False, "label": labels, "pred": np.where(right, labels, guess)}
    )  # fmt: skip


@pytest.mark.parametrize(("skill", "expected"), [(0.0, "inconclusive"), (0.6, "not supported")])
def test_equal_arms_are_not_supported_above_the_floor_and_inconclusive_on_it(skill, expected):
    cells = {"a": Cell("s", "a"), "b": (Cell("s", "b"),)}
    claim = Claim("c", "emotic-mae", "a beats b", "nowhere", "accuracy", "none", task="toy", sesoi=0.1, scales=("smoke",), **cells)
    frames = pd.concat([predictions(skill, 5).assign(arm="a"), predictions(skill, 5).assign(arm="b")])
    row = claims_table(ClaimBook({"toy": 4}, (claim,)), {"s": frames}, resamples=400).iloc[0]
    assert row["verdict"] == expected and row["floor"] == (skill == 0.0)
    assert row["guess"] == 0.25

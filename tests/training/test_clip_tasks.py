"""The two tasks of the clips: who takes part with which label, and predictions that stand beside the right clip."""

from pathlib import Path

import numpy as np
import pytest

from loupe.config import load
from loupe.data.clips import NO_EXPRESSION, OnsetApex
from loupe.evaluation.metrics import auroc
from loupe.training.clip_tasks import clip_tasks, head_predictions, loso_table
from loupe.training.loso import loso_heads

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["negative", "positive", "surprise", "others", NO_EXPRESSION]


def clips(names: list[str]) -> OnsetApex:
    count = len(names)
    frames = np.zeros((count, 2, 2, 3), dtype=np.uint8)
    labels = np.array([NAMES.index(name) if NAMES.index(name) < 3 else -1 for name in names])
    people = np.array([f"p{i % 4}" for i in range(count)])
    return OnsetApex(
        frames, frames, labels, names, people, np.array([f"c{i:02d}" for i in range(count)]), 100 + np.arange(count), np.arange(count)
    )


@pytest.fixture(scope="module")
def config():
    return load(["scale=smoke", "scale.seeds=[0, 3]", "scale.micro_head.steps=30", "scale.micro_head.lr=0.05"], ROOT)


def test_others_is_an_expression_without_a_class_and_none_is_neither():
    tasks = clip_tasks(clips(["positive", "none", "others", "surprise", "none"]))
    assert tasks["micro"].classes == 3 and tasks["spotting"].classes == 2
    assert tasks["micro"].chosen.tolist() == [True, False, False, True, False] and tasks["micro"].labels.tolist() == [1, 2]
    assert tasks["micro"].rows["sample"].tolist() == [100, 103] and tasks["micro"].subjects.tolist() == ["p0", "p3"]
    assert tasks["spotting"].chosen.all() and tasks["spotting"].labels.tolist() == [1, 0, 1, 1, 0]
    assert tasks["spotting"].rows["label"].tolist() == [1, 0, 1, 1, 0]


def test_without_a_clip_that_shows_nothing_there_is_no_spotting():
    assert list(clip_tasks(clips(["positive", "others", "surprise"]))) == ["micro"]


def test_head_predictions_are_those_of_loso_heads_beside_the_right_clips(config):
    pairs = clips(NAMES * 8)
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    features[:, 0] += 8 * pairs.expressive  # what tells a clip with an expression from one without
    settings, head = config.experiments.micro_expressions, config.scale.micro_head
    for task in clip_tasks(pairs).values():
        table = head_predictions(task, "arm", features, config)
        each = loso_heads(
            features[task.chosen],
            task.labels,
            task.subjects,
            task.classes,
            seeds=[0, 3],
            steps=head.steps,
            lr=head.lr,
            weight_decays=settings.weight_decays,
        )
        assert set(table["task"]) == {task.name} and set(table["split"]) == {"loso"} and (table["fold"] == table["subject"]).all()
        for seed, probabilities in zip([0, 3], each, strict=True):
            run = table[table["seed"] == seed]
            assert run["sample"].tolist() == (100 + np.flatnonzero(task.chosen)).tolist()
            assert run["label"].tolist() == task.labels.tolist()
            np.testing.assert_array_equal(run[[f"p{c}" for c in range(task.classes)]].to_numpy(), probabilities)
    assert auroc(run["label"].to_numpy(), run["p1"].to_numpy()) > 0.9


def test_a_table_needs_as_many_seeds_as_predictions():
    task = clip_tasks(clips(["positive", "negative"]))["micro"]
    found = loso_table(task, "svm", [0], [np.array([[0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])])
    assert found["pred"].tolist() == [1, 2] and found["arm"].tolist() == ["svm", "svm"] and found["fraction"].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="shorter|longer"):
        loso_table(task, "svm", [0, 1], [np.eye(3)[:2]])

"""The two tasks of the clips: who takes part with which label, folds that are those that were checked, and predictions beside the right
clip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.clips import NO_EXPRESSION, OnsetApex
from loupe.errors import LoupeError
from loupe.evaluation.guards import Vault
from loupe.evaluation.metrics import auroc
from loupe.evaluation.protocols import Split, loso_folds
from loupe.training.clip_steps import clip_predictions, head_recipe, head_step, lesson_step, write_answers
from loupe.training.clip_tasks import clip_tasks
from loupe.training.loso import loso_heads

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["negative", "positive", "surprise", "others", NO_EXPRESSION]


def clips(names: list[str]) -> OnsetApex:
    count = len(names)
    frames = np.zeros((count, 2, 2, 3), dtype=np.uint8)
    labels = np.array([NAMES.index(name) if NAMES.index(name) < 3 else -1 for name in names])
    people, called = np.array([f"p{i % 4}" for i in range(count)]), np.array([f"c{i:02d}" for i in range(count)])
    return OnsetApex(frames, frames, labels, names, people, called, 100 + np.arange(count), np.arange(count))


def tasks_of(names: list[str]):
    pairs = clips(names)
    return clip_tasks(pairs, loso_folds(pairs.subjects))


@pytest.fixture(scope="module")
def config():
    return load(["scale=smoke", "scale.seeds=[0, 3]", "scale.micro_head.steps=30", "scale.micro_head.lr=0.05"], ROOT)


def test_others_is_an_expression_without_a_class_and_none_is_neither():
    tasks = tasks_of(["positive", "none", "others", "surprise", "none"])
    micro, spotting = tasks["micro"], tasks["spotting"]
    assert micro.classes == 3 and spotting.classes == 2
    assert micro.part.tolist() == [True, False, False, True, False] and micro.labels.tolist() == [1, 2]
    assert micro.rows["sample"].tolist() == [100, 103] and micro.subjects.tolist() == ["p0", "p3"]
    assert spotting.part.all() and spotting.labels.tolist() == [1, 0, 1, 1, 0] == spotting.rows["label"].tolist()
    assert [set(fold.test) for fold in micro.folds] == [{"p0"}, {"p3"}] and len(spotting.folds) == 4


def test_without_a_clip_that_shows_nothing_there_is_no_spotting():
    assert list(tasks_of(["positive", "others", "surprise"])) == ["micro"]


def test_the_folds_that_are_checked_are_the_folds_that_train(tmp_path):
    """One object: whom a fold's split leaves out of training is not trained on, and the vault's log holds every fold."""
    pairs = clips(NAMES * 8)
    folds = loso_folds(pairs.subjects, pretrain={"q"})
    task = clip_tasks(pairs, folds)["spotting"]
    assert task.folds == tuple(folds)
    for number, fold in enumerate(task.folds):
        assert set(task.subjects[task.trains(fold)]) == fold.train and set(task.subjects[task.fold_of == number]) == fold.test
    with pytest.raises(LoupeError, match="p2 is in both test and pretrain"):
        loso_folds(pairs.subjects, pretrain={"p2"})
    narrow = [replace(fold, train=fold.train - {"p3"}) for fold in folds]  # planted: a fold that may not learn from p3
    assert not any("p3" in task.subjects[task.trains(fold)] for fold in clip_tasks(pairs, narrow)["micro"].folds)
    vault = Vault("micro", tmp_path / "vault.jsonl")
    vault.open_folds(task.folds, task.rows, "heads")
    assert vault.openings()["subjects"].tolist() == [[f"p{i}"] for i in range(4)]
    assert vault.openings()["reason"].tolist() == [f"heads, fold {i} of 4" for i in (1, 2, 3, 4)]


def test_a_planted_leak_in_a_fold_cannot_be_made():
    with pytest.raises(LoupeError, match="p0 is in both train and test"):
        Split(train={"p0", "p1"}, test={"p0"})


def test_head_predictions_are_those_of_loso_heads_beside_the_right_clips(config, shelf_of, tmp_path):
    pairs = clips(NAMES * 8)
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    features[:, 0] += 8 * pairs.expressive  # what tells a clip with an expression from one without
    np.save(tmp_path / "features.npy", features)
    for task in tasks_of(NAMES * 8).values():
        folder = shelf_of("s").make(head_step("heads", task, tmp_path / "features.npy", config))
        table = clip_predictions(folder, task, "arm", pretraining="micron-bert")
        each = loso_heads(task, features[task.part], head_recipe(config))
        assert set(table["task"]) == {task.name} and set(table["split"]) == {"loso"} and (table["fold"] == table["subject"]).all()
        for seed, probabilities in zip([0, 3], each, strict=True):
            run = table[table["seed"] == seed]
            assert run["sample"].tolist() == (100 + np.flatnonzero(task.part)).tolist() and run["label"].tolist() == task.labels.tolist()
            np.testing.assert_array_equal(run[[f"p{c}" for c in range(task.classes)]].to_numpy(), probabilities)
    assert auroc(run["label"].to_numpy(), run["p1"].to_numpy()) > 0.9


def test_the_lesson_of_the_best_epoch_asks_both_arms_at_every_mark(config, shelf_of, tmp_path):
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))
    folder = shelf_of("s").make(lesson_step(tasks_of(NAMES * 8)["micro"], tmp_path / "features.npy", config, every=10))
    assert set(pd.read_parquet(folder / "table.parquet")["arm"]) == {"micron-bert", "noise"}


def test_answers_need_as_many_seeds_as_predictions(tmp_path):
    task = tasks_of(["positive", "negative"])["micro"]
    write_answers(tmp_path, task, [0], [np.array([[0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])])
    found = clip_predictions(tmp_path, task, "svm")
    assert found["pred"].tolist() == [1, 2] and found["arm"].tolist() == ["svm", "svm"] and found["fraction"].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="shorter|longer"):
        write_answers(tmp_path, task, [0, 1], [np.eye(3)[:2]])

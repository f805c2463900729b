"""Classifiers on fixed features: what they may look at when they choose, and which store of video will do."""

import numpy as np
import pandas as pd
import pytest

from loupe.evaluation.predictions import answers
from loupe.training import probes
from loupe.training.probes import Probe, feature_step
from loupe.training.video_frames import stored_every, why_not

CLASSES = ["class0", "class1", "class2"]
PEOPLE = [f"{letter}{person}" for letter, count in (("t", 6), ("v", 2), ("e", 3)) for person in range(count)]
WHO = np.repeat(PEOPLE, 12)
LABELS = np.tile(np.repeat([0, 1, 2], 4), len(PEOPLE))
FRAMES = np.tile(4 * np.arange(12), len(PEOPLE))  # one clip a person, every fourth frame of the video stored, classes one after another


def manifest():
    names = {"t": "train", "v": "val", "e": "test"}
    table = {"subject": WHO, "split": [names[person[0]] for person in WHO], "clip": WHO, "frame": FRAMES, "label": LABELS}
    return pd.DataFrame(table).assign(label_name=[CLASSES[label] for label in LABELS])


def test_a_store_will_do_when_it_has_all_people_and_the_same_classes():
    table = manifest()
    assert why_not(table, CLASSES) == ""
    assert why_not(table[table["split"] != "val"], CLASSES) == "there are no labelled frames of val people"
    assert why_not(table[:0], CLASSES) == "there are no labelled frames of train or val or test people"
    assert "classes" in why_not(table, [*CLASSES, "angry"]) and "classes" in why_not(table, CLASSES[::-1])
    assert "classes" in why_not(table.assign(label=table["label"].where(table["frame"] > 0, -1)), CLASSES)
    assert stored_every(table) == 4 == stored_every(table.sample(frac=1, random_state=0))


@pytest.fixture
def probe(store_of, tmp_path):
    """A probe of features that all but name the class."""
    folder = store_of("macro", WHO, LABELS, clip=WHO, frame=FRAMES)
    features = np.eye(3)[LABELS] + 0.3 * np.random.default_rng(0).normal(size=(len(LABELS), 3))
    np.save(tmp_path / "features.npy", features)
    return lambda rows, grid, folds: Probe(folder, tmp_path / "features.npy", rows, np.arange(72, 132), tuple(grid), folds)


def test_the_setting_is_chosen_on_the_training_people_alone(probe, shelf_of, monkeypatch):
    asked, inner = [], probes.choose_setting
    monkeypatch.setattr(
        probes,
        "choose_setting",
        lambda make, x, y, people, **given: asked.append((set(people), given)) or inner(make, x, y, people, **given),
    )
    folder = shelf_of("p").make(probe(np.arange(0, 72, 2), [1.0, 0.01], 3).step("probe"))
    found = pd.read_parquet(folder / "predictions.parquet")
    assert asked == [({f"t{i}" for i in range(6)}, {"grid": [0.01, 1.0], "folds": 3})]
    assert found["sample"].tolist() == list(range(72, 132)) and found["clip"].tolist() == WHO[72:].tolist()
    assert set(found["split"]) == {"val", "test"} and (found["pred"] == found["label"]).mean() > 0.9


@pytest.mark.parametrize("rows", [[0, 1, 4, 8], [0, 12 + 4, 24 + 8]], ids=["one person", "no class twice"])
def test_where_nothing_can_be_held_out_the_middle_of_the_grid_stands_in(probe, shelf_of, monkeypatch, rows):
    made, inner = [], probes.make_logistic_regression
    monkeypatch.setattr(probes, "choose_setting", None)
    monkeypatch.setattr(probes, "make_logistic_regression", lambda c: made.append(c) or inner(c))
    found = pd.read_parquet(shelf_of("p").make(probe(np.array(rows), [1.0, 0.01, 0.1], 1).step("probe")) / "predictions.parquet")
    assert made == [0.1] and (found["pred"] == found["label"]).mean() > 0.8


def test_without_a_grid_the_most_frequent_class_is_named(probe, shelf_of):
    shelf = shelf_of("p")
    features = np.load(shelf.make(feature_step("majority", probe([0], [], 0).store)) / "features.npy")
    assert features.shape == (132, 1) and not features.any()
    found = pd.read_parquet(shelf.make(probe(np.array([0, 4, 5, 8]), [], 1).step("majority")) / "predictions.parquet")
    assert set(found["pred"]) == {1}


def test_answers_stand_beside_the_rows_that_were_asked():
    table = manifest().assign(sample=range(132))
    found = answers(table.iloc[[5, 3]], np.array([[0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]))
    assert found[["sample", "pred"]].to_numpy().tolist() == [[5, 1], [3, 2]]
    assert list(found) == ["split", "sample", "subject", "clip", "label", "pred", "p0", "p1", "p2"]

"""Labelled frames of video: which store will do, what is taken of it, and what the probe may look at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loupe.bench import Bench

from loupe.config import load
from loupe.data.store import read_store, write_store
from loupe.settings import Arm
from loupe.training import stills, video_frames
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs
from loupe.training.video_frames import probe, stored_every, why_not

CLASSES = ["calm", "glad", "sad"]
PEOPLE = [f"{split}{person}" for split, count in (("train", 6), ("val", 2), ("test", 3)) for person in range(count)]


def manifest():
    """One clip of 12 frames a person, every fourth frame of the video stored, classes one after another."""
    rows = [
        {"subject": name, "split": name[:-1], "clip": f"{name}-1", "frame": 4 * place, "label": place // 4}
        for name in PEOPLE
        for place in range(12)
    ]
    table = pd.DataFrame(rows).assign(sample=lambda t: range(len(t)))
    return table.assign(label_name=[CLASSES[label] for label in table["label"]])


def test_a_store_will_do_when_it_has_all_people_and_the_same_classes():
    table = manifest()
    assert why_not(table, CLASSES) == ""
    assert why_not(table[table["split"] != "val"], CLASSES) == "there are no labelled frames of val people"
    assert why_not(table[:0], CLASSES) == "there are no labelled frames of train or val or test people"
    assert "classes" in why_not(table, [*CLASSES, "angry"]) and "classes" in why_not(table, CLASSES[::-1])
    assert "classes" in why_not(table.assign(label=table["label"].where(table["frame"] > 0, -1)), CLASSES)


def test_how_thinned_out_the_stored_frames_are():
    assert stored_every(manifest()) == 4 == stored_every(manifest().sample(frac=1, random_state=0))


def test_the_probe_reads_what_is_there_and_its_setting_is_not_chosen_on_the_scored_people(monkeypatch):
    table, rng = manifest(), np.random.default_rng(0)
    features = np.eye(3)[table["label"]] + 0.3 * rng.normal(size=(len(table), 3))
    train = np.flatnonzero(table["split"] == "train")
    scored = np.flatnonzero(table["split"] != "train")
    found = probe("p", 0.5, features, table, train[::2], scored, [1.0, 0.01], 3)
    assert set(found["task"]) == {"frames"} and set(found["arm"]) == {"p"} and set(found["fraction"]) == {0.5} and set(found["seed"]) == {0}
    assert found["sample"].tolist() == scored.tolist() and found["clip"].tolist() == table["clip"].iloc[scored].tolist()
    assert (found["pred"] == found["label"]).mean() > 0.9
    asked = []
    inner = video_frames.choose_setting
    monkeypatch.setattr(
        video_frames,
        "choose_setting",
        lambda make, x, y, people, **given: asked.append((set(people), given["grid"])) or inner(make, x, y, people, **given),
    )
    again = probe("p", 0.5, features, table, train[::2], scored, [1.0, 0.01], 3)
    assert asked == [({f"train{i}" for i in range(6)}, [0.01, 1.0])]
    pd.testing.assert_frame_equal(found, again)


@pytest.mark.parametrize("rows", [[0, 1, 4, 8], [0, 12 + 4, 24 + 8]])
def test_where_nothing_can_be_held_out_the_middle_of_the_grid_stands_in(rows, monkeypatch):
    """One person alone, or no class twice."""
    table = manifest()
    monkeypatch.setattr(video_frames, "choose_setting", None)
    features = np.eye(3)[table["label"]]
    found = probe("p", 0.1, features, table, np.array(rows), np.arange(84, 96), [0.01, 0.1, 1.0], 3)
    assert (found["pred"] == found["label"]).all()


def test_a_network_is_trained_on_frames_beside_stills_without_sharing_their_views(tmp_path):
    """The same arm on two stores of one bench; the views of each are its own pictures (seen with `duplicate`, whose view is the picture)."""
    config = load(["scale=smoke", "scale.finetune.max_steps=2", "scale.finetune.min_steps=2"], Path(__file__).resolve().parents[2])
    size, table = config.scale.image.size, manifest()
    for seed, name in enumerate(("labelled", "macro")):
        images = np.random.default_rng(seed).integers(0, 256, (len(table), size, size, 3), dtype=np.uint8)
        write_store(tmp_path / name, images, table.assign(fps=30.0))
    bench = Bench(tmp_path / "bench")
    stills._loaded.clear()
    train, scored = np.arange(72), np.arange(72, 132)
    jobs = []
    for name, task, arm in (("labelled", "stills", "still"), ("macro", "frames", "frame")):
        arms = [Arm(arm, "concat", view="duplicate", init="scratch")]
        jobs += cell_jobs(bench, config, arms, 1.0, train, scored, tmp_path / name, tmp_path / "no-weights", task=task)
    run_jobs(jobs, "cells", workers=1)
    cells = bench.cells()
    assert cells.groupby(["task", "arm"]).size().to_dict() == {("stills", "still"): 60, ("frames", "frame"): 60}
    for folder, name in ((bench.folder / "views", "labelled"), (bench.folder / "views" / "frames", "macro")):
        np.testing.assert_array_equal(np.load(folder / "duplicate.npy"), read_store(tmp_path / name).images)

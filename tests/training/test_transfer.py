"""Cells that start from another labelled set, keep their network, or are scored on their own training rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from loupe.bench import Bench

from loupe.config import load
from loupe.data.store import read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split
from loupe.settings import Arm
from loupe.training import stills
from loupe.training.build_classifier import build_classifier
from loupe.training.checkpoint import load_weights
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs, predict
from loupe.training.transfer import carry_over, transfer_set

CONFIG = load(["scale=smoke", "scale.finetune.max_steps=6", "scale.encoder.depth=1"], Path(__file__).resolve().parents[2])
SINGLE = Arm("single", "single", init="scratch")
CONCAT = Arm("concat-transfer", "concat", init="scratch", transfer=True)
SPLIT = Split(train={"t0", "t1"}, val={"v0"}, test={"e0"})


def store_of(folder, people, labels, seed=0):
    size = CONFIG.scale.image.size
    images = np.random.default_rng(seed).integers(0, 256, (len(people), size, size, 3), dtype=np.uint8)
    split_of = {"t": "train", "v": "val", "e": "test"}
    names = [f"class{label}" if label >= 0 else "" for label in labels]
    write_store(
        folder,
        images,
        pd.DataFrame({"subject": people, "split": [split_of[name[0]] for name in people], "label": labels, "label_name": names}),
    )
    return folder


@pytest.fixture
def sets(tmp_path):
    """Labelled stills of 2 classes and frames of 3."""
    stills._loaded.clear()
    people = ["t0"] * 8 + ["t1"] * 8 + ["v0"] * 4 + ["e0"] * 4
    labelled = store_of(tmp_path / "labelled", people, np.arange(24) % 2)
    macro = store_of(tmp_path / "macro", ["t0"] * 6 + ["v0"] * 3 + ["e0"] * 3 + ["t1"] * 6, [0, 1, 2] * 5 + [0, 1, -1], seed=1)
    return labelled, macro


def cells(tmp_path, name, sets, arm, config=CONFIG, **options):
    bench = Bench(tmp_path / name)
    jobs = cell_jobs(bench, config, [arm], 0.1, np.arange(16), np.arange(16, 24), sets[0], tmp_path / "none", **options)
    run_jobs(jobs, "cells", workers=1)
    return bench


def test_only_labelled_frames_of_training_people_are_used(sets):
    found = transfer_set(sets[1], SPLIT)
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_person_scored_on_stills_may_not_be_seen_in_clips(sets, part):
    with pytest.raises(LoupeError, match="transfer from macro saw 1 test subject.*t1"):
        transfer_set(sets[1], replace(SPLIT, train={"t0"}, **{part: {"t1", "x"}}))


def test_without_clips_there_is_no_transfer(tmp_path):
    assert transfer_set(store_of(tmp_path / "empty", [], []), SPLIT) is None
    assert transfer_set(store_of(tmp_path / "unlabelled", ["t0"], [-1]), SPLIT) is None


def test_all_but_the_head_carries_over():
    before = build_classifier(CONFIG, CONCAT, 3, 5, Path("none"))
    fresh, model = (build_classifier(CONFIG, CONCAT, 2, 0, Path("none")) for _ in range(2))
    carry_over(before, model)
    for name, tensor in model.state_dict().items():
        source = fresh if name.startswith("head.") else before
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert any(name.startswith("fusion.") for name in model.state_dict())


def test_transfer_changes_the_start_and_nothing_of_other_arms(sets, tmp_path):
    macro = transfer_set(sets[1], SPLIT)
    plain = cells(tmp_path, "plain", sets, replace(CONCAT, transfer=False)).cells()
    moved = cells(tmp_path, "moved", sets, CONCAT, transfer=macro).cells()
    half = cells(tmp_path, "half", sets, CONCAT, transfer=replace(macro, rows=macro.rows[:6])).cells()
    same = cells(tmp_path, "same", sets, replace(CONCAT, transfer=False), transfer=macro).cells()
    pd.testing.assert_frame_equal(plain, same)
    assert (plain["p0"] != moved["p0"]).all() and (half["p0"] != moved["p0"]).all()
    assert (
        "p2" not in moved and moved["label"].tolist() == plain["label"].tolist()
    )  # the two classes of the stills, not the three of the frames
    with pytest.raises(LoupeError, match="arm concat-transfer starts from another labelled set, but none was given"):
        cells(tmp_path, "none-given", sets, CONCAT)


def test_a_transfer_killed_between_its_two_trainings_goes_on_and_ends_the_same(sets, tmp_path, monkeypatch):
    macro = transfer_set(sets[1], SPLIT)
    whole = cells(tmp_path, "whole", sets, CONCAT, transfer=macro).cells()
    inner, steps = stills.fit, []

    def watched(model, inputs_of, *rest):
        if len(steps) == 1 and not dying:
            dying.append(True)
            raise KeyboardInterrupt
        steps.append(0)

        def counted(rows, generator):
            steps[-1] += 1
            return inputs_of(rows, generator)

        return inner(model, counted, *rest)

    dying = []
    monkeypatch.setattr(stills, "fit", watched)
    with pytest.raises(KeyboardInterrupt):
        cells(tmp_path, "killed", sets, CONCAT, transfer=macro)
    again = cells(tmp_path, "killed", sets, CONCAT, transfer=macro)
    assert steps == [6, 0, 6]  # the frames; found whole; the stills
    pd.testing.assert_frame_equal(again.cells(), whole)
    assert list((again.folder / "checkpoints").iterdir()) == []


def test_the_network_of_the_first_seed_is_kept_beside_its_predictions(sets, tmp_path):
    bench = cells(tmp_path, "kept", sets, SINGLE, replace(CONFIG, scale=replace(CONFIG.scale, seeds=[0, 1])), keep_weights=True)
    assert sorted(path.name for path in (bench.folder / "cells").iterdir()) == [
        "single-0.1-0.parquet",
        "single-0.1-0.safetensors",
        "single-0.1-1.parquet",
    ]
    model = build_classifier(CONFIG, SINGLE, 2, 7, tmp_path / "none").eval()
    load_weights(bench.cell_path("single-0.1-0").with_suffix(".safetensors"), model)
    again = predict(model, CONFIG, SINGLE, stills.Labelled(read_store(sets[0]), {}), np.arange(16, 24))
    table = bench.cells()
    np.testing.assert_allclose(again, table.loc[table["seed"] == 0, ["p0", "p1"]], atol=1e-6)


def test_training_rows_are_predicted_under_their_own_split_and_change_no_other_row(sets, tmp_path):
    plain, more = cells(tmp_path, "plain", sets, SINGLE).cells(), cells(tmp_path, "more", sets, SINGLE, training_people=True).cells()
    fitted = more["split"] == "train"
    pd.testing.assert_frame_equal(more[~fitted].reset_index(drop=True), plain)
    assert set(plain["split"]) == {"val", "test"}
    assert more[fitted].groupby("seed")["sample"].apply(list).tolist() == [list(range(16))]

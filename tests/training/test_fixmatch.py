"""FixMatch: supervised training where nothing is sure, guesses that no label reaches, unlabelled people whom nobody is scored on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.config import Arm
from loupe.data.store import Store, read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split
from loupe.training import fixmatch
from loupe.training.fixmatch import CnnCell, Unlabelled, cnn_cells, pseudo_labels, unlabelled_faces
from loupe.training.stills import Labelled, StillData, predict

ARM = Arm("x", "small-cnn", init="scratch")
PEOPLE = ["t0"] * 8 + ["t1"] * 8 + ["e0"] * 8
ROWS, ASKED = np.arange(16), np.arange(16, 24)


@pytest.fixture
def data(store_of, tmp_path):
    return StillData(store_of("labelled", PEOPLE, np.arange(24) % 2), ROWS, ASKED, tmp_path / "no-weights")


@pytest.fixture
def faces(tmp_path, small):
    """Unlabelled faces of four people, and the same with labels."""

    def write(name="stills", labels=-1, people="pppp", split="pretrain"):
        size, n = small.scale.image.size, 8 * len(people)
        images = np.random.default_rng(5).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        subjects = [f"{letter}{number}" for number, letter in enumerate(people) for _ in range(8)]
        label = np.resize(labels, n)
        write_store(tmp_path / name, images, pd.DataFrame({"subject": subjects, "split": split, "label": label, "label_name": ""}))
        return Unlabelled(tmp_path / name, np.arange(n))

    return write


def with_threshold(config, threshold, **changes):
    low = config.experiments.low_label
    method = replace(low.fixmatch, threshold=threshold)
    own = replace(config.scale.small_cnn, **({"channels": [4, 8]} | changes))
    experiments = replace(config.experiments, low_label=replace(low, fixmatch=method))
    return replace(config, experiments=experiments, scale=replace(config.scale, small_cnn=own))


def test_where_nothing_is_sure_it_is_supervised_training_to_the_bit(small, data, faces, run_cells):
    config = with_threshold(small, 1.01)
    alone = run_cells("alone", CnnCell(ARM, 0.1, 0, data), config=config)
    beside = run_cells("beside", CnnCell(ARM, 0.1, 0, data, unlabelled=faces()), config=config)
    pd.testing.assert_frame_equal(alone, beside)
    sure = run_cells("sure", CnnCell(ARM, 0.1, 0, data, unlabelled=faces()), config=with_threshold(small, 0.0))
    assert (sure["p0"] != alone["p0"]).all()


def test_labels_of_the_unlabelled_faces_change_nothing(small, data, faces, run_cells):
    config = with_threshold(small, 0.0)
    told = [
        run_cells(name, CnnCell(ARM, 0.1, 0, data, unlabelled=faces(f"stills-{name}", labels)), config=config)
        for name, labels in (("a", -1), ("b", [0, 1]))
    ]
    pd.testing.assert_frame_equal(*told)


def test_a_face_counts_from_the_threshold_and_is_taken_for_its_likeliest_class():
    """Logits are read off the picture: the probabilities are known."""
    probability = torch.tensor([[0.5, 0.5], [0.97, 0.03], [0.01, 0.99], [0.9, 0.1]])
    module = torch.nn.Flatten()
    places, guess, counts = pseudo_labels(module, probability.log()[:, :, None, None], 0.95, batch=3)
    assert places.tolist() == [2, 1, 3] and guess.tolist() == [1, 0, 0] and counts.tolist() == [1, 1, 0]
    assert module.training


def test_only_people_of_pre_training_are_looked_at(faces, data):
    split = Split(train={"t0", "t1"}, val={"v0"}, test={"e0"})
    assert unlabelled_faces(faces().folder, split).rows.tolist() == list(range(32))
    assert unlabelled_faces(data.labelled, split) is None  # training and test people
    with pytest.raises(LoupeError, match="FixMatch saw 1 test subject.*p1"):
        unlabelled_faces(faces().folder, replace(split, test={"p1"}))


def test_cells_are_those_that_the_experiment_asks_for(small, data, faces):
    names = lambda fraction, others: [cell.arm.name for cell in cnn_cells(small, fraction, data, others)]
    assert names(0.1, faces()) == ["small-cnn", "fixmatch"] and names(1.0, faces()) == names(0.1, None) == ["small-cnn"]
    assert cnn_cells(replace(small, scale=replace(small.scale, more=False)), 0.1, data, faces()) == []


def test_a_handful_is_learnt_by_heart_and_a_killed_run_ends_the_same(small, data, tmp_path, monkeypatch):
    config = with_threshold(small, 0.6, lr=0.01, times=5)
    schedule = replace(config.scale.finetune, min_steps=12, max_steps=12, checkpoint_seconds=0.0)
    config = replace(config, scale=replace(config.scale, finetune=schedule))
    ramp = np.linspace(0, 255, small.scale.image.size, dtype=np.uint8)
    ramps = np.stack([np.broadcast_to(ramp[:, None] if row % 2 else ramp, (len(ramp), len(ramp))) for row in range(24)])
    store = Store(
        np.repeat(ramps[..., None], 3, axis=-1), read_store(data.labelled).manifest
    )  # class 0 brightens across, class 1 downwards
    write_store(tmp_path / "ramps", store.images, store.manifest)
    cell = CnnCell(ARM, 0.1, 0, replace(data, rows=np.array([0, 1, 8, 9])), unlabelled=Unlabelled(tmp_path / "ramps", np.arange(24)))
    model = fixmatch.train(config, cell, store, tmp_path / "whole")
    said = predict(model, ARM, Labelled(store, None), cell.data.rows)
    assert said.argmax(1).tolist() == [0, 1, 0, 1]
    inner, calls = fixmatch.strengthen, []

    def dies(*inputs, **amounts):
        calls.append(0)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return inner(*inputs, **amounts)

    monkeypatch.setattr(fixmatch, "strengthen", dies)
    with pytest.raises(KeyboardInterrupt):
        fixmatch.train(config, cell, store, tmp_path / "killed")
    again = fixmatch.train(config, cell, store, tmp_path / "killed")
    np.testing.assert_array_equal(predict(again, ARM, Labelled(store, None), cell.data.rows), said)

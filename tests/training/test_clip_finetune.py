"""Fine-tuning in folds: a kill changes nothing, nor does the number of workers; the people left out decide nothing; a handful of pairs is
learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.config import load
from loupe.data.clips import onset_and_apex
from loupe.data.store import read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split, stratified_folds
from loupe.experiments import TunedArm
from loupe.training import clip_finetune
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import save_weights
from loupe.training.clip_finetune import TuningCell, build_tuned, class_probabilities, tuned, tuned_predictions, tuning_cells
from loupe.training.clip_tasks import clip_tasks
from loupe.training.jobs import Workers

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "scale=smoke",
    "scale.image.size=32",
    "scale.encoder.width=32",
    "scale.encoder.depth=1",
    "scale.micron.encoder_depth=1",
    "scale.micro_finetune.batch=6",
]
CLASSES = ["negative", "positive", "surprise"]
ARM = TunedArm("arm", "none")


@pytest.fixture(scope="module")
def config():
    return load([*TINY, "scale.micro_finetune.steps=4"], ROOT)


@pytest.fixture
def clips(tmp_path):
    """Three clips each of four people, a class each: the apex of class c is brighter in a corner of its own."""
    people, labels = np.repeat(list("pqrs"), 3), np.tile(np.arange(3), 4)
    images = np.random.default_rng(0).integers(0, 200, (12, 1, 32, 32, 3)).repeat(2, axis=1)
    for image, label in zip(images, labels, strict=True):
        image[1, 16 * (label // 2) :, 16 * (label % 2) :][:16, :16] += 55
    table = {"subject": people.repeat(2), "split": "loso", "clip": [f"c{i:02d}" for i in range(12) for _ in range(2)]}
    table |= {
        "frame": [0, 9] * 12,
        "role": ["onset", "apex"] * 12,
        "label": labels.repeat(2),
        "label_name": np.array(CLASSES)[labels].repeat(2),
    }
    write_store(tmp_path / "clips", images.reshape(-1, 32, 32, 3).astype(np.uint8), pd.DataFrame(table))
    return tmp_path / "clips"


def task_of(clips, folds=2):
    pairs = onset_and_apex(read_store(clips), labelled_only=True)
    return pairs, clip_tasks(pairs, stratified_folds(pairs.subjects, pairs.labels, folds))["micro"]


def states(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_killed_run_goes_on_to_the_same_weights(clips, tmp_path, monkeypatch):
    pairs, task = task_of(clips)
    cell, often = (
        TuningCell(ARM, 0, 1, None),
        load([*TINY, "scale.micro_finetune.steps=4", "scale.micro_finetune.checkpoint_seconds=0"], ROOT),
    )
    undisturbed = states(tuned(often, cell, task, pairs, tmp_path / "one"))

    def killed(images):
        killed.calls += 1
        if killed.calls > 2 * 2:  # two frames a step: dies in the third of four
            raise KeyboardInterrupt
        return to_float(images)

    killed.calls, to_float = 0, clip_finetune.to_float
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(clip_finetune, "to_float", killed)
        tuned(often, cell, task, pairs, tmp_path / "two")
    torch.testing.assert_close(states(tuned(often, cell, task, pairs, tmp_path / "two")), undisturbed, rtol=0, atol=0)


def test_answers_do_not_depend_on_the_number_of_workers(clips, shelf_of):
    arms = "experiments.micro_expressions.fine_tuning"
    config = load([*TINY, "scale.micro_finetune.steps=4", f"{arms}.arms=[{{name:arm,pretraining:none}}]", f"{arms}.more=[]"], ROOT)
    _, task = task_of(clips)
    cells = tuning_cells(config, task, {})
    steps = [cell.step(task, clips, config) for cell in cells]
    one, two = (tuned_predictions(cells, shelf_of(str(count)).make_all(steps, Workers(count, "folds")), task) for count in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert sorted(one["sample"]) == sorted(task.rows["sample"]) and set(one["regime"]) == {"folds"} and set(one["fold"]) == {"0", "1"}


def test_people_left_out_decide_nothing(config, clips, tmp_path):
    """Their labels and pixels spoilt, the network is the same; a subject who trains and is tested cannot be planted."""
    pairs, task = task_of(clips)
    out = task.fold_of == 0
    spoilt = replace(pairs, onset=np.where(out[:, None, None, None], 255 - pairs.onset, pairs.onset))
    other = replace(task, rows=task.rows.assign(label=np.where(out, (task.labels + 1) % 3, task.labels)))
    cell = TuningCell(ARM, 0, 0, None)
    first, second = tuned(config, cell, task, pairs, tmp_path / "a"), tuned(config, cell, other, spoilt, tmp_path / "b")
    torch.testing.assert_close(states(first), states(second), rtol=0, atol=0)
    with pytest.raises(LoupeError, match="is in both train and test"):
        Split(train=task.folds[0].train | {"p"}, test=task.folds[0].test | {"p"})


@pytest.mark.parametrize("readout", ["dma", "token", "mean"])
def test_learns_a_handful_of_pairs(clips, tmp_path, readout):
    pairs, task = task_of(clips)
    config = load(
        [
            *TINY,
            "scale.micro_finetune.steps=60",
            "scale.micro_finetune.lr=0.002",
            "experiments.micro_expressions.fine_tuning.recipe.shift=0",
        ],
        ROOT,
    )
    model = tuned(config, TuningCell(replace(ARM, readout=readout), 0, 0, None), task, pairs, tmp_path / "run")
    train = np.flatnonzero(task.fold_of != 0)
    assert class_probabilities(model, pairs, train).argmax(1).tolist() == task.labels[train].tolist()


def test_each_start_loads_what_it_names(config, tmp_path):
    micron = build_micron_bert(config, 5)
    for name, model in (("whole", micron), ("encoder", micron.encoder)):
        save_weights(tmp_path / name, model)
    starts = {"none": None, "micron-bert": tmp_path / "whole", "mae-face": tmp_path / "encoder", "mae-face+micron-bert": tmp_path / "whole"}
    same = {}
    for name, path in starts.items():
        model = build_tuned(config, TuningCell(replace(ARM, pretraining=name), 0, 0, path), 3)
        parts = ((model.encoder.blocks[0].mlp.fc1, micron.encoder.blocks[0].mlp.fc1), (model.attention.to_v, micron.attention.to_v))
        same[name] = tuple(torch.equal(own.weight, theirs.weight) for own, theirs in parts)
    assert same == {"none": (False, False), "micron-bert": (True, True), "mae-face": (True, False), "mae-face+micron-bert": (True, True)}


def test_an_encoder_of_another_size_is_refused_and_its_arms_are_left_out_at_paper(config, tmp_path):
    save_weights(tmp_path / "encoder", build_micron_bert(load([*TINY, "scale.encoder.width=64"], ROOT), 0).encoder)
    with pytest.raises(LoupeError, match="does not fit this model"):
        build_micron_bert(config, 0, encoder_weights=tmp_path / "encoder")
    kept = {
        name: {arm.pretraining for arm in load([f"scale={name}"], ROOT).experiments.micro_expressions.fine_tuning.arms}
        for name in ("gpu", "paper")
    }
    assert kept == {"gpu": {"none", "micron-bert", "mae-face", "mae-face+micron-bert"}, "paper": {"none", "micron-bert"}}

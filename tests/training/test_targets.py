"""Detection of single action units: the right columns, rows that pooled scores can read, a network that learns them from these columns
alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import f1_score
from torch.nn import functional

from loupe.config import load
from loupe.data.store import Store, read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.statistics import bootstrap_interval
from loupe.experiments import ActionUnit, ActionUnits, Arm
from loupe.faces.expression import AU_NAMES, au_vector
from loupe.training.stills import Labelled, StillCell, StillData, finetune, predict, unit_answers
from loupe.training.targets import knows_units, present_units, probabilities, question_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = load(["scale=smoke"], ROOT)
ASKED = CONFIG.experiments.dual_view.action_units
THREE = ActionUnits(0.5, [ActionUnit("a", [0, 1]), ActionUnit("b", [2]), ActionUnit("c", [3])])


def test_the_columns_are_those_of_the_generator_and_the_claims_have_two_classes_a_unit():
    for unit in ASKED.units:
        sides = [AU_NAMES[column] for column in unit.columns]
        assert sides in ([unit.name], [f"{unit.name}L", f"{unit.name}R"])
    names = [unit.name for unit in ASKED.units]
    assert len(set(names)) == len(names)
    assert yaml.safe_load((ROOT / "conf/claims.yaml").read_text())["tasks"]["units"] == {"classes": 2 * len(names), "answers": 2}


def test_a_unit_is_present_from_the_threshold_on_its_stronger_side():
    strengths = [au_vector({"AU1L": 0.1, "AU1R": 0.3, "AU26": 0.25}), au_vector({"AU1": 0.2, "AU26": 0.24, "AU14": 1.0})]
    present = present_units(np.float32(strengths), ASKED)
    assert [[unit.name for unit, on in zip(ASKED.units, row, strict=True) if on] for row in present] == [["AU1", "AU26"], []]
    assert knows_units(strengths) and not knows_units([(), ()]) and not knows_units([])
    with pytest.raises(LoupeError, match="generated faces only"):
        present_units([(), ()], ASKED)


def manifest(rng, stills, subjects=6):
    strengths = list(rng.random((stills, 4)).astype(np.float32) * [1.0, 0.6, 0.7, 0.52])  # the last unit is rare
    people = [f"p{i % subjects}" for i in range(stills)]
    return pd.DataFrame(
        {"sample": np.arange(100, 100 + stills), "subject": people, "split": "test", "clip": "", "label": 0, "au": strengths}
    )


def test_macro_f1_over_all_classes_is_the_mean_over_units_of_the_two_class_score():
    """Against scikit-learn, unit by unit; a unit that nobody shows and nobody reports counts as it does there."""
    rng = np.random.default_rng(0)
    rows = manifest(rng, 90)
    truth = present_units(rows["au"], THREE)
    found = np.clip(truth * 0.3 + rng.random(truth.shape) * 0.7, 0, 1).astype(np.float32)
    for name, never in (("usual", False), ("a unit nobody shows", True)):
        if never:
            rows["au"] = [np.append(row[:3], np.float32(0)) for row in rows["au"]]
            found[:, 2] = 0.1
            truth = present_units(rows["au"], THREE)
        table = unit_answers(THREE, rows, found)
        wanted = [f1_score(truth[:, k], found[:, k] > 0.5, labels=[0, 1], average="macro", zero_division=0) for k in range(3)]
        assert macro_f1(table["label"], table["pred"], 6) == pytest.approx(np.mean(wanted), abs=1e-12), name
    assert 0 < np.mean(wanted) < 1


def test_rows_of_units_are_told_apart_and_resampled_by_person():
    rng = np.random.default_rng(1)
    rows = manifest(rng, 60)
    truth = present_units(rows["au"], THREE)
    tables = [
        unit_answers(THREE, rows, np.where(rng.random(truth.shape) < 0.8, truth, ~truth).astype(np.float32)).assign(seed=seed)
        for seed in (0, 1)
    ]
    table = tables[0]
    assert list(table["sample"]) == [3 * sample + unit for sample in rows["sample"] for unit in range(3)]
    assert (table["label"] // 2 == table["pred"] // 2).all() and set(table["label"] // 2) == {0, 1, 2}
    assert table["label"].tolist() == [2 * unit + int(on) for row in truth for unit, on in enumerate(row)]
    assert ((table["p1"] > 0.5) == (table["pred"] % 2 == 1)).all()
    always = pd.concat(unit_answers(THREE, rows, np.zeros(truth.shape, np.float32)).assign(seed=seed) for seed in (0, 1))
    effect = effect_of(pd.concat(tables), always, "macro_f1", 6)
    assert len(effect.subjects) == 6 and bootstrap_interval(effect, rng, resamples=200).low > 0


def test_losses_are_those_of_the_question():
    store = Store(
        np.zeros((4, 8, 8, 3), np.uint8),
        pd.DataFrame({"label": [0, 1, 1, 0], "label_name": list("abba"), "au": [np.float32(au_vector({"AU4": s})) for s in (0, 1, 0, 1)]}),
    )
    classes, units = question_of(CONFIG, Arm("x", "single"), store), question_of(CONFIG, Arm("x", "single", task="units"), store)
    assert (classes.outputs, units.outputs) == (2, len(ASKED.units)) and units.truth.sum(1).tolist() == [0, 1, 0, 1]
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        classes.loss(logits, classes.truth, 0.1), functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0]), label_smoothing=0.1)
    )
    torch.testing.assert_close(classes.loss(logits, classes.spread(classes.truth), 0.1), classes.loss(logits, classes.truth, 0.1))
    wide = torch.randn(4, units.outputs, generator=torch.Generator().manual_seed(1))
    p = probabilities("units", wide)
    slow = -(units.truth * p.log() + (1 - units.truth) * (1 - p).log()).mean()
    torch.testing.assert_close(units.loss(wide, units.truth, 0.1), slow)
    assert units.spread(units.truth) is units.truth and torch.allclose(probabilities("stills", logits).sum(1), torch.ones(4))


@pytest.mark.parametrize("augmentation", ["usual", "strong"])
def test_a_network_learns_units_that_can_be_seen(tmp_path, augmentation):
    """AU4 is a bright band above, AU12 a dark one below; the class says nothing of either. Judged on faces of other people."""
    rng = np.random.default_rng(2)
    on = rng.random((120, 2)) < 0.5
    images = rng.integers(90, 166, (120, 32, 32, 3), dtype=np.uint8)
    images[on[:, 0], 3:8] = 255
    images[on[:, 1], 25:30] = 0
    splits = ["train"] * 80 + ["test"] * 40
    people = [f"{split}{i % 5}" for i, split in enumerate(splits)]
    strengths = [np.float32(au_vector({"AU4": float(a), "AU12": float(b)})) for a, b in on]
    write_store(
        tmp_path / "s",
        images,
        pd.DataFrame(
            {
                "subject": people,
                "split": splits,
                "label": np.arange(120) % 2,
                "label_name": np.array(["x", "y"])[np.arange(120) % 2],
                "au": strengths,
            }
        ),
    )
    config = load(
        [
            "scale=smoke",
            "scale.encoder.depth=1",
            "scale.finetune.epochs=30",
            "scale.finetune.max_steps=40",
            "scale.finetune.lr_scratch=0.01",
        ],
        ROOT,
    )
    arm = Arm("units", "single", init="scratch", task="units", augmentation=augmentation)
    data, rows = Labelled(read_store(tmp_path / "s"), None), np.arange(80)
    cell = StillCell(arm, 1.0, 0, StillData(tmp_path / "s", rows, rows, tmp_path / "none"))
    model, _ = finetune(config, cell, data, rows, tmp_path / "checkpoints")
    found = predict(model, arm, data, np.arange(80, 120)) > 0.5
    names = [unit.name for unit in ASKED.units]
    right = (found[:, [names.index("AU4"), names.index("AU12")]] == on[80:]).mean()
    assert right > 0.9

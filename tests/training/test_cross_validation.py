"""Cross-validation by subject: everybody once, nobody by a network that saw them, validation people out, and a gain that is the planted
one."""

import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.evaluation.guards import Vault
from loupe.evaluation.metrics import macro_f1
from loupe.experiments import Arm
from loupe.training import stills
from loupe.training.cross_validation import fold_cells, fold_gain, person_folds
from loupe.training.stills import StillData

ARMS = [Arm("concat", "concat", init="scratch"), Arm("single", "single", init="scratch")]
PEOPLE = [f"{letter}{i}" for letter, count in (("t", 6), ("v", 2), ("e", 4)) for i in range(count)]


@pytest.fixture
def labelled(store_of):
    return store_of("labelled", np.repeat(PEOPLE, 4), np.tile([0, 1], 2 * len(PEOPLE)))


def test_everybody_but_validation_people_is_tested_once_by_networks_that_saw_nobody_of_the_fold(labelled, tmp_path, run_cells, monkeypatch):
    config = load(["scale=smoke", "scale.encoder.depth=1", "scale.finetune.max_steps=4", "experiments.dual_view.fraction=0.5"])
    manifest, trained, real = read_store(labelled).manifest, {}, stills.finetune

    def watched(config, cell, data, rows, *rest):
        trained[len(trained)] = set(data.store.subjects[rows])
        return real(config, cell, data, rows, *rest)

    monkeypatch.setattr(stills, "finetune", watched)
    folds, vault = person_folds(manifest, {"p0"}, 5, seed=0), Vault("dual-view", tmp_path / "vault.jsonl")
    cells = fold_cells(config, ARMS, folds, vault, StillData(labelled, np.arange(3), np.arange(3), tmp_path / "no-weights"))
    crossed = run_cells("folds", *cells, config=config)
    assert set(crossed["arm"]) == {"concat", "single"} and set(crossed["fold"]) == set("01234")
    tested = {person for person in PEOPLE if person[0] != "v"}
    for _, one in crossed.groupby(["arm", "seed"]):
        assert sorted(one["sample"]) == sorted(manifest.index[manifest["subject"].isin(tested)])
    for number, cell in enumerate(cells):
        asked = crossed[(crossed["arm"] == cell.arm.name) & (crossed["fold"] == cell.fold) & (crossed["seed"] == cell.seed)]
        assert trained[number] and not trained[number] & set(asked["subject"]) and trained[number] <= tested
        assert set(asked["subject"]) == folds[int(cell.fold)].test  # the folds that were checked are the folds that train
    openings = vault.openings()
    assert [set(people) for people in openings["subjects"]] == [set(fold.test) for fold in folds]


def test_pretraining_on_a_person_of_a_fold_is_refused(labelled):
    with pytest.raises(LoupeError, match="t3.*pretrain"):
        person_folds(read_store(labelled).manifest, {"p0", "t3"}, 5, seed=0)


def test_the_gain_is_that_of_the_pooled_predictions_not_a_mean_over_folds():
    draw = np.random.default_rng(3)
    label = draw.integers(0, 3, 240)
    subject, fold = np.repeat([f"s{i}" for i in range(24)], 10), np.repeat(list("01234"), 48)
    about = {"split": "test", "sample": np.arange(240), "subject": subject, "fold": fold, "label": label}
    wrong = {"concat": 0.1, "single": 0.5}
    arms = [
        pd.DataFrame({"arm": name, "seed": seed, **about, "pred": np.where(draw.random(240) < share, draw.integers(0, 3, 240), label)})
        for name, share in wrong.items()
        for seed in range(2)
    ]
    gain = fold_gain(pd.concat(arms, ignore_index=True), "concat", "single", 3, 500).iloc[0]
    scores = {name: np.mean([macro_f1(arm["label"], arm["pred"], 3) for arm in arms if arm["arm"].iloc[0] == name]) for name in wrong}
    assert gain["gain"] == pytest.approx(scores["concat"] - scores["single"])
    assert 0 < gain["low"] < gain["gain"] < gain["high"] and (gain["n_folds"], gain["n_seeds"], gain["n_subjects"]) == (5, 2, 24)

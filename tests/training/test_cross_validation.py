"""Cross-validation by subject: everybody once, nobody by a network that saw them, validation people out, and a gain that is the planted one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loupe.bench import Bench

from loupe.config import load
from loupe.data.store import write_store
from loupe.errors import LoupeError
from loupe.evaluation.guards import Vault
from loupe.evaluation.metrics import macro_f1
from loupe.settings import Arm
from loupe.training import stills
from loupe.training.cross_validation import fold_gain, fold_jobs, person_folds, take_folds
from loupe.training.jobs import run_jobs

CONFIG = load(["scale=smoke", "scale.finetune.max_steps=4", "experiments.dual_view.fraction=0.5"], Path(__file__).resolve().parents[2])
ARMS = [Arm("concat", "concat", init="scratch"), Arm("single", "single", init="scratch")]
PEOPLE = {**{f"a{i}": "train" for i in range(6)}, **{f"v{i}": "val" for i in range(2)}, **{f"t{i}": "test" for i in range(4)}}


@pytest.fixture
def labelled(tmp_path):
    subject = np.repeat(list(PEOPLE), 4)
    label = np.tile([0, 1], len(subject) // 2)
    table = {
        "subject": subject,
        "split": [PEOPLE[name] for name in subject],
        "label": label,
        "label_name": np.array(["calm", "glad"])[label],
    }
    size = CONFIG.scale.image.size
    images = np.random.default_rng(0).integers(0, 256, (len(subject), size, size, 3), dtype=np.uint8)
    write_store(tmp_path / "labelled", images, pd.DataFrame(table))
    return tmp_path / "labelled", pd.DataFrame(table)


def test_everybody_but_validation_people_is_tested_once_by_networks_that_saw_nobody_of_the_fold(labelled, tmp_path, monkeypatch):
    folder, manifest = labelled
    trained = {}
    real = stills.finetune

    def watched(config, arm, data, rows, seed, *rest):
        trained[arm.name, seed] = set(data.store.subjects[rows])
        return real(config, arm, data, rows, seed, *rest)

    monkeypatch.setattr(stills, "finetune", watched)
    stills._loaded.clear()
    folds = person_folds(manifest, {"p0"}, 5, seed=0)
    bench, vault = Bench(tmp_path / "bench"), Vault("dual-view", tmp_path / "vault.jsonl")
    run_jobs(fold_jobs(bench, CONFIG, ARMS, folds, vault, folder, tmp_path / "no-weights"), "folds", workers=1)
    rest, crossed = take_folds(bench.cells())
    assert rest.empty and set(crossed["arm"]) == {"concat", "single"} and set(crossed["split"]) == {"test"}
    tested = {name for name, part in PEOPLE.items() if part != "val"}
    for _, one in crossed.groupby(["arm", "seed"]):
        assert sorted(one["sample"]) == sorted(manifest.index[manifest["subject"].isin(tested)])
    for (arm, fold, seed), one in crossed.groupby(["arm", "fold", "seed"]):
        saw = trained[f"{arm}-fold{fold}", seed]
        assert saw and not saw & set(one["subject"]) and saw <= tested
    openings = vault.openings()
    assert len(openings) == 5 and sorted(sum(openings["subjects"], [])) == sorted(tested)


def test_pretraining_on_a_person_of_a_fold_is_refused(labelled):
    with pytest.raises(LoupeError, match="a3.*pretrain"):
        person_folds(labelled[1], {"p0", "a3"}, 5, seed=0)


def test_other_cells_pass_untouched():
    cells = pd.DataFrame({"arm": ["single", "single-shifted", "single-fold0", "concat-fold11"], "fold": "", "split": "val"})
    rest, crossed = take_folds(cells)
    assert list(rest["arm"]) == ["single", "single-shifted"] and set(rest["split"]) == {"val"}
    assert crossed[["arm", "fold", "split"]].to_numpy().tolist() == [["single", "0", "test"], ["concat", "11", "test"]]


def test_the_gain_is_that_of_the_pooled_predictions_not_a_mean_over_folds():
    draw = np.random.default_rng(3)
    label = draw.integers(0, 3, 240)
    rows = {
        "sample": np.arange(240),
        "subject": np.repeat([f"s{i}" for i in range(24)], 10),
        "fold": np.repeat(list("01234"), 48),
        "label": label,
    }
    wrong = {"concat": 0.1, "single": 0.5}
    arms = [
        pd.DataFrame(
            {
                "arm": name,
                "seed": seed,
                "split": "test",
                **rows,
                "pred": np.where(draw.random(240) < share, draw.integers(0, 3, 240), label),
            }
        )
        for name, share in wrong.items()
        for seed in range(2)
    ]
    gain = fold_gain(pd.concat(arms, ignore_index=True), "concat", "single", 3, 500).iloc[0]
    scores = {name: np.mean([macro_f1(arm["label"], arm["pred"], 3) for arm in arms if arm["arm"].iloc[0] == name]) for name in wrong}
    assert gain["gain"] == pytest.approx(scores["concat"] - scores["single"])
    assert 0 < gain["low"] < gain["gain"] < gain["high"] and (gain["n_folds"], gain["n_seeds"], gain["n_subjects"]) == (5, 2, 24)

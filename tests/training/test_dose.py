"""Doses of pre-training: each a whole schedule, none trained twice, and the notebook beside the study runs on a small one."""

import shutil
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.store import read_store, write_store
from loupe.evaluation.predictions import Label, answers, labelled
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import save_weights
from loupe.training.dose import at_dose, pictures_seen
from loupe.training.schedules import pretraining_lr

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "beside" / "12-dose.py"
SMALL = ["scale=smoke", "scale.encoder.depth=1", "scale.finetune.max_steps=2", "scale.finetune.min_steps=1", "scale.mae.epochs=2"]
SMALL += ["experiments.low_label.hog_c=[0.1]", "experiments.low_label.doses=[1,0,0.5]", "scale.statistics.resamples=40"]


@pytest.mark.parametrize(("times", "epochs", "warmup"), [(0.125, 15, 1), (1, 120, 6), (4, 480, 24)])
def test_a_dose_is_a_schedule_of_its_own_that_ends_at_zero(times, epochs, warmup):
    config = load(["scale=laptop"], ROOT)
    mae = at_dose(config, times).scale.mae
    assert (mae.epochs, mae.warmup_epochs) == (epochs, warmup)
    lr = pretraining_lr(mae.epochs, mae.warmup_epochs, mae.base_lr, mae.batch, 6400)
    assert len(lr) * mae.batch == pictures_seen(config, times, 6400) == epochs * 6400
    assert lr[-1] == 0 and lr.argmax() == warmup * 50 - 1
    assert pictures_seen(config, 0, 6400) == 0


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A checkout whose stages data, mae-face and low-label are done, in little."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    pictures, prepared = np.random.default_rng(0).integers(0, 256, (52, 32, 32, 3), dtype=np.uint8), tmp_path / "data" / "prepared"
    write_store(prepared / "stills", pictures[:8], pd.DataFrame({"subject": ["g0"] * 8, "split": ["pretrain"] * 8}))
    people, label = np.repeat(["t0", "t1", "t2", "v0", "e0", "e1", "e2", "e3", "e4", "e5", "e6"], 4), np.tile([0, 0, 1, 1], 11)
    split = [{"t": "train", "v": "val", "e": "test"}[person[0]] for person in people]
    table = pd.DataFrame({"subject": people, "split": split, "label": label, "label_name": [f"c{one}" for one in label]})
    write_store(prepared / "labelled", pictures[8:], table)
    config, runs = load(SMALL, tmp_path), tmp_path / "data" / "runs"
    for folder in ("mae-face/pretraining", "low-label"):
        (runs / folder).mkdir(parents=True)
    save_weights(runs / "mae-face/pretraining/encoder.safetensors", build_encoder(config))
    said = answers(read_store(prepared / "labelled").manifest.iloc[12:], np.eye(2)[label[12:]])
    pd.concat([labelled(said, Label("stills", "hog", share)) for share in (0.02, 0.1, 1.0)]).to_parquet(
        runs / "low-label/predictions.parquet"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOUPE_BATCH", "1")
    return tmp_path


def test_the_notebook_runs_and_trains_nothing_twice(study):
    code = [cell.source for cell in jupytext.read(NOTEBOOK).cells if cell.cell_type == "code"]
    (experiment,) = [part.split("```")[0] for part in jupytext.read(NOTEBOOK).cells[-1].source.split("```python\n")[1:]]

    def run():
        names = {"__name__": "notebook", "display": lambda *_: None}
        exec(code[0].replace("[]", repr(SMALL)), names)
        exec("\n".join(code[1:]), names)
        return names

    names, found = run(), pd.read_csv(study / "reports/tables/dose/points.csv")
    exec(experiment, names)
    assert sorted(set(found["times"].dropna())) == [0, 0.5, 1] and len(found) == 2 * (3 * 2 + 1)
    assert found.set_index("times").loc[[0, 0.5, 1], "pictures"].groupby(level=0).first().tolist() == [0, 8, 16]
    assert (found[found["arm"] == "hog"]["value"] == 1).all() and set(found["n_subjects"]) == {7}
    assert not (study / "data/runs/dose/pretraining-1").exists(), "the study's own encoder is read"
    assert {path.suffix for path in (study / "reports/figures/dose").glob("curves.*")} >= {".png", ".svg"}
    assert run()["session"].shelf.made == 0

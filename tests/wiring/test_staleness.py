"""What is trained again after a change: read off the keys of the study's real steps, without training (CONTRIBUTING, Train once)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.clips import onset_and_apex
from loupe.data.prepare import preparing_step
from loupe.data.store import read_store, write_store
from loupe.evaluation.protocols import loso_folds
from loupe.experiments import Arm, TunedArm
from loupe.steps import Shelf
from loupe.training import mae_face, micro
from loupe.training.classifiers import classifier_step
from loupe.training.clip_finetune import TuningCell
from loupe.training.clip_steps import head_step
from loupe.training.clip_tasks import clip_tasks
from loupe.training.features_classical import classical_step
from loupe.training.features_encoder import encoder_step
from loupe.training.features_micron import micron_step
from loupe.training.probes import Probe, feature_step
from loupe.training.stills import StillCell, StillData

ROOT = Path(__file__).resolve().parents[2]
SCRATCH, TUNED = Arm("scratch", "single", init="scratch"), Arm("mae-fusion", "concat")
DATA, MAE = {"data"}, {"MAE"}
CELLS = {"cell from scratch", "cell from MAE"}
MICRON = {"Micron-BERT", "Micron-BERT features"}
SECOND = {"second stage", "second stage from MAE"}
BASELINES = {"flow features", "flow SVM", "HOG features", "probe"}
ALL = DATA | MAE | CELLS | MICRON | SECOND | BASELINES | {"MAE features", "heads"}


@pytest.fixture
def folder(tmp_path):
    """Stores of four pictures, and files in the places of weights and features."""
    images, label = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), np.arange(4) % 2
    stills = {"subject": list("abcd"), "split": ["pretrain", "train", "val", "test"], "label": label, "label_name": list("xyxy")}
    clips = {"subject": list("aabb"), "split": "loso", "clip": list("aabb"), "role": ["onset", "apex"] * 2, "frame": [0, 9, 0, 9]}
    for name, table in (("stills", stills), ("clips", clips | {"label": [0, 0, 1, 1], "label_name": "x"})):
        write_store(tmp_path / name, images, pd.DataFrame(table))
    for name in ("encoder.safetensors", "micron_bert.safetensors", "features.npy"):
        (tmp_path / name).write_bytes(b"as trained")
    return tmp_path


def steps(folder, *overrides, arms=(SCRATCH, TUNED)):
    """One step of each kind, as the notebooks make them."""
    config = load(["scale=smoke", *overrides], ROOT)
    stills, clips, weights, features = (folder / name for name in ("stills", "clips", "encoder.safetensors", "features.npy"))
    rows, pairs = np.arange(1, 3), onset_and_apex(read_store(clips), labelled_only=True)
    task = clip_tasks(pairs, loso_folds(pairs.subjects))["micro"]
    scratch, tuned = (StillCell(arm, 0.1, 0, StillData(stills, rows, rows, weights)).step(config, folder / "views") for arm in arms)
    return {
        "data": preparing_step(config, folder),
        "MAE": mae_face.pretraining_step(stills, config),
        "MAE features": encoder_step(stills, weights, config),
        "cell from scratch": scratch,
        "cell from MAE": tuned,
        "Micron-BERT": micro.pretraining_step("pretraining", clips, config),
        "Micron-BERT features": micron_step("micron-bert", clips, folder / "micron_bert.safetensors", config),
        "second stage": TuningCell(TunedArm("a", "none"), 0, 0, None).step(task, clips, config),
        "second stage from MAE": TuningCell(TunedArm("b", "mae-face"), 0, 0, weights).step(task, clips, config),
        "heads": head_step("micron-bert", task, features, config),
        "flow features": classical_step("flow-svm", clips, config.experiments.micro_expressions.flow_grid),
        "flow SVM": classifier_step("flow-svm", task, features, config),
        "HOG features": feature_step("hog", stills),
        "probe": Probe(stills, features, rows, rows, (0.1,), 2).step("probe"),
    }


def keys(folder, *overrides, **options):
    shelf = Shelf(folder / "runs", folder / "spare", publish=False)
    return {name: shelf.ingredients(step)["key"] for name, step in steps(folder, *overrides, **options).items()}


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("mae_face.weight_decay=0.11", MAE),
        ("scale.mae.epochs=9", MAE),
        ("dual_view.label_smoothing=0.2", CELLS),
        ("scale.finetune.lr_mae=0.5", CELLS),
        ("view=mirror", {"cell from MAE"}),
        ("micron_bert.beta=0.5", MICRON | SECOND),
        ("scale.micron.epochs=9", MICRON | SECOND),
        ("scale.micro_finetune.steps=9", SECOND),
        ("experiments.micro_expressions.fine_tuning.rivals=[]", set()),
        ("scale.micro_head.steps=9", {"heads"}),
        ("experiments.micro_expressions.svm_c=[0.5]", {"flow SVM"}),
        ("scale.faces.micro_clips=8", DATA),
        ("data.nuisance=2", DATA),
        ("experiments.low_label.fractions=[0.5]", set()),
        ("scale.workers=7", set()),
        ("scale.statistics.controls=3", set()),
    ],
)
def test_a_setting_makes_its_own_steps_stale(folder, override, stale):
    before, after = keys(folder), keys(folder, override)
    assert set(before) == ALL and {name for name in ALL if before[name] != after[name]} == stale


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("reporting", set()),
        ("recording", set()),
        ("commands", set()),
        ("settings", set()),
        ("config", set()),
        ("session", set()),
        ("steps", set()),
        ("models.mae", MAE | {"MAE features"}),
        ("models.fusion_attention", CELLS),
        ("models.dual_view", CELLS),
        ("training.stills", CELLS),
        ("models.micron_bert", MICRON | SECOND),
        ("models.micron_classifier", SECOND | {"Micron-BERT features"}),
        ("models.micro_attention", MICRON | SECOND),
        ("faces", DATA | CELLS),  # views are cut in the frame of the faces
        ("data.sources", DATA),
        ("models.baselines.optical_flow", {"flow features"}),
        ("models.vit", MAE | CELLS | MICRON | SECOND | {"MAE features", "flow SVM"}),  # one classifier of clips is a small ViT
    ],
)
def test_a_module_makes_the_steps_that_run_it_stale_and_no_others(folder, module, stale):
    shelf = Shelf(folder / "runs", folder / "spare", publish=False)
    code = {name: shelf.ingredients(step)["code"] for name, step in steps(folder).items()}
    name = f"loupe.{module}"
    assert {step for step, modules in code.items() if any(f"{used}.".startswith(f"{name}.") for used in modules)} == stale
    assert all(used.split(".")[0] == "loupe" for modules in code.values() for used in modules)  # no notebook, no script


def test_what_was_pretrained_matters_to_those_that_start_from_it_alone(folder):
    before = keys(folder)
    (folder / "encoder.safetensors").write_bytes(b"trained again")
    assert {name for name, key in keys(folder).items() if key != before[name]} == {"cell from MAE", "MAE features", "second stage from MAE"}


def test_an_arm_that_is_renamed_is_the_same_arm(folder):
    renamed = [replace(arm, name=f"{arm.name}, renamed") for arm in (SCRATCH, TUNED)]
    assert keys(folder) == keys(folder, arms=renamed)

"""Imported sets in the place of generated ones: who may be where, and a study of each kind on look-alikes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from lookalikes import micro, stills
from PIL import Image
from typer.testing import CliRunner

from loupe.cli import app
from loupe.config import load
from loupe.data.clips import onset_and_apex, with_true_motion
from loupe.data.imported import (
    ImportedSets,
    _write_landmarks,
    clip_rows,
    generated_part,
    labelled_rows,
    micro_rows,
    pretraining_rows,
    read_sets,
    write_imported,
    write_rows,
    write_sets,
)
from loupe.data.importing import import_set
from loupe.data.manifest import complete
from loupe.data.prepare import prepare_study, study_plan
from loupe.data.store import Store, read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split, loso_folds

ROOT = Path(__file__).resolve().parents[2]


def table(**columns):
    return complete(pd.DataFrame(columns))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Look-alikes of a pre-training, an expression and two micro-expression sets, imported at 32 px below a project's data/imported."""
    root = tmp_path_factory.mktemp("project")
    makers = {
        "casia-webface": stills.casia_folders,
        "rafdb": stills.rafdb,
        "casme2": micro.casme2,
        "smic-nir": lambda raw: micro.smic(raw, "NIR"),
    }
    folders = {}
    for name, make in makers.items():
        make(root / "raw" / name)
        folders[name] = root / "data" / "imported" / name
        import_set(name, root / "raw" / name, folders[name], size=32, workers=1, partial=True)
    return root, folders


def test_validation_people_are_drawn_from_training_and_the_official_validation_is_the_test():
    people = [f"t{n // 2}" for n in range(40)] + ["v0", "v0"]
    given = table(subject=people, split=["train"] * 40 + ["val"] * 2, label=[n % 2 for n in range(42)], label_name=["a", "b"] * 21)
    rows, split = labelled_rows(given, 3, "set")
    assert len(rows) == 42 and (split[-2:] == "test").all()
    assert (split == "val").sum() == 4  # 2 of 20 people, both pictures of each
    by_person = pd.Series(split).groupby(pd.Series(people)).nunique()
    assert (by_person == 1).all()
    assert (labelled_rows(given, 3, "set")[1] == split).all()
    assert (labelled_rows(given, 4, "set")[1] != split).any()


def test_all_official_parts_stand_as_they_are_and_rows_without_a_class_are_left_out():
    given = table(
        subject=list("abcd"), split=["train", "val", "test", "train"], label=[0, 1, 0, -1], label_name=["x", "y", "x", "contempt"]
    )
    rows, split = labelled_rows(given, 0, "set")
    assert rows.tolist() == [0, 1, 2] and split.tolist() == ["train", "val", "test"]


def test_a_set_with_some_classes_only_is_counted_from_0_in_the_study(tmp_path):
    classes = {"a": (4, "Happiness"), "b": (8, "Contempt"), "c": (1, "Anger"), "d": (-1, "")}
    given = table(subject=list(classes), split=["train", "val", "test", "train"])
    given = given.assign(label=[n for n, _ in classes.values()], label_name=[name for _, name in classes.values()])
    write_store(tmp_path / "set", np.zeros((4, 8, 8, 3), np.uint8), given)
    write_imported(ImportedSets(expression=tmp_path / "set", faces=tmp_path / "set"), tmp_path / "out", 8, 0)
    store = read_store(tmp_path / "out" / "labelled")
    assert store.labels.tolist() == [1, 2, 0] and store.class_names == ["Anger", "Happiness", "Contempt"]
    probe = read_store(tmp_path / "out" / "stills").manifest.query("split == 'train'")
    assert probe[["label", "label_name"]].values.tolist() == [[1, "Happiness"]]


def test_sets_that_cannot_play_their_role_are_one_sentence():
    faces = table(subject=["a", "b"], split=["pretrain"] * 2)
    with pytest.raises(LoupeError, match="no labelled training pictures"):
        labelled_rows(faces, 0, "set")
    with pytest.raises(LoupeError, match="too few to draw"):
        labelled_rows(table(subject=["a"], split=["train"], label=[0], label_name=["x"]), 0, "set")
    with pytest.raises(LoupeError, match="no micro-expression clips"):
        micro_rows(faces, "set")
    with pytest.raises(LoupeError, match="one subject only"):
        micro_rows(table(subject=["a"], split=["loso"], clip=["c"], label=[0], label_name=["x"]), "set")
    clips = table(subject=["a", "b"], clip=["c", "d"], fps=[30.0, float("nan")])
    with pytest.raises(LoupeError, match="outside the micro-expression set"):
        clip_rows(clips, {"a", "b"}, "set")
    with pytest.raises(LoupeError, match="frame rate"):
        clip_rows(clips, {"a"}, "set")
    assert clip_rows(clips, {"b"}, "set").tolist() == [0]


def test_nobody_who_is_scored_is_pretrained_on_and_no_copy_of_their_pictures():
    faces = table(subject=list("abcdef"), split=["pretrain"] * 5 + ["val"]).assign(sha=list("123456"), dhash=list("123456"))
    scored = table(subject=["a"], split=["test"]).assign(sha=["2"], dhash=["3"])
    assert pretraining_rows(faces, scored, {"d"}, "set").tolist() == [4]
    with pytest.raises(LoupeError, match="nobody left"):
        pretraining_rows(faces, scored, {"d", "e"}, "set")


def test_rows_are_copied_and_larger_pictures_made_smaller(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    store = Store(images, table(sample=range(5), subject=list("abcde"), split=["pretrain"] * 5))
    write_rows(
        tmp_path / "same", [(store, np.array([3, 1]), {}), (store, np.array([0]), {"split": "train", "label": 0, "label_name": "x"})], 16
    )
    copied = read_store(tmp_path / "same")
    np.testing.assert_array_equal(copied.images, images[[3, 1, 0]])
    assert copied.manifest["split"].tolist() == ["pretrain", "pretrain", "train"] and copied.manifest["subject"].tolist() == ["d", "b", "a"]
    write_rows(tmp_path / "small", [(store, np.arange(5), {})], 8)
    expected = [np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.LANCZOS)) for image in images]
    np.testing.assert_array_equal(read_store(tmp_path / "small").images, expected)


def test_detected_points_follow_the_picture_into_the_box_and_to_the_studys_size(sets, tmp_path):
    _, folders = sets
    stills.affectnet_old(tmp_path / "raw")  # points .5, 1.5, 2.5 …; box 4, 4, 8, 8
    import_set("affectnet", tmp_path / "raw", tmp_path / "affectnet", size=32, workers=1, partial=True)
    given = np.array([f"{value}.5" for value in range(136)], dtype=float).reshape(68, 2)
    stored = read_store(tmp_path / "affectnet")
    np.testing.assert_allclose(np.asarray(stored.manifest["landmarks"][0]).reshape(68, 2), (given - 4) * 32 / 8, atol=1e-4)
    write_imported(ImportedSets(faces=folders["casia-webface"], expression=tmp_path / "affectnet"), tmp_path / "out", 16, 0)
    found, labelled = np.load(tmp_path / "out" / "labelled" / "landmarks.npy"), read_store(tmp_path / "out" / "labelled")
    assert found.shape == (len(labelled.images), 68, 2) and labelled.images.shape[1] == 16
    np.testing.assert_allclose(found[3], (given - 4) * 16 / 8, atol=1e-4)
    write_imported(ImportedSets(faces=folders["casia-webface"], expression=folders["rafdb"]), tmp_path / "out", 32, 0)
    assert not (tmp_path / "out" / "labelled" / "landmarks.npy").exists()  # RAF-DB has none: the canonical layout stands in


def test_faces_without_points_are_nan_and_mixed_points_are_left_out(tmp_path):
    five, more = np.arange(10.0), np.arange(136.0)
    _write_landmarks(tmp_path / "points.npy", pd.DataFrame({"landmarks": [five, (), five + 1]}))
    found = np.load(tmp_path / "points.npy")
    np.testing.assert_array_equal(found[[0, 2]], [five.reshape(5, 2), five.reshape(5, 2) + 1])
    assert np.isnan(found[1]).all()
    _write_landmarks(tmp_path / "points.npy", pd.DataFrame({"landmarks": [five, more]}))
    assert not (tmp_path / "points.npy").exists()


def test_the_list_is_read_back_and_a_new_import_must_be_chosen_again(sets, tmp_path):
    root, folders = sets
    path = root / "data" / "imported" / "study.json"
    write_sets(path, ImportedSets(faces=folders["casia-webface"], micro=folders["casme2"]))
    assert json.loads(path.read_text())["faces"]["folder"] == "casia-webface"  # the project folder may be moved
    assert read_sets(path) == ImportedSets(faces=folders["casia-webface"], micro=folders["casme2"])
    path.write_text(path.read_text().replace(json.loads(path.read_text())["micro"]["manifest"], "0" * 64))
    with pytest.raises(LoupeError, match="imported again since"):
        read_sets(path)
    path.write_text("[1]")
    with pytest.raises(LoupeError, match="damaged"):
        read_sets(path)
    with pytest.raises(LoupeError, match="loupe use"):
        read_sets(tmp_path / "study.json")


def test_what_is_imported_is_not_drawn():
    plan = study_plan(load(["scale=smoke", "data=generated"], ROOT))
    assert generated_part(plan, ImportedSets()) == plan
    part = generated_part(plan, ImportedSets(faces=Path("a"), expression=Path("b"), micro=Path("c"), clips=Path("d")))
    assert part.pretrain_subjects == part.train_subjects == part.clip_subjects == part.macro_clips == 0
    assert part.micro_clips == plan.micro_clips  # their true motion scores the maps
    part.check()


@pytest.fixture(scope="module")
def study(sets, tmp_path_factory):
    """Every role imported, with one generated micro-expression clip whose motion is known."""
    root, folders = sets
    chosen = root / "data" / "imported" / "whole.json"
    write_sets(chosen, ImportedSets(folders["casia-webface"], folders["rafdb"], folders["casme2"], folders["smic-nir"]))
    few = ["scale.faces.micro_subjects=1", "scale.faces.micro_clips=1", "scale.faces.none_clips=0", "scale.workers=1"]
    short = ["scale.mae.epochs=2", "scale.micron.epochs=1", "scale.micro_head.steps=3", "scale.finetune.max_steps=6"]
    config = load(["scale=smoke", "data=imported", f"data.imported={chosen}", *few, *short], ROOT)
    out = tmp_path_factory.mktemp("prepared")
    prepare_study(config, out, tmp_path_factory.mktemp("root"), workers=1)
    return config, out


def test_every_store_stands_and_nobody_is_on_both_sides(study):
    _, out = study
    stills_, labelled, clips, micro_ = (read_store(out / name) for name in ("stills", "labelled", "clips", "micro"))
    assert [store.images.shape[1:] for store in (stills_, labelled, clips, micro_)] == [(32, 32, 3)] * 4
    assert set(stills_.split("pretrain").manifest["set"]) == {"casia-webface"} and (stills_.split("pretrain").labels == -1).all()
    assert len(labelled.images) == 21 and len(labelled.class_names) == 7
    split = Split.from_manifest(labelled.manifest, pretrain=set(stills_.split("pretrain").subjects))
    assert len(split.test) == 7 and len(split.val) == 1 and len(split.train) == 13
    assert set(stills_.split("train").subjects) <= split.train and set(stills_.split("val").subjects) <= split.val
    loso_folds(micro_.subjects, pretrain=set(clips.subjects))
    assert set(clips.manifest["split"]) == {"unlabelled"} and (clips.labels == -1).all()
    assert len(read_store(out / "macro").images) == 0
    assert len(read_store(out / "shift").images) == 0  # notebook 03 then leaves its condition out


def test_clips_called_others_have_no_class_but_do_show_something(study):
    _, out = study
    pairs = onset_and_apex(read_store(out / "micro"), labelled_only=False)
    assert (pairs.labels == -1).sum() == 99 + 6 + 2 + 2 and pairs.expressive.all()
    generated = with_true_motion(out / "micro")
    assert generated != out / "micro" and np.load(generated / "motion.npy").shape == (1, 32, 32)
    assert np.load(generated / "expression_flow.npy").shape == (1, 32, 32, 2) and np.load(generated / "parts.npy").shape == (1, 32, 32)
    assert {path.name for path in (out / "micro").glob("*.*")} == {"images.npy", "manifest.parquet"}  # nothing that speaks of other clips
    named = replace(pairs, label_names=["none", *pairs.label_names[1:]])
    assert named.expressive.tolist() == [False] + [True] * (len(pairs.clips) - 1)


def test_a_tiny_study_of_each_kind_runs_on_look_alikes(study, tmp_path):
    from loupe.experiments import Arm
    from loupe.models.baselines.linear import make_majority
    from loupe.training.checkpoint import save_weights
    from loupe.training.clip_tasks import clip_tasks
    from loupe.training.features_micron import onset_apex_features
    from loupe.training.loso import HeadRecipe, loso_heads, loso_probabilities
    from loupe.training.mae_face import pretrain as pretrain_mae
    from loupe.training.micro import pretrain as pretrain_micron
    from loupe.training.stills import Labelled, StillCell, StillData, finetune, predict

    config, out = study
    mae, history = pretrain_mae(config, np.ascontiguousarray(read_store(out / "stills").split("pretrain").images), 0, tmp_path / "mae")
    assert len(history) and np.isfinite(history[-1]["loss"])
    save_weights(tmp_path / "encoder.safetensors", mae.encoder)

    labelled, arm = read_store(out / "labelled"), Arm("single", "single")
    rows, asked = (np.flatnonzero(labelled.manifest["split"] == split) for split in ("train", "test"))
    cell = StillCell(arm, 1.0, 0, StillData(out / "labelled", rows, asked, tmp_path / "encoder.safetensors"))
    model, _ = finetune(config, cell, Labelled(labelled, None), rows, tmp_path / "single")
    assert predict(model, arm, Labelled(labelled, None), asked).shape == (7, 7)

    micron, history = pretrain_micron(config, read_store(out / "clips"), 0, tmp_path / "micron")
    assert np.isfinite(history[-1]["reconstruction"])
    pairs = onset_and_apex(read_store(out / "micro"), labelled_only=True)
    features = onset_apex_features(micron, pairs.onset, pairs.apex, "mean")
    task = clip_tasks(pairs, loso_folds(pairs.subjects))["micro"]
    (found,) = loso_heads(task, features, HeadRecipe([0], 3, 0.01, [0.01]))
    assert found.shape == (147, 3) and np.allclose(found.sum(1), 1, atol=1e-5)
    (guess,) = loso_probabilities(task, features, [make_majority], label="majority")
    assert (guess.argmax(1) == 0).all()  # 90 of 147 clips are negative


@pytest.fixture
def project(sets, monkeypatch):
    """The imported sets' folder as a project of its own: settings, and a dvc.yaml that marks the root."""
    root, folders = sets
    (root / "conf" / "scale").mkdir(parents=True, exist_ok=True)
    (root / "dvc.yaml").touch()
    (root / "conf" / "study.yaml").write_text((ROOT / "conf" / "study.yaml").read_text())
    for scale in ("smoke", "laptop"):
        (root / "conf" / "scale" / f"{scale}.yaml").write_text((ROOT / "conf" / "scale" / f"{scale}.yaml").read_text())
    monkeypatch.chdir(root)
    return root


def use(*choices):
    run = CliRunner().invoke(app, ["use", *choices])
    return run.stdout if run.exit_code == 0 else run.exception


def test_use_points_the_study_at_imported_sets_and_back(project):
    comments = [line for line in (project / "conf" / "study.yaml").read_text().splitlines() if line.startswith("#")]
    shown = use("faces=casia-webface", "expression=rafdb", "micro=casme2", "clips=smic-nir", "scale=smoke")
    settings = yaml.safe_load((project / "conf" / "study.yaml").read_text())
    assert settings == {"scale": "smoke", "data": "imported", "raw": "data/imported/study.json"}
    assert "rafdb: 21 pictures of 21 subjects (train 13, val 1, test 7)" in shown and "casme2" in shown and "256 clips" in shown
    assert [line for line in (project / "conf" / "study.yaml").read_text().splitlines() if line.startswith("#")] == comments
    use("micro=generated", "clips=generated")
    assert set(json.loads((project / "data" / "imported" / "study.json").read_text())) == {"faces", "expression"}
    use("faces=generated", "expression=generated", "scale=laptop")
    settings = yaml.safe_load((project / "conf" / "study.yaml").read_text())
    assert settings == {"scale": "laptop", "data": "generated", "raw": "conf/data/generated.yaml"}


@pytest.mark.parametrize(
    "choices, message",
    [
        (["face=rafdb"], "takes faces=…, expression=…, micro=…, clips=…, scale=…, not 'face=rafdb'"),
        (["faces=rafdb", "faces=celeba"], "faces twice"),
        (["faces=celeba"], "no finished import"),
        (["scale=huge"], "no scale 'huge': choose laptop, smoke"),
        (["scale=laptop", "faces=casia-webface"], "pictures of 32 px, but the scale needs 64"),
        (["scale=smoke", "expression=casia-webface"], "no labelled training pictures"),
        (["scale=smoke", "micro=rafdb"], "no micro-expression clips"),
        (["scale=smoke", "micro=smic-nir", "clips=smic-nir"], "no clips of people outside"),
    ],
)
def test_use_refuses_what_does_not_fit(project, choices, message):
    before = (project / "conf" / "study.yaml").read_text()
    error = use(*choices)
    assert isinstance(error, LoupeError) and message in str(error) and "\n" not in str(error)
    assert (project / "conf" / "study.yaml").read_text() == before

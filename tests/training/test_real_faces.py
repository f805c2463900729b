"""`make real` on a folder of generated faces: everybody tested once by whoever never saw them, leaks refused, nothing trained twice, no
picture left."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loupe.config import load
from loupe.data.store import Store, write_store
from loupe.errors import LoupeError
from loupe.faces.subject import Studio, render_still
from loupe.training import stills
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import save_weights
from loupe.training.real_faces import check_people, tasks_of

ROOT = Path(__file__).parents[2]
SMALL = [
    "scale=smoke",
    "scale.encoder.depth=1",
    "scale.finetune.max_steps=4",
    "scale.finetune.min_steps=2",
    "experiments.low_label.hog_c=[0.1]",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A checkout whose stages `data` and `mae-face` are done, in little, and beside it ten people, neutral and smiling."""
    root = tmp_path_factory.mktemp("study")
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copy(ROOT / "dvc.yaml", root)
    (root / "data/runs/mae-face/pretraining").mkdir(parents=True)
    save_weights(root / "data/runs/mae-face/pretraining/encoder.safetensors", build_encoder(load(SMALL, root)))
    write_store(root / "data/prepared/stills", np.zeros((1, 32, 32, 3), np.uint8), pd.DataFrame({"subject": ["g0"], "split": ["pretrain"]}))
    studio = Studio.open(32, ROOT / "data/scratch/assets")
    for number in range(10):
        for label in ("Neutral", "Happiness"):
            (root / "faces" / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(render_still(studio, 9700, "test", number, 0, label)[0]).save(root / "faces" / label / f"p{number}_1.png")
    return root


@pytest.fixture
def real(study, monkeypatch):
    """`scripts/real_faces.py` on a folder of the checkout."""
    spec = importlib.util.spec_from_file_location("real_faces_script", ROOT / "scripts" / "real_faces.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(study)
    monkeypatch.setenv("LOUPE_BATCH", "1")
    return lambda folder="faces": script.main([folder, "--no-align", *(word for one in SMALL for word in ("-o", one))])


def test_the_whole_command(study, real, monkeypatch):
    real()
    predictions = pd.read_parquet(study / "data/runs/real-faces/answers.parquet")
    assert set(predictions["arm"]) == {"mae", "scratch", "small-cnn", "hog", "mae-probe"} and predictions["fraction"].nunique() == 2
    for _, one in predictions.groupby(["arm", "fraction", "seed"]):
        assert sorted(one["sample"]) == list(range(20)) and (one.groupby("subject")["fold"].nunique() == 1).all()
    tables = study / "reports/tables/real-faces"
    scores, decided = pd.read_csv(tables / "scores.csv"), pd.read_csv(tables / "verdicts.csv").set_index("id")
    assert sorted(set(scores["n_labels"])) == [10, 16] and set(scores["n_subjects"]) == {10}
    assert decided.loc["pretraining-40", "verdict"] == "not run" != decided.loc["pretraining-10", "verdict"]
    assert "With all labels, masked pre-training still helps." in set(decided["sentence"])
    assert {path.stem for path in (study / "reports").rglob("*.*")} == {"scores", "verdicts", "curves"}
    assert not [
        path for path in (study / "data/runs/real-faces").rglob("*") if path.name == "images.npy" or path.suffix in (".png", ".jpg")
    ]
    monkeypatch.setattr(stills, "finetune", None)
    real()  # nothing is trained again


def test_one_picture_under_two_names_is_refused(study, real):
    shutil.copytree(study / "faces", study / "leaking")
    shutil.copy(study / "leaking/Neutral/p3_1.png", study / "leaking/Neutral/p7_2.png")
    with pytest.raises(LoupeError, match=r"p3.*p7.*two folds"):
        real("leaking")


def test_copies_of_one_person_are_allowed_and_pretraining_on_a_person_is_not(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    people = [f"p{i}" for i in range(6)]
    manifest = pd.DataFrame({"subject": people, "label": [0, 1] * 3, "source": people})
    check_people(Store(np.concatenate([images, images]), pd.concat([manifest, manifest], ignore_index=True)))
    with pytest.raises(LoupeError, match="p2.*pretrain"):
        tasks_of(Store(images, manifest), {"p2"}, 0, None)


def test_a_folder_that_is_not_there_is_told(real):
    with pytest.raises(LoupeError, match="nowhere is not a folder"):
        real("nowhere")

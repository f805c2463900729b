"""Settings: every scale and group composes; a wrong key, type or value is one sentence that names it."""

import shutil
from pathlib import Path

import pytest
import yaml

from loupe.config import find_root, load
from loupe.errors import LoupeError
from loupe.settings import Config

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("scale", sorted(path.stem for path in (ROOT / "conf" / "scale").glob("*.yaml")))
@pytest.mark.parametrize("data", ["generated", "folder"])
def test_every_scale_composes_with_every_source(scale, data):
    config = load([f"scale={scale}", f"data={data}"], ROOT)
    assert isinstance(config, Config) and config.scale.name == scale and config.data.source == data


@pytest.mark.parametrize("view", sorted(path.stem for path in (ROOT / "conf" / "view").glob("*.yaml")))
def test_every_view_composes(view):
    assert load([f"view={view}"], ROOT).view.name == view


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mae_face.mask=0.5", "mae_face.mask"),
        ("+surprise=1", "Unknown conf key surprise"),
        ("scale=huge", "scale/huge"),
        ("scale.mae.epochs=many", "scale.mae.epochs must be int, not 'many'"),
        ("scale.mae.epochs=true", "scale.mae.epochs must be int, not True"),
        ("scale.threads=0", "scale.threads is 0, but must be above 0"),
        ("scale.faces.micro_clips=-1", "scale.faces.micro_clips is -1"),
        ("scale.image.size=60", "multiple of scale.image.patch"),
        ("mae_face.mask_ratio=1.0", "mae_face.mask_ratio"),
        ("micron_bert.dma=sideways", "one of diagonal, full, off"),
        ("data.nuisance=7", "one of 0, 1, 2"),
        ("scale.seeds=[]", "scale.seeds is empty"),
        ("scale.seeds=[a]", r"scale.seeds\[0\] must be int"),
        ("scale.statistics.controls=0", "scale.statistics.controls is 0, but must be above 0"),
        ("scale.encoder.heads=3", "multiple of scale.encoder.heads"),
        (
            "experiments.dual_view.arms=[{name: x, variant: single, augmentation: stong}]",
            "augmentation of arm x is 'stong', but must be one of usual, strong",
        ),
        ("experiments.dual_view.more=[{name: x, variant: single, task: aus}]", "task of arm x is 'aus', but must be one of stills, units"),
        (
            "experiments.micro_expressions.fine_tuning.arms=[{name: x, pretraining: mae}]",
            "pretraining of arm x is 'mae', but must be one of none, micron-bert, mae-face",
        ),
        ("dual_view.strong.smallest_side=0", "dual_view.strong.smallest_side is 0.0"),
    ],
)
def test_bad_settings_are_refused_by_name(override, message):
    with pytest.raises(LoupeError, match=message) as error:
        load([override], ROOT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    (
        "my photos|Fotos Jörg|photos (2026)|Ann's faces|a#b|50% crop|x=1, y=2|[new]|a\"b|back\\|${x}|{a: b}|2026|null|~x|写真| a|$HOME|1e3"
    ).split("|"),
)
@pytest.mark.parametrize(("data", "read"), [("folder", lambda data: data.folder.root), ("imported", lambda data: data.imported)])
def test_the_folder_of_your_faces_may_have_any_name(tmp_path, data, read, name):
    shutil.copytree(ROOT / "conf", tmp_path / name / "conf")  # the checkout may lie in such a folder, too
    (tmp_path / name / "conf" / "study.yaml").write_text(yaml.safe_dump({"scale": "smoke", "data": data, "raw": name}), encoding="utf-8")
    assert read(load([f"data={data}"], tmp_path / name).data) == name


def test_cross_validation_compares_two_arms_of_the_experiment():
    override = "experiments.dual_view.cross_validation.arms=[concat, other]"
    with pytest.raises(LoupeError, match=r"cross_validation\.arms is \['concat', 'other'\], but must name two arms"):
        load(["scale=smoke", override], ROOT)
    assert load([override], ROOT).experiments.dual_view.cross_validation.arms == []  # nothing to compare where the scale has no `more`


def test_a_scale_with_more_runs_what_the_experiments_list_under_more_and_laptop_does_not():
    laptop, gpu = (load([f"scale={name}"], ROOT).experiments for name in ("laptop", "gpu"))
    names = {scale: [arm.name for arm in found.dual_view.arms] for scale, found in (("laptop", laptop), ("gpu", gpu))}
    assert names["laptop"] == ["single", "single-deep", "concat", "duplicate"]
    assert names["gpu"][:4] == names["laptop"] and "concat-camera" in names["gpu"] and len(names["gpu"]) == 16
    assert laptop.low_label.fractions == [0.02, 0.1, 1.0] and laptop.low_label.people == []
    assert gpu.low_label.fractions == [0.01, 0.02, 0.05, 0.1, 0.25, 1.0] and gpu.low_label.people == [0.1]
    assert set(gpu.micro_expressions.methods) - set(laptop.micro_expressions.methods) == {
        "lbp-top",
        "flow-cnn",
        "difference-vit",
        "micron-bert-mean",
        "micron-bert-topk",
    }
    tuned = [[(arm.pretraining, arm.readout) for arm in found.micro_expressions.fine_tuning.arms] for found in (laptop, gpu)]
    assert tuned[0] == [(start, "dma") for start in ("none", "micron-bert", "mae-face", "mae-face+micron-bert")]
    assert tuned[1][:4] == tuned[0] and {readout for start, readout in tuned[1] if start == "mae-face"} == {"dma", "token", "mean"}
    assert laptop.low_label.frames.arms == [] and [arm.name for arm in gpu.low_label.frames.arms] == ["mae-fusion"]
    assert [arm.corruption for arm in gpu.ablations.micro] == ["swap"] * 3 + ["mask", "swap"] and len(laptop.ablations.micro) == 3
    assert gpu.ablations.skew == [0.5, 0.75, 1.0] and laptop.ablations.skew == []
    joined = load(["scale=gpu"], ROOT).experiments
    assert joined.dual_view.more == joined.micro_expressions.more == joined.ablations.more == joined.low_label.more.fractions == []


@pytest.mark.parametrize("override", ["data=folder", "scale.faces.second_cameras=0"])
def test_the_camera_arm_needs_a_second_camera(override):
    names = [arm.name for arm in load(["scale=gpu", override], ROOT).experiments.dual_view.arms]
    assert "concat-camera" not in names and "concat-warp" in names


def test_a_missing_key_is_named(tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    path = tmp_path / "conf" / "model" / "mae_face.yaml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("clip")))
    with pytest.raises(LoupeError, match="mae_face.clip is missing"):
        load([], tmp_path)


def test_the_root_is_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert find_root() == tmp_path
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(LoupeError, match="not inside a Loupe checkout"):
        find_root()

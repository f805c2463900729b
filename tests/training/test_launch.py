"""What the other processes of a launched stage see: the project's inputs, and never its outputs."""

from __future__ import annotations

import pytest

from loupe.config import find_root
from loupe.errors import LoupeError
from loupe.launch import _run, launch, shadow


def project(root):
    for name in (
        "conf",
        "notebooks",
        "data/prepared/stills",
        "data/runs/data",
        "data/runs/mae-face",
        "data/scratch/mae-face-1",
        "data/logs",
    ):
        (root / name).mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "data/prepared/stills/images.npy").write_text("pixels")


def test_a_shadow_has_the_inputs_and_writes_nothing_into_the_project(tmp_path, monkeypatch):
    root, other = tmp_path / "project", tmp_path / "shadow"
    project(root)
    other.mkdir()
    shadow(root, other, "mae-face")
    monkeypatch.chdir(other)
    assert find_root() == other and (other / "data/prepared/stills/images.npy").read_text() == "pixels"
    assert not (other / "data/runs/mae-face").exists() and (other / "data/runs/data").is_dir()
    before = sorted(path for path in root.rglob("*"))
    for name in ("data/runs/mae-face", "data/scratch/mae-face-1", "data/logs", "reports/tables"):
        (other / name).mkdir(parents=True)
        (other / name / "mine").touch()
    assert sorted(path for path in root.rglob("*")) == before


def test_cells_run_in_order_with_the_overrides_in_place_of_the_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "nb.py"
    script.write_text(
        '# %% [markdown]\n# # Title\n\n# %% tags=["parameters"]\noverrides = []\n\n# %%\nseen = list(overrides)\ndisplay(seen)\n\n'
        "# %%\nfrom pathlib import Path\nPath('seen').write_text(' '.join(seen))\n"
    )
    _run(script, tmp_path, ["scale=smoke", "scale.threads=1"])
    assert (tmp_path / "seen").read_text() == "scale=smoke scale.threads=1"


def test_a_stage_of_many_small_trainings_is_refused(tmp_path):
    with pytest.raises(LoupeError, match="dvc repro low-label"):
        launch("low-label", [])


def test_fsdp_is_asked_for_as_accelerate_does_and_done_by_the_loop(tmp_path, monkeypatch):
    project(tmp_path)
    (tmp_path / "notebooks/02-mae-face.py").write_text(
        "# %%\nimport os\nfrom pathlib import Path\nPath('seen').write_text(f\"{os.environ.get('ACCELERATE_USE_FSDP')} {os.environ['LOUPE_SHARD']}\")\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("LOUPE_BATCH", "MPLBACKEND", "LOUPE_SHARD"):  # launch sets them for the rest of its process
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    launch("mae-face", [])
    assert (tmp_path / "seen").read_text() == "None 1"

"""Pre-training started by torchrun: two processes give the weights of one, and a folder holds one training's checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from runs import ROOT, SMALL

from loupe import pretrain
from loupe.data.store import write_store
from loupe.errors import LoupeError


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("dvc.yaml", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    faces = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    people = [f"s{i // 12}" for i in range(60)]
    split = ["pretrain"] * 48 + ["train"] * 12
    write_store(tmp_path / "data/prepared/stills", faces, pd.DataFrame({"subject": people, "split": split, "label": -1}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_processes_train_as_one(project):
    def train(folder, *launcher):
        command = [sys.executable, *launcher, "-m", "loupe.pretrain", "mae-face", folder, *SMALL]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "LOUPE_QUIET": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return [step["loss"] for step in json.loads((project / folder / "history.json").read_text())]

    alone = train("alone")
    together = train("together", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert len(alone) == 9 and together == pytest.approx(alone, abs=1e-5)
    assert {path.name for path in (project / "together").iterdir()} == {"model.safetensors", "history.json", "settings.json", "checkpoints"}
    assert len(list((project / "data/logs/runs/mae-face").iterdir())) == 2


def test_other_settings_in_the_folder_and_faces_of_another_size_are_refused(project):
    with pytest.raises(LoupeError, match="holds faces of 16 px, and scale smoke has 32 px"):
        pretrain.run("mae-face", project / "weights", ["scale=smoke"])
    with pytest.raises(LoupeError, match="has other settings"):
        pretrain.run("mae-face", project / "weights", SMALL)

"""The machine explained: sizes from settings, minutes from logs, and each thing that can be wrong told with the way out."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from loupe import doctor
from loupe.config import load
from loupe.errors import LoupeError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path):
    root = tmp_path / "study"
    shutil.copytree(ROOT / "conf", root / "conf")
    (root / "dvc.yaml").write_text("stages: {data: {outs: [data/prepared]}, claims: {outs: [data/runs]}}\n")
    (root / "docs").mkdir()
    return root


def log(root, scale="laptop", stages=("data", "claims"), seconds=90):
    path = root / "data" / "logs" / "stages.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"stage": s, "scale": scale, "seconds": seconds, "peak_mb": 5, "device": "cpu"}) + "\n" for s in stages)
    )


def test_stored_size_is_that_of_the_arrays_that_the_generator_would_write():
    config = load(["scale=smoke"], ROOT)
    faces, size = config.scale.faces, config.scale.image.size
    labelled = faces.train_subjects + faces.val_subjects + faces.test_subjects
    stills = np.zeros(((faces.pretrain_subjects + labelled) * faces.stills_per_subject, size, size, 3), np.uint8)
    sides = np.zeros(
        (labelled * faces.second_cameras * faces.stills_per_subject + faces.test_subjects * faces.shift_stills, size, size, 3), np.uint8
    )
    frames = np.zeros(
        (
            faces.clip_subjects * faces.frames_per_clip_subject
            + 5 * (faces.micro_clips + faces.none_clips + faces.shift_clips + 2 * faces.dial_clips),
            size,
            size,
            3,
        ),
        np.uint8,
    )
    assert doctor.stored_gb(config) == pytest.approx((stills.nbytes + sides.nbytes + frames.nbytes) / 1e9)


def test_minutes_are_measured_here_or_where_the_results_were_made_or_unknown(home):
    assert doctor.minutes_expected(home, "laptop") == "not measured"
    log(home)
    doctor.save_timings(home)
    shutil.rmtree(home / "data")
    assert doctor.minutes_expected(home, "laptop").startswith("3 min on ") and "this machine" not in doctor.minutes_expected(home, "laptop")
    assert doctor.minutes_expected(home, "gpu") == "not measured"
    log(home, stages=("data",), seconds=600)
    assert doctor.minutes_expected(home, "laptop") == "10 min on this machine for 1 of 2 stages"
    log(home / ".scratch" / "smoke", scale="smoke")
    assert doctor.minutes_expected(home, "smoke") == "3 min on this machine"


def test_saved_timings_hold_scratch_scales_keep_the_others_and_carry_the_note(home):
    log(home / ".scratch" / "smoke", scale="smoke", seconds=60)
    doctor.save_timings(home)
    shutil.rmtree(home / ".scratch")
    log(home)
    log(home / ".scratch" / "gpu", scale="smoke", seconds=6000)  # not the scale that its folder names
    doctor.save_timings(home, "beside other work")
    shutil.rmtree(home / "data")
    assert doctor.minutes_expected(home, "smoke").startswith("2 min on ") and "beside" not in doctor.minutes_expected(home, "smoke")
    assert doctor.minutes_expected(home, "laptop").endswith("cores (beside other work)")
    assert doctor.minutes_expected(home, "gpu") == "not measured"


def test_timings_without_a_log_are_refused(home):
    with pytest.raises(LoupeError, match="make study"):
        doctor.save_timings(home)


def test_a_scale_fits_or_says_what_it_wants(home, monkeypatch):
    monkeypatch.setattr(doctor, "memory", lambda: (64.0, 60.0))
    fits = {fit.scale: fit for fit in doctor.scales(home)}
    assert fits["smoke"].fits and fits["laptop"].fits
    assert [fit.scale for fit in doctor.scales(home)][0] == "smoke"
    monkeypatch.setattr(doctor, "memory", lambda: (2.0, 0.5))
    starved = doctor._fit(home, "laptop")
    assert not starved.fits and "of free memory" in starved.text


def test_locked_versions_are_compared(home):
    lock = home / "requirements.lock"
    lock.write_text(f"numpy=={np.__version__}\n")
    assert [check.state for check in doctor._packages(home)] == [doctor.GOOD]
    lock.write_text("numpy==0.1\n")
    (check,) = doctor._packages(home)
    assert check.state == doctor.WARN and "locked 0.1" in check.text
    lock.write_text("no-such-package-of-anybody==1.0\n")
    (check,) = doctor._packages(home)
    assert check.state == doctor.BAD and "make setup" in check.text


def test_missing_outputs_and_missing_history_are_named(home, monkeypatch):
    monkeypatch.setattr(doctor, "_command", lambda words, root: "")  # `dvc remote list`
    (check,) = doctor._dvc(home)
    assert check.state == doctor.WARN and "data, claims" in check.text and "make study" in check.text
    (home / "data" / "prepared").mkdir(parents=True)
    (home / "data" / "runs").mkdir()
    assert doctor._dvc(home)[0].state == doctor.GOOD
    assert doctor._git(home).state == doctor.WARN


def test_an_old_python_is_a_reason_to_stop(home, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    assert doctor._python(home).state == doctor.BAD


def test_a_damaged_head_is_told(monkeypatch):
    from loupe.faces import assets

    def damaged(root):
        raise LoupeError("The head data is damaged; run `make setup`.")

    monkeypatch.setattr(assets, "verify", damaged)
    assert doctor._heads().state == doctor.BAD

"""The record of a run: true counts and sums, one folder for a run that was killed and went on, nothing without a session."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from runs import IMAGES, ROOT, classifier, classify, inputs_of, loss_of, recipe
from typer.testing import CliRunner

from loupe.cli import app
from loupe.commands.runs import read_runs
from loupe.config import load
from loupe.errors import LoupeError
from loupe.recording.record import Place, record_in, summary
from loupe.training.loop import fit


@pytest.fixture
def place(tmp_path):
    record_in(Place(tmp_path, "toy", load(["scale=smoke"], ROOT)))
    yield tmp_path / "data" / "logs" / "runs"
    record_in(None)


def steps_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_in_its_folder_and_no_step_is_told_twice(tmp_path, place):
    calls = 0

    def dying(rows, generator):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return inputs_of(rows, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), dying, loss_of, len(IMAGES), recipe(12), tmp_path / "one")
    (folder,) = place.glob("toy/one-*")
    with (folder / "steps.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 9.0}\n{"step": 8, "lo')  # written after the checkpoint, the last line by halves
    history = fit(classifier(), inputs_of, loss_of, len(IMAGES), recipe(12), tmp_path / "one")
    (facts,) = read_runs(place)
    steps = steps_of(folder)
    assert [entry["step"] for entry in steps] == list(range(12)) and facts["run"] == folder.name
    assert [entry["loss"] for entry in steps] == [entry["loss"] for entry in history]
    assert [(leg["first_step"], leg["steps"]) for leg in facts["legs"]] == [(0, 7), (7, 5)] and facts["status"] == "finished"
    assert facts["config"]["scale"]["name"] == "smoke" and facts["seed"] == 7 and facts["last_loss"] == history[-1]["loss"]
    assert facts["images_per_second"] > 0 and facts["peak_memory_mb"] > 50
    classify(tmp_path / "two" / "one", steps=3)  # another run of the same name has a folder of its own
    assert len(read_runs(place)) == 2


def test_what_ended_a_run_is_told_and_listed(tmp_path, place, monkeypatch):
    def broken(module, *inputs):
        return {"loss": loss_of(module, *inputs)["loss"] * float("nan")}

    with pytest.raises(LoupeError):
        fit(classifier(), inputs_of, broken, len(IMAGES), recipe(6), tmp_path / "bad")
    (folder,) = place.glob("toy/bad-*")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "failed" and "nan at step 0" in facts["error"]
    facts |= {"status": "running", "commit": "0123456789abcdef", "dirty": True}
    facts["legs"][-1]["pid"] = 2**22 + 1  # no such process
    (folder / "run.json").write_text(json.dumps(facts))
    for name in ("dvc.yaml", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["runs"])
    assert said.exit_code == 0, said.output
    header, line = said.output.splitlines()
    assert "killed" in line and "01234567+" in line and header.split()[0] == "stage"
    assert json.loads(CliRunner().invoke(app, ["runs", "toy", "--json"]).output)[0]["status"] == "killed"
    assert isinstance(CliRunner().invoke(app, ["runs", "other"]).exception, LoupeError)


def test_without_a_session_nothing_is_written(tmp_path):
    classify(tmp_path / "checkpoints" / "free", steps=3)
    assert not list(tmp_path.rglob("run.json")) and not list(tmp_path.rglob("record"))


def test_sums_over_legs():
    facts = {
        "batch": 10,
        "legs": [{"steps": 30, "seconds": 10.0, "peak_memory_mb": 5}, {"steps": 10, "seconds": 10.0, "peak_memory_mb": 7}],
    }
    assert summary(facts) == {"seconds": 20.0, "images_per_second": 20.0, "peak_memory_mb": 7}


def test_results_that_a_run_replaces_are_no_local_changes(tmp_path):
    """DVC deletes a stage's committed tables before it runs: that says nothing of the code, and the record must not say so."""
    for name in ("src", "conf", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as committed")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    shutil.rmtree(tmp_path / "reports")
    dirty = []
    for name in ("clean", "changed"):
        record_in(Place(tmp_path, name, load(["scale=smoke"], ROOT)))
        classify(tmp_path / "checkpoints" / name, steps=3)
        dirty += [json.loads(path.read_text())["dirty"] for path in (tmp_path / "data" / "logs" / "runs" / name).glob("*/run.json")]
        (tmp_path / "src" / "file").write_text("changed")
    record_in(None)
    assert dirty == [False, True]

"""Provenance: the last run of each stage, the commit of this checkout and of no other."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import LocalFileSystem

from loupe import doctor
from loupe.checkout import commit_of, commit_that_runs, committed_in
from loupe.errors import LoupeError
from loupe.recording.record import RunRecord, record_in
from loupe.reporting import provenance
from loupe.reporting.verify import verify
from loupe.session import start

ROOT = Path(__file__).resolve().parents[2]


def _git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath="]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "conf" / "scale").mkdir(parents=True)
    (tmp_path / "conf" / "study.yaml").write_text("scale: smoke\ndata: generated\nraw: none\n")
    (tmp_path / "conf" / "scale" / "smoke.yaml").write_text("seeds: [3, 4]\n")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_text("a")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def _log(root, *lines):
    (root / "data" / "logs").mkdir(parents=True)
    (root / "data" / "logs" / "stages.jsonl").write_text("\n".join(lines))


def test_commit_and_local_changes(checkout):
    head = _git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == (head, False)
    (checkout / "untracked").write_text("x")
    assert commit_of(checkout) == (head, False)
    (checkout / "figures" / "a.png").write_text("results are not what a result is made from")
    assert commit_of(checkout) == (head, False)
    (checkout / "src").mkdir()
    (checkout / "src" / "new.py").write_text("x = 1")
    assert commit_of(checkout) == (head, True)
    shutil.rmtree(checkout / "src")
    (checkout / "conf" / "study.yaml").write_text("scale: laptop\n")
    assert commit_of(checkout) == (head, True)


def test_the_commit_that_runs_is_handed_on_to_a_copy_and_unknown_in_one_run_by_hand(checkout, monkeypatch):
    head, copy = _git(checkout, "rev-parse", "HEAD"), checkout / ".scratch" / "smoke"
    copy.mkdir(parents=True)
    monkeypatch.delenv("LOUPE_COMMIT", raising=False)
    assert commit_that_runs(checkout) == (head, False)
    assert commit_that_runs(copy) == (None, None)
    for handed, expected in (("abc", ("abc", False)), ("abc+", ("abc", True)), ("", (None, None))):
        monkeypatch.setenv("LOUPE_COMMIT", handed)
        assert commit_that_runs(copy) == expected


def test_a_scratch_copy_speaks_of_its_checkout_and_a_stranger_s_folder_of_none(checkout):
    (checkout / ".scratch" / "smoke").mkdir(parents=True)
    (checkout / "downloads" / "loupe").mkdir(parents=True)
    assert commit_of(checkout / ".scratch" / "smoke")[0] == _git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout / "downloads" / "loupe") == (None, None)
    assert committed_in(checkout / "downloads" / "loupe", checkout / "figures") is None


def test_a_figure_is_in_the_commit_that_last_changed_it_while_it_stays_as_committed(checkout):
    first = _git(checkout, "rev-parse", "HEAD")
    (checkout / "other").write_text("x")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "second")
    assert committed_in(checkout, checkout / "figures") == first
    (checkout / "figures" / "a.png").write_text("changed")
    assert committed_in(checkout, checkout / "figures") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_DIR", "/nowhere"),
        ("GIT_WORK_TREE", "/"),
        ("GIT_INDEX_FILE", "/nowhere"),
        ("GIT_LITERAL_PATHSPECS", "1"),
        ("GIT_NAMESPACE", "x"),
    ],
)
def test_what_a_profile_or_a_hook_says_to_git_changes_no_commit(checkout, monkeypatch, name, value):
    head = _git(checkout, "rev-parse", "HEAD")
    _git(checkout, "config", "status.showUntrackedFiles", "no")
    _git(checkout, "config", "log.showSignature", "true")
    monkeypatch.setenv(name, value)
    assert commit_of(checkout) == (head, False) and committed_in(checkout, checkout / "figures") == head
    (checkout / "notebooks").mkdir()
    (checkout / "notebooks" / "new.py").write_text("x = 1")
    assert commit_of(checkout) == (head, True)


def test_a_git_that_refuses_to_answer_is_no_missing_git(checkout, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    said = rf"belongs to another user: run `git config --global --add safe.directory '{checkout}'`"
    for ask in (commit_of, commit_that_runs, lambda root: committed_in(root, root / "figures"), provenance.collect, verify):
        with pytest.raises(LoupeError, match=said):
            ask(checkout)
    assert doctor._git(checkout).state == doctor.BAD
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    (checkout / ".git" / "HEAD").write_text("gone")
    with pytest.raises(LoupeError, match="git refuses"):
        commit_of(checkout)


def test_a_result_that_is_not_what_its_stage_wrote_is_named(checkout):
    reports, stages = checkout / "reports", {}
    for name in ("tables/low-label/a.csv", "tables/low-label/deep/b.csv", "figures/claims/ä.svg", "claims.csv"):
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        (reports / name).write_text(name)
    cache = HashFileDB(LocalFileSystem(), str(checkout / "cache"))
    for stage, out in (("low-label", "tables/low-label"), ("claims", "claims.csv"), ("drawn", "figures/claims")):
        _, _, built = build(cache, str(reports / out), LocalFileSystem(), "md5", dry_run=True)  # by DVC's own hand
        stages[stage] = {"outs": [{"path": f"reports/{out}", "md5": built.hash_info.value}]}
    (checkout / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    (reports / "tables/low-label/.DS_Store").write_text("the system's")
    assert provenance.changed(checkout) == []
    (reports / "claims.csv").write_text("supported")
    (reports / "tables/low-label/deep/b.csv").write_text("1.000")
    shutil.rmtree(reports / "figures")
    claims, table = provenance.changed(checkout)
    assert table.startswith("reports/tables/low-label is not what stage low-label wrote") and "`dvc repro claims`" in claims


def test_the_last_run_of_each_stage_counts_and_a_torn_last_line_does_not(checkout):
    lines = [json.dumps({"stage": stage, "seconds": seconds}) for stage, seconds in (("data", 600), ("mae-face", 90), ("data", 30))]
    _log(checkout, *lines, '{"stage": "dual-v')
    facts = provenance.collect(checkout)
    assert [(entry["stage"], entry["seconds"]) for entry in facts["stages"]] == [("mae-face", 90.0), ("data", 30.0)]
    assert facts["minutes"] == 2.0


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(checkout):
    _log(checkout, json.dumps({"stage": "data", "seconds": 1}), "{", json.dumps({"stage": "data", "seconds": 1}))
    with pytest.raises(LoupeError, match="stages.jsonl, line 2"):
        provenance.collect(checkout)


def test_facts_of_settings_and_machine_are_written_as_json(checkout):
    path = provenance.write(checkout)
    facts = json.loads(path.read_text())
    assert path == checkout / "reports" / "provenance.json"
    assert (facts["scale"], facts["data"], facts["seeds"], facts["stages"], facts["minutes"]) == ("smoke", "generated", [3, 4], [], None)
    import numpy
    import torch

    assert facts["packages"]["numpy"] == numpy.__version__ and facts["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["cores"] >= 1 and facts["python"].count(".") == 2


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Runs a stage as its notebook does, at a scale whose setting is `auto`, and returns the checkout: finished(stage, trained=...,
    noted=...)."""
    root = tmp_path / "study"
    shutil.copytree(ROOT / "conf", root / "conf")
    (root / "dvc.yaml").write_text("stages: {}\n")
    scale = root / "conf" / "scale" / "smoke.yaml"
    scale.write_text(scale.read_text().replace("device: cpu", "device: auto"))
    (root / "conf" / "study.yaml").write_text("scale: smoke\ndata: generated\nraw: none\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("LOUPE_BATCH", "1")

    def run(stage: str, trained: bool, noted: str | None) -> Path:
        session = start(stage)
        if trained:
            recipe = SimpleNamespace(seed=0, lr=[0.1], batch=4, precision="fp32")
            with RunRecord.open(
                root / "data" / "scratch" / "one", "one", recipe, 0, SimpleNamespace(device=torch.device("cpu"), num_processes=1)
            ) as record:
                record.add([{"step": 0, "loss": 1.0}])
        (session.tables / "a.csv").write_text("a\n1\n")
        session.finish()
        if noted:
            provenance.note(root, stage, noted, False)
        return root

    yield run
    record_in(None)


def test_commit_and_device_of_a_stage_are_those_that_its_run_left_in_the_logs(finished):
    root = finished("mae-face", trained=True, noted="a" * 40)
    finished("claims", trained=False, noted=None)
    trained, other = provenance.stage_log(root)
    (record,) = (root / "data" / "logs" / "runs" / "mae-face").glob("*/run.json")
    assert trained["device"] == json.loads(record.read_text())["device"] != "auto"
    assert (trained["commit"], trained["dirty"]) == ("a" * 40, False)
    assert trained["made"]["reports/tables/mae-face"] == provenance.digest(root / "reports" / "tables" / "mae-face")
    assert other["device"] == "no training recorded" and "commit" not in other
    assert json.dumps(provenance.collect(root))


def test_a_stage_set_to_the_cpu_is_on_the_cpu_and_an_old_record_without_a_device_stays_so(finished):
    root = finished("mae-face", trained=True, noted=None)
    finished("claims", trained=False, noted=None)
    log = root / "data" / "logs" / "stages.jsonl"
    trained, other = map(json.loads, log.read_text().splitlines())
    del other["device"]
    log.write_text(f"{json.dumps(trained | {'device': 'cpu'})}\n{json.dumps(other)}\n")
    first, second = provenance.stage_log(root)
    assert first["device"] == "cpu" and "device" not in second


def test_a_run_without_a_note_does_not_take_that_of_the_run_before(finished):
    root = finished("claims", trained=False, noted="a" * 40)
    log = root / "data" / "logs" / "stages.jsonl"
    again = json.loads(log.read_text()) | {"finished": "2099-01-01T00:00:00+0000"}  # its runner was killed a moment later
    log.write_text(log.read_text() + json.dumps(again) + "\n")
    (entry,) = provenance.stage_log(root)
    assert "commit" not in entry
    provenance.note(root, "claims", "b" * 40, True)
    notes = root / "data" / "logs" / "made.jsonl"
    notes.write_text(
        notes.read_text().replace(json.loads(notes.read_text().splitlines()[-1])["noted"], "2099-01-01T00:00:01+0000") + '{"stage": "cl'
    )
    (entry,) = provenance.stage_log(root)
    assert (entry["commit"], entry["dirty"]) == ("b" * 40, True)


def test_a_changed_file_or_name_changes_the_digest_of_a_folder(checkout):
    before = provenance.digest(checkout / "figures")
    (checkout / "figures" / "a.png").write_text("b")
    changed = provenance.digest(checkout / "figures")
    (checkout / "figures" / "a.png").rename(checkout / "figures" / "b.png")
    assert len({before, changed, provenance.digest(checkout / "figures")}) == 3

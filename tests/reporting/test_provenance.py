"""Provenance: the last run of each stage, the commit of this checkout and of no other."""

import json
import subprocess

import pytest

from loupe.errors import LoupeError
from loupe.reporting import provenance


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
    assert provenance.commit_of(checkout) == (head, False)
    (checkout / "untracked").write_text("x")
    assert provenance.commit_of(checkout) == (head, False)
    (checkout / "conf" / "study.yaml").write_text("scale: laptop\n")
    assert provenance.commit_of(checkout) == (head, True)


def test_a_scratch_copy_speaks_of_its_checkout_and_a_stranger_s_folder_of_none(checkout):
    (checkout / ".scratch" / "smoke").mkdir(parents=True)
    (checkout / "downloads" / "loupe").mkdir(parents=True)
    assert provenance.commit_of(checkout / ".scratch" / "smoke")[0] == _git(checkout, "rev-parse", "HEAD")
    assert provenance.commit_of(checkout / "downloads" / "loupe") == (None, None)
    assert provenance.committed_in(checkout / "downloads" / "loupe", checkout / "figures") is None


def test_a_figure_is_in_the_commit_that_last_changed_it_while_it_stays_as_committed(checkout):
    first = _git(checkout, "rev-parse", "HEAD")
    (checkout / "other").write_text("x")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "second")
    assert provenance.committed_in(checkout, checkout / "figures") == first
    (checkout / "figures" / "a.png").write_text("changed")
    assert provenance.committed_in(checkout, checkout / "figures") is None


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

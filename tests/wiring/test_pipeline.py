"""dvc.yaml against the notebooks, the package and conf/: nothing that a stage reads may be missing from what DVC watches."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import study
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCALES = sorted(path.stem for path in (ROOT / "conf/scale").glob("*.yaml"))
NEEDS = {
    "data": set(),
    "mae-face": {"data"},
    "dual-view": {"data", "mae-face"},
    "micron-bert": {"data"},
    "micro-expressions": {"data", "mae-face", "micron-bert"},
    "ablations": {"data", "mae-face", "dual-view", "micron-bert", "micro-expressions"},
    "low-label": {"data", "mae-face", "dual-view"},
    "claims": {"data", "mae-face", "dual-view", "micron-bert", "micro-expressions", "ablations", "low-label"},
    "start-here": {"data", "claims"},
}


def notebook_of(command):
    return next(word for word in command.split() if word.startswith("notebooks/"))


def outs(stage):
    return [next(iter(out)) if isinstance(out, dict) else out for kind in ("outs", "plots") for out in stage.get(kind, [])]


def params(stage):
    """File (with ${...}) -> keys, None for the whole file."""
    return {file: keys for item in stage["params"] for file, keys in item.items()}


def test_graph_is_the_one_of_the_design():
    made_by = {out: name for name, stage in STAGES.items() for out in outs(stage)}

    def makers(stage):  # a stage may watch a part of another's output: data/prepared/stills
        return {maker for out, maker in made_by.items() for dep in stage["deps"] if dep == out or dep.startswith(f"{out}/")}

    assert {name: makers(stage) for name, stage in STAGES.items()} == NEEDS


@pytest.mark.parametrize("name", STAGES)
def test_stage_runs_its_own_notebook_and_writes_its_own_folders(name):
    stage = STAGES[name]
    notebook = notebook_of(stage["cmd"])
    assert Path(notebook).stem.split("-", 1)[1] == name
    assert (
        f"reports/notebooks/{Path(notebook).stem}.ipynb" in outs(stage) and f"reports/notebooks/{Path(notebook).stem}.ipynb" in stage["cmd"]
    )
    for out in outs(stage):
        assert out.startswith("reports/notebooks/") or out in {
            f"data/runs/{name}",
            f"reports/figures/{name}",
            f"reports/tables/{name}",
            *(["data/prepared"] if name == "data" else []),
            *(["reports/claims.csv"] if name == "claims" else []),
        }


def test_every_notebook_is_a_stage():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.py")} == {Path(notebook_of(s["cmd"])).stem for s in STAGES.values()}


def test_a_person_can_read_dvc_yaml():
    lines = (ROOT / "dvc.yaml").read_text().splitlines()
    assert len(lines) <= 200
    for name, stage in STAGES.items():
        assert [dep for dep in stage["deps"] if dep.startswith(("src/", "notebooks/"))] == [notebook_of(stage["cmd"]), "src/loupe"], name


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STAGES)
def test_params_name_files_and_keys_that_exist(name, scale):
    for template, keys in params(STAGES[name]).items():
        for data in ("generated", "folder"):
            file = ROOT / template.replace("${scale}", scale).replace("${data}", data)
            known = yaml.safe_load(file.read_text())
            assert set(keys or []) <= set(known), f"{file} lacks {set(keys or []) - set(known)}"


@pytest.mark.parametrize("name", STAGES)
def test_settings_that_a_notebook_names_are_watched(name):
    code, watched = (ROOT / notebook_of(STAGES[name]["cmd"])).read_text(), params(STAGES[name])
    for group in re.findall(r"\bcfg\.(mae_face|dual_view|micron_bert)\b", code):
        assert f"conf/model/{group}.yaml" in watched
    for experiment in re.findall(r"(?:cfg|config)\.experiments\.(\w+)", code):
        assert f"conf/experiment/{experiment}.yaml" in watched
    for group in re.findall(r"\bcfg\.(scale|data)\b", code):
        assert f"conf/{group}/${{{group}}}.yaml" in watched


def test_every_conf_file_concerns_a_stage_and_is_known_to_git():
    watched = {
        template.replace("${scale}", scale).replace("${data}", data)
        for stage in STAGES.values()
        for template in params(stage)
        for scale in SCALES
        for data in ("generated", "folder", "imported")
    }
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    # Other views are chosen by an override on the command line of a notebook, never by the default run; study.yaml says which files are
    # active, and those names are part of what DVC compares.
    assert {file for file in files - watched if not file.startswith("conf/view/")} == {"conf/study.yaml"}
    assert files <= set(study.unignored_files(ROOT))


def test_outputs_are_ignored_by_git_exactly_where_dvc_keeps_them():
    """DVC refuses an out that git tracks, and writes stray .gitignore files next to one that git does not ignore."""
    for name, stage in STAGES.items():
        for out in stage["outs"]:
            path = next(iter(out)) if isinstance(out, dict) else out
            assert ignored(path), f"{name}: {path}"
            assert (path.startswith("data/")) == (out == {path: {"persist": True}}), f"{name}: {path}"
        for plot in stage.get("plots", []):
            ((path, options),) = plot.items()
            assert options == {"cache": False} and not ignored(f"{path}/x.png"), f"{name}: {path}"


def ignored(path):
    """By the project's own .gitignore, also where there is no repository."""
    command = ["git", "check-ignore", "--no-index", "--quiet", path]
    where = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=ROOT, capture_output=True)
    if where.returncode:
        pytest.skip("no git repository here: git cannot be asked what it ignores")
    return subprocess.run(command, cwd=ROOT).returncode == 0

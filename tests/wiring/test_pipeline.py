"""dvc.yaml against the notebooks, the package and conf/: nothing that a stage reads may be missing from what DVC watches."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import stage_deps
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
    "micro-expressions": {"data", "micron-bert"},
    "ablations": {"data", "mae-face", "dual-view", "micron-bert", "micro-expressions"},
    "low-label": {"data", "mae-face", "dual-view"},
    "claims": {"data", "mae-face", "dual-view", "micron-bert", "micro-expressions", "ablations", "low-label"},
    "start-here": {"data", "claims"},
}


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
    notebook = stage_deps.notebook_of(stage["cmd"])
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
    assert {path.stem for path in (ROOT / "notebooks").glob("*.py")} == {
        Path(stage_deps.notebook_of(s["cmd"])).stem for s in STAGES.values()
    }


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_exact(name):
    stage = STAGES[name]
    notebook = stage_deps.notebook_of(stage["cmd"])
    listed = [dep for dep in stage["deps"] if dep.startswith(("src/", "notebooks/"))]
    assert listed == [notebook, *stage_deps.code_of(ROOT, notebook)], "run `python scripts/stage_deps.py`"


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
    """At once, from the text; what the package reads besides is traced by the forced run of test_study."""
    free = {("scale", "workers"), ("scale", "name"), ("scale", "threads")}  # speed, a name, and what test_study asks of stages that train
    code = (ROOT / stage_deps.notebook_of(STAGES[name]["cmd"])).read_text()
    for group, file in (("scale", "laptop"), ("data", "generated")):
        watched = params(STAGES[name]).get(f"conf/{group}/${{{group}}}.yaml", [])  # None: all of it
        for key in () if watched is None else yaml.safe_load((ROOT / f"conf/{group}/{file}.yaml").read_text()):
            assert key in watched or (group, key) in free or not re.search(rf"\bcfg\.{group}\.{key}\b", code), f"cfg.{group}.{key}"


def test_every_conf_file_concerns_a_stage_and_is_known_to_git():
    watched = {
        template.replace("${scale}", scale).replace("${data}", data)
        for stage in STAGES.values()
        for template in params(stage)
        for scale in SCALES
        for data in ("generated", "folder", "imported")
    }
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    # Other views are chosen by an override on the command line of a notebook, never by the default run; study.yaml says which files are active, and
    # those names are part of what DVC compares.
    assert {file for file in files - watched if not file.startswith("conf/view/")} == {"conf/study.yaml"}
    assert files <= set(study.unignored_files(ROOT))


def test_keys_of_a_scale_each_concern_a_stage():
    """`name` repeats the file's name; `workers` changes speed alone."""
    used = {key for stage in STAGES.values() for file, keys in params(stage).items() if "scale" in file for key in keys}
    assert used == set(yaml.safe_load((ROOT / "conf/scale/laptop.yaml").read_text())) - {"name", "workers"}


def test_outputs_are_ignored_by_git_exactly_where_dvc_keeps_them():
    """DVC refuses an out that git tracks, and writes stray .gitignore files next to one that git does not ignore."""
    for name, stage in STAGES.items():
        for out in stage["outs"]:
            assert ignored(out), f"{name}: {out}"
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


def test_imports_are_followed_through_packages_lazily_and_not_for_type_checkers(tmp_path):
    files = {
        "notebooks/n.py": "from loupe.a import one\ndef later():\n    import loupe.c\n",
        "src/loupe/__init__.py": '"""Doc."""\n__version__ = "1"\n',
        "src/loupe/a/__init__.py": "from loupe.a.inner import one\n",
        "src/loupe/a/inner.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from loupe.never import x\nfrom loupe import b\none = b\n",
        "src/loupe/a/table.csv": "1",
        "src/loupe/b.py": "",
        "src/loupe/c.py": "",
        "src/loupe/never.py": "",
        "src/loupe/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = ["src/loupe/a/__init__.py", "src/loupe/a/inner.py", "src/loupe/a/table.csv", "src/loupe/b.py", "src/loupe/c.py"]
    assert stage_deps.code_of(tmp_path, "notebooks/n.py") == expected


def test_followed_imports_are_those_that_python_makes():
    """The static walk against the interpreter: what importing a notebook's modules really loads is all listed."""
    notebook = "notebooks/11-claims.py"
    lines = [
        ast.unparse(node)
        for node in ast.walk(ast.parse((ROOT / notebook).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "loupe" in ast.unparse(node)
    ]
    code = "\n".join(
        [*lines, "import sys", "print(*(m.__file__ for n, m in list(sys.modules.items()) if n.split('.')[0] == 'loupe'), sep='\\n')"]
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.split()
    loaded = {Path(file).relative_to(ROOT).as_posix() for file in loaded}
    trivial = {file for file in loaded if file.endswith("__init__.py") and not stage_deps.does_something(ROOT / file)}
    assert lines and loaded - trivial <= set(stage_deps.code_of(ROOT, notebook))

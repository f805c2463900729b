"""The two files of each notebook say the same, and neither holds results."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupytext.config import load_jupytext_configuration_file
from processes import wait_for

from loupe.errors import LoupeError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
assert SCRIPTS, "no notebooks"
SYNC = "run `make twins`"

every_notebook = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def test_no_twin_stands_alone():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {script.stem for script in SCRIPTS}


@every_notebook
def test_twins_say_the_same(script):
    ours = jupytext.read(script).cells
    theirs = nbformat.read(script.with_suffix(".ipynb"), as_version=4).cells
    assert [(c.cell_type, c.source) for c in ours] == [(c.cell_type, c.source) for c in theirs], SYNC
    assert [c.metadata.get("tags", []) for c in ours] == [c.metadata.get("tags", []) for c in theirs]
    assert "formats" not in nbformat.read(script.with_suffix(".ipynb"), as_version=4).metadata.get("jupytext", {}), "a pair"


@every_notebook
def test_a_notebook_that_was_run_gives_its_script_back_byte_for_byte(script):
    """`jupytext --to py:percent` of a notebook that was edited in JupyterLab (CONTRIBUTING): what was not edited is no change of the
    script."""
    config = load_jupytext_configuration_file(str(ROOT / "jupytext.toml"))
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:  # as after Run All
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [nbformat.v4.new_output("stream", text="run\n")]
            cell.metadata["execution"] = {"shell.execute_reply": "2026-01-01"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.12.0"}
    config.set_default_format_options({})
    notebook.metadata.setdefault("jupytext", {}).update(
        notebook_metadata_filter=config.notebook_metadata_filter, cell_metadata_filter=config.cell_metadata_filter
    )
    assert jupytext.writes(notebook, fmt="py:percent") == script.read_text()


@contextlib.contextmanager
def jupyter_lab(folder: Path, own: Path):
    """A JupyterLab on `folder` without settings of the user's (those in `own` instead); yields a function for its contents API."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = os.environ | {f"JUPYTER_{name}_DIR": str(own / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    where = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=t",
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *where, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def contents(name: str, model: dict | None = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/contents/{name}",
            method="GET" if model is None else "PUT",
            data=None if model is None else json.dumps(model).encode(),
            headers={"Authorization": "token t", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def answers() -> bool:
        assert server.poll() is None, "JupyterLab ended"
        with contextlib.suppress(OSError):
            return bool(contents(""))
        return False

    try:
        wait_for(answers, seconds=180)
        yield contents
    finally:
        server.terminate()
        server.wait()


def test_a_notebook_edited_and_saved_in_jupyterlab_leaves_its_script_alone(tmp_path):
    """However JupyterLab is started, `jupyter lab` by hand as well: a script with a student's cells would be run as the study."""
    script = SCRIPTS[0]
    name = f"notebooks/{script.stem}.ipynb"
    (tmp_path / "notebooks").mkdir()
    for file in ("jupytext.toml", f"notebooks/{script.name}", name):
        shutil.copy(ROOT / file, tmp_path / file)
    with jupyter_lab(tmp_path, tmp_path / "own") as contents:
        model = contents(name)
        (parameters,) = [cell for cell in model["content"]["cells"] if "parameters" in cell["metadata"].get("tags", [])]
        parameters["source"] = 'overrides = ["scale.seeds=[7]"]'
        contents(name, {"type": "notebook", "format": "json", "content": model["content"]})
    assert "scale.seeds" in (tmp_path / name).read_text()
    assert (tmp_path / "notebooks" / script.name).read_bytes() == script.read_bytes()
    assert {path.stem for path in (tmp_path / "notebooks").iterdir() if path.is_file()} == {script.stem}


def test_the_hooks_before_a_commit_are_what_make_twins_does_and_this_test():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    write, agree = repository["hooks"]
    assert f"{write['entry'].removeprefix('.venv/bin/python ')} notebooks/*.py" in (ROOT / "Makefile").read_text()
    assert f"tests/wiring/{Path(__file__).name}" in agree["entry"]
    for script in SCRIPTS:
        relative = script.relative_to(ROOT).as_posix()
        assert all(re.search(hook["files"], relative) for hook in (write, agree))
        assert re.search(agree["files"], relative.replace(".py", ".ipynb"))


@every_notebook
def test_notebook_holds_no_results(script):
    twin = json.loads(script.with_suffix(".ipynb").read_text())
    for cell in twin["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, SYNC
    assert twin["metadata"]["kernelspec"]["name"] == "python3"


@every_notebook
def test_notebook_takes_overrides_and_starts_its_own_stage(script):
    cells = [cell for cell in jupytext.read(script).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and "overrides = []" in tagged[0].source
    calls = [
        node
        for cell in cells
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "start"
    ]
    assert len(calls) == 1
    assert ast.literal_eval(calls[0].args[0]) == script.stem.split("-", 1)[1]
    assert ast.unparse(calls[0].args[1]) == "overrides"


@every_notebook
def test_prose_comes_before_code_and_no_installs(script):
    cells = jupytext.read(script).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert not any("pip install" in line for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines())


@pytest.mark.parametrize("script", [path for path in SCRIPTS if not path.stem.startswith("01-")], ids=lambda path: path.stem)
def test_a_missing_input_is_named_with_the_command_that_makes_it(script, tmp_path, monkeypatch):
    """In a checkout where nothing has run yet, opened as JupyterLab does: in the folder notebooks/."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.delenv("LOUPE_BATCH", raising=False)
    cells = [cell.source for cell in jupytext.read(script).cells if cell.cell_type == "code"]
    stage = script.stem.split("-", 1)[1]
    with pytest.raises(LoupeError, match=rf"^data/\S+ is missing, and stage {stage} reads it: run `dvc repro {stage}`"):
        exec("\n".join(cells[:2]), {"__name__": "notebook"})  # the parameters, and the cell that starts

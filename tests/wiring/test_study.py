"""The whole study at smoke scale, in a scratch copy: killed twice and resumed; again, when nothing may run; forced, when no byte may
change.

The tests share these runs and build on each other, so they run in the order written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from processes import command_of, processes_in, wait_for

ROOT = Path(__file__).resolve().parents[2]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])

pytestmark = [pytest.mark.study, pytest.mark.timeout(2400)]


@dataclass
class Lab:
    """A scratch copy of the checkout and what was seen while the study ran in it."""

    home: Path
    logs: Path
    killed: list[str] = field(default_factory=list)  # stage under way at each kill
    runs: list[list[str]] = field(default_factory=list)  # stages executed, by run
    cells: dict[str, int] = field(default_factory=dict)  # cells finished at the second kill -> their inodes
    lock: bytes = b""
    tables: dict[str, bytes] = field(default_factory=dict)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        log = (self.logs / f"run-{len(list(self.logs.iterdir()))}.txt").open("w")
        command = [sys.executable, str(ROOT / "scripts/study.py"), "--scale", "smoke", "--into", str(self.home), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=clean_environment() | environment, stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        return process

    def finish(self, process: subprocess.Popen) -> str:
        process.wait()
        text = process.log.read_text(errors="replace")
        self.runs.append(re.findall(r"^Running stage '(.+)':", text, re.MULTILINE))
        return text

    def dvc(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run(["dvc", *words], cwd=self.home, env=clean_environment(), check=check, capture_output=True, text=True)

    def stale(self) -> set[str]:
        return set(json.loads(self.dvc("status", "--json").stdout))


def clean_environment() -> dict[str, str]:
    dropped = ("PYTHONPATH", "LOUPE_BATCH", "LOUPE_COMMIT", "LOUPE_OWNER", "DVC_STAGE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def stage_under_way(home: Path) -> str | None:
    for process in processes_in(home):
        words = command_of(process)
        if "src/run_notebook.py" in words:
            return Path(words[words.index("src/run_notebook.py") + 1]).stem.split("-", 1)[1]
    return None


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "logs").mkdir()
    lab = Lab(folder / "copy", folder / "logs")
    yield lab
    for process in processes_in(lab.home):  # only after a failed test
        process.kill()


def kill_when(lab: Lab, process: subprocess.Popen, victim: str, ready) -> None:
    """SIGKILL `victim` as soon as `ready()`, note the stage under way, and see to it that nothing goes on."""

    def due() -> bool:
        assert process.poll() is None, f"ended before the kill:\n{process.log.read_text(errors='replace')[-3000:]}"
        return bool(ready())

    wait_for(due, seconds=1200)
    lab.killed.append(stage_under_way(lab.home))
    if victim == "study":
        process.kill()
    else:
        next(p for p in processes_in(lab.home) if "repro" in command_of(p)).send_signal(signal.SIGKILL)
    lab.finish(process)
    wait_for(lambda: not processes_in(lab.home))


def test_killed_twice_the_study_continues(lab):
    steps = lab.home / "data/scratch/steps"
    kill_when(lab, lab.start(), "dvc", lambda: any(path.is_file() for path in steps.glob("pretraining-*.partial/checkpoints/**/*")))
    cells = lambda: list(steps.glob("*/predictions.parquet")) if stage_under_way(lab.home) == "low-label" else []  # noqa: E731
    kill_when(lab, lab.start(), "study", lambda: len(cells()) >= 2)
    lab.cells = {path.parent.name.rsplit("-", 1)[0]: path.stat().st_ino for path in steps.glob("*/predictions.parquet")}

    last = lab.start()
    text = lab.finish(last)
    assert last.returncode == 0, text[-3000:]
    assert lab.killed == ["mae-face", "low-label"]
    lab.lock, lab.tables = (lab.home / "dvc.lock").read_bytes(), files(lab.home / "reports/tables")


def test_no_stage_ran_twice_but_the_killed_ones(lab):
    executed = sorted(stage for run in lab.runs for stage in run)
    assert executed == sorted([*STAGES, *lab.killed])


def test_finished_cells_were_not_repeated(lab):
    there = {path.parent.name: path.stat().st_ino for path in (lab.home / "data/runs/low-label").glob("*/predictions.parquet")}
    assert lab.cells and {name: there[name] for name in lab.cells} == lab.cells


def test_page_and_every_output_are_there(lab):
    assert (lab.home / "reports/index.html").stat().st_size > 1000
    assert {path.stem.split("-", 1)[1] for path in (lab.home / "reports/notebooks").glob("*.ipynb")} == set(STAGES)
    assert {json.loads(line)["stage"] for line in (lab.home / "data/logs/made.jsonl").read_text().splitlines()} == set(STAGES)
    for stage in STAGES:
        assert any((lab.home / "reports/figures" / stage).glob("*.png")), stage
        assert any((lab.home / "reports/tables" / stage).iterdir()), stage


def test_executed_notebooks_hold_no_error_and_no_path_of_this_machine(lab):
    for path in (lab.home / "reports/notebooks").glob("*.ipynb"):
        text = path.read_text()
        assert str(lab.home) not in text and str(ROOT) not in text, path.name
        assert not any(out.output_type == "error" for cell in nbformat.reads(text, 4).cells for out in cell.get("outputs", [])), path.name


def test_second_run_executes_nothing(lab):
    before = time.monotonic()
    second = lab.start()
    text = lab.finish(second)
    print(f"second run: {time.monotonic() - before:.1f} s")
    assert second.returncode == 0, text[-3000:]
    assert lab.runs[-1] == []
    assert (lab.home / "dvc.lock").read_bytes() == lab.lock


def steps_made(lab: Lab) -> list[int]:
    """Of each stage run so far, how many steps were not there yet."""
    return [json.loads(line)["steps_made"] for line in (lab.home / "data/logs/stages.jsonl").read_text().splitlines()]


def test_words_make_stages_run_and_train_nothing(lab):
    """A typo in prose, a comment in a model and one in the figures' style: the stages run, no step is made, no byte moves."""
    edits = {
        "notebooks/07-low-label.py": ("The promise of Emotic MAE", "The promise of EmoticMAE"),
        "src/loupe/models/fusion_attention.py": ("from __future__", "# A remark.\nfrom __future__"),
        "src/loupe/reporting/style.py": ("from __future__", "# Another.\nfrom __future__"),
    }
    before = {file: (lab.home / file).read_text() for file in edits}
    for file, (old, new) in edits.items():
        assert old in before[file], file
        (lab.home / file).write_text(before[file].replace(old, new, 1))
    runs = len(steps_made(lab))
    assert lab.dvc("repro").returncode == 0
    assert set(steps_made(lab)[runs:]) == {0} and len(steps_made(lab)) > runs
    assert files(lab.home / "reports/tables") == lab.tables
    for file, text in before.items():
        (lab.home / file).write_text(text)


def test_run_from_nothing_repeats_every_byte(lab):
    for folder in ("data/scratch", "data/runs", "data/prepared"):
        shutil.rmtree(lab.home / folder)
    forced = lab.start("--force")
    text = lab.finish(forced)
    assert forced.returncode == 0, text[-3000:]
    assert sorted(lab.runs[-1]) == sorted(STAGES)
    assert yaml.safe_load((lab.home / "dvc.lock").read_bytes()) == yaml.safe_load(lab.lock)
    assert files(lab.home / "reports/tables") == lab.tables


def test_every_figure_can_be_drawn_again_with_its_bytes_from_what_the_stages_left(lab, tmp_path):
    from loupe.reporting import figures
    from loupe.study import Study

    saved = lab.home / "reports/figures"
    assert {path.relative_to(saved).with_suffix("").as_posix() for path in saved.glob("*/*.png")} == set(figures.names())
    for name in figures.names():
        for path in figures.write(Study(lab.home), name, tmp_path):
            by_notebook = saved / path.relative_to(tmp_path)
            assert not by_notebook.exists() or path.read_bytes() == by_notebook.read_bytes(), f"{name}{path.suffix}"


@pytest.mark.parametrize("script", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_student_runs_all_cells_and_the_experiment_to_paste_and_no_result_moves(lab, script):
    """As JupyterLab does it: the .ipynb twin as it is shipped, in the folder notebooks/."""
    results = files(lab.home / "reports/tables") | files(lab.home / "data/runs")
    steps = set((lab.home / "data/scratch/steps").iterdir())
    notebook = nbformat.read(lab.home / f"notebooks/{script.stem}.ipynb", 4)
    (experiment,) = re.findall(r"^```python\n(.*?)^```", notebook.cells[-1].source, re.MULTILINE | re.DOTALL)
    notebook.cells.append(nbformat.v4.new_code_cell(experiment))
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(lab.home / "notebooks")}})
    client.execute(env=clean_environment() | {"PYTHONPATH": str(lab.home / "src"), "JUPYTER_PREFER_ENV_PATH": "1"})
    assert set((lab.home / "data/scratch/steps").iterdir()) == steps  # nothing was trained
    assert files(lab.home / "reports/tables") | files(lab.home / "data/runs") == results
    assert notebook.cells[-1].outputs


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_watches_the_settings_that_the_steps_of_a_stage_read(lab, stage):
    """A file missing from `params` would leave stale results standing. What a step reads is in its key."""
    watched = {file for item in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["params"] for file in item}
    home = lab.home / "data" if stage == "data" else lab.home / "data/runs" / stage
    for key in home.glob("*/key.json"):
        config = json.loads(key.read_text())["arguments"].get("config", {})
        files_read = {f"conf/model/{group}.yaml" for group in config.keys() & {"mae_face", "dual_view", "micron_bert"}}
        files_read |= {f"conf/experiment/{name}.yaml" for name in config.get("experiments", {})}
        files_read |= {f"conf/{group}/${{{group}}}.yaml" for group in config.keys() & {"scale", "data"}}
        assert files_read <= watched, key.parent.name


def changed(lab: Lab, file: str, old: str, new: str) -> set[str]:
    """Stages that DVC calls stale after an edit, which is undone."""
    path = lab.home / file
    text = path.read_text()
    assert re.search(old, text), f"{file} has no {old}"
    path.write_text(re.sub(old, new, text, count=1))
    try:
        return lab.stale()
    finally:
        path.write_text(text)


def test_settings_and_notebooks_make_stale_what_they_concern_and_no_more(lab):
    assert lab.stale() == set()
    assert changed(lab, "conf/model/mae_face.yaml", r"weight_decay: *\S+", "weight_decay: 0.123") == {"mae-face"}
    assert changed(lab, "conf/model/dual_view.yaml", r"weight_decay: *\S+", "weight_decay: 0.123") == {
        "dual-view",
        "ablations",
        "low-label",
    }
    assert changed(lab, "conf/model/micron_bert.yaml", r"weight_decay: *\S+", "weight_decay: 0.123") == {
        "micron-bert",
        "micro-expressions",
        "ablations",
    }
    assert changed(lab, "notebooks/11-claims.py", r"\Z", "\n# %%\n1\n") == {"claims"}
    for twin in (lab.home / "notebooks").glob("*.ipynb"):  # run and saved by a student
        notebook = nbformat.read(twin, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count, cell.outputs = 1, [nbformat.v4.new_output("stream", text="mine\n")]
        nbformat.write(notebook, twin)
    assert lab.stale() == set()


def test_bad_setting_is_one_sentence_and_keeps_what_is_finished(lab):
    path = lab.home / "conf/model/mae_face.yaml"
    text = path.read_text()
    path.write_text(text + "mask_rato: 0.5\n")
    failed = lab.dvc("repro", "mae-face", check=False)
    assert failed.returncode != 0
    told = [line for line in failed.stderr.splitlines() if "LoupeError" in line]
    assert len(told) == 1 and "mask_rato" in told[0], failed.stderr
    assert "Traceback" not in failed.stderr
    path.write_text(text)
    restored = lab.dvc("repro")
    assert "Running stage 'mae-face'" in restored.stdout and steps_made(lab)[-1] == 0  # the steps had stayed
    assert (lab.home / "dvc.lock").read_bytes() == lab.lock
    assert files(lab.home / "reports/tables") == lab.tables

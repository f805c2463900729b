"""The notebook runner: repeatable copies, clear failures, nothing left running."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from processes import processes_in, wait_for


def executed(toy, name):
    return json.loads((toy.root / "reports" / "notebooks" / f"{name}.ipynb").read_text())


def texts(notebook):
    return ["".join(output.get("text", "")) for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_two_runs_write_the_same_bytes_and_show_output_live(toy):
    toy.notebook(
        "03-print", "\n# %%\nimport sys\nfor i in range(50):\n    print(i, flush=True)\n    print(i, file=sys.stderr, flush=True)\n"
    )
    first = toy.run("03-print", "-o", "scale=tiny")
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == [str(i) for i in range(50)] == first.stderr.split()
    path = toy.root / "reports/notebooks/03-print.ipynb"
    before = path.read_bytes()
    assert toy.run("03-print", "-o", "scale=tiny").returncode == 0
    assert path.read_bytes() == before
    notebook = executed(toy, "03-print")
    assert texts(notebook) == ["".join(f"{i}\n" for i in range(50))]  # one piece, stderr dropped
    assert 'overrides = ["scale=tiny"]' in "".join(notebook["cells"][2]["source"])
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{i:03d}" for i in range(1, 5)]


def test_a_finished_stage_notes_its_commit_and_what_it_made_and_a_failed_one_nothing(toy):
    (toy.root / "data/runs/slow").mkdir(parents=True)
    assert toy.run("02-table").returncode == 0
    (nowhere,) = toy.notes()
    assert (nowhere["stage"], nowhere["commit"], nowhere["dirty"]) == ("table", None, None)  # no repository: a ZIP
    assert list(nowhere["made"]) == ["reports/tables/table"]
    head = toy.commit()
    for dirty in (False, True):
        shutil.rmtree(toy.root / "reports/tables")  # as DVC does: a changed result is no local change
        assert toy.run("02-table").returncode == 0
        assert (toy.notes()[-1]["commit"], toy.notes()[-1]["dirty"]) == (head, dirty)
        toy.write("src/loupe/new.py", "x = 1\n")
    toy.notebook("03-bug", "\n# %%\n1 / 0\n")
    assert toy.run("03-bug").returncode == 1 and len(toy.notes()) == 3


def test_kernel_sees_this_checkout_first_and_no_settings_of_the_user(toy, tmp_path):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('rogue start-up file')\n")
    toy.environment |= {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PATH": str(tmp_path), "PYTHONPATH": "/elsewhere"}
    exported = ["OMP_THREAD_LIMIT", "OMP_DYNAMIC", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "PYTHONOPTIMIZE", "MATPLOTLIBRC"]
    toy.environment |= dict.fromkeys(exported, "1") | {"OPENBLAS_NUM_THREADS": "7"}
    toy.notebook(
        "03-path",
        '\n# %%\nimport os, sys\nprint(sys.path.index("/elsewhere") > sys.path.index(os.getcwd() + "/src"), sys.flags.hash_randomization)\n'
        f'print([name for name in {exported} if name in os.environ], os.environ["OPENBLAS_NUM_THREADS"], sys.flags.optimize)\n',
    )
    assert toy.run("03-path").returncode == 0
    assert texts(executed(toy, "03-path")) == ["True 0\n[] 1 0\n"]


def test_pictures_of_the_text_are_found_from_the_executed_copy(toy):
    (toy.root / "notebooks/pictures").mkdir()
    (toy.root / "notebooks/pictures/03.svg").write_text("<svg/>")
    toy.notebook("03-picture", "\n# %% [markdown]\n# ![A drawing](pictures/03.svg)\n")
    assert toy.run("03-picture").returncode == 0
    (link,) = re.findall(r"!\[A drawing\]\((.+)\)", "".join(executed(toy, "03-picture")["cells"][-1]["source"]))
    assert (toy.root / "reports/notebooks" / link).is_file()


def test_error_of_ours_is_one_sentence(toy):
    toy.notebook("03-bad", '\n# %%\nclass LoupeError(Exception): ...\nraise LoupeError("conf/x.yaml: no key foo; remove it.")\n')
    result = toy.run("03-bad")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines() == [
        "LoupeError: conf/x.yaml: no key foo; remove it. "
        "(cell 3 of notebooks/03-bad.py; the full report is in reports/notebooks/03-bad.ipynb)"
    ]
    errors = [output for cell in executed(toy, "03-bad")["cells"] for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert errors and "Traceback" in "".join(errors[0]["traceback"])


def test_other_errors_show_their_traceback(toy):
    toy.notebook("03-bug", "\n# %%\ndef deep():\n    return 1 / 0\n\ndeep()\n")
    result = toy.run("03-bug")
    assert result.returncode == 1 and "ZeroDivisionError" in result.stderr and "return 1 / 0" in result.stderr
    assert "\x1b" not in result.stderr


def test_full_disk_is_one_sentence(toy):
    toy.notebook("03-full", '\n# %%\nimport errno\nraise OSError(errno.ENOSPC, "No space left on device", "data/x.npy")\n')
    result = toy.run("03-full")
    assert result.returncode == 1 and "data/x.npy" in result.stderr and "Free some disk space" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_killed_kernel_is_one_sentence(toy):
    toy.notebook("03-oom", "\n# %%\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    result = toy.run("03-oom")
    assert result.returncode == 1 and "memory" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-p", "nte=x"], "no parameter called nte: its parameters cell defines note, overrides"),
        (["-p", "note"], "-p note: write it as NAME=VALUE"),
    ],
)
def test_misspelled_parameter_is_refused(toy, arguments, sentence):
    result = toy.run("02-table", *arguments)
    assert result.returncode == 1 and sentence in result.stderr
    assert not (toy.root / "reports/notebooks").exists()


def test_string_parameter_arrives_as_string(toy):
    toy.notebook("03-note", "\n# %%\nprint(repr(note))\n")
    assert toy.run("03-note", "-p", "note=1e-3").returncode == 0
    assert texts(executed(toy, "03-note")) == ["'1e-3'\n"]


def test_whatever_the_folder_for_temporary_files_and_through_no_link(toy, tmp_path):
    """A batch system's long TMPDIR (a socket's path may have 103 characters), and an output that is a link into DVC's cache."""
    (long := tmp_path / ("x" * 60) / ("y" * 60)).mkdir(parents=True)
    (cached := tmp_path / "cached").write_text("the study's own")
    (output := toy.root / "reports/notebooks/03-print.ipynb").parent.mkdir(parents=True)
    output.symlink_to(cached)
    toy.environment["TMPDIR"] = str(long)
    toy.notebook("03-print", "\n# %%\nprint(6 * 7)\n")
    result = toy.run("03-print")
    assert result.returncode == 0, result.stderr
    assert texts(executed(toy, "03-print")) == ["42\n"] and not list(long.iterdir())
    assert cached.read_text() == "the study's own" and not output.is_symlink()


def test_a_stage_does_not_run_where_git_refuses_to_name_its_commit(toy):
    toy.commit()
    toy.environment["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"
    for words in (["src/run_notebook.py", "notebooks/02-table.py", "reports/notebooks/02-table.ipynb"], ["scripts/study.py"]):
        refused = toy.command("python", *words)
        assert refused.returncode == 1 and "git config --global --add safe.directory" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert not (toy.root / ".dvc/config.local").exists() and not (toy.root / "reports").exists()


_BUSY = """
# %%
import multiprocessing, time
from pathlib import Path

def work():
    while True:
        pass

context = multiprocessing.get_context("fork")
context.Process(target=work).start()
Path("data").mkdir()
Path("data/started").touch()
while True:
    pass
"""


def test_kill_of_the_runner_ends_kernel_and_workers(toy):
    toy.notebook("03-busy", _BUSY)
    with tempfile.TemporaryDirectory() as temporary:  # not below the toy: a socket's path may have 107 characters
        toy.environment["TMPDIR"] = temporary
        runner = toy.start("python", "src/run_notebook.py", "notebooks/03-busy.py", "reports/notebooks/03-busy.ipynb")
        wait_for((toy.root / "data/started").exists)
        assert len(processes_in(toy.root)) >= 3
        assert list(Path(temporary).glob("loupe-*/kernel-*")) and not list(toy.root.glob("kernel-*")), "sockets beside the notebooks"
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        wait_for(lambda: not processes_in(toy.root))
        wait_for(lambda: not list(Path(temporary).glob("loupe-*")))


def test_kill_of_dvc_ends_the_stage(toy):
    toy.notebook("01-slow", _BUSY)
    toy.command("dvc", "config", "--local", "core.no_scm", "true", check=True)
    dvc = toy.start("dvc", "repro", "slow")
    wait_for((toy.root / "data/started").exists)
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    wait_for(lambda: not processes_in(toy.root))


def test_interrupt_ends_everything(toy):
    toy.notebook("03-busy", _BUSY)
    runner = toy.start("python", "src/run_notebook.py", "notebooks/03-busy.py", "reports/notebooks/03-busy.ipynb")
    wait_for((toy.root / "data/started").exists)
    os.kill(runner.pid, signal.SIGINT)
    assert runner.wait(timeout=180) == 128 + signal.SIGINT
    wait_for(lambda: not processes_in(toy.root))

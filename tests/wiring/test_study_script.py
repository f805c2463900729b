"""The study script on a toy study: scratch copies, kills, ZIP without git, clear refusals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import study as toy_study
from processes import command_of, processes_in, wait_for
from toy import Toy


def study(toy, *arguments):
    return toy.command(sys.executable, "scripts/study.py", *arguments)


def executed_stages(result):
    return [line for line in result.stdout.splitlines() if line.startswith("Running stage")]


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_default_scale_runs_in_place_without_git_and_only_once(toy):
    first = study(toy)
    assert first.returncode == 0, first.stderr
    assert len(executed_stages(first)) == 2
    assert (toy.root / "reports/tables/table/squares.csv").read_text() == "0,0\n1,1\n2,4\n3,9\n4,16\n5,25\n"
    lock = (toy.root / "dvc.lock").read_bytes()
    second = study(toy)
    assert second.returncode == 0 and not executed_stages(second)
    assert (toy.root / "dvc.lock").read_bytes() == lock
    forced = study(toy, "--force")
    assert len(executed_stages(forced)) == 2
    assert (toy.root / "dvc.lock").read_bytes() == lock


def test_no_scm_mark_goes_when_a_repository_appears(toy):
    assert study(toy, "slow").returncode == 0
    local = toy.root / ".dvc/config.local"
    assert "no_scm = true" in local.read_text()
    subprocess.run(["git", "init", "--quiet"], cwd=toy.root, check=True)
    again = study(toy, "slow")
    assert again.returncode == 0 and not executed_stages(again)
    assert "no_scm" not in local.read_text()


def test_other_scale_runs_in_a_copy_and_leaves_the_checkout_alone(toy):
    assert study(toy).returncode == 0
    before = tree(toy.root)
    small = study(toy, "--scale", "tiny")
    assert small.returncode == 0, small.stderr
    copy = toy.root / ".scratch/tiny"
    assert len(executed_stages(small)) == 2
    after = tree(toy.root)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert all(name.startswith((".scratch/", ".dvc/cache/", ".dvc/tmp/")) for name in changed), sorted(changed)[:5]
    assert "scale: tiny" in (copy / "conf/study.yaml").read_text()
    assert not (copy / ".dvc/cache").exists()
    assert not executed_stages(study(toy, "--scale", "tiny"))

    # A change of the checkout reaches the copy, a vanished file leaves it, and only what depends on it runs.
    toy.write("notebooks/extra.txt", "x")
    table = (toy.root / "notebooks/02-table.py").read_text().split("# %%\nfrom", 1)[1]
    toy.notebook("02-table", "\n# %%\nprint('new')\n\n# %%\nfrom" + table)
    changed_run = study(toy, "--scale", "tiny")
    assert executed_stages(changed_run) == ["Running stage 'table':"]
    assert (copy / "notebooks/extra.txt").exists()
    (toy.root / "notebooks/extra.txt").unlink()
    assert not executed_stages(study(toy, "--scale", "tiny"))
    assert not (copy / "notebooks/extra.txt").exists()


def test_what_was_edited_in_a_copy_is_set_aside_before_it_is_replaced(toy):
    toy.write("notebooks/notes.txt", "ours")
    assert study(toy, "--scale", "tiny", "slow").returncode == 0
    copy = toy.root / ".scratch/tiny/notebooks"
    (copy / "notes.txt").write_text("a student's hour")
    again = study(toy, "--scale", "tiny", "slow")
    (kept,) = copy.glob("notes.yours-*.txt")
    assert kept.read_text() == "a student's hour" and (copy / "notes.txt").read_text() == "ours"
    assert again.stdout.count("was edited in the copy") == 1 and kept.name in again.stdout
    (toy.root / "notebooks/notes.txt").write_text("ours, newer")  # not edited in the copy: it follows without a word
    assert "edited in the copy" not in study(toy, "--scale", "tiny", "slow").stdout
    assert (copy / "notes.txt").read_text() == "ours, newer" and kept.is_file()


def test_stages_of_a_copy_note_the_commit_that_was_copied(toy, tmp_path):
    head = toy.commit()
    assert study(toy, "--scale", "tiny", "slow").returncode == 0
    toy.write("conf/scale/tiny.yaml", "steps: 4\n")
    assert study(toy, "--into", str(tmp_path / "there"), "slow").returncode == 0
    for copy, dirty in ((toy.root / ".scratch/tiny", False), (tmp_path / "there", True)):
        (noted,) = toy.notes(copy)
        assert (noted["stage"], noted["commit"], noted["dirty"]) == ("slow", head, dirty)


def test_copy_sees_your_data_and_keeps_its_settings(toy, tmp_path):
    (toy.root / "data/raw").mkdir(parents=True)
    (toy.root / "data/raw/face.png").write_bytes(b"x")
    toy.write("conf/data/folder.yaml", "root: x\n")
    toy.write("reports/results.md", "of the checkout")
    toy.write("reports/tables/beside/verdicts.csv", "a,b")  # made beside the study, and read by it
    result = study(toy, "--scale", "tiny", "--data", "folder", "--raw", str(tmp_path), "slow")
    assert result.returncode == 0, result.stderr
    copy = toy.root / ".scratch/tiny-folder"
    assert not (copy / "reports/results.md").exists() and (copy / "reports/tables/beside/verdicts.csv").is_file()
    assert (copy / "conf/study.yaml").read_text() == f"scale: tiny\ndata: folder\nraw: {tmp_path}\n"
    assert (copy / "data/raw/face.png").read_bytes() == b"x"


def test_copy_into_a_folder_has_its_own_cache(toy, tmp_path):
    assert study(toy, "--into", str(tmp_path / "there")).returncode == 0
    assert (tmp_path / "there/reports/tables/table/squares.csv").is_file()
    assert (tmp_path / "there/.dvc/cache").is_dir()
    assert not (toy.root / "reports").exists()


@pytest.mark.parametrize("arguments", [["--scale", "huge"], ["--data", "web"]])
def test_unknown_scale_or_data_is_one_sentence(toy, arguments):
    result = study(toy, *arguments)
    assert result.returncode == 1 and "does not exist: choose one of" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "folder"], "make study DATA=folder RAW=/your/faces"),
        (["--data", "folder", "--raw", "absent"], "absent does not exist: name the folder that holds your faces"),
        (["--data", "folder", "--raw", "faces.zip"], "faces.zip is not a folder: name the folder that holds your faces (unpack"),
        (["--raw", "absent"], "absent does not exist"),
    ],
)
def test_faces_that_are_not_there_are_one_sentence(toy, arguments, sentence):
    toy.write("conf/data/folder.yaml", "root: x\n")
    toy.write("faces.zip", "PK")
    result = study(toy, *arguments)
    assert result.returncode == 1 and sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and not (toy.root / ".scratch").exists()


def test_failed_stage_keeps_what_is_finished(toy):
    table = (toy.root / "notebooks/02-table.py").read_text().split("# %%\nfrom", 1)[1]
    toy.notebook("02-table", "\n# %%\nclass LoupeError(Exception): ...\n\nraise LoupeError('no faces here')\n")
    failed = study(toy)
    assert failed.returncode == 1
    assert "LoupeError: no faces here" in failed.stderr
    assert failed.stderr.strip().splitlines()[-1].startswith("The study stopped at the error above; finished stages are kept")
    toy.notebook("02-table", "\n# %%\nfrom" + table)
    assert executed_stages(study(toy)) == ["Running stage 'table':"]


@pytest.mark.parametrize("victim", ["study", "dvc", "runner", "kernel"])
def test_killed_study_continues_and_ends_with_the_same_tables(toy, victim):
    toy.slow_notebook(0.5)
    log = toy.root / "data/logs/computed.txt"
    running = toy.start(sys.executable, "scripts/study.py")
    for cells in (1, 3):  # two kills, the second of the resumed study
        wait_for(lambda cells=cells: len(list((toy.root / "data/scratch/slow").glob("*.txt"))) >= cells)
        os.kill(pick(toy.root, running.pid, victim), signal.SIGKILL)
        running.wait()
        wait_for(lambda: not processes_in(toy.root))
        running = toy.start(sys.executable, "scripts/study.py")
    assert running.wait(timeout=60) == 0
    assert (toy.root / "reports/tables/table/squares.csv").read_text() == "0,0\n1,1\n2,4\n3,9\n4,16\n5,25\n"
    computed = [line.split()[0] for line in log.read_text().splitlines()]
    assert sorted(set(computed)) == [str(i) for i in range(6)]
    assert len(computed) <= 6 + 2  # at most the cell under way at each kill was started twice


def pick(folder, study_pid, victim):
    if victim == "study":
        return study_pid
    sign = {"dvc": "repro", "runner": "src/run_notebook.py", "kernel": "ipykernel_launcher"}[victim]
    return next(process.pid for process in processes_in(folder) if sign in command_of(process))


def test_second_study_beside_a_running_one_is_refused(toy):
    toy.slow_notebook(1.0)
    running = toy.start(sys.executable, "scripts/study.py")
    wait_for((toy.root / "data/scratch/slow").is_dir)
    second = study(toy)
    assert second.returncode == 1 and f"already runs here (process {running.pid})" in second.stderr
    running.kill()
    running.wait()
    wait_for(lambda: not processes_in(toy.root))


@pytest.mark.parametrize(
    "torn", ["", "schema: '2.0'\nstages:\n  slow:\n    cmd: pyth", "{", "schema: '2.0'\nstages:\n  slow:\n    deps:\n    - pa"]
)
def test_half_written_lock_files_do_not_stop_the_study(toy, torn):
    assert study(toy).returncode == 0
    lock = (toy.root / "dvc.lock").read_bytes()
    toy.write("dvc.lock", torn)
    toy.write(".dvc/tmp/rwlock", '{"read": {"a')
    shutil.rmtree(toy.root / "data/runs")
    again = study(toy)
    assert again.returncode == 0, again.stderr
    assert not executed_stages(again)  # from the run cache
    accepted = torn.endswith("pyth")  # cut where DVC sees no harm; else a committed file is not deleted without a word
    kept = [path.read_text() for path in (toy.root / ".dvc/tmp").glob("dvc.lock-*")]
    assert kept == ([] if accepted else [torn]) and ("dvc.lock was cut short: it is kept as" in again.stdout) is not accepted
    assert (toy.root / "dvc.lock").read_bytes() == lock


def test_lock_of_a_dead_dvc_whose_number_was_given_to_another_process(toy):
    assert study(toy).returncode == 0
    entry = {"pid": os.getpid(), "cmd": "dvc repro"}
    toy.write(".dvc/tmp/rwlock", f'{{"write": {{"{toy.root}/data/runs/slow": {{"pid": {entry["pid"]}, "cmd": "dvc"}}}}, "read": {{}}}}')
    shutil.rmtree(toy.root / "data/runs")
    assert study(toy).returncode == 0


def test_a_merge_that_was_not_finished_stays_the_user_s(toy):
    torn = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\nstages: {}\n>>>>>>> theirs\n"
    toy.write("dvc.lock", torn)
    refused = study(toy)
    assert refused.returncode == 1 and "finish it (`git checkout --theirs dvc.lock`, or --ours)" in refused.stderr
    assert (toy.root / "dvc.lock").read_text() == torn


def test_a_copy_shares_the_cache_whatever_the_checkout_s_folder_is_called(tmp_path):
    toy = Toy(tmp_path / 'C#, it\'s "new" [x] = 50%')
    assert "'none' not found" in study(toy, "--scale", "tiny", "none").stderr  # all but the stages
    there = toy.root / ".scratch/tiny"
    said = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=there, env=toy.environment, capture_output=True, text=True)
    assert said.stdout == f"{toy.root}/.dvc/cache\n"


def test_links_to_a_larger_disk_are_never_copied(toy, tmp_path):
    (tmp_path / "disk").mkdir()
    places = ["data/raw", "data/imported", "data/scratch", "data/logs", ".scratch", ".venv", "notebooks/mine"]
    for place in places:
        (toy.root / place).parent.mkdir(exist_ok=True)
        (toy.root / place).symlink_to(tmp_path / "disk")
    files = toy_study.unignored_files(toy.root)
    assert not set(places) & set(files) and "notebooks/01-slow.py" in files
    toy.commit()
    assert toy.command("git", "ls-files", *places).stdout.split() == ["notebooks/mine"]  # and the others are ignored


def test_stages_inherit_no_shell_and_no_repository_of_the_user_s(monkeypatch):
    for name in ("SHELL", "GIT_DIR", "GIT_OBJECT_DIRECTORY", "LOUPE_COMMIT", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(name, "/usr/sbin/nologin")
    monkeypatch.setenv("LOUPE_OWNER", "")
    monkeypatch.setenv("PATH", "/usr/bin")
    toy_study.prepare_environment()
    assert os.environ["SHELL"] == "/bin/sh" and os.environ["PATH"] == f"{os.path.dirname(sys.executable)}{os.pathsep}/usr/bin"
    assert not {"GIT_DIR", "GIT_OBJECT_DIRECTORY", "LOUPE_COMMIT"} & set(os.environ) and "GIT_CONFIG_GLOBAL" in os.environ


@pytest.mark.parametrize("place", ["other", "inside"])
def test_no_folder_of_the_user_s_is_written_over(toy, tmp_path, place):
    theirs = {"other": tmp_path / "other", "inside": toy.root / "data"}[place]
    (theirs / "notebooks").mkdir(parents=True)
    (theirs / "notebooks/01-slow.py").write_text("theirs")
    refused = study(toy, "--into", str(theirs))
    assert refused.returncode == 1 and "name a new folder outside this checkout" in refused.stderr
    assert tree(theirs) == {"notebooks/01-slow.py": b"theirs"}


def test_results_that_an_unfinished_stage_took_along_are_named_with_the_way_back(toy, monkeypatch, capsys):
    toy.write("reports/tables/table/squares.csv", "0,0\n")
    toy.commit()
    (toy.root / "reports/tables/table/squares.csv").unlink()
    monkeypatch.setattr(toy_study, "ROOT", toy.root)
    with pytest.raises(SystemExit):
        toy_study.stop("Interrupted", 130)
    assert "1 committed files of reports/ are gone until their stages end; `git checkout reports`" in capsys.readouterr().err


def test_control_c_is_one_sentence_and_no_failure(toy):
    toy.slow_notebook(30)
    words = [sys.executable, "scripts/study.py"]
    running = subprocess.Popen(words, cwd=toy.root, env=toy.environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for((toy.root / "data/scratch/slow").is_dir)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 130 and "Traceback" not in said
    assert said.splitlines()[-1] == "Interrupted; finished stages are kept, and the same command continues."
    wait_for(lambda: not processes_in(toy.root))

"""Steps are computed once, known by what they depend on and by nothing else, and a kill, a full disk or a second process costs no finished
one."""

import errno
import fcntl
import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import loupe
import loupe.code
from loupe.errors import LoupeError
from loupe.part import Absent, part_of
from loupe.steps import KEY, Shelf, Step, make_folder, read_key
from loupe.training.jobs import Workers

# A module of the package that exists in these tests alone. Its step counts its calls in a file of its own, which decides nothing.
MODULE = '''
"""What it is."""
import os, signal, time
from pathlib import Path
from loupe.trial_helper import doubled

def write(folder, value, log, **rest):
    with Path(log).open("a") as calls:
        calls.write("x")
    (folder / "value.txt").write_text(str(doubled(value)))

def waits(folder, value, log):
    while not Path(log).with_name("go").exists():
        time.sleep(0.05)
    write(folder, value, log)

def dies(folder, value, log):
    """Killed before its checkpoint the first time, after it the second."""
    checkpoint = folder / "checkpoints" / "half"
    if not checkpoint.exists():
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_text("half of the work")
        (folder / "litter.txt").write_text("half-written")
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, checkpoint.read_text(), log)
'''
HELPER = "def doubled(value):\n    return 2 * value\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`loupe.trial` and `loupe.trial_helper`; returns a function that writes one of them anew."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(loupe, "__path__", [*loupe.__path__, str(folder)])

    def say(name, text):
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        for known in ("loupe.trial", "loupe.trial_helper"):
            sys.modules.pop(known, None)
        return importlib.import_module("loupe.trial") if name == "trial" else None

    say("trial_helper", HELPER)
    loupe.code._is_module.cache_clear()
    yield say, say("trial", MODULE)
    loupe.code._is_module.cache_clear()


@pytest.fixture
def shelf(tmp_path):
    """A new shelf on the same folders, as another process would open it."""
    return lambda publish=True: Shelf(tmp_path / "runs" / "stage", tmp_path / "spare", publish)


def square(folder, value, **places):
    (folder / "value.txt").write_text(str(value**2))


def step_of(trial, tmp_path, value=4, name="one", function="write", **options):
    return Step(name, getattr(trial, function), {"value": value}, {"log": tmp_path / "calls"}, **options)


def calls(tmp_path):
    return len((tmp_path / "calls").read_text()) if (tmp_path / "calls").exists() else 0


def test_a_step_is_computed_once_and_found_again(package, shelf, tmp_path):
    _, trial = package
    first = shelf()
    folder = first.make(step_of(trial, tmp_path))
    assert folder == tmp_path / "runs" / "stage" / "one" and (folder / "value.txt").read_text() == "8"
    assert shelf().make(step_of(trial, tmp_path)) == folder == shelf(publish=False).make(step_of(trial, tmp_path))
    assert calls(tmp_path) == 1 == first.made
    assert sorted(path.name for path in folder.iterdir()) == [KEY, "value.txt"]


def test_only_what_decides_the_result_changes_the_key(package, shelf, tmp_path):
    say, trial = package

    def key(**changes):
        return shelf().ingredients(step_of(trial, tmp_path, **changes))["key"]

    before = key()
    assert key(name="other") == before == key(size=9.0, shared=False) and key(value=5) != before != key(value=4.0)
    assert set(shelf().ingredients(step_of(trial, tmp_path))["code"]) == {"loupe", "loupe.trial", "loupe.trial_helper"}
    say(
        "trial_helper",
        f'"""Says more."""\n\n\n{HELPER.replace("    ret", "    # a comment" + chr(10) + "    ret").replace("2 * value", "(2 *  value)")}',
    )
    say("trial", MODULE.replace('"""What it is."""', '"""Something else."""') + "\n# the end\n")
    assert key() == before
    say("trial_helper", HELPER.replace("2", "3"))
    assert key() != before
    say("trial_helper", HELPER)
    assert key() == before
    say("trial", MODULE.replace("str(doubled(value))", "str(doubled(value) + 1)"))
    assert key() != before


def test_files_count_by_their_bytes_and_not_by_where_they_lie(shelf, tmp_path):
    def key(path):
        return shelf().ingredients(Step("s", square, {"value": path}))["key"]

    for place, data in (("a", b"same"), ("b/c", b"same"), ("d", b"Same")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.bin").write_bytes(data)
        (tmp_path / place / KEY).write_text(place)  # how a folder came about is no part of what is in it
    same, moved, changed = (key(tmp_path / place) for place in ("a", "b/c", "d"))
    assert same == moved != changed
    assert key(tmp_path / "a" / "x.bin") == key(tmp_path / "b/c" / "x.bin") != key(tmp_path / "d" / "x.bin")
    (tmp_path / "b/c" / "x.bin").rename(tmp_path / "b/c" / "y.bin")
    assert key(tmp_path / "b/c") != same
    (tmp_path / "a" / "x.bin").write_bytes(b"byte")
    assert key(tmp_path / "a") != same


@dataclass(frozen=True)
class Choice:
    rate: float
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "values",
    [
        [np.array([1, 2]), np.array([2, 1]), np.array([1.0, 2.0]), np.array([[1, 2]])],
        [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [2]})],
        [Choice(1.0), Choice(2.0), Choice(1.0, ("a",))],
        [1, 1.0, True, "1", None, [1]],
        [frozenset("ab"), frozenset("abc")],
        [square, step_of],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_equal_arguments_and_no_others_are_equal(shelf, values):
    keys = [shelf().ingredients(Step("s", square, {"value": value}))["key"] for value in values]
    assert len(set(keys)) == len(values)
    copy = values[0].copy() if hasattr(values[0], "copy") else values[0]
    assert shelf().ingredients(Step("s", square, {"value": copy}))["key"] == keys[0]
    with pytest.raises(TypeError, match="cannot depend on a object"):
        shelf().ingredients(Step("s", square, {"value": object()}))


def test_settings_that_a_step_did_not_ask_for_cannot_be_read_and_are_not_in_its_key(shelf):
    @dataclass(frozen=True)
    class Settings:
        rates: Choice
        seed: int

    def key(settings):
        return shelf().ingredients(Step("s", square, {"value": settings}))["key"]

    both, other = Settings(Choice(0.1, ("a",)), 1), Settings(Choice(0.1, ("b",)), 2)
    part = part_of(both, "rates.rate")
    assert part.rates.rate == 0.1 and isinstance(part.seed, Absent)
    for read in (
        lambda: part.seed + 1,
        lambda: bool(part.seed),
        lambda: part.rates.names[0],
        lambda: part.seed == 1,
        lambda: f"{part.seed}",
    ):
        with pytest.raises(TypeError):
            read()
    assert key(part) == key(part_of(other, "rates.rate")) != key(part_of(replace(both, rates=Choice(0.2)), "rates.rate"))
    with pytest.raises(AttributeError, match="speed"):
        part_of(both, "rates.speed")


def test_equal_keys_are_computed_once_whatever_they_are_called(package, shelf, tmp_path):
    _, trial = package
    one, two = shelf().make_all(
        [step_of(trial, tmp_path, name=name) for name in ("one", "two")], lambda missing: [make_folder(making) for making in missing]
    )
    assert one == two and calls(tmp_path) == 1
    renamed = shelf()
    assert renamed.make(step_of(trial, tmp_path, name="renamed")).name == "renamed" and calls(tmp_path) == 1
    renamed.tidy()
    assert [path.name for path in (tmp_path / "runs" / "stage").iterdir()] == ["renamed"]
    assert shelf(publish=False).make(step_of(trial, tmp_path, name="by a student")).name == "renamed" and calls(tmp_path) == 1


def test_two_names_exchanged_exchange_their_folders(shelf):
    for names in ("ab", "ba"):
        for name, value in zip(names, (2, 3), strict=True):
            assert (shelf().make(Step(name, square, {"value": value})) / "value.txt").read_text() == str(value**2)


def test_different_steps_of_one_name_are_refused_rather_than_mixed_up(shelf):
    batch = shelf()
    batch.make(Step("cell", square, {"value": 2}))
    with pytest.raises(LoupeError, match="Two different steps of stage are called cell"):
        batch.make(Step("cell", square, {"value": 3}))


def test_what_is_changed_back_is_fetched_and_not_made_again(package, shelf, tmp_path):
    _, trial = package
    for value, made in ((4, 1), (5, 2), (4, 2)):
        now = shelf()
        folder = now.make(step_of(trial, tmp_path, value=value))
        now.tidy()
        assert folder.name == "one" and (folder / "value.txt").read_text() == str(2 * value) and calls(tmp_path) == made
    shelf().tidy()  # a run that asks for nothing
    assert list((tmp_path / "runs" / "stage").iterdir()) == [] and len(list((tmp_path / "spare").glob(f"*/{KEY}"))) == 2


def test_a_student_writes_nothing_into_the_stage_and_a_batch_run_takes_it_over(package, shelf, tmp_path):
    _, trial = package
    stage = tmp_path / "runs" / "stage"
    assert shelf(publish=False).make(step_of(trial, tmp_path)).parent == tmp_path / "spare" and not stage.exists()
    assert shelf().make(step_of(trial, tmp_path)) == stage / "one" and calls(tmp_path) == 1
    assert shelf().make(step_of(trial, tmp_path, value=7, name="two", shared=False)).parent == tmp_path / "spare"


CHILD = """
import sys
from pathlib import Path
import loupe
loupe.__path__.append(sys.argv[1] + "/package")
import loupe.trial as trial
from loupe.steps import Shelf, Step
root = Path(sys.argv[1])
step = Step("one", getattr(trial, sys.argv[2]), {"value": 4}, {"log": root / "calls"})
print(Shelf(root / "runs" / "stage", root / "spare", sys.argv[3] == "batch").make(step))
"""


def child(tmp_path, function, mode="batch"):
    return subprocess.Popen([sys.executable, "-c", CHILD, tmp_path, function, mode], stdout=-1, stderr=-1, text=True)


def test_a_kill_loses_what_was_in_the_making_and_its_checkpoint_is_met_again(package, shelf, tmp_path):
    _, trial = package
    shelf().make(step_of(trial, tmp_path, name="before"))
    assert child(tmp_path, "dies").wait() == -signal.SIGKILL
    stage = tmp_path / "runs" / "stage"
    assert [path.name for path in stage.iterdir()] == ["before"] and list((tmp_path / "spare").glob("*.lock"))
    folder = shelf().make(step_of(trial, tmp_path, function="dies"))  # the dead process's lock blocks nobody
    assert (folder / "value.txt").read_text() == 2 * "half of the work"
    assert sorted(path.name for path in folder.iterdir()) == [KEY, "value.txt"]  # neither checkpoint nor half-written files
    assert list((tmp_path / "spare").iterdir()) == []


def test_two_processes_that_ask_for_one_step_compute_it_once(package, tmp_path):
    first = child(tmp_path, "waits")
    while not list((tmp_path / "spare").glob("*.partial")):
        time.sleep(0.05)
    second = child(tmp_path, "waits", "student")
    assert f"process {first.pid} is making one-" in second.stderr.readline()
    (tmp_path / "go").touch()
    answers = [process.communicate() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0] and calls(tmp_path) == 1, answers


def test_a_step_asked_for_twice_in_one_process_does_not_wait(package, shelf, tmp_path, capfd):
    _, trial = package
    mine = shelf(publish=False)
    assert mine.make(step_of(trial, tmp_path)) == mine.make(step_of(trial, tmp_path))
    assert "waiting" not in capfd.readouterr().err


def test_without_locks_it_goes_on_and_says_so_once(package, shelf, tmp_path, monkeypatch, capfd):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    for value in (1, 2):
        shelf().make(step_of(package[1], tmp_path, value=value, name=f"v{value}"))
    told = capfd.readouterr().err
    assert told.count("file system without locks") == 1 == told.count("\n") and calls(tmp_path) == 2


@pytest.mark.parametrize(
    "raised", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_one_sentence(shelf, tmp_path, monkeypatch, raised):
    def full(*_, **__):
        raise raised

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(LoupeError, match="No space left on the disk while writing to .*spare: free some space") as told:
        shelf().make(Step("s", square, {"value": 1}))
    assert "\n" not in str(told.value)


def test_a_function_of_a_notebook_is_refused_in_one_sentence(shelf):
    notebook = square.__class__(square.__code__, {"__name__": "__main__"}, "square")
    for function in (lambda folder, value: None, notebook):
        with pytest.raises(LoupeError, match="must be a function of a module: move it into src/loupe"):
            shelf().make(Step("s", function, {"value": 1}))


def write_order(folder, name, log):
    with log.open("a") as order:
        order.write(name)


def test_the_largest_step_starts_first_and_equals_keep_their_order(shelf, tmp_path):
    sizes = {"b": 1, "a": 3, "d": 2, "c": 2}
    steps = [Step(name, write_order, {"name": name}, {"log": tmp_path / "order"}, size) for name, size in sizes.items()]
    folders = shelf().make_all(steps, Workers(1, "in order"))
    assert (tmp_path / "order").read_text() == "adcb" and [folder.name for folder in folders] == list(sizes)


def refuse(folder, value):
    """Cell 5 cannot be made, and says so once cell 1 is whole."""
    while value == 5 and not list(folder.parent.glob(f"v1-*[!l]/{KEY}")):
        time.sleep(0.05)
    if value == 5:
        raise LoupeError("cell 5 cannot be made")
    (folder / "facts.txt").write_text(f"{torch.get_num_threads()} {os.getpid()}")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_worker_has_one_thread_and_an_error_is_raised_here_and_costs_no_finished_step(shelf, workers):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, five = (Step(f"v{value}", refuse, {"value": value}, size=-value) for value in (1, 5))
        with pytest.raises(LoupeError, match="cell 5 cannot be made"):
            shelf().make_all([five, one], Workers(workers, "cells"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    again = shelf()
    threads, process = (again.make(one) / "facts.txt").read_text().split()
    assert again.made == 0 and threads == "1" and (process == str(os.getpid())) == (workers == 1)


def test_a_damaged_key_is_no_finished_step(shelf):
    folder = shelf(publish=False).make(Step("s", square, {"value": 3}))
    (folder / KEY).write_text("{")
    assert read_key(folder) is None
    assert (shelf(publish=False).make(Step("s", square, {"value": 3})) / "value.txt").read_text() == "9" and read_key(folder)

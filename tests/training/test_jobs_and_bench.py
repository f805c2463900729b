"""Finished cells stay, half-written ones do not count, publishing is one step, and errors of a worker arrive here."""

import multiprocessing
import os
import time

import pandas as pd
import pytest
import torch
from loupe.bench import Bench, clear_published, write_parquet

from loupe.errors import LoupeError
from loupe.training.jobs import Job, run_jobs


def write_square(path, value):
    write_parquet(pd.DataFrame({"square": [value**2], "pid": [os.getpid()]}), path)


def refuse(path, value):
    raise LoupeError(f"cell {value} cannot be made")


def hold(folder, seconds):
    bench = Bench(folder)
    time.sleep(seconds)
    del bench


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_run_once(tmp_path, workers):
    jobs = [Job(tmp_path / f"{i}.parquet", write_square, (tmp_path / f"{i}.parquet", i)) for i in range(3)]
    write_parquet(pd.DataFrame({"square": [-1]}), tmp_path / "1.parquet")
    run_jobs(jobs, "squares", workers=workers)
    assert [int(pd.read_parquet(job.path)["square"][0]) for job in jobs] == [0, -1, 4]
    assert (int(pd.read_parquet(jobs[0].path)["pid"][0]) == os.getpid()) == (workers == 1)


def write_count(path):
    path.write_text(str(len(list(path.parent.glob("*.count")))))


def test_the_largest_job_starts_first_and_equals_keep_their_order(tmp_path):
    sizes = {"b": 1, "a": 3, "d": 2, "c": 2}
    run_jobs([Job(path := tmp_path / f"{name}.count", write_count, (path,), size) for name, size in sizes.items()], "in order", workers=1)
    order = {path.stem: int(path.read_text()) for path in tmp_path.glob("*.count")}
    assert sorted(order, key=order.get) == ["a", "d", "c", "b"]


def write_threads(path):
    write_parquet(pd.DataFrame({"threads": [torch.get_num_threads()]}), path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_has_one_thread_wherever_it_runs(tmp_path, workers):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_jobs([Job(tmp_path / "x.parquet", write_threads, (tmp_path / "x.parquet",))], "threads", workers=workers)
        assert pd.read_parquet(tmp_path / "x.parquet")["threads"][0] == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_is_raised_here(tmp_path, workers):
    with pytest.raises(LoupeError, match="cell 5 cannot be made"):
        run_jobs([Job(tmp_path / "x", refuse, (tmp_path / "x", 5))], "bad", workers=workers)


def test_cells_are_computed_once_and_survive(tmp_path):
    bench = Bench(tmp_path / "work")
    calls = []

    def compute():
        calls.append(1)
        return pd.DataFrame({"a": [1]})

    bench.cell("one", compute)
    (tmp_path / "work" / "cells" / "two.tmp").write_bytes(b"half-written")
    assert list(bench.cells()["a"]) == [1]
    bench.cell("one", compute)
    assert len(calls) == 1


def test_publish_replaces_the_output_and_keeps_what_is_finished(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").write_text("old")
    bench = Bench(tmp_path / "work")
    bench.cell("one", lambda: pd.DataFrame({"a": [1]}))
    bench.write("table.parquet", pd.DataFrame({"a": [1]}))
    bench.publish(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.parquet"]
    again = Bench(tmp_path / "work")  # killed before DVC wrote its lock: the stage runs once more, from its finished cells
    again.cell("one", lambda: pytest.fail("computed twice"))
    again.write("table.parquet", pd.DataFrame({"a": [2]}))
    again.publish(tmp_path / "out")
    assert list(pd.read_parquet(tmp_path / "out" / "table.parquet")["a"]) == [2]


def test_published_work_goes_once_it_is_recorded(tmp_path):
    lock, keys = tmp_path / "dvc.lock", ("0123456789ab", "ffffffffffff")
    lock.touch()
    for stage in ("mae-face", "student-mae-face", "data"):
        for key in keys:
            bench = Bench(tmp_path / f"{stage}-{key}")
            if key == keys[0]:
                bench.publish(tmp_path / "out")
    under_way = {f"{stage}-{keys[1]}" for stage in ("mae-face", "student-mae-face", "data")}

    def left():
        return {path.name for path in tmp_path.iterdir() if path.is_dir()}

    os.utime(lock, (1, 1))
    clear_published(tmp_path, lock, "mae-face")
    assert left() == under_way | {f"mae-face-{keys[0]}"}
    os.utime(lock)  # DVC has recorded the stage
    clear_published(tmp_path, lock, "mae-face")
    assert left() == under_way


def test_a_second_process_waits_for_the_first(tmp_path, capfd):
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path / "work", 3))
    process.start()
    while not (tmp_path / "work" / "lock").exists():
        time.sleep(0.05)
    time.sleep(0.2)
    Bench(tmp_path / "work")
    process.join()
    assert "waiting for it" in capfd.readouterr().err


def test_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(LoupeError, match="No space left on the disk while writing to"):
        write_parquet(pd.DataFrame({"a": [1]}), tmp_path / "cells" / "a.parquet")

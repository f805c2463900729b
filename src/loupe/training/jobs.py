"""Independent pieces of work (grid cells, ablation pre-trainings) side by side, each whole or absent on disk.

Two processes of one thread each train small models faster than one process of two threads, and the bytes do not depend on the order. Several
processes also share one NVIDIA GPU: small models wait for their kernels' launches, not for the GPU. With one worker, and on MPS, the jobs run one
after the other in this process, whose imports are done: that is the fastest way through many jobs of a second each.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loupe.progress import track
from loupe.recording.record import Place, record_in, recording_place
from loupe.training.device import one_thread, prepare_torch


@dataclass(frozen=True)
class Job:
    """`run(*args)` writes `path` atomically; where `path` exists, the job is done. `run` must be a function of a module. size: about how long it
    takes, in any unit that all jobs of one call share."""

    path: Path
    run: Callable[..., None]
    args: tuple[Any, ...]
    size: float = 0.0


def run_jobs(jobs: Sequence[Job], label: str, *, workers: int) -> None:
    """Run what is not done yet, in `workers` processes of one thread each (one worker: in this one); an error of a job stops the rest and is
    raised here. What the jobs write does not depend on `workers`.

    The largest start first, jobs of one size in the order given: a long job that starts last leaves the other processes idle.
    """
    open_jobs = sorted((job for job in jobs if not job.path.exists()), key=lambda job: -job.size)
    if workers == 1:
        with one_thread():  # as in a worker
            for job in track(open_jobs, label):
                job.run(*job.args)
        return
    if not open_jobs:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_enter_worker, initargs=(os.getpid(), recording_place())) as pool:
        futures = [pool.submit(job.run, *job.args) for job in open_jobs]
        try:
            for future in track(as_completed(futures), label, total=len(futures)):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _enter_worker(parent: int, place: Place | None) -> None:
    """One thread (the number of threads decides the order of sums, and so the bytes), keep the worker's own bars out of the log, record runs
    where the parent does, and die with it: a killed kernel leaves no orphans."""
    os.environ["LOUPE_QUIET"] = "1"
    record_in(place)
    prepare_torch(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

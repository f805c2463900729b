"""Independent steps (grid cells, ablation pre-trainings) side by side.

Two processes of one thread each train small models faster than one process of two threads, and the bytes do not depend on the order.
Several processes also share one NVIDIA GPU: small models wait for their kernels' launches, not for the GPU. With one worker, and on MPS,
the steps are made one after the other in this process, whose imports are done: that is the fastest way through many steps of a second each.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from loupe.progress import track
from loupe.recording.record import Place, record_in, recording_place
from loupe.steps import Making, make_folder
from loupe.training.device import one_thread, prepare_torch


@dataclass(frozen=True)
class Workers:
    """`count` processes of one thread each (one: this process) that make steps (`Shelf.make_all`); label: what their progress is called.

    The largest step starts first, steps of one size in the order given: a long one that starts last leaves the other processes idle. An
    error stops the rest and is raised here. What is made does not depend on `count`.
    """

    count: int
    label: str

    def __call__(self, missing: list[Making]) -> None:
        order = sorted(missing, key=lambda making: -making.step.size)
        if self.count == 1:
            with one_thread():  # as in a worker
                for making in track(order, self.label):
                    make_folder(making)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.count, mp_context=context, initializer=_enter, initargs=(os.getpid(), recording_place())) as pool:
            futures = [pool.submit(make_folder, making) for making in order]
            try:
                for future in track(as_completed(futures), self.label, total=len(futures)):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _enter(parent: int, place: Place | None) -> None:
    """One thread (the number of threads decides the order of sums, and so the bytes), keep the worker's own bars out of the log, record
    runs where the parent does, and die with it: a killed kernel leaves no orphans."""
    os.environ["LOUPE_QUIET"] = "1"
    record_in(place)
    prepare_torch(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

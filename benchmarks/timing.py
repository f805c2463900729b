"""Interleaved timing: a shared machine's moods fall on all variants alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of each round of one variant."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)


def interleaved(
    variants: dict[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: int = 2, least_seconds: float = 0.2
) -> dict[str, Timing]:
    """Time each variant `rounds` times, in turn, after `warm_up` runs that do not count.

    A variant that took less than `least_seconds` in its last warm-up runs several times a round, and the round's time is divided by that
    number: a GPU's short steps are then measured as they follow each other, not with a wait after each. The device is waited for before and
    after.
    """
    repeats = {}
    for name, run in variants.items():
        for _ in range(warm_up):
            took = _timed(run, 1, device)
        repeats[name] = max(1, min(200, math.ceil(least_seconds / took)))
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            seconds[name].append(_timed(run, repeats[name], device) / repeats[name])
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _timed(run: Callable[[], object], times: int, device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        run()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until all that was given to a GPU is done; on the CPU it already is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

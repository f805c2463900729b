"""Interleaved timing: a shared machine's moods fall on all variants alike."""

from __future__ import annotations

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


def interleaved(variants: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, Timing]:
    """Time each variant `rounds` times, in turn, after one round that does not count. The device is waited for before and after."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

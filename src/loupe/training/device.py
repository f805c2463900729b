"""Where a stage computes: the device that `scale.device` names, alone or with other processes, and torch set so that equal runs give equal
bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from loupe import SHAPING
from loupe.errors import LoupeError

if TYPE_CHECKING:
    from accelerate import Accelerator


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else CPU. Raises LoupeError where the named device is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise LoupeError(f"conf key scale.device is {name}, but this machine has none: set it to cpu or auto.")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one process a GPU, started by torchrun
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def prepare_torch(threads: int) -> None:
    """Fixed thread count and deterministic kernels: the same bytes every time on one machine (CPU, fp32).

    Raises LoupeError where torch was loaded, before this package, under a variable that changes the bytes.
    """
    if seen := [name for name in SHAPING if name in os.environ]:
        raise LoupeError(
            f"{seen[0]} is set, and torch was loaded before loupe could drop it: unset it, or import loupe first, and start again."
        )
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(
        "warn"
    )  # use_deterministic_algorithms, warning only, without its import of the compiler (2 s a notebook)
    # A debugging aid that costs 8 % of a training step: no kernel here reads what it has not written, and the forced run of the tests would
    # show it.
    torch.utils.deterministic.fill_uninitialized_memory = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside: the number of threads decides the order of sums, and so the bytes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def workers_on(device: torch.device, workers: int) -> int:
    """How many of `workers` processes may share the device: all of them, but one on MPS."""
    return 1 if device.type == "mps" else workers


def open_accelerator(device: torch.device, precision: str) -> Accelerator:
    """The accelerator of this process: its device, its precision, and the process group where a launcher started several (WORLD_SIZE)."""
    from accelerate import Accelerator  # half a second, and only training needs it

    threads = torch.get_num_threads()
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    torch.set_num_threads(threads)  # accelerate sets its own with several CPU processes; the number decides the order of sums
    return accelerator


def shared_path(accelerator: Accelerator, path: Path) -> Path:
    """The main process's `path` in all processes, so that all continue from the same checkpoint."""
    if accelerator.num_processes == 1:
        return path
    from accelerate.utils import broadcast_object_list

    return Path(broadcast_object_list([str(path.absolute())])[0])

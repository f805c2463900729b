"""Where a stage computes: the device that `scale.device` names, and torch set so that equal runs give equal bytes."""

from __future__ import annotations

import torch

from loupe.errors import LoupeError


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else CPU. Raises LoupeError where the named device is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise LoupeError(f"conf key scale.device is {name}, but this machine has none: set it to cpu or auto.")
    return torch.device(name)


def prepare_torch(threads: int) -> None:
    """Fixed thread count and deterministic kernels: the same bytes every time on one machine (CPU, fp32)."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)

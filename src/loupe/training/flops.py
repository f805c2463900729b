"""Operations of a training step, and the rate of matrix products to hold against them (model FLOP utilisation)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

# Dense matrix products without sparsity, from the makers' data sheets, in operations a second: (bf16, fp32).
_DATA_SHEETS = {
    "H200": (989e12, 67e12),
    "H100 PCIe": (756e12, 51e12),
    "H100": (989e12, 67e12),
    "A100": (312e12, 19.5e12),
    "L40S": (362e12, 91.6e12),
    "L4": (121e12, 30.3e12),
}


def step_flops(model: nn.Module, loss_of: Callable[..., dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> int | None:
    """Operations of forward and backward on `inputs`, counted on tensors without storage, so that nothing is computed or drawn twice.

    None where the loss uses tensors of its own, which have storage. Counting takes about as long as some steps, so equal models are counted once.
    """
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in model.named_parameters())
    key = (loss_of.__module__, loss_of.__qualname__, shapes, tuple(tuple(tensor.shape) for tensor in inputs))
    if key not in _counted:
        _counted[key] = _count(model, loss_of, inputs)
    return _counted[key]


_counted: dict[tuple, int | None] = {}


def _count(model: nn.Module, loss_of: Callable[..., dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> int | None:
    from torch.utils.flop_counter import FlopCounterMode

    state = {
        name: torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    counter = FlopCounterMode(display=False)
    stream, training = torch.get_rng_state(), model.training
    model.eval()  # stochastic depth and recomputed activations do not count
    try:
        with counter:
            loss_of(lambda *views: torch.func.functional_call(model, state, views), *(tensor.to("meta") for tensor in inputs))[
                "loss"
            ].backward()
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
    finally:
        torch.set_rng_state(stream)
        model.train(training)
    return int(counter.get_total_flops())


@torch.no_grad()
def forward_flops(run: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Operations of `run(*inputs)`, forward alone, counted while it runs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(*inputs)
    return int(counter.get_total_flops())


@lru_cache(maxsize=4)
def matmul_rate(device: torch.device, precision: str) -> tuple[float, str]:
    """Operations a second that the device reaches in matrix products, and where the figure is from: a data sheet, or a measurement just now."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, (bf16, fp32) in _DATA_SHEETS.items():
            if known in name:
                return (bf16 if precision == "bf16" else fp32), f"data sheet of {known}"
    return measured_matmul_rate(device, precision), "measured: product of 1024 x 1024 matrices"


def measured_matmul_rate(device: torch.device, precision: str, size: int = 1024, repeats: int = 5) -> float:
    """Best of `repeats` products of two square matrices of noise (equal numbers cost a GPU less power), in operations a second."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, kind)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best

"""Operations of a training step, and the rate of matrix products to hold against them (model FLOP utilisation)."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from loupe.errors import LoupeError


def step_flops(model: nn.Module, loss_of: Callable[..., dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> int:
    """Operations of forward and backward on `inputs`, counted on tensors without storage, so that nothing is computed or drawn twice.

    Raises LoupeError where the loss uses tensors of its own, which have storage.
    """
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
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise LoupeError(f"The operations of this step cannot be counted ({error}).") from error
    finally:
        torch.set_rng_state(stream)
        model.train(training)
    return int(counter.get_total_flops())


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

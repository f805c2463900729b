"""What a forward pass costs, in operations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def forward_flops(run: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Operations of `run(*inputs)`, forward alone, counted while it runs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(*inputs)
    return int(counter.get_total_flops())

"""From patch tokens to the features that a head sees: means of the patch grid's cells, which keep *where* something is.

Shapes: B batch, L patches of a grid of (rows, columns), D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from loupe.errors import LoupeError

HEADS = {"mean": (1, 0.0), "grid": (4, 0.2)}  # cells a side, dropout: a head that sees more numbers leans on each the less


def head_named(name: str) -> tuple[int, float]:
    """Cells a side and dropout of a head. Raises LoupeError for an unknown one."""
    if name not in HEADS:
        raise LoupeError(f"Unknown head '{name}'; choose one of {', '.join(HEADS)} (conf key dual_view.head).")
    return HEADS[name]


def grid_means(tokens: Tensor, grid: tuple[int, int], side: int = 4) -> Tensor:
    """Means (B, side * side, D), row by row, of tokens (B, L, D) over `side` x `side` cells of their `grid`; side 1 is the mean of all.

    Where the grid does not divide, cells overlap by a patch, and a grid smaller than the cells repeats its patches (adaptive average
    pooling).
    """
    places = torch.eye(grid[0] * grid[1], dtype=tokens.dtype, device=tokens.device).unflatten(1, grid)
    shares = F.adaptive_avg_pool2d(places, side).flatten(1)  # (L, cells): the weight of each patch in each cell
    return shares.T @ tokens  # a product, since the gradient of the pooling itself is not deterministic on CUDA

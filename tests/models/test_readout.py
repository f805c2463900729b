"""Read-outs: means over the cells of a patch grid, against loops."""

import pytest
import torch

from loupe.models.readout import grid_means


@pytest.mark.parametrize(("grid", "side"), [((8, 8), 4), ((8, 4), 2), ((6, 5), 4), ((2, 3), 4), ((3, 4), 1)], ids=str)
def test_cells_are_the_means_of_their_patches(grid, side):
    """Cell i of n rows reaches from floor(i n / side) to ceil((i + 1) n / side), as adaptive pooling has it."""
    rows, columns = grid
    tokens = torch.randn(2, rows * columns, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = torch.zeros(2, side * side, 3, dtype=torch.float64)
    for i in range(side):
        for j in range(side):
            down, across = range(i * rows // side, -(-(i + 1) * rows // side)), range(j * columns // side, -(-(j + 1) * columns // side))
            patches = [r * columns + c for r in down for c in across]
            expected[:, i * side + j] = sum(tokens[:, p] for p in patches) / len(patches)
    found = grid_means(tokens, grid, side)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value.square().sum(), tokens)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)

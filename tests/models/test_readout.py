"""Read-outs: means over the cells of a patch grid, against loops."""

import model_oracles as oracles
import pytest
import torch

from loupe.models.readout import grid_means


@pytest.mark.parametrize(("grid", "side"), [((8, 8), 4), ((8, 4), 2), ((6, 5), 4), ((2, 3), 4), ((3, 4), 1)], ids=str)
def test_cells_are_the_means_of_their_patches(grid, side):
    tokens = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = torch.stack([oracles.cells(sample, *grid, side) for sample in tokens])
    found = grid_means(tokens, grid, side)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value.square().sum(), tokens)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)

"""Perspective z-buffer in torch: every pixel of every triangle's box at once, nearest by a packed maximum.

Same rule as `loupe.faces.raster`: pixel centres, culling by winding, the first triangle wins a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

INSIDE = -1e-5  # barycentric weight from which a pixel belongs to a triangle
_TIE = 0x7FFFFFFF  # triangle numbers count down from here in the packed key, so that the first wins


@dataclass(frozen=True)
class Hits:
    """What is seen: flat numbers of the covered pixels (P,), their triangle (P,), weights of its corners (P, 3); depth (H, W), largest 1/z, 0 if empty."""

    pixel: torch.Tensor
    triangle: torch.Tensor
    weights: torch.Tensor
    depth: torch.Tensor


def rasterise(
    x: torch.Tensor, y: torch.Tensor, inverse_depth: torch.Tensor, triangles: torch.Tensor, two_sided: torch.Tensor, height: int, width: int
) -> Hits:
    """Rasterise triangles (T, 3) int64 over vertices with pixel coordinates x, y (V,) and inverse depth (V,), all float32.

    two_sided (T,) bool: drawn from behind, too. Leave out hidden triangles beforehand.
    """
    px, py = x[triangles], y[triangles]
    area = (px[:, 1] - px[:, 0]) * (py[:, 2] - py[:, 0]) - (py[:, 1] - py[:, 0]) * (px[:, 2] - px[:, 0])
    left, right = _span(px, width)
    top, bottom = _span(py, height)
    columns, rows = (right - left + 1).clamp(min=0), (bottom - top + 1).clamp(min=0)
    drawn = (area.abs() >= 1e-9) & (two_sided | (area <= 0))
    number = torch.where(drawn, columns * rows, torch.zeros_like(rows))
    owner = torch.repeat_interleave(torch.arange(len(triangles), device=x.device), number)
    place = torch.arange(len(owner), device=x.device) - torch.repeat_interleave(number.cumsum(0) - number, number)
    column = left[owner] + place % columns[owner]
    row = top[owner] + place // columns[owner]
    weights = _weights(column, row, px, py, area, owner)
    inside = (weights >= INSIDE).all(1)
    owner, pixel, weights = owner[inside], (row * width + column)[inside], weights[inside]
    nearness = (weights * inverse_depth[triangles[owner]]).sum(1)
    # bits of positive floats order as the floats do
    key = (nearness.float().view(torch.int32).long() << 32) | (_TIE - owner)
    best = torch.zeros(height * width, dtype=torch.int64, device=x.device).scatter_reduce_(0, pixel, key, "amax")
    seen = (best[pixel] == key).nonzero().squeeze(1)
    seen = seen[pixel[seen].argsort(stable=True)]
    pixel, owner, weights, nearness = pixel[seen], owner[seen], weights[seen], nearness[seen]
    depth = torch.zeros(height * width, dtype=torch.float32, device=x.device)
    depth[pixel] = nearness.float()
    correct = (weights * inverse_depth[triangles[owner]] / nearness[:, None]).float()
    correct[:, 0] = 1 - correct[:, 1] - correct[:, 2]
    return Hits(pixel, owner, correct, depth.view(height, width))


def _span(corners: torch.Tensor, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last pixel centre between the corners (T, 3) along one axis."""
    first = (corners.amin(1) - 0.5).ceil().clamp(min=0, max=limit).long()
    last = (corners.amax(1) - 0.5).floor().clamp(min=-1, max=limit - 1).long()
    return first, last


def _weights(column, row, px, py, area, owner) -> torch.Tensor:
    """Screen-space barycentric weights (N, 3), float64 as in the compiled loop."""
    fx, fy = column.double() + 0.5 - px[owner, 0], row.double() + 0.5 - py[owner, 0]
    ux, uy = (px[:, 1] - px[:, 0])[owner], (py[:, 1] - py[:, 0])[owner]
    vx, vy = (px[:, 2] - px[:, 0])[owner], (py[:, 2] - py[:, 0])[owner]
    second, third = (vy * fx - vx * fy) / area[owner], (ux * fy - uy * fx) / area[owner]
    return torch.stack([1 - second - third, second, third], 1)

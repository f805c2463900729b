"""Patches of an image, and their fixed positions: the pure functions every model here shares.

Order, written once: patches run row by row (row-major); the pixels of a patch run row, column, channel. Both are the order of
facebookresearch/mae, so that predictions and positions are exchangeable with its checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images (B, C, H, W) into patches (B, L, P*P*C); H and W are multiples of `patch`."""
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Put patches (B, L, P*P*C) of a `grid` of (rows, columns) back into images (B, C, H, W): the inverse of `patchify`."""
    rows, columns = grid
    tiles = patches.reshape(len(patches), rows, columns, patch, patch, -1)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, rows * patch, columns * patch)


def sincos_positions(width: int, grid: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Fixed sine-cosine positions (1, 1 + L, D) in the channel order of facebookresearch/mae; the class token's row is zero.

    The first half of the channels encodes the column, the second half the row; each half holds the sines, then the cosines, of
    the frequencies 10000^(-i / (D/4)). (timm's own table interleaves them otherwise: the two are not interchangeable.)
    """
    rows, columns = grid
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64, device=device) / (width / 4))

    def encode(places: Tensor) -> Tensor:
        angle = places[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    column = torch.arange(columns, dtype=torch.float64, device=device).repeat(rows)
    row = torch.arange(rows, dtype=torch.float64, device=device).repeat_interleave(columns)
    table = torch.cat([encode(column), encode(row)], dim=1)
    return torch.cat([torch.zeros_like(table[:1]), table])[None].float()


def normalise_patches(patches: Tensor, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise each patch (B, L, P) by its own pixels: (normalised, mean (B, L, 1), deviation (B, L, 1)).

    The per-patch target of MAE (arXiv 2111.06377, section 3): unbiased variance, 1e-6 added under the root. With `channels` > 1 the values
    of a patch alternate between that many channels, each of which loses its own mean (B, L, P); the deviation stays common.
    """
    if channels == 1:
        mean = patches.mean(dim=-1, keepdim=True)
    else:
        pixels = patches.unflatten(-1, (-1, channels))
        mean = pixels.mean(dim=-2, keepdim=True).expand_as(pixels).flatten(-2)
    centred = patches - mean
    squares = torch.linalg.vector_norm(centred, dim=-1, keepdim=True).square()  # var() is many times slower on a CPU
    variance = squares / (patches.shape[-1] - 1)
    deviation = (variance + 1e-6).sqrt()
    return centred / deviation, mean, deviation

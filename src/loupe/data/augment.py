"""Augmentation as batched tensor operations. Frames or views of one sample share their draw; randomness comes in from outside."""

from __future__ import annotations

import torch


def to_float(images_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), each picture standardised: its channels lose their own means, all share its deviation.

    Exposure, white balance and the mean colour of skin go; what remains is structure. Frames of a clip lose their flicker this way.
    """
    pixels = images_BHWC.permute(0, 3, 1, 2).float()
    mean, deviation = _statistics(pixels)
    return (pixels - mean) / deviation


def to_uint8(images_BCHW: torch.Tensor, like_BHWC: torch.Tensor) -> torch.Tensor:
    """Inverse of `to_float`, clipped to 0..255, with the means and deviations of the uint8 pictures `like_BHWC` (B, H, W, 3)."""
    mean, deviation = _statistics(like_BHWC.permute(0, 3, 1, 2).float())
    return (images_BCHW * deviation + mean).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _statistics(pixels_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of each channel (B, 3, 1, 1) and deviation from them (B, 1, 1, 1), at least one grey level so that a flat picture stays
    finite."""
    mean = pixels_BCHW.mean((2, 3), keepdim=True)
    return mean, (pixels_BCHW - mean).square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1.0)


def flip_and_shift(images: list[torch.Tensor], max_shift: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Mirror half of the samples and shift each by up to `max_shift` px, repeating the border.

    images: tensors (B, H, W, 3), uint8, the views or frames of the same B samples: all get the same draw.
    """
    first = images[0]
    batch, height, width = first.shape[:3]
    flip = torch.rand(batch, generator=generator) < 0.5
    shift = torch.randint(-max_shift, max_shift + 1, (2, batch), generator=generator)
    rows = (torch.arange(height) + shift[0][:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + shift[1][:, None]).clamp(0, width - 1)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    rows, columns = rows.to(first.device), columns.to(first.device)
    index = torch.arange(batch, device=first.device)[:, None, None]
    return [tensor[index, rows[:, :, None], columns[:, None, :]] for tensor in images]


def random_crop_resized(images_BCHW: torch.Tensor, smallest_side: float, generator: torch.Generator) -> torch.Tensor:
    """Random square crop with side share U(smallest_side, 1) of normalised images, resized back bilinearly (I_{t+d/c} of Micron-BERT)."""
    batch = len(images_BCHW)
    side = smallest_side + (1 - smallest_side) * torch.rand(batch, generator=generator)
    centre = (torch.rand(2, batch, generator=generator) * 2 - 1) * (1 - side)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = side, side
    theta[:, 0, 2], theta[:, 1, 2] = centre[0], centre[1]
    grid = torch.nn.functional.affine_grid(theta.to(images_BCHW), list(images_BCHW.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def strengthen(
    views_BCHW: list[torch.Tensor], targets: torch.Tensor, *, smallest_side: float, erased: float, mixed: float, generator: torch.Generator
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Strong augmentation of normalised views of the same B samples, all with the same draw, and the targets (B, K) float that go with
    them.

    A crop of side share U(smallest_side, 1) (`random_crop_resized`); a rectangle of 2 to 20 % of the picture set to 0, its mean, in a share
    `erased` of the samples (random erasing, arXiv 1708.04896); a share `mixed` of the samples blended with another of the batch, pictures
    and targets alike, weight U(0, 1) (mixup, arXiv 1710.09412, with its alpha = 1). CutMix is left out: in views cut differently from one
    face, the pasted rectangle would not be the same part of it, and its area not the share of the label.
    """
    channels = [len(view[0]) for view in views_BCHW]
    pixels = random_crop_resized(torch.cat(views_BCHW, dim=1), smallest_side, generator)
    batch, _, height, width = pixels.shape
    where = torch.rand(batch, generator=generator) < erased
    area, aspect = 0.02 + 0.18 * torch.rand(batch, generator=generator), torch.exp((torch.rand(batch, generator=generator) * 2 - 1) * 0.7)
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()])  # shares of height and width, at most .64
    start = torch.rand(2, batch, generator=generator) * (1 - size)
    inside = []
    for axis, length in enumerate((height, width)):
        places = (torch.arange(length) + 0.5) / length
        inside.append((places >= start[axis][:, None]) & (places < (start[axis] + size[axis])[:, None]))
    hole = where[:, None, None] & inside[0][:, :, None] & inside[1][:, None, :]
    pixels = pixels.masked_fill(hole[:, None].to(pixels.device), 0.0)
    share = torch.where(torch.rand(batch, generator=generator) < mixed, torch.rand(batch, generator=generator), torch.ones(batch))
    share, partner = share.to(pixels), torch.randperm(batch, generator=generator).to(pixels.device)
    pixels = share[:, None, None, None] * pixels + (1 - share)[:, None, None, None] * pixels[partner]
    return list(pixels.split(channels, dim=1)), share[:, None] * targets + (1 - share)[:, None] * targets[partner]

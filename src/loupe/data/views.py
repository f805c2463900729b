"""Ipsilateral views: auxiliary pictures of the same face that speak of its expressive parts, made without training.

A view is computed from the *stored pixels* with the canonical face layout, whose boxes jitter as a detector's would; never from true mesh
landmarks, which no real set has. The paper (Emotic MAE) says that such views highlight eyes, mouth and nose without training; how they are
drawn is not stated, so each drawing here is our choice. "Ipsilateral" elsewhere means the *same* side; one text glosses it as the opposite
one, which is why `mirror` exists.

Controls: `duplicate` (the examined view again: same cost, same parameters) and `shuffled` (another subject's view).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from loupe.errors import LoupeError

# left, top, right, bottom as shares of the image side: where an aligned face has its parts (eyes with brows; room for an open mouth). One
# constant layout for all faces, set once by the mean layout of generated near-frontal faces.
BOXES = {
    "eyes": (0.19, 0.24, 0.81, 0.50),
    "nose": (0.38, 0.40, 0.62, 0.67),
    "mouth": (0.28, 0.63, 0.72, 0.87),
}


def jittered_boxes(count: int, jitter: float, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Boxes (count, 4) of each part; centre and side lengths vary with standard deviation `jitter` (share of the image side)."""
    boxes = {}
    for name, (left, top, right, bottom) in BOXES.items():
        centre = np.array([(left + right) / 2, (top + bottom) / 2]) + generator.normal(0, jitter, (count, 2))
        side = np.array([right - left, bottom - top]) * (1 + generator.normal(0, jitter, (count, 2)))
        boxes[name] = np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)
    return boxes


def make_view(
    name: str, images: np.ndarray, subjects: np.ndarray, *, jitter: float, nose: bool, generator: np.random.Generator
) -> np.ndarray:
    """The view `name` of each image.

    images: uint8 (N, H, W, 3); subjects: (N,) ids, used by `shuffled` only. Returns uint8 (N, H, W, 3). Labels are not an input.
    Raises LoupeError for an unknown name.
    """
    if name not in VIEWS:
        raise LoupeError(f"conf key view.name is {name!r}, but must be one of {', '.join(VIEWS)}.")
    return VIEWS[name](images, subjects, jittered_boxes(len(images), jitter, generator), nose, generator)


def _parts(images, subjects, boxes, nose, generator):
    """Eyes in the upper half, mouth in the lower, both enlarged; with `nose` three bands."""
    names = ("eyes", "nose", "mouth") if nose else ("eyes", "mouth")
    height, width = images.shape[1:3]
    edges = np.linspace(0, height, len(names) + 1).round().astype(int)
    bands = [_crop(images, boxes[part], (edges[i + 1] - edges[i], width)) for i, part in enumerate(names)]
    return np.concatenate(bands, axis=1)


def _highlight(images, subjects, boxes, nose, generator):
    """The whole face, dimmed and blurred outside eyes and mouth (and nose)."""
    height, width = images.shape[1:3]
    y = ((np.arange(height) + 0.5) / height)[None, :, None]
    x = ((np.arange(width) + 0.5) / width)[None, None, :]
    keep = np.zeros(images.shape[:3], bool)
    for part in ("eyes", "nose", "mouth") if nose else ("eyes", "mouth"):
        left, top, right, bottom = (boxes[part][:, i, None, None] for i in range(4))
        keep |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    tensor = torch.from_numpy(np.array(images, order="C")).permute(0, 3, 1, 2).float()
    side = max(3, height // 10 | 1)
    blurred = functional.avg_pool2d(functional.pad(tensor, [side // 2] * 4, mode="replicate"), side, stride=1)
    dimmed = (0.35 * blurred).permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return np.where(keep[..., None], images, dimmed)


def _mirror(images, subjects, boxes, nose, generator):
    """The half of the face on the picture's right, with its mirror image in place of the other half."""
    half = images.shape[2] // 2
    right = images[:, :, images.shape[2] - half :]
    middle = images[:, :, half : images.shape[2] - half]
    return np.concatenate([right[:, :, ::-1], middle, right], axis=2)


def _duplicate(images, subjects, boxes, nose, generator):
    return np.array(images)


def _shuffled(images, subjects, boxes, nose, generator):
    """The `parts` view of another subject: right statistics, no information about this face."""
    order = generator.permutation(len(images))
    for _ in range(100):
        clash = np.flatnonzero(subjects[order] == subjects)
        if not len(clash):
            break
        order[clash] = order[generator.permutation(clash)] if len(clash) > 1 and len(set(subjects[clash])) > 1 else order[clash]
        for i in np.flatnonzero(subjects[order] == subjects):
            j = int(generator.integers(len(images)))
            order[i], order[j] = order[j], order[i]
    else:
        raise LoupeError("The view `shuffled` needs pictures of at least two subjects in about equal shares, but one subject dominates this set.")
    return _parts(images, subjects, boxes, nose, generator)[order]


VIEWS: dict[str, Callable[..., np.ndarray]] = {
    "parts": _parts,
    "highlight": _highlight,
    "mirror": _mirror,
    "duplicate": _duplicate,
    "shuffled": _shuffled,
}


def _crop(images: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut one box (left, top, right, bottom; shares) an image and resize it bilinearly to `size` (height, width)."""
    tensor = torch.from_numpy(np.array(images, order="C")).permute(0, 3, 1, 2).float()
    box = torch.from_numpy(boxes)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    theta[:, 0, 2], theta[:, 1, 2] = box[:, 0] + box[:, 2] - 1, box[:, 1] + box[:, 3] - 1
    grid = functional.affine_grid(theta, [len(images), 3, *size], align_corners=False)
    cut = functional.grid_sample(tensor, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

"""Input paths: where pixels come from, and how a batch is made of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from loupe._compat import ensure_torchvision
from loupe.data.augment import flip_and_shift, to_float
from loupe.data.store import write_store

Batches = Callable[[int], Tensor]  # step -> normalised images (B, 3, H, W) on the device


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, size, size, 3): smooth colours with a little grain, which compress and decode about as photographs do."""
    chance = np.random.default_rng(seed)
    coarse = torch.from_numpy(chance.uniform(0, 255, (count, 3, 6, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").permute(0, 2, 3, 1).numpy()
    return np.clip(smooth + chance.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def resident(images: np.ndarray, batch: int, device: torch.device) -> Batches:
    """Ours: all pixels as one uint8 tensor on the device, batches augmented together."""
    pixels = torch.from_numpy(images).to(device)
    return lambda step: _augmented(pixels[_rows(len(pixels), batch, step).to(device)], step)


def mapped(path: Path, batch: int, device: torch.device) -> Batches:
    """Ours where memory is short: the store's memory map."""
    pixels = np.load(path, mmap_mode="r")
    return lambda step: _augmented(torch.from_numpy(pixels[_rows(len(pixels), batch, step).sort().values.numpy()]).to(device), step)


def customary(jpegs: list[bytes], size: int, batch: int, device: torch.device, workers: int) -> Batches:
    """What scripts of transformers and lightly do: decode a JPEG, random resized crop, flip, to tensor, normalise, one picture at a time in
    DataLoader workers."""
    ensure_torchvision()
    from torchvision import transforms

    make = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    loader = DataLoader(_Jpegs(jpegs, make), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)

    def endless() -> Iterator[Tensor]:
        while True:
            yield from loader

    batches = endless()
    return lambda step: next(batches).to(device, non_blocking=True)


class _Jpegs(Dataset):
    def __init__(self, jpegs: list[bytes], make: Callable[[Image.Image], Tensor]):
        self.jpegs, self.make = jpegs, make

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, index: int) -> Tensor:
        return self.make(Image.open(io.BytesIO(self.jpegs[index])).convert("RGB"))


def as_jpegs(images: np.ndarray) -> list[bytes]:
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def as_store(images: np.ndarray, folder: Path) -> Path:
    """Write a store of `images` into `folder`; returns the path of its pixels."""
    write_store(folder, images, pd.DataFrame({"subject": "s", "split": "train", "label": [-1] * len(images)}))
    return folder / "images.npy"


def _rows(count: int, batch: int, step: int) -> Tensor:
    return torch.randint(count, (batch,), generator=torch.Generator().manual_seed(step))


def _augmented(pixels: Tensor, step: int) -> Tensor:
    (moved,) = flip_and_shift([pixels], max(1, pixels.shape[1] // 32), torch.Generator().manual_seed(step))
    return to_float(moved)

"""Near-duplicate images across splits, found by a perceptual hash and confirmed on thumbnails.

Aligned faces of different people look alike to a small hash, so a close hash only nominates a pair; it counts when the two standardised
16 x 16 thumbnails also correlate. Mirror images count. Found: copies that were re-encoded, brightened, blurred a little or resized. Not found:
another crop, another frame after a head turn; subjects apart in the manifest are what guards against those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loupe.errors import LoupeError

HASH_SIDE = 8
THUMBNAIL_SIDE = 16
MAX_BITS = 12
MIN_CORRELATION = 0.995
_CHUNK = 512


def thumbnails(images: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Grey box-filtered thumbnails (N, side, side) of uint8 images (N, H, W, 3) or (N, H, W), H and W at least `side`."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise LoupeError(f"near-duplicate search takes uint8 images (N, H, W, 3), not {images.dtype} with {images.ndim} dimensions.")
    height, width = images.shape[1:3]
    if min(height, width) < side:
        raise LoupeError(f"images of {width} x {height} px are too small for thumbnails of {side} px; use larger ones.")
    rows, columns = (np.linspace(0, size, side + 1).astype(int)[:-1] for size in (height, width))
    areas = np.outer(np.diff(np.append(rows, height)), np.diff(np.append(columns, width)))
    result = np.empty((len(images), side, side))
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        grey = part.mean(axis=-1) if part.ndim == 4 else part.astype(np.float64)
        result[start : start + _CHUNK] = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2) / areas
    return result


def difference_hash(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """128-bit difference hash (N, 2): is a cell brighter than its neighbour to the right, and than the one below (8 x 8 each)."""
    small = thumbnails(images, HASH_SIDE + 1)
    right = small[:, :-1, :-1] > small[:, :-1, 1:]
    below = small[:, :-1, :-1] > small[:, 1:, :-1]
    return np.stack([_pack(right), _pack(below)], axis=1)


def _pack(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits.reshape(len(bits), -1), axis=1).view(">u8").astype(np.uint64)[:, 0]


def near_duplicates(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, max_bits: int = MAX_BITS, min_correlation: float = MIN_CORRELATION
) -> list[tuple[int, int]]:
    """Pairs (i, j) such that first[i] and second[j], or its mirror image, are near-duplicates; sorted."""
    hashes = difference_hash(first)
    codes = _standardised(first)
    found: set[tuple[int, int]] = set()
    for images in (second, second[:, :, ::-1]):
        other_hashes, other_codes = difference_hash(images), _standardised(images)
        for start in range(0, len(first), _CHUNK):
            part = hashes[start : start + _CHUNK]
            bits = np.bitwise_count(part[:, None] ^ other_hashes[None]).sum(axis=-1)
            i, j = np.nonzero(bits <= max_bits)
            alike = (codes[start + i] * other_codes[j]).sum(axis=1) >= min_correlation
            found.update(zip((start + i[alike]).tolist(), j[alike].tolist(), strict=True))
    return sorted(found)


def _standardised(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = thumbnails(images, THUMBNAIL_SIDE).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def check_near_duplicates(first: NDArray[np.uint8], second: NDArray[np.uint8], *, names: tuple[str, str]) -> None:
    """Assert that two splits share no near-duplicate; LoupeError names the first pair."""
    pairs = near_duplicates(first, second)
    if pairs:
        i, j = pairs[0]
        raise LoupeError(f"image {i} of {names[0]} and image {j} of {names[1]} are near-duplicates ({len(pairs)} pair(s)); keep one of each pair.")

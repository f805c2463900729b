"""Near-duplicate images across splits, found by a perceptual hash and confirmed on thumbnails.

Aligned faces of different people look alike to a small hash, so a close hash only nominates a pair; it counts when the two standardised
16 x 16 thumbnails also correlate. Mirror images count. Found: copies that were re-encoded, brightened, blurred a little or resized. Not
found: another crop, another frame after a head turn; subjects apart in the manifest are what guards against those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loupe.data.imagehash import difference_hash, thumbnails
from loupe.errors import LoupeError

THUMBNAIL_SIDE = 16
MAX_BITS = 12
MIN_CORRELATION = 0.995
_CHUNK = 512


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
        raise LoupeError(
            f"image {i} of {names[0]} and image {j} of {names[1]} are near-duplicates ({len(pairs)} pair(s)); keep one of each pair."
        )

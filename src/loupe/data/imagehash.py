"""Equal and nearly equal pictures: a difference hash, and pairs in different splits found by checksum and hash, cheaply enough for
millions.

The hash says for 8 x 8 cells of the grey picture whether each is brighter than its neighbour to the right (64 bits), and than the one below
(64 more). For the import the first half is kept, and pairs within MAX_BITS are candidates to look at, not proof: small or flat pictures
collide. Found: copies re-encoded, resized, or brightened a little. Not found: mirrored or newly cropped ones. `loupe.evaluation.duplicates`
uses both halves and confirms.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from loupe.errors import LoupeError

HASH_SIDE = 8
MAX_BITS = 3
_CHUNK = 512
_BANDS = 4  # 64 bits in 4 bands of 16: hashes at most 3 bits apart agree in one band at least
_MAX_BAND = 400  # a band shared by more pictures than this is a flat region's, and comparing all pairs would take for ever


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


def picture_hash(pixels: NDArray[np.uint8]) -> int:
    """64-bit hash of one picture of any size, uint8 (H, W, 3): the first half of its `difference_hash`."""
    side = HASH_SIDE + 1
    small = Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BOX)  # exact cell borders, so that other sizes agree
    return int(difference_hash(np.asarray(small)[None])[0, 0])


def across_splits(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of rows of different splits that are equal (sha) or nearly so (dhash, at most MAX_BITS bits apart).

    `table` has split, path, sha and dhash (64-bit whole numbers as text in hexadecimal). Returns first, second (paths), splits, bits; equal
    pictures have bits 0 and `kind` "equal", the others "near". Each row is named in one pair of a kind at most with each other row.
    """
    columns = ["first", "second", "first_split", "second_split", "bits", "kind"]
    if table["split"].nunique() < 2:
        return pd.DataFrame(columns=columns)
    split, path, sha = (table[name].to_numpy() for name in ("split", "path", "sha"))
    codes = np.array([int(value, 16) for value in table["dhash"]], dtype=np.uint64)
    pairs: dict[tuple[int, int], tuple[int, str]] = {}
    for group in table.groupby("sha", sort=False).indices.values():
        for i, j in _pairs(group, split):
            pairs[i, j] = (0, "equal")
    for band in range(_BANDS):
        buckets = defaultdict(list)
        for row, key in enumerate(((codes >> np.uint64(16 * band)) & np.uint64(0xFFFF)).tolist()):
            buckets[key].append(row)
        for group in buckets.values():
            if not 1 < len(group) <= _MAX_BAND:
                continue
            rows = np.array(group)
            bits = np.bitwise_count(codes[rows][:, None] ^ codes[rows][None, :])
            for i, j in np.argwhere(np.triu(bits <= MAX_BITS, 1)).tolist():
                a, b = int(rows[i]), int(rows[j])
                if split[a] != split[b] and sha[a] != sha[b]:
                    pairs.setdefault((a, b), (int(bits[i, j]), "near"))
    rows = [(path[i], path[j], split[i], split[j], bits, kind) for (i, j), (bits, kind) in sorted(pairs.items())]
    return pd.DataFrame(rows, columns=columns)


def _pairs(group: np.ndarray, split: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of a group of equal pictures: each row with the first one of every other split."""
    firsts = {name: row for row, name in reversed(list(zip(group.tolist(), split[group], strict=True)))}
    found = {(min(row, first), max(row, first)) for row in group.tolist() for name, first in firsts.items() if name != split[row]}
    return sorted(found)

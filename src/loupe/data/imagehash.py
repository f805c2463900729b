"""Equal and nearly equal pictures in different splits, found by checksum and by a difference hash that is cheap enough for millions.

The hash says for 8 x 8 cells of the grey picture whether each is brighter than its neighbour to the right (64 bits). Pairs within MAX_BITS are
candidates to look at, not proof: small or flat pictures collide. Found: copies re-encoded, resized, or brightened a little. Not found: mirrored
or newly cropped ones.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
from PIL import Image

MAX_BITS = 3
_BANDS = 4  # 64 bits in 4 bands of 16: hashes at most 3 bits apart agree in one band at least
_MAX_BAND = 400  # a band shared by more pictures than this is a flat region's, and comparing all pairs would take for ever


def difference_hash(pixels: np.ndarray) -> int:
    """64-bit difference hash of a picture, uint8 (H, W, 3)."""
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


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

"""Open every picture of a list once: checksum, hash, size, and the square to store. In pieces, by several threads; a killed run
continues."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from loupe.data.imagehash import picture_hash
from loupe.data.sources.pictures import load_picture
from loupe.errors import LoupeError
from loupe.progress import track

PIECE = 1024
DAMAGED = "picture is missing or damaged"
NO_FACE = "no face found"
NOT_FOLLOWED = "the face that was followed is not here"
_FACTS = ["sha", "dhash", "width", "height", "reason", "error"]


@dataclass(frozen=True)
class Plan:
    """root: the download; scratch: where finished pieces are kept; size: px of the squares to store, or None; align: find faces first."""

    root: Path
    scratch: Path
    size: int | None
    align: bool
    workers: int

    @property
    def squares(self) -> Path:
        """Where the squares lie, an npy file of (N, size, size, 3) uint8. Opened anew for each piece: what a mapping has touched counts as
        memory."""
        return self.scratch / "pixels.npy"


def examine(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """sha, dhash, width, height, reason and error ("" where all is well) of every row, with `align` also faces and landmarks (five points
    in px of the stored square), with `size` the set's own landmarks in px of the stored square. The squares at `size` are then in
    `plan.squares`.
    """
    _open_scratch(table, plan)
    with ThreadPoolExecutor(plan.workers) as pool:
        aligned = _align(table, plan, pool) if plan.align else None
        facts = list(_pieces(table, plan, pool, aligned))
    facts = pd.concat(facts, ignore_index=True)
    if aligned is not None:
        five = [np.asarray(points, dtype=np.float32) * plan.size for points in aligned["five"]]
        facts = facts.assign(piece=aligned["piece"].to_numpy(), faces=aligned["faces"].to_numpy(), landmarks=pd.Series(five, dtype=object))
    elif plan.size is not None and "landmarks" in table:
        facts = facts.assign(landmarks=pd.Series(_moved(table, facts, plan.size), dtype=object))
    return facts


def _moved(table: pd.DataFrame, facts: pd.DataFrame, size: int) -> list[np.ndarray]:
    """The set's own landmarks, from px of the picture to px of the stored square."""
    boxes, moved = table["box"] if "box" in table else [None] * len(table), []
    for points, box, width, height in zip(table["landmarks"], boxes, facts["width"], facts["height"], strict=True):
        found = np.asarray(points, dtype=np.float32).reshape(-1, 2)
        if len(found) and width:
            left, top, side = square_place(width, height, box)
            found = (found - np.float32((left, top))) * np.float32(size / side)
        moved.append(found.ravel())
    return moved


def _open_scratch(table: pd.DataFrame, plan: Plan) -> None:
    """Keep finished pieces of the same work only: another list, root, size, alignment or box makes them useless, and so does the loss of
    the squares."""
    plan.scratch.mkdir(parents=True, exist_ok=True)
    work = hashlib.sha256("\n".join([str(plan.root.resolve()), str(plan.size), f"{plan.align} 2", *table["path"]]).encode())
    for box in table["box"] if "box" in table else ():
        work.update(np.asarray(box, dtype=float).tobytes() + b";")
    tag = work.hexdigest()[:16]
    if not (plan.scratch / tag).exists() or (plan.size is not None and not plan.squares.exists()):
        shutil.rmtree(plan.scratch)
        plan.scratch.mkdir()
        if plan.size is not None:
            np.lib.format.open_memmap(plan.squares, mode="w+", dtype=np.uint8, shape=(len(table), plan.size, plan.size, 3))
        (plan.scratch / tag).touch()


def _kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A finished piece from `path`, or made and kept there; one with damaged pictures is made anew next time: they may have been mended."""
    if path.exists():
        return pd.read_parquet(path)
    piece = make()
    if "reason" not in piece or not (piece["reason"] == DAMAGED).any():
        piece.to_parquet(path.with_suffix(".tmp"), index=False)
        os.replace(path.with_suffix(".tmp"), path)
    return piece


def _align(table: pd.DataFrame, plan: Plan, pool: ThreadPoolExecutor) -> pd.DataFrame:
    """The transform of every row (loupe.data.align.aligner), in the table's order."""
    from loupe.data.align.aligner import Aligner, Job, jobs
    from loupe.data.align.finder import MediaPipeFinder

    MediaPipeFinder()  # a missing extra is said before any work
    paths = table["path"].to_numpy()
    boxes = table["box"].to_numpy() if "box" in table else None
    aligner = Aligner(
        lambda row: load_picture(plan.root, paths[row])[1], lambda row: None if boxes is None else boxes[row], MediaPipeFinder
    )
    parts: list[list[Job]] = [[]]
    filled = 0
    for job in jobs(table):
        if filled >= PIECE:
            parts.append([])
            filled = 0
        parts[-1].append(job)
        filled += len(job.rows)
    found = [
        _kept(plan.scratch / f"faces-{i:07d}.parquet", lambda part=part: aligner(pool, part))
        for i, part in enumerate(track(parts, "faces"))
    ]
    return pd.concat(found, ignore_index=True).sort_values("row", ignore_index=True)


def _pieces(table: pd.DataFrame, plan: Plan, pool: ThreadPoolExecutor, aligned: pd.DataFrame | None) -> Iterator[pd.DataFrame]:
    boxes = table["box"].to_numpy() if "box" in table else None
    matrices = aligned[[f"p{i}" for i in range(6)]].to_numpy() if aligned is not None else None
    paths = table["path"].to_numpy()

    def look(row: int) -> tuple[tuple, np.ndarray | None]:
        fact, small = _look(plan, paths[row], None if boxes is None else boxes[row], None if matrices is None else matrices[row])
        if fact[-2] == NO_FACE and aligned["faces"][row]:
            fact = (*fact[:-2], NOT_FOLLOWED, f"{paths[row]} shows other faces, or more than one where none was before")
        return fact, small

    def make(start: int) -> pd.DataFrame:
        facts, pixels = [], None if plan.size is None else np.load(plan.squares, mmap_mode="r+")
        for row, (fact, small) in enumerate(pool.map(look, range(start, min(start + PIECE, len(table)))), start=start):
            facts.append(fact)
            if pixels is not None and small is not None:
                pixels[row] = small
        if pixels is not None:
            pixels.flush()
        return pd.DataFrame(facts, columns=_FACTS)

    for start in track(range(0, len(table), PIECE), "pictures", total=-(-len(table) // PIECE)):
        yield _kept(plan.scratch / f"{start:09d}.parquet", lambda start=start: make(start))


def _look(plan: Plan, path: str, box: object, matrix: np.ndarray | None) -> tuple[tuple, np.ndarray | None]:
    try:
        data, pixels = load_picture(plan.root, path)
    except LoupeError as error:
        return ("", "", 0, 0, DAMAGED, str(error)), None
    height, width = pixels.shape[:2]
    facts = (hashlib.sha256(data).hexdigest(), f"{picture_hash(pixels):016x}", width, height)
    if matrix is None:
        return (*facts, "", ""), None if plan.size is None else square(pixels, box, plan.size)
    from loupe.data.align.aligner import transform_of
    from loupe.data.align.geometry import warp

    transform = transform_of(matrix)
    if transform is None:
        return (*facts, NO_FACE, f"{path} shows no face"), None
    return (*facts, "", ""), warp(pixels, transform, plan.size)


def square(pixels: np.ndarray, box: object, size: int) -> np.ndarray:
    """Cut a picture, uint8 (H, W, 3), to its `square_place`, (size, size, 3)."""
    x, y, side = square_place(pixels.shape[1], pixels.shape[0], box)
    if (x, y, side) == (0, 0, size) and pixels.shape[:2] == (size, size):
        return pixels  # already what is wanted
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side), reducing_gap=3.0)
    return np.asarray(picture)


def square_place(width: int, height: int, box: object) -> tuple[float, float, float]:
    """left, top, side (px) of the central square of a box (x, y, width, height in px), as far as it lies inside the picture; without a box
    (None, empty), or where it lies outside, of the whole picture.
    """
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if box is not None and len(box) == 4:
        x, y, w, h = (float(value) for value in box)
        clipped = max(x, 0.0), max(y, 0.0), min(x + w, right), min(y + h, bottom)
        if clipped[2] - clipped[0] >= 1 and clipped[3] - clipped[1] >= 1:
            left, top, right, bottom = clipped
    side = min(right - left, bottom - top)
    return (left + right - side) / 2, (top + bottom - side) / 2, side

"""Which transform aligns which row of a table of pictures: one for a picture, one a frame of a video (steadied over time), and one for all
frames of a micro-expression.

In a micro-expression clip the transform is the onset frame's: aligning every frame by its own landmarks would add the detector's jitter to
a motion that is smaller than it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from skimage.transform import SimilarityTransform

from loupe.data.align.finder import Face, FaceFinder, follow
from loupe.data.align.geometry import alignment, pieces, steadied, warp
from loupe.errors import LoupeError

COLUMNS = ["row", "piece", "faces", "p0", "p1", "p2", "p3", "p4", "p5", "five"]


@dataclass(frozen=True)
class Job:
    """kind: `picture` (one row), `onset` (the first row of `rows` is the onset frame), `video` (rows in the order of display)."""

    kind: str
    rows: tuple[int, ...]


def jobs(table: pd.DataFrame) -> list[Job]:
    """What is to be looked at together. A clip with an onset row is a micro-expression; any other clip is followed from frame to frame."""
    found = [Job("picture", (row,)) for row in np.flatnonzero(table["clip"].to_numpy() == "").tolist()]
    frames, onset = table["frame"].to_numpy(), (table["role"] == "onset").to_numpy()
    clips = table[table["clip"] != ""].groupby("clip", sort=False).indices
    inside = np.flatnonzero(table["clip"].to_numpy() != "")
    for places in clips.values():
        rows = inside[places]
        rows = rows[np.argsort(frames[rows], kind="stable")]
        first = [row for row in rows if onset[row]]
        found.append(Job("onset", (first[0], *(row for row in rows if row != first[0]))) if first else Job("video", tuple(rows.tolist())))
    return found


class Aligner:
    """Finds transforms with several threads; each has a finder of its own, made by `make`."""

    def __init__(self, load: Callable[[int], np.ndarray], boxes: Callable[[int], np.ndarray | None], make: Callable[[], FaceFinder]):
        """load: row -> pixels; boxes: row -> annotated box (x, y, width, height), or None."""
        self._load, self._boxes, self._make, self._local = load, boxes, make, threading.local()

    def __call__(self, pool: ThreadPoolExecutor, part: Iterable[Job]) -> pd.DataFrame:
        """A row (COLUMNS) for each row of the jobs; p0..p5 are NaN and `five` is empty where there is no face, or not the one that is
        followed.
        piece: of a video, between cuts. faces: how many the picture shows."""
        results = [row for found in pool.map(self._run, part) for row in found]
        return pd.DataFrame(results, columns=COLUMNS)

    def _find(self, pixels: np.ndarray) -> list[Face]:
        if not hasattr(self._local, "finder"):
            self._local.finder = self._make()
        return self._local.finder(pixels)

    def _run(self, job: Job) -> list[tuple]:
        if job.kind == "video":
            faces, counts = zip(*follow((self._pixels(row) for row in job.rows), self._find), strict=True)
            found = [None if face is None else alignment(face.points) for face in faces]
            return [_result(*frame) for frame in zip(job.rows, counts, faces, steadied(found), pieces(found), strict=True)]
        faces = self._find(self._pixels(job.rows[0]))
        face = _meant(faces, self._boxes(job.rows[0]))
        first, *others = (_result(row, len(faces), face) for row in job.rows)
        return [first, *((*other[:-1], ()) for other in others)]  # points were found in the onset frame only

    def _pixels(self, row: int) -> np.ndarray:
        try:
            return self._load(row)
        except LoupeError:
            return np.zeros((16, 16, 3), dtype=np.uint8)  # a damaged picture is reported where it is examined; here it has no face


def _meant(faces: list[Face], box: np.ndarray | None) -> Face | None:
    """The largest face; where the set annotates a box (x, y, width, height), the one nearest to its centre."""
    if not faces or box is None or len(box) != 4:
        return faces[0] if faces else None
    centre = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    return min(faces, key=lambda face: float(np.linalg.norm(face.centre - centre)))


def _result(row: int, count: int, face: Face | None, transform: SimilarityTransform | None = None, piece: int = 0) -> tuple:
    if face is None:
        return (row, piece, count, *([float("nan")] * 6), ())
    transform = transform or alignment(face.points)
    return (row, piece, count, *transform.params[:2].ravel().tolist(), transform(face.five).ravel().astype(np.float32))


def transform_of(parameters: np.ndarray) -> SimilarityTransform | None:
    """The transform of a result row (p0..p5), or None where there was no face."""
    if not np.isfinite(parameters).all():
        return None
    return SimilarityTransform(np.vstack([np.asarray(parameters, dtype=float).reshape(2, 3), [0, 0, 1]]))


def align_picture(pixels: np.ndarray, find: FaceFinder, size: int) -> np.ndarray | None:
    """The largest face of a picture as an aligned square, uint8 (size, size, 3), or None where there is no face."""
    faces = find(pixels)
    return warp(pixels, alignment(faces[0].points), size) if faces else None


def align_clip(frames: list[np.ndarray], find: FaceFinder, size: int, onset: int = 0) -> np.ndarray | None:
    """All frames with the transform of the onset frame, uint8 (N, size, size, 3), or None where that frame shows no face."""
    faces = find(frames[onset])
    if not faces:
        return None
    transform = alignment(faces[0].points)
    return np.stack([warp(frame, transform, size) for frame in frames])

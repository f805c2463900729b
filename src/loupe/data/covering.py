"""Faces with a part covered: a grey rectangle over the eyes or over the mouth, what the second view is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loupe.data.face_layout import check_landmarks, part_boxes
from loupe.data.store import read_store, write_store
from loupe.data.views import detected_landmarks
from loupe.steps import Step

GREY = 128
_PARTS = ("eyes", "mouth")


def covering_step(labelled: Path, rows: np.ndarray, seed: int) -> Step:
    """`write_covered` as a step that stays on this machine: it takes a second."""
    return Step("covered", write_covered, {"labelled": labelled, "rows": rows, "seed": seed}, shared=False)


def write_covered(folder: Path, labelled: Path, rows: np.ndarray, seed: int) -> None:
    """Write the pictures `rows` of the store `labelled` to the store `folder`, each with one part covered: row i is picture rows[i].

    Which part is drawn face by face with `seed`, so that every arm and every seed of a training meets the same pictures. They are covered
    before any view is cut of them. The new store has no detected landmarks: those of `labelled` were found with the part in sight and would
    tell a view where the hidden mouth is. Its views have the canonical layout, as those of any face in which a detector found nothing.
    """
    store = read_store(labelled)
    landmarks = detected_landmarks(labelled)
    images = np.array(store.images[rows])
    boxes = covered_boxes(images.shape[:3], None if landmarks is None else landmarks[rows], np.random.default_rng([seed, 78]))
    write_store(folder, cover(images, boxes), store.manifest.iloc[rows])


def covered_boxes(shape: tuple[int, int, int], landmarks: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """The box to cover in each of `shape` = (N, H, W) pictures, the eyes' or the mouth's: (N, 4) px, left, top, right, bottom, the last two
    outside.

    landmarks: (N, 68 or 5, 2) px as detected, NaN where nothing was; without them the canonical layout. Raises LoupeError for another
    shape.
    """
    count, height, width = shape
    chosen = generator.integers(len(_PARTS), size=count)
    if landmarks is not None:
        check_landmarks(landmarks, count)
        landmarks = landmarks / np.array([width, height])
    boxes = part_boxes(count, landmarks, 0.0, generator)
    shares = np.stack([boxes[part] for part in _PARTS])[chosen, np.arange(count)]
    sides = np.array([width, height, width, height])
    return np.clip((shares * sides).round(), 0, sides).astype(int)


def cover(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy of the pictures, uint8 (N, H, W, 3), grey inside their boxes, (N, 4) px."""
    hidden = images.copy()
    for picture, (left, top, right, bottom) in zip(hidden, boxes, strict=True):
        picture[top:bottom, left:right] = GREY
    return hidden

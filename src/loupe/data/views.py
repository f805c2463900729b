"""Ipsilateral views: auxiliary pictures of the same face that speak of its expressive parts, made without training.

A view is computed from the *stored pixels*, with boxes and points from detected landmarks or, without them, from the canonical face layout,
jittered as a detector's would be; never from true mesh landmarks, which no real set has. The paper (Emotic MAE) says that such views
highlight eyes, mouth and nose without training; how they are drawn is not stated, so each drawing here is our choice. "Ipsilateral"
elsewhere means the *same* side; one text glosses it as the opposite one, which is why `mirror` exists.

    parts, highlight, mirror    from the picture itself                neighbour    another frame of the same clip
    warp                        the picture, its head turned by 20°    camera       a true second camera: the upper bound of `warp`

Controls: `duplicate` (the examined view again: same cost, same parameters) and `shuffled` (another subject's view).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch.nn import functional

from loupe.data.face_layout import check_landmarks, part_boxes, turned
from loupe.errors import LoupeError, unreadable
from loupe.faces.frame import framed
from loupe.progress import track

YAW = np.deg2rad(20)  # of `warp`
FROM_OTHER_PICTURES = frozenset({"neighbour", "camera", "shuffled"})  # all other views are made of the picture itself


@dataclass(frozen=True)
class Faces:
    """All that a view may be made of, row by row; labels are not among it.

    images: uint8 (N, H, W, 3). subjects: (N,) ids, for `shuffled`. clips (N,), "" for a still, and frames (N,): for `neighbour`.
    landmarks: (N, 68, 2) iBUG or (N, 5, 2) eyes, nose, corners of the mouth; x, y in px of the image *as a detector found them*, NaN where
    it found no face; None: canonical layout for all. second: uint8 (N, H, W, 3), row i the same instant as row i of images, for `camera`.
    """

    images: np.ndarray
    subjects: np.ndarray
    clips: np.ndarray | None = None
    frames: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    second: np.ndarray | None = None


def detected_landmarks(folder: Path) -> np.ndarray | None:
    """What a detector found in the pictures of the store `folder`, `landmarks.npy` beside them: (N, 68 or 5, 2) px, or None without the
    file.
    Raises LoupeError for a damaged one. (The manifest's own column is the truth of generated faces, which a view may not see.)
    """
    path = folder / "landmarks.npy"
    if not path.exists():
        return None
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # damage in the header raises TokenError, SystemError and others
        raise unreadable(path, error, "detect the landmarks again, or delete it for the canonical face layout.") from error


@dataclass(frozen=True)
class _Drawing:
    """How to draw: boxes of the parts, shares of the side; landmarks (N, 68 or 5, 2), shares; nose: is it among the parts?"""

    boxes: dict[str, np.ndarray]
    landmarks: np.ndarray | None
    nose: bool
    jitter: float
    generator: np.random.Generator

    @property
    def parts(self) -> tuple[str, ...]:
        return ("eyes", "nose", "mouth") if self.nose else ("eyes", "mouth")


def make_view(name: str, faces: Faces, *, jitter: float, nose: bool, generator: np.random.Generator) -> np.ndarray:
    """The view `name` of each face, uint8 (N, H, W, 3).

    jitter: standard deviation of boxes and points where no landmarks were detected, as a share of the image side; nose: show it, too.
    Raises LoupeError for an unknown name, landmarks or second pictures of another shape, and faces that lack what the view is made of.
    """
    if name not in VIEWS:
        raise LoupeError(f"conf key view.name is {name!r}, but must be one of {', '.join(VIEWS)}.")
    count, height, width = faces.images.shape[:3]
    landmarks = None
    if faces.landmarks is not None:
        check_landmarks(faces.landmarks, count)
        landmarks = faces.landmarks / np.array([width, height])
    boxes = part_boxes(count, landmarks, jitter, generator)
    return VIEWS[name](faces, _Drawing(boxes, landmarks, nose, jitter, generator))


def _parts(faces: Faces, how: _Drawing) -> np.ndarray:
    """Eyes in the upper half, mouth in the lower, both enlarged; with `nose` three bands, each box widened to the shape of its band."""
    height, width = faces.images.shape[1:3]
    edges = np.linspace(0, height, len(how.parts) + 1).round().astype(int)
    bands = []
    for part, top, bottom in zip(how.parts, edges, edges[1:], strict=False):
        box = how.boxes[part]
        bands.append(_crop(faces.images, _widened(box, width / (bottom - top)) if how.nose else box, (bottom - top, width)))
    return np.concatenate(bands, axis=1)


def _widened(boxes: np.ndarray, shape: float) -> np.ndarray:
    """Boxes (N, 4) with the same middle and height and at least `shape` times as wide as high."""
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    half = np.maximum(boxes[:, 2] - boxes[:, 0], shape * (boxes[:, 3] - boxes[:, 1])) / 2
    return np.stack([middle - half, boxes[:, 1], middle + half, boxes[:, 3]], axis=1).astype(np.float32)


def _highlight(faces: Faces, how: _Drawing) -> np.ndarray:
    """The whole face, dimmed and blurred outside eyes and mouth (and nose)."""
    images = faces.images
    height, width = images.shape[1:3]
    y = ((np.arange(height) + 0.5) / height)[None, :, None]
    x = ((np.arange(width) + 0.5) / width)[None, None, :]
    keep = np.zeros(images.shape[:3], bool)
    for part in how.parts:
        left, top, right, bottom = (how.boxes[part][:, i, None, None] for i in range(4))
        keep |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    tensor = torch.from_numpy(np.array(images, order="C")).permute(0, 3, 1, 2).float()
    side = max(3, height // 10 | 1)
    blurred = functional.avg_pool2d(functional.pad(tensor, [side // 2] * 4, mode="replicate"), side, stride=1)
    dimmed = (0.35 * blurred).permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return np.where(keep[..., None], images, dimmed)


def _mirror(faces: Faces, how: _Drawing) -> np.ndarray:
    """The half of the face on the picture's right, with its mirror image in place of the other half."""
    images = faces.images
    half = images.shape[2] // 2
    right = images[:, :, images.shape[2] - half :]
    middle = images[:, :, half : images.shape[2] - half]
    return np.concatenate([right[:, :, ::-1], middle, right], axis=2)


def _neighbour(faces: Faces, how: _Drawing) -> np.ndarray:
    """The stored frame of the same clip that is nearest in time; of two equally near ones either."""
    if faces.clips is None or faces.frames is None or (faces.clips == "").any():
        raise LoupeError(
            "The view `neighbour` is another frame of the same clip, but these faces are stills: choose view=parts, mirror or warp, "
            "or give faces that have a clip and a frame number in the manifest."
        )
    chosen = np.empty(len(faces.images), int)
    for clip in np.unique(faces.clips):
        rows = np.flatnonzero(faces.clips == clip)
        if len(rows) == 1:
            raise LoupeError(
                f"The view `neighbour` needs two frames of each clip, but clip {clip} has one: leave the clip out or choose another view."
            )
        rows = rows[np.argsort(faces.frames[rows], kind="stable")]
        gap = np.diff(faces.frames[rows]).astype(float)
        before, after = np.append(np.inf, gap), np.append(gap, np.inf)
        later = (after < before) | ((after == before) & (how.generator.random(len(rows)) < 0.5))
        chosen[rows] = rows[np.arange(len(rows)) + np.where(later, 1, -1)]
    return np.array(faces.images[chosen])


def _warp(faces: Faces, how: _Drawing) -> np.ndarray:
    """A pseudo view: the head turned by `YAW` to either side, at random. A thin-plate spline carries every pixel along with the landmarks
    next to it, whose depth is the canonical one. The border of the usual template stays, which lies outside: this frame's own runs through
    the face. Skin that was hidden or outside the picture cannot appear.
    """
    count, height, width = faces.images.shape[:3]
    step = 4  # px: the spline is smooth, so it is evaluated on a coarse grid
    rows, columns = height // step + 1, width // step + 1
    grid = np.stack(np.meshgrid(_centres(width, columns), _centres(height, rows)), axis=-1).reshape(-1, 2)
    border = framed(np.array([(x, y) for x in np.linspace(0, 1, 5) for y in np.linspace(0, 1, 5) if x in (0, 1) or y in (0, 1)]))
    side = np.where(how.generator.random(count) < 0.5, -YAW, YAW)
    out = np.empty(faces.images.shape, np.uint8)
    for row in track(range(count), "turning heads"):
        found = None if how.landmarks is None else how.landmarks[row]
        points, after = turned(found, side[row], how.jitter, how.generator)
        spline = RBFInterpolator(
            np.concatenate([after, border]), np.concatenate([points, border]), kernel="thin_plate_spline", smoothing=1e-3
        )
        coarse = torch.from_numpy(spline(grid).reshape(1, rows, columns, 2)).float().permute(0, 3, 1, 2)
        place = functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
        pixels = torch.from_numpy(np.array(faces.images[row])).permute(2, 0, 1)[None].float()
        drawn = functional.grid_sample(pixels, 2 * place.permute(0, 2, 3, 1) - 1, padding_mode="border", align_corners=False)
        out[row] = drawn[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return out


def _centres(pixels: int, nodes: int) -> np.ndarray:
    """`nodes` places from the centre of the first of `pixels` pixels to that of the last, as shares of the side."""
    return np.linspace(0.5, pixels - 0.5, nodes) / pixels


def _camera(faces: Faces, how: _Drawing) -> np.ndarray:
    """The same instant through a second camera, as stored."""
    if faces.second is None:
        raise LoupeError(
            "The view `camera` needs a second picture of every face (prepared set `camera`): set scale.faces.second_cameras=1 and run "
            "`dvc repro data`, or choose view=warp, its imitation."
        )
    if faces.second.shape != faces.images.shape:
        raise LoupeError(
            f"The second camera's pictures have shape {faces.second.shape}, not {faces.images.shape}: run `dvc repro data` again."
        )
    return np.array(faces.second)


def _duplicate(faces: Faces, how: _Drawing) -> np.ndarray:
    return np.array(faces.images)


def _shuffled(faces: Faces, how: _Drawing) -> np.ndarray:
    """The `parts` view of another subject: right statistics, no information about this face."""
    subjects, generator = faces.subjects, how.generator
    order = generator.permutation(len(subjects))
    for _ in range(100):
        clash = np.flatnonzero(subjects[order] == subjects)
        if not len(clash):
            break
        order[clash] = order[generator.permutation(clash)] if len(clash) > 1 and len(set(subjects[clash])) > 1 else order[clash]
        for i in np.flatnonzero(subjects[order] == subjects):
            j = int(generator.integers(len(subjects)))
            order[i], order[j] = order[j], order[i]
    else:
        raise LoupeError(
            "The view `shuffled` needs pictures of at least two subjects in about equal shares, but one subject dominates this set."
        )
    return _parts(faces, how)[order]


VIEWS: dict[str, Callable[[Faces, _Drawing], np.ndarray]] = {
    "parts": _parts,
    "highlight": _highlight,
    "mirror": _mirror,
    "neighbour": _neighbour,
    "warp": _warp,
    "camera": _camera,
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

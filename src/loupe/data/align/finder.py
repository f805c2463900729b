"""One interface over detector and landmarks: pictures in, faces out. Which networks stand behind it is nobody else's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from loupe.data.align.blazeface import BlazeFace, Detection
from loupe.data.align.face_mesh import SURE, FaceMesh
from loupe.data.face_layout import five_points

PLAIN_LOOKS = 2  # of `BlazeFace.looks`: the upright whole. What only a later one shows must be beyond doubt
SAME = 0.2  # mean distance of the points, in sides of the face, below which two findings are one face


@dataclass(frozen=True, eq=False)
class Face:
    """box: left, top, right, bottom of the points; points: (68, 2) iBUG; pupils: (2, 2), the picture's left one first; all px. score
    (detector): 0..1;
    presence (landmarks): a logit, beyond doubt from `face_mesh.SURE`.
    """

    box: np.ndarray
    points: np.ndarray
    pupils: np.ndarray
    score: float
    presence: float

    @property
    def five(self) -> np.ndarray:
        """Centres of the eyes, nose tip, corners of the mouth: (5, 2) px."""
        return five_points(self.points)

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        return float((self.box[2:] - self.box[:2]).max())


class FaceFinder(Protocol):
    def __call__(self, pixels: np.ndarray) -> list[Face]:
        """Faces in uint8 (H, W, 3), largest first; an empty list where there is none."""
        ...


class MediaPipeFinder:
    """BlazeFace for the boxes, face mesh and iris for the points. Not for use by several threads at once. Raises LoupeError without the
    extra."""

    def __init__(self) -> None:
        self._detect, self._mesh = BlazeFace(), FaceMesh()

    def __call__(self, pixels: np.ndarray) -> list[Face]:
        for number, found in enumerate(self._detect.looks(pixels)):
            faces = self._confirmed(pixels, found, SURE if number >= PLAIN_LOOKS else 0.0)
            if faces:
                return sorted(faces, key=lambda face: -face.side)
        return []

    def _confirmed(self, pixels: np.ndarray, detections: list[Detection], least: float) -> list[Face]:
        """Faces of at least this presence among the detections, each once."""
        faces: list[Face] = []
        for found in detections:
            placed = self._mesh(pixels, found.box, found.points[:2])
            if placed is None or placed[2] < least:
                continue
            points, pupils, presence = placed
            face = Face(np.concatenate([points.min(0), points.max(0)]), points, pupils, found.score, presence)
            # Several boxes on one face, as a tight crop can give, lead the mesh to the same points.
            if all(np.linalg.norm(face.points - other.points, axis=1).mean() > SAME * other.side for other in faces):
                faces.append(face)
        return faces


def follow(frames: Iterable[np.ndarray], find: FaceFinder, reach: float = 0.5) -> Iterator[tuple[Face | None, int]]:
    """One face through a video, and how many faces each frame shows: the largest of the first frame that has any, then in each frame the
    one nearest to where it last was, within `reach` sides of the last box.

    Where it is not there (a cut, a head out of sight), it is taken up again as soon as a frame shows exactly one face in a place where no
    other person has been seen; nobody else takes over. None for a frame without it: nothing is invented.
    """
    last: Face | None = None
    others: list[Face] = []  # where faces were seen beside the followed one, the newest last
    for pixels in frames:
        faces = find(pixels)
        face, new = faces[0] if faces else None, []
        if last is not None:
            near = [other for other in faces if _reaches(last, other, reach)]
            new = [other for other in faces if not any(_reaches(known, other, reach) for known in others)]
            face = min(near, key=lambda other, here=last.centre: float(np.linalg.norm(other.centre - here)), default=None)
            face = face or (new[0] if len(new) == 1 else None)
        beside = [other for other in faces if other is not face and (face is not None or other not in new)]
        others = [known for known in others if not any(_reaches(known, other, reach) for other in beside)] + beside
        last = face or last
        yield face, len(faces)


def _reaches(last: Face, face: Face, reach: float) -> bool:
    return bool(np.linalg.norm(face.centre - last.centre) <= reach * last.side and 0.5 < face.side / last.side < 2)

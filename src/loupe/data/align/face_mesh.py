"""Points of one face: MediaPipe's face mesh (Kartynnik et al., 2019, arXiv 1907.06724) and iris network (Ablavatski et al., 2020, arXiv
2006.11341).

The mesh has 468 points; 68 of them stand in for the iBUG 300-W points in which the micro-expression papers crop and align. The
correspondence is the usual one; the jaw follows the mesh's outline, which lies a little inside iBUG's.
"""

from __future__ import annotations

import numpy as np

from loupe.data.align.geometry import box_transform, warp
from loupe.data.align.networks import Network

MESH, IRIS = "face_landmark.tflite", "iris_landmark.tflite"
SURE = 30.0  # presence above which nothing else is looked at: upright faces of 64 px begin at 37, the mesh of one on its head ends at 17
IBUG = np.array(
    [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
     71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
     168, 197, 5, 4, 75, 97, 2, 326, 305,
     33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
     61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
     78, 82, 13, 312, 308, 317, 14, 87]
)  # fmt: skip
_CORNERS = ((33, 133), (362, 263))  # outer and inner corner of the picture's left eye, inner and outer of the right one
_BOX_SCALE = 1.5  # of the longer side, around a detected box or around the mesh
_ROUNDS = 4
_EYE_SCALE = 2.3  # of the distance between the corners


class FaceMesh:
    def __init__(self) -> None:
        self._mesh, self._iris = Network(MESH), Network(IRIS)

    def __call__(self, pixels: np.ndarray, box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Points (68, 2), pupils (2, 2), both px, and presence (a logit) of the face in `box` (left, top, right, bottom) with `eyes` (2,
        2), roughly.

        None where the network sees no face there. A detector takes the mouth of a face on its head for eyes, so a mesh that is not sure is
        placed a second time, turned around; the surer one counts, and is placed anew as long as that makes it surer (a face turned by 135
        degrees comes level).
        """
        mesh, presence = self._placed(pixels, box, eyes)
        if presence < SURE:
            mesh, presence = max((mesh, presence), self._placed(pixels, box, eyes[::-1]), key=lambda placed: placed[1])
            for _ in range(_ROUNDS if presence >= 0 else 0):
                again, surer = self._around(pixels, mesh)
                if surer < presence + 1:
                    break
                mesh, presence = again, surer
        if presence < 0:
            return None
        pupils = np.stack([self._pupil(pixels, mesh[list(pair)], mirrored) for pair, mirrored in zip(_CORNERS, (False, True), strict=True)])
        return mesh[IBUG], pupils, presence

    def _placed(self, pixels: np.ndarray, box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, float]:
        """All 468 points, px, and presence; the mesh is run a second time around its own first result, so that the box does not decide."""
        mesh, presence = self._points(pixels, (box[:2] + box[2:]) / 2, _BOX_SCALE * (box[2:] - box[:2]).max(), eyes)
        return self._around(pixels, mesh) if presence >= 0 else (mesh, presence)

    def _around(self, pixels: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, float]:
        low, high = mesh.min(0), mesh.max(0)
        eyes = np.stack([mesh[list(pair)].mean(0) for pair in _CORNERS])
        return self._points(pixels, (low + high) / 2, _BOX_SCALE * (high - low).max(), eyes)

    def _points(self, pixels: np.ndarray, centre: np.ndarray, side: float, eyes: np.ndarray) -> tuple[np.ndarray, float]:
        """All 468 points, px, and presence, in a square turned so that the eyes stand level."""
        across = eyes[1] - eyes[0]
        square = box_transform(centre, side, float(np.arctan2(across[1], across[0])))
        points, presence = self._mesh(warp(pixels, square, self._mesh.size, smooth=False) / 255)[:2]
        return square.inverse(points.reshape(-1, 3)[:, :2] / self._mesh.size), float(presence.ravel()[-1])

    def _pupil(self, pixels: np.ndarray, corners: np.ndarray, mirrored: bool) -> np.ndarray:
        """Centre of the iris, px. The network knows left eyes: a right one is shown to it in the mirror."""
        across = corners[1] - corners[0]
        square = box_transform(corners.mean(0), _EYE_SCALE * float(np.linalg.norm(across)), float(np.arctan2(across[1], across[0])))
        eye = warp(pixels, square, self._iris.size, smooth=False) / 255
        outputs = self._iris(eye[:, ::-1] if mirrored else eye)
        iris = min(outputs, key=np.size).reshape(-1, 3)  # 5 points, the first of them the centre; the other output is the eye's contour
        centre = iris[:1, :2] / self._iris.size
        if mirrored:
            centre[:, 0] = 1 - centre[:, 0]
        return square.inverse(centre)[0]

"""The 68 iBUG landmarks (Sagonas et al. 2013) as vertices of the template head, so that they follow every morph and expression."""

from __future__ import annotations

import numpy as np

from loupe.faces.bake import SKIN

# Template (x, y) in dm of one half, subject's left; the other half is mirrored. Order as iBUG runs over that half.
_JAW = ((0.74, 7.25), (0.735, 7.05), (0.71, 6.85), (0.67, 6.66), (0.60, 6.50), (0.48, 6.36), (0.34, 6.25), (0.17, 6.19))
_CHIN = (0.0, 6.17)
_BROW = ((0.53, 7.41), (0.43, 7.462), (0.32, 7.473), (0.21, 7.45), (0.10, 7.412))  # outer to inner
_BRIDGE = ((0, 7.27), (0, 7.15), (0, 7.03), (0, 6.92))
_NOSTRILS = ((0.13, 6.815), (0.065, 6.80))
_EYE_SHARES = (1 / 3, 2 / 3)  # places of the two lid points between the corners
_LIP_OUTER, _LIP_INNER = (0.15, 0.06), 0.10  # x of the outer and inner lip points


def landmark_vertices(head: dict[str, np.ndarray], lip: np.ndarray) -> np.ndarray:
    """Vertex numbers (68,) in iBUG order. `lip` (V,) is the lip mask per vertex."""
    position = head["vertices"]
    skin = np.zeros(len(position), bool)
    skin[np.unique(head["triangles"][head["material"] == SKIN])] = True
    eyes = {1: _eye(head, 1), -1: _eye(head, -1)}
    mouth = _Mouth(head, skin & (lip > 0.35), lip)

    def nearest(x, y):
        behind = ~skin | (position[:, 2] < 0.35)
        return int((np.hypot(position[:, 0] - x, position[:, 1] - y) + 9 * behind - 0.02 * position[:, 2]).argmin())

    jaw = [nearest(-x, y) for x, y in _JAW] + [nearest(*_CHIN)] + [nearest(x, y) for x, y in reversed(_JAW)]
    brows = [nearest(-x, y) for x, y in _BROW] + [nearest(x, y) for x, y in reversed(_BROW)]
    bottom = [nearest(-x, y) for x, y in _NOSTRILS] + [nearest(0, 6.79)] + [nearest(x, y) for x, y in reversed(_NOSTRILS)]
    nose = [nearest(x, y) for x, y in _BRIDGE] + bottom
    right, left = eyes[-1], eyes[1]
    eye_points = [right["outer"], *right["upper"][::-1], right["inner"], *right["lower"]]
    eye_points += [left["inner"], *left["upper"], left["outer"], *left["lower"][::-1]]
    far, near = _LIP_OUTER
    lips = [mouth.corner(-1)] + [mouth.outer(x, True) for x in (-far, -near, 0, near, far)]
    lips += [mouth.corner(1)] + [mouth.outer(x, False) for x in (far, near, 0, -near, -far)]
    lips += [mouth.corner(-1, inner=True)] + [mouth.inner(x, True) for x in (-_LIP_INNER, 0, _LIP_INNER)]
    lips += [mouth.corner(1, inner=True)] + [mouth.inner(x, False) for x in (_LIP_INNER, 0, -_LIP_INNER)]
    return np.array(jaw + brows + nose + eye_points + lips)


def _eye(head, side: int) -> dict:
    """Corners and lid points of one eye from the lid vertices that carry the lashes; lid points run from the inner to the outer corner."""
    position, anchors = head["vertices"], head["lash_anchor"]
    chosen = position[anchors, 0] * side > 0
    points, lower = anchors[chosen], head["lash_lower"][chosen]
    x = np.abs(position[points, 0])
    inner, outer = points[x.argmin()], points[x.argmax()]
    targets = [x.min() + share * (x.max() - x.min()) for share in _EYE_SHARES]
    lids = {
        name: [int(points[mask][np.abs(x[mask] - t).argmin()]) for t in targets] for name, mask in (("upper", ~lower), ("lower", lower))
    }
    return {"inner": int(inner), "outer": int(outer), **lids}


class _Mouth:
    """Lip vertices told apart by how far they fall when the jaw opens."""

    def __init__(self, head, member, lip):
        self.position = head["vertices"]
        row = list(head["expression_names"]).index("jawOpen")
        start, end = head["expression_starts"][row : row + 2]
        drop = np.zeros(len(self.position) * 3 + 1000, np.float32)
        drop[head["expression_indices"][start:end]] = head["expression_values"][start:end]
        drop = -drop[1 : 3 * len(self.position) : 3]
        self.points = np.flatnonzero(member & (self.position[:, 2] > 1.25))
        fall = drop[self.points]
        self.upper = self.points[fall < 0.35 * fall.max()]
        self.lower = self.points[fall > 0.65 * fall.max()]

    def _column(self, x, upper):
        points = self.upper if upper else self.lower
        return points[np.abs(self.position[points, 0] - x) < 0.018]

    def outer(self, x, upper):
        points = self._column(x, upper)
        return int(points[(self.position[points, 1] * (1 if upper else -1)).argmax()])

    def inner(self, x, upper):
        """The visible lip that comes nearest to the mouth's slit: far out in front, at the inner end."""
        points = self._column(x, upper)
        front = points[self.position[points, 2] > self.position[points, 2].max() - 0.06]
        return int(front[(self.position[front, 1] * (-1 if upper else 1)).argmax()])

    def corner(self, side, inner=False):
        x = self.position[self.points, 0] * side
        return int(self.points[np.abs(x - (x.max() - (0.03 if inner else 0))).argmin()])

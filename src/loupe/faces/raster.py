"""Software rasteriser: perspective z-buffer over a triangle mesh, compiled with numba.

Pixel (row y, column x) is sampled at its centre (x + .5, y + .5); y grows downwards. A triangle faces the camera when its corners run
counter-clockwise as seen on the screen.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

CULL_BACK, TWO_SIDED, HIDDEN = 0, 1, 2


@njit(cache=True)
def rasterise(x, y, inverse_depth, triangles, sidedness, depth, index, second, third):
    """Fill the buffers (H, W) with the nearest triangle of every pixel.

    x, y (V) pixel coordinates; inverse_depth (V) 1/z > 0; triangles (T, 3); sidedness (T) of CULL_BACK, TWO_SIDED, HIDDEN.
    Written: depth (largest 1/z, 0 where empty), index (triangle or -1), second and third (perspective-correct barycentric weights of
    the second and third corner; the first is the rest).
    """
    height, width = depth.shape
    depth[:] = 0.0
    index[:] = -1
    for t in range(triangles.shape[0]):
        if sidedness[t] == 2:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = x[a], y[a], x[b], y[b], x[c], y[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9 or (sidedness[t] == 0 and area > 0):
            continue
        left = max(0, int(math.ceil(min(ax, bx, cx) - 0.5)))
        right = min(width - 1, int(math.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(math.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(height - 1, int(math.floor(max(ay, by, cy) - 0.5)))
        for row in range(top, bottom + 1):
            fy = row + 0.5 - ay
            for column in range(left, right + 1):
                fx = column + 0.5 - ax
                w1 = ((cy - ay) * fx - (cx - ax) * fy) / area
                w2 = ((bx - ax) * fy - (by - ay) * fx) / area
                w0 = 1 - w1 - w2
                if w0 < -1e-5 or w1 < -1e-5 or w2 < -1e-5:
                    continue
                z = w0 * inverse_depth[a] + w1 * inverse_depth[b] + w2 * inverse_depth[c]
                if z > depth[row, column]:
                    depth[row, column] = z
                    index[row, column] = t
                    second[row, column] = w1 * inverse_depth[b] / z
                    third[row, column] = w2 * inverse_depth[c] / z


class Buffers:
    """Reusable z-buffer of height x width pixels."""

    def __init__(self, height: int, width: int):
        self.depth = np.zeros((height, width), np.float32)
        self.index = np.zeros((height, width), np.int32)
        self.second = np.zeros((height, width), np.float32)
        self.third = np.zeros((height, width), np.float32)

    def draw(self, x, y, inverse_depth, triangles, sidedness) -> None:
        """Rasterise into these buffers; arguments as in `rasterise`."""
        rasterise(x, y, inverse_depth, triangles, sidedness, self.depth, self.index, self.second, self.third)

    def interpolate(self, values: np.ndarray, triangles: np.ndarray, empty: float = 0.0) -> np.ndarray:
        """Per-vertex values (V, ...) at every pixel (H, W, ...); `empty` where nothing was drawn."""
        hit = self.index >= 0
        corners = triangles[self.index[hit]]
        weights = np.stack([1 - self.second[hit] - self.third[hit], self.second[hit], self.third[hit]], axis=1)
        drawn = np.einsum("pc,pc...->p...", weights, values[corners])
        image = np.full(self.index.shape + values.shape[1:], empty, np.float32)
        image[hit] = drawn
        return image


@njit(cache=True, fastmath=True)
def vertex_normals(vertices, triangles, normals):
    """Write area-weighted unit vertex normals of vertices (V, 3) into normals (V, 3)."""
    normals[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for v in range(normals.shape[0]):
        length = 1 / math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2 + 1e-20)
        normals[v, 0] *= length
        normals[v, 1] *= length
        normals[v, 2] *= length


@njit(cache=True, fastmath=True)
def add_sparse(target, weights, starts, indices, values):
    """Add sum_k weights[k] * row_k to target (V*3,), where row k is the sparse vector indices/values[starts[k]:starts[k+1]]."""
    for k in range(weights.shape[0]):
        weight = weights[k]
        if weight == 0.0:
            continue
        for j in range(starts[k], starts[k + 1]):
            target[indices[j]] += weight * values[j]

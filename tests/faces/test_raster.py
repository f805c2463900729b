"""The rasteriser against closed forms."""

import numpy as np
import pytest

from loupe.faces.raster import CULL_BACK, HIDDEN, TWO_SIDED, Buffers, add_sparse, vertex_normals


def draw(x, y, inverse_depth, triangles, sides, height=24, width=20):
    buffers = Buffers(height, width)
    arrays = (np.asarray(values, np.float32) for values in (x, y, inverse_depth))
    buffers.draw(*arrays, np.asarray(triangles, np.int32), np.asarray(sides, np.int8))
    return buffers


def inside(x, y, px, py):
    """Half-plane test of the pixel centres, written plainly."""
    signs = [(x[(k + 1) % 3] - x[k]) * (py - y[k]) - (y[(k + 1) % 3] - y[k]) * (px - x[k]) for k in range(3)]
    return np.all(np.array(signs) >= 0, axis=0) | np.all(np.array(signs) <= 0, axis=0)


def test_one_triangle_covers_exactly_its_pixel_centres():
    x, y = (2.2, 17.3, 6.1), (3.37, 8.9, 21.7)  # no pixel centre lies on an edge
    buffers = draw(x, y, (1, 1, 1), [[0, 1, 2]], [TWO_SIDED])
    py, px = np.mgrid[0:24, 0:20] + 0.5
    assert np.array_equal(buffers.index == 0, inside(x, y, px, py))


def test_weights_are_perspective_correct():
    x, y, depth = np.array((1.0, 19.0, 4.0)), np.array((1.0, 5.0, 23.0)), np.array((2.0, 5.0, 3.0))
    buffers = draw(x, y, 1 / depth, [[0, 1, 2]], [TWO_SIDED])
    # a plane in space: the camera-space x of a pixel is screen x times depth, and depth itself is interpolated by the same weights
    vertices = np.stack([x * depth, y * depth, depth], axis=1).astype(np.float32)
    seen = buffers.interpolate(vertices, np.array([[0, 1, 2]]))
    hit = buffers.index == 0
    py, px = np.mgrid[0:24, 0:20] + 0.5
    assert np.allclose(seen[hit][:, 0] / seen[hit][:, 2], px[hit], atol=1e-3)
    assert np.allclose(seen[hit][:, 1] / seen[hit][:, 2], py[hit], atol=1e-3)


def test_the_nearer_triangle_wins_whatever_the_order():
    x, y = (0, 20, 0, 0, 20, 0), (0, 0, 24, 0, 0, 24)
    inverse = (1, 1, 1, 2, 2, 2)
    for triangles, winner in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0)):
        index = draw(x, y, inverse, triangles, [TWO_SIDED] * 2).index
        assert set(np.unique(index)) == {-1, winner}


@pytest.mark.parametrize("sides, drawn", [(CULL_BACK, (True, False)), (TWO_SIDED, (True, True)), (HIDDEN, (False, False))])
def test_sidedness(sides, drawn):
    x, y = (2.0, 17.0, 6.0), (20.0, 18.0, 3.0)  # counter-clockwise on the screen
    for triangle, expected in zip(([0, 1, 2], [0, 2, 1]), drawn, strict=True):
        assert (draw(x, y, (1, 1, 1), [triangle], [sides]).index == 0).any() == expected


def test_normals_of_a_tetrahedron_point_away_from_its_centre():
    vertices = np.array(((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)), np.float32)
    triangles = np.array(((0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)), np.int32)
    normals = np.zeros_like(vertices)
    vertex_normals(vertices, triangles, normals)
    assert np.allclose(normals, vertices / np.sqrt(3), atol=1e-5)


def test_sparse_rows_add_as_a_dense_product():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(4, 30)) * (rng.random((4, 30)) < 0.3)
    starts = np.r_[0, np.cumsum((dense != 0).sum(1))].astype(np.int32)
    rows, columns = np.nonzero(dense)
    target = rng.normal(size=30).astype(np.float32)
    weights = np.array((0.5, 0, -2, 1), np.float32)
    expected = target + weights @ dense
    add_sparse(target, weights, starts, columns.astype(np.int32), dense[rows, columns].astype(np.float32))
    assert np.allclose(target, expected, atol=1e-5)

"""One Catmull-Clark step as a sparse matrix, so that the base mesh and every displacement basis are refined by the same linear map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class Subdivision:
    """`matrix` (M, V) maps coarse to fine vertices; `triangles` (T, 3) index fine vertices; `texture` (T, 3, 2) corner coordinates."""

    matrix: sp.csr_matrix
    triangles: np.ndarray
    texture: np.ndarray


def catmull_clark(faces: np.ndarray, corner_texture: np.ndarray, n_vertices: int) -> Subdivision:
    """Refine quads `faces` (F, 4) with texture coordinates per corner (F, 4, 2); Catmull & Clark 1978, with the usual crease rule on borders."""
    n_faces = len(faces)
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1)  # (F, 4, 2): edge k runs from corner k to k + 1
    edges, edge_of = np.unique(np.sort(ends.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(n_faces, 4)
    n_edges = len(edges)

    def incidence(rows, columns, shape):
        return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)

    face_rows = np.repeat(np.arange(n_faces), 4)
    face_vertex = incidence(face_rows, faces.ravel(), (n_faces, n_vertices))
    edge_vertex = incidence(np.repeat(np.arange(n_edges), 2), edges.ravel(), (n_edges, n_vertices))
    edge_face = incidence(edge_of.ravel(), face_rows, (n_edges, n_faces))
    border_edge = np.asarray(edge_face.sum(1)).ravel() != 2

    face_points = face_vertex / 4
    middle = edge_vertex / 2
    inner_edges = (edge_vertex + edge_face @ face_points) / 4
    edge_points = sp.diags(border_edge.astype(float)) @ middle + sp.diags((~border_edge).astype(float)) @ inner_edges

    valence = np.maximum(np.asarray(edge_vertex.sum(0)).ravel(), 1)
    n_around = np.maximum(np.asarray(face_vertex.sum(0)).ravel(), 1)
    border_vertex = np.zeros(n_vertices, bool)
    border_vertex[edges[border_edge].ravel()] = True
    identity = sp.identity(n_vertices, format="csr")
    n = np.maximum(valence, 3)
    inner = (
        sp.diags(1 / (n * n_around)) @ face_vertex.T @ face_points
        + sp.diags(2 / (n * valence)) @ edge_vertex.T @ middle
        + sp.diags((n - 3) / n) @ identity
    )
    border_edges = edge_vertex[border_edge]
    n_border = np.maximum(np.asarray(border_edges.sum(0)).ravel(), 1)
    crease = 0.5 * identity + sp.diags(0.5 / n_border) @ border_edges.T @ middle[border_edge]
    moved = sp.diags(border_vertex.astype(float)) @ crease + sp.diags((~border_vertex).astype(float)) @ inner

    used = np.unique(faces)
    new_index = np.full(n_vertices, -1)
    new_index[used] = np.arange(len(used))
    matrix = sp.vstack([moved.tocsr()[used], edge_points, face_points]).tocsr()

    centre = np.repeat((len(used) + n_edges + np.arange(n_faces))[:, None], 4, axis=1)
    following = len(used) + edge_of
    preceding = np.roll(following, 1, axis=1)
    quads = np.stack([new_index[faces], following, centre, preceding], axis=-1).reshape(-1, 4)
    t = corner_texture
    middle_texture = np.repeat(t.mean(1, keepdims=True), 4, axis=1)
    quad_texture = np.stack([t, (t + np.roll(t, -1, 1)) / 2, middle_texture, (t + np.roll(t, 1, 1)) / 2], axis=2).reshape(-1, 4, 2)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    texture = np.concatenate([quad_texture[:, [0, 1, 2]], quad_texture[:, [0, 2, 3]]])
    return Subdivision(matrix, triangles, texture)

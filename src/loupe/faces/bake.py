"""Turn the head data into the arrays that rendering needs, once: refined head mesh, sparse bases, template texture fields, occlusion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from PIL import Image

from loupe.faces import template
from loupe.faces.assets import ObjMesh, asset_paths, read_obj, read_target
from loupe.faces.raster import TWO_SIDED, Buffers, vertex_normals
from loupe.faces.subdivide import catmull_clark

SKIN, BODY, MOUTH, TEETH, TONGUE, LASH, EYE, HAIR = range(8)
# The head's chart inside the MakeHuman texture, and the size of our texture over it.
CHART = (0.638, 0.996, 0.145, 0.825)  # u from, u to, v from, v to
TEXTURE_HEIGHT, TEXTURE_WIDTH = 720, 384
WRINKLE_DEPTH = 0.012  # dm at full strength
AO_DIRECTIONS, AO_PIXELS = 72, 384


def bake(root: Path) -> dict[str, np.ndarray]:
    """All arrays of the head, from the verified data folder `root`.

    Vertices are ordered: refined head parts, then two eye spheres, then the hair curtain. Bases are sparse rows over the flattened (V*3) vertices.
    """
    paths = asset_paths(root)
    mesh = read_obj(paths["mesh"])
    parts = _refine(mesh)
    refine, triangles, texture, material = parts
    base = refine @ mesh.vertices
    upper_teeth = _vertices_of(mesh, refine, "helper-upper-teeth")
    base[upper_teeth] += (0, -0.03, 0.025)  # the helper sits high and deep: without this a smile shows a dark gap
    eyes = [np.unique(mesh.faces[mesh.groups == f"helper-{side}-eye"]) for side in ("r", "l")]
    n_head = len(base)
    sphere, sphere_triangles = eye_sphere()
    curtain, curtain_triangles = hair_curtain()
    n_eye = len(sphere)
    vertices = np.concatenate([base, *[sphere * 0.137 + mesh.vertices[eye].mean(0) for eye in eyes], curtain])
    triangles = np.concatenate(
        [triangles, sphere_triangles + n_head, sphere_triangles + n_head + n_eye, curtain_triangles + n_head + 2 * n_eye]
    )
    material = np.concatenate([material, np.full(2 * len(sphere_triangles), EYE), np.full(len(curtain_triangles), HAIR)])
    texture = np.concatenate([texture, np.zeros((len(triangles) - len(texture), 3, 2))])
    texture = np.stack(
        [(texture[..., 0] - CHART[0]) / (CHART[1] - CHART[0]), 1 - (texture[..., 1] - CHART[2]) / (CHART[3] - CHART[2])], axis=-1
    )

    arrays = {
        "vertices": vertices.astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "texture": texture.astype(np.float32),
        "material": material.astype(np.int8),
        "n_head": np.array(n_head),
        "n_eye": np.array(n_eye),
        "sphere": sphere.astype(np.float32),
        "eye_points": np.stack([mesh.vertices[eye] for eye in eyes]).astype(np.float32),
    }
    arrays |= _bases(paths, mesh, refine, eyes)
    arrays |= _lash_anchors(arrays)
    head_points = base[np.unique(triangles[material == SKIN])]
    anchors = np.unique(triangles[material == SKIN])
    nearest = np.linalg.norm(curtain[:, None] - head_points[None, ::8], axis=-1).argmin(1)
    arrays["curtain_anchor"] = anchors[::8][nearest].astype(np.int32)
    arrays |= _texture_fields(arrays, paths["lips"])
    arrays["occlusion"] = _ambient_occlusion(arrays)
    return arrays


def _refine(mesh: ObjMesh):
    """Refine the head, teeth, tongue and lash strips; returns (matrix, triangles, corner texture, material)."""
    corners = mesh.vertices[mesh.faces]
    head = (mesh.groups == "body") & (corners[:, :, 1].min(1) > 4.9) & (np.abs(corners[:, :, 0]).max(1) < 1.6)
    lashes = np.isin(mesh.groups, [f"helper-{side}-eyelashes-{k}" for side in "lr" for k in (1, 2)])
    chosen = [
        (head, SKIN),
        *[(mesh.groups == f"helper-{row}-teeth", TEETH) for row in ("upper", "lower")],
        (mesh.groups == "helper-tongue", TONGUE),
        (lashes, LASH),
    ]
    matrices, triangles, texture, material, offset = [], [], [], [], 0
    for mask, kind in chosen:
        fine = catmull_clark(mesh.faces[mask], mesh.texture[mesh.face_texture[mask]], len(mesh.vertices))
        kinds = np.full(len(fine.triangles), kind)
        if kind == SKIN:  # the mouth bag and the shoulders lie outside the face chart
            u, v = fine.texture.mean(1).T
            inside = (u > CHART[0]) & (v > CHART[2]) & (v < CHART[3])
            kinds = np.where((u > 0.75) & (v < 0.14), MOUTH, np.where(inside, SKIN, BODY))
        matrices.append(fine.matrix)
        triangles.append(fine.triangles + offset)
        texture.append(fine.texture)
        material.append(kinds)
        offset += fine.matrix.shape[0]
    return sp.vstack(matrices).tocsr(), np.concatenate(triangles), np.concatenate(texture), np.concatenate(material)


def _vertices_of(mesh: ObjMesh, refine, group: str) -> np.ndarray:
    """Refined vertices that depend on the coarse vertices of `group` alone."""
    member = np.zeros(len(mesh.vertices))
    member[np.unique(mesh.faces[mesh.groups == group])] = 1
    return np.flatnonzero(refine @ member > 0.99)


def _bases(paths, mesh: ObjMesh, refine, eyes) -> dict[str, np.ndarray]:
    """Sparse rows of all expression, macro and local targets over [head vertices, eye helper vertices], flattened."""
    arrays = {}
    for kind in ("expression", "macro", "local"):
        names = [name for name in paths if name.startswith(kind + "/")]
        rows = []
        for name in names:
            coarse = read_target(paths[name], len(mesh.vertices))
            dense = np.concatenate([refine @ coarse, *[coarse[eye] for eye in eyes]]).ravel()
            dense[np.abs(dense) < 2e-5] = 0
            rows.append(sp.csr_matrix(dense.astype(np.float32)))
        stacked = sp.vstack(rows).tocsr()
        arrays[f"{kind}_names"] = np.array([name.removeprefix(kind + "/") for name in names])
        arrays[f"{kind}_starts"] = stacked.indptr.astype(np.int32)
        arrays[f"{kind}_indices"] = stacked.indices.astype(np.int32)
        arrays[f"{kind}_values"] = stacked.data.astype(np.float32)
    return arrays


def _lash_anchors(arrays) -> dict[str, np.ndarray]:
    """For every lash vertex the nearest lid vertex: the strips are pulled towards it, or they read as clown's eyeliner."""
    position, triangles, material = arrays["vertices"], arrays["triangles"], arrays["material"]
    lash = np.unique(triangles[material == LASH])
    skin = np.unique(triangles[material == SKIN])
    skin = skin[position[skin, 2] > 0.9]
    nearest = np.linalg.norm(position[lash][:, None] - position[skin][None], axis=-1).argmin(1)
    return {"lash": lash.astype(np.int32), "lash_anchor": skin[nearest].astype(np.int32), "lash_lower": position[lash, 1] < 7.27}


def _texture_fields(arrays, lips: Path) -> dict[str, np.ndarray]:
    """Template position of every texel and the fields painted from it."""
    head = arrays["material"] == SKIN
    triangles = arrays["triangles"][head]
    uv = arrays["texture"][head].reshape(-1, 2) * (TEXTURE_WIDTH, TEXTURE_HEIGHT)
    buffers = Buffers(TEXTURE_HEIGHT, TEXTURE_WIDTH)
    corners = np.arange(len(uv), dtype=np.int32).reshape(-1, 3)
    buffers.draw(
        uv[:, 0].astype(np.float32),
        uv[:, 1].astype(np.float32),
        np.ones(len(uv), np.float32),
        corners,
        np.full(len(corners), TWO_SIDED, np.int8),
    )
    position = buffers.interpolate(arrays["vertices"][triangles.ravel()], corners)
    painted = buffers.index >= 0
    nearest = ndi.distance_transform_edt(~painted, return_distances=False, return_indices=True)
    position = position[nearest[0], nearest[1]]

    heights = template.wrinkle_heights(position)
    jacobian = _gradient_map(position, painted)
    relief = np.concatenate(
        [object_gradient(heights[..., k] * WRINKLE_DEPTH, jacobian)[..., None, :] for k in range(heights.shape[-1])], axis=-2
    )
    lip_image = np.asarray(Image.open(lips).convert("L"), np.float32) / 255
    rows = (1 - (CHART[3] - (np.arange(TEXTURE_HEIGHT) + 0.5) / TEXTURE_HEIGHT * (CHART[3] - CHART[2]))) * lip_image.shape[0] - 0.5
    columns = (CHART[0] + (np.arange(TEXTURE_WIDTH) + 0.5) / TEXTURE_WIDTH * (CHART[1] - CHART[0])) * lip_image.shape[1] - 0.5
    lip = ndi.map_coordinates(ndi.gaussian_filter(lip_image, 1.0), np.meshgrid(rows, columns, indexing="ij"), order=1)
    fields = {"position": position, "painted": painted, "jacobian": jacobian, "lip": lip, **template.skin_zones(position)}
    fields["wrinkles"] = np.concatenate([relief, heights[..., None]], axis=-1)
    return {f"field_{name}": value.astype(np.float32) if value.dtype != bool else value for name, value in fields.items()}


def _gradient_map(position, painted) -> np.ndarray:
    """(H, W, 2, 3): what one unit of height change per texel, along columns and rows, means as a gradient in object space."""
    du, dv = np.gradient(position, axis=1), np.gradient(position, axis=0)
    e, f, g = (du * du).sum(-1), (du * dv).sum(-1), (dv * dv).sum(-1)
    determinant = np.maximum(e * g - f * f, 1e-12)[..., None]
    along_u = (g[..., None] * du - f[..., None] * dv) / determinant
    along_v = (e[..., None] * dv - f[..., None] * du) / determinant
    return np.stack([along_u, along_v], axis=-2) * painted[..., None, None]


def object_gradient(height: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Gradient in object space (H, W, 3) of a height field (H, W) in dm on the texture; steep chart borders are limited."""
    gradient = np.gradient(height, axis=1)[..., None] * jacobian[..., 0, :] + np.gradient(height, axis=0)[..., None] * jacobian[..., 1, :]
    length = np.linalg.norm(gradient, axis=-1, keepdims=True)
    return gradient * np.minimum(1, 2.5 / np.maximum(length, 1e-6))


def eye_sphere(rings: int = 20, spokes: int = 28):
    """Unit sphere with its pole on +z (the pupil): vertices (N, 3), outward triangles."""
    theta, phi = np.linspace(0, np.pi, rings)[:, None], np.linspace(0, 2 * np.pi, spokes, endpoint=False)
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], axis=-1).reshape(-1, 3)
    return points, _grid_triangles(rings, spokes, closed=True)


def _grid_triangles(rows: int, columns: int, closed: bool) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])


def hair_curtain(rows: int = 24, columns: int = 64):
    """A sheet of long hair round the sides and back of the head, y 8.3 down to 5.0: vertices (N, 3), triangles."""
    y = np.linspace(8.30, 5.0, rows)[:, None]
    azimuth = np.radians(np.linspace(66, 294, columns))[None]
    crown = np.sqrt(np.clip(1 - ((np.maximum(y, 7.55) - 7.55) / 0.92) ** 2, 0.02, 1))
    flare = 1 + 0.10 * template.smoothstep(7.2, 5.6, y)
    x = np.sin(azimuth) * 0.92 * crown * flare
    z = 0.52 + np.cos(azimuth) * 0.99 * crown * flare
    return np.stack([x, y + 0 * azimuth, z], axis=-1).reshape(-1, 3), _grid_triangles(rows, columns, closed=False)


def _ambient_occlusion(arrays) -> np.ndarray:
    """Share of the sky that every vertex of the template sees (V,), cosine-weighted, from orthographic depth maps."""
    position, triangles = arrays["vertices"], arrays["triangles"]
    caster = np.ascontiguousarray(triangles[~np.isin(arrays["material"], (LASH, HAIR))])
    normals = np.zeros_like(position)
    vertex_normals(position, triangles, normals)
    i = np.arange(AO_DIRECTIONS) + 0.5
    golden, height = np.pi * (1 + 5**0.5) * i, 1 - 2 * i / AO_DIRECTIONS
    ring = np.sqrt(1 - height**2)
    seen, total = np.zeros(len(position)), np.zeros(len(position))
    buffers = Buffers(AO_PIXELS, AO_PIXELS)
    sided = np.full(len(caster), TWO_SIDED, np.int8)
    centred = position - np.array([0, 6.9, 0.3], np.float32)
    for direction in np.stack([ring * np.cos(golden), height, ring * np.sin(golden)], axis=1):
        right = np.cross((0, 1, 0) if abs(direction[1]) < 0.9 else (1, 0, 0), direction)
        right /= np.linalg.norm(right)
        x = ((centred @ right / 1.9 + 1) * AO_PIXELS / 2).astype(np.float32)
        y = ((1 - centred @ np.cross(direction, right) / 1.9) * AO_PIXELS / 2).astype(np.float32)
        distance = (10 - centred @ direction).astype(np.float32)
        buffers.draw(x, y, 1 / distance, caster, sided)
        column, row = np.clip(x, 0, AO_PIXELS - 1).astype(int), np.clip(y, 0, AO_PIXELS - 1).astype(int)
        front = buffers.depth[row, column]
        visible = (front == 0) | (distance < 1 / np.maximum(front, 1e-6) + 0.06)
        weight = np.clip(normals @ direction, 0, None)
        seen += weight * visible
        total += weight
    return (seen / np.maximum(total, 1e-3)).astype(np.float32)

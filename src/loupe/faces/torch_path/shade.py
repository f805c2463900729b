"""The shading of `loupe.faces.shade` for all covered pixels at once, in torch: same terms, same constants, same order of materials."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from loupe.faces.bake import BODY, EYE, HAIR, LASH, SKIN, TEETH, TONGUE
from loupe.faces.bake import MOUTH as LINING
from loupe.faces.torch_path.raster import Hits


@dataclass(frozen=True)
class Scene:
    """Arguments of `loupe.faces.shade.shade` as float32 tensors on one device; `scalars` and `colours` in its order."""

    triangles: torch.Tensor
    material: torch.Tensor
    normals: torch.Tensor
    position: torch.Tensor
    occlusion: torch.Tensor
    template: torch.Tensor
    coordinates: torch.Tensor
    texture: torch.Tensor
    wrinkles: torch.Tensor
    folded: torch.Tensor
    head_rotation: torch.Tensor
    gaze_rotation: torch.Tensor
    eye_frame: torch.Tensor
    scalars: tuple[float, ...]
    colours: torch.Tensor
    lights: torch.Tensor
    ambient: torch.Tensor
    shadow_frame: torch.Tensor
    shadow_depth: torch.Tensor


def step(low: float, high: float, x: torch.Tensor) -> torch.Tensor:
    """Hermite step from 0 at `low` to 1 at `high` (either order)."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def shade(hits: Hits, s: Scene) -> torch.Tensor:
    """Linear colour (P, 3) of every covered pixel."""
    corners, w = s.triangles[hits.triangle], hits.weights[:, :, None]
    normal = (s.normals[corners] * w).sum(1)
    position, template = (s.position[corners] * w).sum(1), (s.template[corners] * w).sum(1)
    open_ = (s.occlusion[corners] * hits.weights).sum(1)
    kind, count = s.material[hits.triangle], len(normal)
    albedo = torch.zeros(count, 3, device=normal.device)
    specular, roughness = torch.full((count,), 0.3, device=normal.device), torch.full((count,), 0.42, device=normal.device)
    hairy, soft = torch.zeros_like(specular), torch.zeros_like(specular)
    p = _Pixels(normal, template, position, open_, albedo, specular, roughness, hairy, soft)
    for member, paint in (
        (kind == SKIN, _skin), (kind == BODY, _body), ((kind == LINING) | (kind == TEETH) | (kind == TONGUE), _mouth), (kind == LASH, _lashes),
        (kind == HAIR, _curtain), (kind == EYE, _eyes),
    ):  # fmt: skip
        chosen = member.nonzero().squeeze(1)
        if len(chosen):
            paint(p, chosen, hits, s, kind[chosen])
    return _light(p, kind, s)


@dataclass
class _Pixels:
    """Per covered pixel: what the materials write and the lamps read."""

    normal: torch.Tensor
    template: torch.Tensor
    position: torch.Tensor
    open: torch.Tensor
    albedo: torch.Tensor
    specular: torch.Tensor
    roughness: torch.Tensor
    hairy: torch.Tensor
    soft: torch.Tensor


def _skin(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    rows, columns = s.texture.shape[:2]
    place = (s.coordinates[hits.triangle[at]] * hits.weights[at][:, :, None]).sum(1)
    u, v = (place[:, 0] * columns - 0.5).clamp(0, columns - 1.001), (place[:, 1] * rows - 0.5).clamp(0, rows - 1.001)
    iu, iv = u.long(), v.long()
    fu, fv = u - iu, v - iv

    def look_up(chart):
        extra = (1,) * (chart.ndim - 2)
        q = [q.view(-1, *extra) for q in ((1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv)]
        return chart[iv, iu] * q[0] + chart[iv, iu + 1] * q[1] + chart[iv + 1, iu] * q[2] + chart[iv + 1, iu + 1] * q[3]

    texel, tx, ty, tz = look_up(s.texture), *p.template[at].T
    hairy, relief = texel[:, 4].clamp(0, 1), texel[:, 5:8]
    left = step(-0.05, 0.05, tx)[:, None]
    strength = s.folded[:, 0] * (1 - left) + s.folded[:, 1] * left  # (P, 8)
    folds = look_up(s.wrinkles)  # (P, 8, 4)
    strength = torch.where((strength < 0.01) | (folds[..., 3] < 0.004), torch.zeros_like(strength), strength)
    cavity = (folds[..., 3] * strength).sum(1)
    relief = relief + (folds[..., :3] * strength[..., None]).sum(1)
    cover = torch.zeros_like(tx)
    if s.scalars[2] > 0:
        top = 7.03 - 0.16 * tx.abs()
        edge = ((ty - top - 0.012) / -0.024).clamp(0, 1)
        cover = edge * edge * (3 - 2 * edge) * step(0.30, 0.36, tz) * step(0.66, 0.63, tx.abs()) * step(6.12, 6.16, ty)
    bare = 1 - cover
    p.open[at] = p.open[at] * bare + 0.85 * cover
    pleats = cover * 0.35 * torch.sin(ty * 42.0) * step(0.5, 0.3, tx.abs())
    relief = relief * bare[:, None] + torch.stack([torch.zeros_like(pleats), pleats, torch.zeros_like(pleats)], 1)
    p.normal[at] -= relief @ s.head_rotation.T
    shaded = texel[:, :3] * torch.exp(-cavity[:, None] * cavity.new_tensor((0.22, 0.32, 0.36)))
    p.albedo[at] = shaded * bare[:, None] + s.colours[4] * cover[:, None]
    p.hairy[at], p.soft[at] = hairy, (1 - hairy) * bare
    p.roughness[at] = 0.42 * (1 - hairy) + 0.55 * hairy + 0.2 * cover
    p.specular[at] = texel[:, 3] * (1 - 0.4 * cavity.clamp(max=1.0)) * (1 - 0.8 * cover)


def _body(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    cloth = step(5.62, 5.55, p.template[at, 1] + 0.25 * p.template[at, 2].abs())
    p.soft[at] = 1 - cloth
    p.albedo[at] = s.colours[1] * (1 - cloth)[:, None] + s.colours[2] * cloth[:, None]


def _mouth(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    teeth = kind == TEETH
    p.specular[at], p.open[at] = 0.35, torch.where(teeth, 0.72, 0.5)
    p.roughness[at] = torch.where(teeth, 0.3, 0.42)
    if s.scalars[2] > 0:
        p.albedo[at], p.specular[at], p.open[at] = s.colours[4], 0.05, 0.85
        return
    y, z = p.template[at, 1], p.template[at, 2]
    colour = y.new_tensor
    lining = (0.02 + 0.6 * step(0.9, 1.4, z) ** 3)[:, None] * colour((0.26, 0.07, 0.065))
    gum = torch.where(y > 6.65, step(6.725, 6.765, y), step(6.545, 6.50, y))[:, None]
    enamel = (0.26 + 0.74 * step(0.95, 1.42, z) ** 2)[:, None] * (
        colour((0.66, 0.60, 0.50)) * (1 - gum) + colour((0.34, 0.12, 0.115)) * gum
    )
    tongue = (0.1 + 0.75 * step(0.8, 1.35, z))[:, None] * colour((0.36, 0.13, 0.125))
    p.albedo[at] = torch.where((kind == LINING)[:, None], lining, torch.where(teeth[:, None], enamel, tongue))


def _lashes(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    fine = 0.45 * step(7.275, 7.255, p.template[at, 1])[:, None]
    p.albedo[at] = fine.new_tensor((0.012, 0.009, 0.008)) * (1 - fine) + fine * s.colours[1]
    p.specular[at] = 0.03


def _curtain(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    tx, ty, tz = p.template[at].T
    azimuth = torch.atan2(tx, tz - 0.5)
    strand = 0.5 + 0.5 * torch.sin(azimuth * 61 + 3 * torch.sin(ty * 2.3 + azimuth * 9)) * torch.sin(azimuth * 143 + ty * 3.1)
    p.albedo[at] = s.colours[3] * (0.6 + 0.7 * strand)[:, None]
    p.specular[at], p.roughness[at], p.hairy[at] = 0.4, 0.5, 0.6
    towards = p.position.new_tensor((0.0, 0.0, s.scalars[0])) - p.position[at]
    inner = (p.normal[at] * towards).sum(1) < 0
    p.normal[at] = torch.where(inner[:, None], -p.normal[at], p.normal[at])
    p.open[at] = (0.45 + 0.3 * step(0.0, 0.9, tz) + 0.15 * strand) * torch.where(inner, 0.35, 1.0)


def _eyes(p: _Pixels, at, hits: Hits, s: Scene, kind) -> None:
    direction = (s.eye_frame[s.triangles[hits.triangle[at]]] * hits.weights[at][:, :, None]).sum(1)
    direction = direction / direction.norm(dim=1, keepdim=True)
    angle, phi = torch.arccos(direction[:, 2].clamp(-1, 1)), torch.atan2(direction[:, 1], direction[:, 0])
    radius, pupil = angle / 0.455, s.scalars[1]
    fibres = 0.5 + 0.5 * torch.sin(phi * 23 + 3 * torch.sin(phi * 7) + radius * 4)
    limbus, white = step(0.80, 1.02, radius), step(0.94, 1.10, radius)[:, None]
    dark = step(pupil / 0.455 * 1.12, pupil / 0.455 * 0.9, radius)[:, None]
    iris = s.colours[0] * ((0.55 + 0.6 * fibres * (0.4 + 0.6 * radius)) * (1.25 - 0.5 * radius) * (1 - 0.8 * limbus))[:, None]
    tint = radius.new_tensor
    sclera = tint((0.70, 0.665, 0.63)) * (1 - step(0.5, 1.2, angle)[:, None] * tint((0.1, 0.3, 0.3)))
    p.albedo[at] = (sclera * white + iris * (1 - white)) * (1 - dark) + 0.006 * dark
    p.specular[at], p.roughness[at] = 1.5, 0.11
    turned = direction @ s.gaze_rotation.T
    p.open[at] = 0.36 + 0.62 * step(0.58, 0.05, turned[:, 1]) * step(1.15, 0.5, turned[:, 0].abs())


def _light(p: _Pixels, kind, s: Scene) -> torch.Tensor:
    normal = p.normal / torch.sqrt((p.normal**2).sum(1, keepdim=True) + 1e-12)
    view = normal.new_tensor((0.0, 0.0, s.scalars[0])) - p.position
    view = view / view.norm(dim=1, keepdim=True)
    sky = p.open**1.25 * (0.60 + 0.40 * (normal @ s.ambient[2]))
    ground = p.open * (0.5 - 0.5 * normal[:, 1]).clamp(min=0) * 0.5
    facing = (normal * view).sum(1).clamp(min=0)
    sheen = torch.where(kind < 2, 0.05 * (1 - facing) ** 4 * p.open, torch.zeros_like(facing))
    colour = p.albedo * (s.ambient[0] * sky[:, None] + s.ambient[1] * ground[:, None]) + sheen[:, None] * s.ambient[0]
    crevice = step(0.10, 0.55, p.open) * 0.8 + 0.2
    wrap = p.soft[:, None] * normal.new_tensor((0.30, 0.12, 0.07))
    for j, lamp in enumerate(s.lights):
        lit = crevice * (1 - 0.85 * _blocked(p.position, s)) if j == 0 else crevice
        cosine = normal @ lamp[:3]
        half = lamp[:3] + view
        half = half / torch.sqrt((half**2).sum(1, keepdim=True) + 1e-12)
        nh, vh = (normal * half).sum(1).clamp(min=0), (view * half).sum(1).clamp(min=0)
        a2 = p.roughness**4
        lobe = a2 / (math.pi * (nh * nh * (a2 - 1) + 1) ** 2) * (0.028 + 0.972 * (1 - vh) ** 5) * 0.25 * p.specular
        gloss = lobe.clamp(max=3.0) * cosine.clamp(min=0) * 2.8 * (1 - 0.6 * p.hairy)
        diffuse = p.albedo * ((cosine[:, None] + wrap) / (1 + wrap)).clamp(min=0)
        colour = colour + (diffuse + gloss[:, None]) * lamp[3:] * lit[:, None]
    return colour


def _blocked(position: torch.Tensor, s: Scene) -> torch.Tensor:
    """Share (P,) of the key light that is blocked, by 5 x 5 look-ups in its depth map."""
    seen = position @ s.shadow_frame.T
    u, v = seen[:, 0] * s.scalars[3] + s.scalars[4], -seen[:, 1] * s.scalars[3] + s.scalars[4]
    rows, columns = s.shadow_depth.shape
    blocked = torch.zeros_like(u)
    for i in range(-2, 3):
        for j in range(-2, 3):
            row, column = (v + i * 1.3).long(), (u + j * 1.3).long()
            within = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            stored = s.shadow_depth[row.clamp(0, rows - 1), column.clamp(0, columns - 1)]
            blocked += within & (stored > 0) & (10 - 1 / stored.clamp(min=1e-9) > seen[:, 2] + 0.05)
    return blocked / 25

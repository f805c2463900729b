"""Per-pixel shading of a rasterised head: skin, eyes, mouth, lashes, hair under a key and a fill light and an ambient sky (numba).

Skin: diffuse light wrapped per channel (a cheap stand-in for scattering), GGX highlight, wrinkle and pore relief. Eyes: iris, limbus, pupil and lid
shadow evaluated from the direction on the eye sphere. All colours linear.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Places in the vector of scalars handed to `shade`.
DISTANCE, PUPIL, MASKED, SHADOW_SCALE, SHADOW_CENTRE = range(5)
# Rows of the colour table handed to `shade`.
IRIS, BODY_COLOUR, CLOTH, HAIR_COLOUR, MASK_COLOUR = range(5)


@njit(cache=True, fastmath=True)
def _step(low, high, x):
    t = (x - low) / (high - low)
    t = 0.0 if t < 0 else (1.0 if t > 1 else t)
    return t * t * (3 - 2 * t)


@njit(cache=True, fastmath=True)
def _covered_by_mask(x, y, z):
    """Share of cloth of a medical mask at a template position."""
    top = 7.03 - 0.16 * abs(x)
    return _step(top + 0.012, top - 0.012, y) * _step(0.30, 0.36, z) * _step(0.66, 0.63, abs(x)) * _step(6.12, 6.16, y)


@njit(cache=True, fastmath=True)
def _eye_albedo(lx, ly, lz, iris, pupil, albedo):
    """Write the albedo of the eyeball in the direction (lx, ly, lz) of its own frame; the pupil looks along +z."""
    angle = math.acos(min(max(lz, -1.0), 1.0))
    phi = math.atan2(ly, lx)
    radius = angle / 0.455
    fibres = 0.5 + 0.5 * math.sin(phi * 23 + 3 * math.sin(phi * 7) + radius * 4)
    limbus, white = _step(0.80, 1.02, radius), _step(0.94, 1.10, radius)
    dark = _step(pupil / 0.455 * 1.12, pupil / 0.455 * 0.9, radius)
    corner = _step(0.5, 1.2, angle)
    for k in range(3):
        coloured = iris[k] * (0.55 + 0.6 * fibres * (0.4 + 0.6 * radius)) * (1.25 - 0.5 * radius) * (1 - 0.8 * limbus)
        sclera = (0.70 - 0.035 * k) * (1 - corner * (0.1 if k == 0 else 0.3))
        albedo[k] = (sclera * white + coloured * (1 - white)) * (1 - dark) + 0.006 * dark


@njit(cache=True, fastmath=True)
def _mouth_albedo(kind, y, z, albedo):
    """Write the albedo inside the mouth (2 lining, 3 teeth and gums, 4 tongue), darker with depth."""
    if kind == 2:
        depth = _step(0.9, 1.4, z)
        share = 0.02 + 0.6 * depth**3
        albedo[0], albedo[1], albedo[2] = 0.26 * share, 0.07 * share, 0.065 * share
    elif kind == 3:
        depth = _step(0.95, 1.42, z)
        gum = _step(6.725, 6.765, y) if y > 6.65 else _step(6.545, 6.50, y)
        share = 0.26 + 0.74 * depth * depth
        albedo[0] = (0.66 * (1 - gum) + 0.34 * gum) * share
        albedo[1] = (0.60 * (1 - gum) + 0.12 * gum) * share
        albedo[2] = (0.50 * (1 - gum) + 0.115 * gum) * share
    else:
        share = 0.1 + 0.75 * _step(0.8, 1.35, z)
        albedo[0], albedo[1], albedo[2] = 0.36 * share, 0.13 * share, 0.125 * share


@njit(cache=True, fastmath=True)
def _shadow(px, py, pz, frame, scale, centre, depth):
    """Share of the key light that is blocked at a point, by 5 x 5 look-ups in the depth map seen from the light."""
    u = (px * frame[0, 0] + py * frame[0, 1] + pz * frame[0, 2]) * scale + centre
    v = -(px * frame[1, 0] + py * frame[1, 1] + pz * frame[1, 2]) * scale + centre
    height = px * frame[2, 0] + py * frame[2, 1] + pz * frame[2, 2]
    blocked = 0
    for i in range(-2, 3):
        for j in range(-2, 3):
            row, column = int(v + i * 1.3), int(u + j * 1.3)
            if 0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]:
                stored = depth[row, column]
                if stored > 0 and 10 - 1 / stored > height + 0.05:
                    blocked += 1
    return blocked / 25.0


@njit(cache=True, fastmath=True)
def shade(
    index,
    second,
    third,
    triangles,
    material,
    normals,
    position,
    occlusion,
    template,
    coordinates,
    texture,
    wrinkles,
    folded,
    head_rotation,
    gaze_rotation,
    eye_frame,
    scalars,
    colours,
    lights,
    ambient,
    shadow_frame,
    shadow_depth,
    image,
):
    """Shade every covered pixel of `image` (H, W, 3) in place.

    index/second/third: buffers of `raster.Buffers`. normals, position (camera space, dm), occlusion, template: per vertex. coordinates
    (T, 3, 2): place on the texture (TH, TW, 8). wrinkles (TH, TW, 8, 4), folded (8, 2). eye_frame (V, 3): position on the unit eye sphere.
    lights (n, 6): direction, colour; the first casts shadows. ambient (3, 3): sky colour, ground colour, up direction.
    """  # fmt: skip
    height, width = index.shape
    rows, columns, groups = texture.shape[0], texture.shape[1], folded.shape[0]
    albedo = np.zeros(3, np.float32)
    texel = np.zeros(8, np.float32)
    for y in range(height):
        for x in range(width):
            t = index[y, x]
            if t < 0:
                continue
            w1, w2 = second[y, x], third[y, x]
            w0 = 1 - w1 - w2
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            nx = normals[a, 0] * w0 + normals[b, 0] * w1 + normals[c, 0] * w2
            ny = normals[a, 1] * w0 + normals[b, 1] * w1 + normals[c, 1] * w2
            nz = normals[a, 2] * w0 + normals[b, 2] * w1 + normals[c, 2] * w2
            px = position[a, 0] * w0 + position[b, 0] * w1 + position[c, 0] * w2
            py = position[a, 1] * w0 + position[b, 1] * w1 + position[c, 1] * w2
            pz = position[a, 2] * w0 + position[b, 2] * w1 + position[c, 2] * w2
            tx = template[a, 0] * w0 + template[b, 0] * w1 + template[c, 0] * w2
            ty = template[a, 1] * w0 + template[b, 1] * w1 + template[c, 1] * w2
            tz = template[a, 2] * w0 + template[b, 2] * w1 + template[c, 2] * w2
            ao = occlusion[a] * w0 + occlusion[b] * w1 + occlusion[c] * w2
            kind = material[t]
            specular, roughness, hairy, soft = 0.3, 0.42, 0.0, 0.0
            if kind == 0:
                u = min(
                    max((coordinates[t, 0, 0] * w0 + coordinates[t, 1, 0] * w1 + coordinates[t, 2, 0] * w2) * columns - 0.5, 0.0),
                    columns - 1.001,
                )
                v = min(
                    max((coordinates[t, 0, 1] * w0 + coordinates[t, 1, 1] * w1 + coordinates[t, 2, 1] * w2) * rows - 0.5, 0.0), rows - 1.001
                )
                iu, iv = int(u), int(v)
                fu, fv = u - iu, v - iv
                q00, q01, q10, q11 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
                for k in range(8):
                    texel[k] = (
                        texture[iv, iu, k] * q00
                        + texture[iv, iu + 1, k] * q01
                        + texture[iv + 1, iu, k] * q10
                        + texture[iv + 1, iu + 1, k] * q11
                    )
                hairy, specular = min(max(texel[4], 0.0), 1.0), texel[3]
                gx, gy, gz, cavity = texel[5], texel[6], texel[7], 0.0
                # halves blend across the midline, or a one-sided fold would end in a seam
                left = _step(-0.05, 0.05, tx)
                for k in range(groups):
                    strength = folded[k, 0] * (1 - left) + folded[k, 1] * left
                    if strength < 0.01:
                        continue
                    fold = (
                        wrinkles[iv, iu, k, 3] * q00
                        + wrinkles[iv, iu + 1, k, 3] * q01
                        + wrinkles[iv + 1, iu, k, 3] * q10
                        + wrinkles[iv + 1, iu + 1, k, 3] * q11
                    )
                    if fold < 0.004:
                        continue
                    cavity += fold * strength
                    gx += strength * (
                        wrinkles[iv, iu, k, 0] * q00
                        + wrinkles[iv, iu + 1, k, 0] * q01
                        + wrinkles[iv + 1, iu, k, 0] * q10
                        + wrinkles[iv + 1, iu + 1, k, 0] * q11
                    )
                    gy += strength * (
                        wrinkles[iv, iu, k, 1] * q00
                        + wrinkles[iv, iu + 1, k, 1] * q01
                        + wrinkles[iv + 1, iu, k, 1] * q10
                        + wrinkles[iv + 1, iu + 1, k, 1] * q11
                    )
                    gz += strength * (
                        wrinkles[iv, iu, k, 2] * q00
                        + wrinkles[iv, iu + 1, k, 2] * q01
                        + wrinkles[iv + 1, iu, k, 2] * q10
                        + wrinkles[iv + 1, iu + 1, k, 2] * q11
                    )
                cover = _covered_by_mask(tx, ty, tz) if scalars[2] > 0 else 0.0
                bare = 1 - cover
                ao = ao * bare + 0.85 * cover  # stretched cloth hides the crevices below it
                gx, gy, gz = gx * bare, gy * bare, gz * bare
                if cover > 0:  # pleats
                    gy += cover * 0.35 * math.sin(ty * 42.0) * _step(0.5, 0.3, abs(tx))
                nx -= head_rotation[0, 0] * gx + head_rotation[0, 1] * gy + head_rotation[0, 2] * gz
                ny -= head_rotation[1, 0] * gx + head_rotation[1, 1] * gy + head_rotation[1, 2] * gz
                nz -= head_rotation[2, 0] * gx + head_rotation[2, 1] * gy + head_rotation[2, 2] * gz
                albedo[0] = texel[0] * math.exp(-0.22 * cavity)
                albedo[1] = texel[1] * math.exp(-0.32 * cavity)
                albedo[2] = texel[2] * math.exp(-0.36 * cavity)
                for k in range(3):
                    albedo[k] = albedo[k] * bare + colours[4, k] * cover
                soft = (1 - hairy) * bare
                roughness = 0.42 * (1 - hairy) + 0.55 * hairy + 0.2 * cover
                specular *= (1 - 0.4 * min(cavity, 1.0)) * (1 - 0.8 * cover)
            elif kind == 1:
                cloth = _step(5.62, 5.55, ty + 0.25 * abs(tz))
                soft = 1 - cloth
                for k in range(3):
                    albedo[k] = colours[1, k] * (1 - cloth) + colours[2, k] * cloth
            elif kind <= 4:
                _mouth_albedo(kind, ty, tz, albedo)
                specular, ao = 0.35, (0.72 if kind == 3 else 0.5)
                roughness = 0.3 if kind == 3 else 0.42
                if scalars[2] > 0:
                    for k in range(3):
                        albedo[k] = colours[4, k]
                    specular, ao = 0.05, 0.85
            elif kind == 5:
                fine = 0.45 * _step(7.275, 7.255, ty)  # lower lashes are thin: the lid shines through
                albedo[0] = 0.012 * (1 - fine) + fine * colours[1, 0]
                albedo[1] = 0.009 * (1 - fine) + fine * colours[1, 1]
                albedo[2] = 0.008 * (1 - fine) + fine * colours[1, 2]
                specular = 0.03
            elif kind == 7:
                azimuth = math.atan2(tx, tz - 0.5)
                strand = 0.5 + 0.5 * math.sin(azimuth * 61 + 3 * math.sin(ty * 2.3 + azimuth * 9)) * math.sin(azimuth * 143 + ty * 3.1)
                for k in range(3):
                    albedo[k] = colours[3, k] * (0.6 + 0.7 * strand)
                specular, roughness, hairy = 0.4, 0.5, 0.6
                ao = 0.45 + 0.3 * _step(0.0, 0.9, tz) + 0.15 * strand
                if nx * -px + ny * -py + nz * (scalars[0] - pz) < 0:  # inner side of the sheet
                    nx, ny, nz = -nx, -ny, -nz
                    ao *= 0.35
            else:
                lx = eye_frame[a, 0] * w0 + eye_frame[b, 0] * w1 + eye_frame[c, 0] * w2
                ly = eye_frame[a, 1] * w0 + eye_frame[b, 1] * w1 + eye_frame[c, 1] * w2
                lz = eye_frame[a, 2] * w0 + eye_frame[b, 2] * w1 + eye_frame[c, 2] * w2
                length = 1 / math.sqrt(lx * lx + ly * ly + lz * lz)
                lx, ly, lz = lx * length, ly * length, lz * length
                _eye_albedo(lx, ly, lz, colours[0], scalars[1], albedo)
                specular, roughness = 1.5, 0.11
                up = gaze_rotation[1, 0] * lx + gaze_rotation[1, 1] * ly + gaze_rotation[1, 2] * lz
                aside = abs(gaze_rotation[0, 0] * lx + gaze_rotation[0, 1] * ly + gaze_rotation[0, 2] * lz)
                ao = 0.36 + 0.62 * _step(0.58, 0.05, up) * _step(1.15, 0.5, aside)
            length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            nx, ny, nz = nx * length, ny * length, nz * length
            vx, vy, vz = -px, -py, scalars[0] - pz
            length = 1 / math.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * length, vy * length, vz * length
            sky = ao**1.25 * (0.60 + 0.40 * (nx * ambient[2, 0] + ny * ambient[2, 1] + nz * ambient[2, 2]))
            ground = ao * max(0.0, 0.5 - 0.5 * ny) * 0.5
            facing = max(0.0, nx * vx + ny * vy + nz * vz)
            sheen = 0.05 * (1 - facing) ** 4 * ao if kind < 2 else 0.0
            red = albedo[0] * (ambient[0, 0] * sky + ambient[1, 0] * ground) + sheen * ambient[0, 0]
            green = albedo[1] * (ambient[0, 1] * sky + ambient[1, 1] * ground) + sheen * ambient[0, 1]
            blue = albedo[2] * (ambient[0, 2] * sky + ambient[1, 2] * ground) + sheen * ambient[0, 2]
            crevice = _step(0.10, 0.55, ao) * 0.8 + 0.2
            for j in range(lights.shape[0]):
                lx, ly, lz = lights[j, 0], lights[j, 1], lights[j, 2]
                lit = crevice
                if j == 0:
                    lit *= 1 - 0.85 * _shadow(px, py, pz, shadow_frame, scalars[3], scalars[4], shadow_depth)
                cosine = nx * lx + ny * ly + nz * lz
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                length = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                hx, hy, hz = hx * length, hy * length, hz * length
                nh, vh = max(0.0, nx * hx + ny * hy + nz * hz), max(0.0, vx * hx + vy * hy + vz * hz)
                a2 = roughness**4
                denominator = nh * nh * (a2 - 1) + 1
                lobe = a2 / (math.pi * denominator * denominator) * (0.028 + 0.972 * (1 - vh) ** 5) * 0.25 * specular
                gloss = min(3.0, lobe) * max(0.0, cosine) * 2.8 * (1 - 0.6 * hairy)
                red += (albedo[0] * max(0.0, (cosine + 0.30 * soft) / (1 + 0.30 * soft)) + gloss) * lights[j, 3] * lit
                green += (albedo[1] * max(0.0, (cosine + 0.12 * soft) / (1 + 0.12 * soft)) + gloss) * lights[j, 4] * lit
                blue += (albedo[2] * max(0.0, (cosine + 0.07 * soft) / (1 + 0.07 * soft)) + gloss) * lights[j, 5] * lit
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = red, green, blue

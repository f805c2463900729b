"""Camera model: white balance, exposure, tone curve, blur, noise and JPEG, from linear light to 8-bit sRGB."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Camera:
    """Settings of one camera. `gain` white balance (3), `noise` sd in sRGB units, `blur` px radius, `quality` of JPEG (0 = none)."""

    gain: np.ndarray
    exposure: float = 1.0
    noise: float = 0.0
    blur: float = 0.0
    quality: int = 0


CLEAN = Camera(np.ones(3, np.float32))


def draw_still_camera(rng: np.random.Generator) -> Camera:
    """A phone or webcam of mixed quality."""
    blur = float(rng.uniform(0.3, 0.8)) if rng.random() < 0.35 else 0.0
    return Camera(
        rng.normal(1, 0.04, 3).astype(np.float32),
        float(rng.uniform(0.85, 1.3)),
        float(rng.uniform(0.004, 0.022)),
        blur,
        int(rng.integers(60, 96)),
    )


def draw_clip_camera(rng: np.random.Generator, nuisance: int) -> Camera:
    """A laboratory high-speed camera; noise, compression and blur only with nuisances on."""
    if nuisance == 0:
        return Camera(np.ones(3, np.float32), float(rng.uniform(0.95, 1.15)), 0.0)
    noise = float(rng.uniform(0.005, 0.011)) * (1 if nuisance == 1 else 1.6)
    return Camera(
        rng.normal(1, 0.03, 3).astype(np.float32),
        float(rng.uniform(0.9, 1.2)),
        noise,
        float(rng.uniform(0, 0.5)),
        int(rng.integers(78, 96)),
    )


def tone(linear: np.ndarray) -> np.ndarray:
    """Filmic shoulder and sRGB-like gamma: linear light (>= 0) to 0..1."""
    return np.clip(linear * (1 + 0.08 * linear) / (1 + 0.42 * linear) * 1.12, 0, 1) ** (1 / 2.2)


def expose(linear: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Photograph a linear image (H, W, 3): uint8 (H, W, 3). The generator supplies the sensor noise."""
    picture = tone(np.maximum(linear, 0) * camera.gain * camera.exposure)
    if camera.noise > 0:  # stronger in the shadows
        picture = picture + rng.standard_normal(picture.shape, dtype=np.float32) * camera.noise * (0.6 + 0.6 * (1 - picture))
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if camera.blur > 0 or camera.quality:
        photo = Image.fromarray(pixels)
        if camera.blur > 0:
            photo = photo.filter(ImageFilter.GaussianBlur(camera.blur))
        if camera.quality:
            stream = io.BytesIO()
            photo.save(stream, "JPEG", quality=camera.quality)
            photo = Image.open(stream).convert("RGB")
        pixels = np.asarray(photo)
    return pixels

"""Spectacles as thin wires in space: they turn with the head, hide behind it, and shade the skin below."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINE = 4  # the frame is drawn this many times finer than the image
SETBACK = 0.16  # dm between a lens and the centre of the face's surface behind it, for the shadow
_STEPS = 40


def frame_points(eyes: np.ndarray, radius: float, form: tuple[float, float], ears: np.ndarray) -> dict[str, np.ndarray]:
    """Polylines (n, 3) of a pair of glasses on an unposed head, in dm: rims `right` and `left`, `bridge`, arms `right_arm` and `left_arm`.

    eyes (2, 3) centres of the eyeballs (right, left), radius of the eyeball, form (roundness, height) in 0..1, ears (2, 3) where the arms end.
    """
    between = float(np.linalg.norm(eyes[1] - eyes[0]))
    half_width, half_height = between * (0.34 + 0.08 * form[0]), between * (0.22 + 0.10 * form[1])
    angles, power = np.linspace(0, 2 * np.pi, _STEPS), 0.55 + 0.45 * form[0]
    across = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power * half_width
    up = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power * half_height
    middle = eyes.mean(0)
    front = eyes[:, 2].mean() + radius + 0.21
    drawn = {}

    def bent(x, y):  # the frame curves round the face and leans in at the cheeks
        return np.stack([x, y, front - 0.22 * (x - middle[0]) ** 2 + 0.10 * (y - middle[1])], axis=-1)

    centre_y = middle[1] - 0.05 * between
    for name, eye in zip(("right", "left"), eyes, strict=True):
        drawn[name] = bent(eye[0] + across, centre_y + up)
    inner = eyes[0, 0] + half_width, eyes[1, 0] - half_width
    x = np.linspace(*inner, 9)
    drawn["bridge"] = bent(x, centre_y + 0.12 * half_height + 0.10 * half_height * np.sin(np.linspace(0, np.pi, 9)))
    for name, eye, ear, sign in (("right_arm", eyes[0], ears[0], -1), ("left_arm", eyes[1], ears[1], 1)):
        hinge = bent(np.array(eye[0] + sign * half_width), np.array(centre_y + 0.25 * half_height))
        share = np.linspace(0, 1, 24)[:, None]
        line = hinge + (ear - hinge) * share
        line[:, 0] = hinge[0] + (ear[0] - hinge[0]) * np.clip(share[:, 0] * 4, 0, 1)  # straight back along the temple
        drawn[name] = line
    return drawn


def draw_glasses(image: np.ndarray, screen: dict, shadow: dict, visible: dict, width: float, dark: bool, level: np.ndarray) -> np.ndarray:
    """Image (S, S, 3), linear, with glasses.

    screen, shadow: polylines (n, 2) in px by name, the frame itself and where its shadow falls; visible: bool (n,) by name. width of the wire in
    px. `level` (3,) is the light that the frame and the lenses send back.
    """
    size = image.shape[0]
    layers = [Image.new("L", (size * FINE, size * FINE), 0) for _ in range(3)]
    wire, lens, shade = (ImageDraw.Draw(layer) for layer in layers)
    pen = max(1, round(width * FINE))
    for name, points in screen.items():
        line = [tuple(p) for p in points * FINE]
        below = [tuple(p) for p in shadow[name] * FINE]
        if name in ("right", "left"):
            lens.polygon(line, fill=255)
            if dark:
                shade.polygon(below, fill=130)
        if not name.endswith("arm"):
            shade.line(below, fill=255, width=pen, joint="curve")
        seen = visible[name]
        for i in range(len(line) - 1):
            if seen[i] and seen[i + 1]:
                wire.line([line[i], line[i + 1]], fill=255, width=pen)
    layers[2] = layers[2].filter(ImageFilter.GaussianBlur(pen * 0.9))
    cover, tint, dim = (np.asarray(layer.resize((size, size), Image.BOX), np.float32)[..., None] / 255 for layer in layers)
    image = image * (1 - 0.45 * dim)
    # The glass: it takes a little light and sends back some of the room, more towards its upper edge.
    height = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    middle = float(np.mean([screen["right"][:, 1].mean(), screen["left"][:, 1].mean()])) / size
    gleam = np.clip(1.2 - 9 * (height - middle + 0.04), 0.15, 1.6)
    image = image * (1 - tint * (0.93 if dark else 0.10)) + tint * gleam * (0.035 if dark else 0.030) * level
    return (image * (1 - cover) + cover * 0.025 * level).astype(np.float32)

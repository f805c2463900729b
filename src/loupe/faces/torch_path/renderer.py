"""A renderer that rasterises and shades in torch, on a GPU if there is one: `Studio(head, TorchRenderer(head, 64, "cuda"))`.

Blending, posing and normals stay with numba on the processor (a millisecond); pixels, which grow with the square of the size, go to the device.
Equal to the numba renderer but for rounding: on the processor, 64 pictures at 64 px differed by 0.00002 grey levels of 255 on average and by 0.3 at most;
the bound kept by the tests is 0.001 on average and one level in all but one pixel in ten thousand. The study set is drawn with numba, and its version says nothing about this path.
"""

from __future__ import annotations

import numpy as np
import torch

from loupe.faces.expression import wrinkle_activation
from loupe.faces.identity import Identity
from loupe.faces.raster import HIDDEN, TWO_SIDED, vertex_normals
from loupe.faces.render import SHADOW_PIXELS, SHADOW_SPAN, STILL, Motion, Renderer, rotation
from loupe.faces.scene import Light, Occluder, View, overlay
from loupe.faces.torch_path.raster import rasterise
from loupe.faces.torch_path.shade import Scene, shade


class TorchRenderer(Renderer):
    """Draws as `Renderer` does; `device` is a torch device name."""

    def __init__(self, head: dict[str, np.ndarray], size: int, device: str = "cuda", supersampling: int = 2):
        super().__init__(head, size, supersampling)
        self.device = torch.device(device)
        self.fixed = {
            "triangles": self._to(head["triangles"]).long(), "material": self._to(head["material"]).long(), "occlusion": self._to(head["occlusion"]),
            "template": self._to(self.template), "coordinates": self._to(head["texture"]), "wrinkles": self._to(head["field_wrinkles"]),
            "eye_frame": self._to(self.eye_frame),
        }  # fmt: skip
        self.shown = {long: torch.as_tensor(np.flatnonzero(sides != HIDDEN), device=self.device) for long, sides in self._lengths()}
        self.doubled = {long: torch.as_tensor(sides[sides != HIDDEN] == TWO_SIDED, device=self.device) for long, sides in self._lengths()}
        self.caster_triangles = self._to(self.casters).long()
        self.texture_of: tuple[Identity, torch.Tensor] | None = None

    def _lengths(self):
        return ((True, self.sides), (False, self.sides_short))

    def _to(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    def _texture(self, person: Identity) -> torch.Tensor:
        """The person's texture on the device; the last one stays there."""
        if self.texture_of is None or self.texture_of[0] is not person:
            self.texture_of = (person, self._to(person.texture))
        return self.texture_of[1]

    @torch.inference_mode()
    def draw(
        self,
        person: Identity,
        au: np.ndarray,
        view: View,
        light: Light,
        background: np.ndarray,
        occluder: Occluder | None = None,
        motion: Motion = STILL,
    ):
        """Linear image (size, size, 3) float32 and the projection it was drawn from."""
        vertices = self.expressive(person, au, view.gaze)
        projection = self.project(person, vertices, view, motion)
        light = light.turned(rotation(view.orbit, 0, 0))
        vertex_normals(projection.camera, self.head["triangles"], self.normals)
        shown, triangles = self.shown[person.long_hair], self.fixed["triangles"]
        x, y, inverse = (self._to(values) for values in (projection.x, projection.y, projection.inverse_depth))
        hits = rasterise(x, y, inverse, triangles[shown], self.doubled[person.long_hair], self.pixels, self.pixels)
        hits = type(hits)(hits.pixel, shown[hits.triangle], hits.weights, hits.depth)
        masked = occluder is not None and occluder.kind == "mask"
        colours = np.stack([person.iris, person.body_colour, person.cloth, person.hair, occluder.colour if masked else person.cloth])
        folded = np.clip(wrinkle_activation(au) * person.wrinkle_gain + person.static_wrinkles[:, None], 0, 1.25)
        frame, shadow = self._shadow_map(projection.camera, light.lights[0, :3])
        small = {
            "normals": self.normals, "position": projection.camera, "folded": folded, "head_rotation": projection.rotation,
            "gaze_rotation": rotation(view.gaze[0], -view.gaze[1], 0), "colours": colours, "lights": light.lights, "ambient": light.ambient,
            "shadow_frame": frame,
        }  # fmt: skip
        scene = Scene(
            **self.fixed,
            **{name: self._to(np.asarray(values, np.float32)) for name, values in small.items()},
            texture=self._texture(person),
            scalars=(view.distance, person.pupil, float(masked), SHADOW_PIXELS / SHADOW_SPAN, SHADOW_PIXELS / 2),
            shadow_depth=shadow,
        )
        n = self.supersampling
        picture = self._to(background).float().repeat_interleave(n, 0).repeat_interleave(n, 1).reshape(-1, 3)
        picture[hits.pixel] = shade(hits, scene)
        image = picture.view(self.size, n, self.size, n, 3).mean((1, 3)).cpu().numpy()
        if occluder is not None and occluder.kind in ("glasses", "sunglasses"):
            self.buffers.depth[:] = hits.depth.cpu().numpy()
            image = self._put_on_glasses(image, person, vertices, view, motion, light, occluder)
        elif occluder is not None:
            image = overlay(image, occluder, light, person.body_colour)
        return image, projection

    def _shadow_map(self, camera: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """Frame (3, 3) of the key light and the depth map seen from it."""
        right = np.cross((0, 1, 0) if abs(direction[1]) < 0.9 else (0, 0, 1), direction)
        right = right / np.linalg.norm(right)
        frame = np.stack([right, np.cross(direction, right), direction]).astype(np.float32)
        seen = camera @ frame.T
        scale, centre = np.float32(SHADOW_PIXELS / SHADOW_SPAN), np.float32(SHADOW_PIXELS / 2)
        x, y, inverse = seen[:, 0] * scale + centre, -seen[:, 1] * scale + centre, 1 / (10 - seen[:, 2])
        culled = torch.zeros(len(self.casters), dtype=torch.bool, device=self.device)
        return frame, rasterise(*(self._to(v) for v in (x, y, inverse)), self.caster_triangles, culled, SHADOW_PIXELS, SHADOW_PIXELS).depth

"""Draw a person with an expression in a scene: blend, pose, project, rasterise, shade, and read off the ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loupe.faces import template as anatomy
from loupe.faces.bake import EYE, HAIR, LASH, MOUTH, SKIN, TEETH, TONGUE
from loupe.faces.expression import unit_matrix, wrinkle_activation
from loupe.faces.frame import CLOSER, EYE_LINE, MOUTH_LINE
from loupe.faces.glasses import SETBACK, draw_glasses, frame_points
from loupe.faces.identity import Identity
from loupe.faces.landmarks import landmark_vertices
from loupe.faces.raster import CULL_BACK, HIDDEN, TWO_SIDED, Buffers, add_sparse, vertex_normals
from loupe.faces.scene import Light, Occluder, View, overlay
from loupe.faces.shade import shade

SHADOW_PIXELS, SHADOW_SPAN = 160, 3.0  # depth map of the key light and its extent in dm
PARTS = ("background", "skin", "eyes", "brows", "nose", "mouth")


@dataclass(frozen=True)
class Motion:
    """Head motion since the clip's first frame: rotation (3, radians) added to the pose, translation (2, widths of the usual template)."""

    rotation: np.ndarray
    translation: np.ndarray


STILL = Motion(np.zeros(3), np.zeros(2))


@dataclass(frozen=True)
class Projection:
    """Vertices in camera space (V, 3), on the screen (V,) in pixels of a raster `pixels` wide, and their inverse depth (V,)."""

    camera: np.ndarray
    x: np.ndarray
    y: np.ndarray
    inverse_depth: np.ndarray
    rotation: np.ndarray
    pixels: int

    def screen(self, size: int) -> np.ndarray:
        """Screen positions (V, 2) in pixels of an image `size` wide."""
        return np.stack([self.x, self.y], axis=1) * (size / self.pixels)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation matrix: roll, then pitch, then yaw; positive yaw turns the face to the viewer's right."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_x = np.array(((1, 0, 0), (0, cp, -sp), (0, sp, cp)))
    about_z = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    return (about_y @ about_x @ about_z).astype(np.float32)


class Renderer:
    """Draws at a fixed image size, supersampled. Holds buffers only: every call is a pure function of its arguments."""

    def __init__(self, head: dict[str, np.ndarray], size: int, supersampling: int = 2):
        self.head, self.size, self.supersampling = head, size, supersampling
        self.pixels = size * supersampling
        self.names = [str(name) for name in head["expression_names"]]
        self.matrix = unit_matrix(self.names)
        self.n_head, self.n_eye = int(head["n_head"]), int(head["n_eye"])
        material = head["material"]
        self.sides = np.full(len(material), CULL_BACK, np.int8)
        self.sides_short = self.sides.copy()
        self.sides[material == HAIR] = TWO_SIDED
        self.sides_short[material == HAIR] = HIDDEN
        casts = ~np.isin(material, (LASH, EYE, MOUTH, TEETH, TONGUE, HAIR))
        self.casters = np.ascontiguousarray(head["triangles"][casts])
        self.caster_sides = np.zeros(len(self.casters), np.int8)
        self.template = head["vertices"].copy()
        self.eye_frame = np.zeros_like(self.template)
        self.eye_frame[self.n_head : self.n_head + 2 * self.n_eye] = np.tile(head["sphere"], (2, 1))
        self.normals = np.zeros_like(self.template)
        self.lips = self._lip_vertices()
        self.ears = self._ear_vertices()
        self.landmark_vertices = landmark_vertices(head, self.lips)
        self.buffers = Buffers(self.pixels, self.pixels)
        self.small = Buffers(size, size)
        self.shadow = Buffers(SHADOW_PIXELS, SHADOW_PIXELS)

    def expressive(self, person: Identity, au: np.ndarray, gaze=(0.0, 0.0)) -> np.ndarray:
        """Vertices (V, 3) of the person with an AU vector and gaze (right, up; radians), head unposed."""
        weights = au @ self.matrix + self._lids(gaze)
        flat = np.zeros((self.n_head + 2 * self.head["eye_points"].shape[1]) * 3, np.float32)
        h = self.head
        add_sparse(flat, weights.astype(np.float32), h["expression_starts"], h["expression_indices"], h["expression_values"])
        vertices = person.vertices.copy()
        vertices[: self.n_head] += flat.reshape(-1, 3)[: self.n_head]
        pull = np.where(h["lash_lower"], 0.97, 0.74)[:, None].astype(np.float32)
        vertices[h["lash"]] = vertices[h["lash_anchor"]] * pull + vertices[h["lash"]] * (1 - pull)
        vertices[h["lash"], 2] += 0.003
        turn = rotation(gaze[0], -gaze[1], 0)
        for eye in range(2):
            start = self.n_head + eye * self.n_eye
            vertices[start : start + self.n_eye] = h["sphere"] @ turn.T * person.eye_radius[eye] + person.eye_centre[eye]
        return vertices

    def _lids(self, gaze) -> np.ndarray:
        """Lids follow the gaze: weights of the eyeLook units."""
        right, up = gaze
        weights = np.zeros(len(self.names))
        for name, value in (
            ("eyeLookUp", max(0, up)), ("eyeLookDown", max(0, -up)),
        ):  # fmt: skip
            for side in ("Left", "Right"):
                weights[self.names.index(name + side)] += 1.5 * value
        for unit, value in (("eyeLookOutLeft", right), ("eyeLookInRight", right), ("eyeLookInLeft", -right), ("eyeLookOutRight", -right)):
            weights[self.names.index(unit)] += 1.2 * max(0, value)
        return weights

    def project(self, person: Identity, vertices: np.ndarray, view: View, motion: Motion = STILL) -> Projection:
        """Pose the head about its neck and project it into an aligned crop; the camera is fixed by `view`, not by `motion`."""
        eyes = person.eye_centre.mean(0)
        pivot = np.array((0, eyes[1] - 0.65, 0.1), np.float32)
        turn = rotation(view.yaw + motion.rotation[0], view.pitch + motion.rotation[1], view.roll + motion.rotation[2])
        follow = np.clip((vertices[:, 1] - eyes[1] + 1.75) / 0.9, 0, 1)
        follow = (follow * follow * (3 - 2 * follow))[:, None].astype(np.float32)
        posed = vertices + ((vertices - pivot) @ turn.T + pivot - vertices) * follow
        share = (0.5 - EYE_LINE) / (MOUTH_LINE - EYE_LINE)
        centre = eyes + (person.mouth_centre - eyes) * share  # lands on the middle of the image
        start = rotation(view.yaw, view.pitch, view.roll)
        camera = posed - (start @ (centre - pivot) + pivot)
        crop = self._crop(person, view)
        camera[:, :2] += motion.translation.astype(np.float32) * crop * CLOSER * follow
        if view.orbit:
            walk = rotation(view.orbit, 0, 0)
            camera, turn = camera @ walk.T, walk @ turn
        inverse = 1 / (view.distance - camera[:, 2])
        scale = view.distance * self.pixels / crop * inverse
        x = camera[:, 0] * scale + self.pixels * (0.5 + CLOSER * view.shift[0])
        y = -camera[:, 1] * scale + self.pixels * (0.5 + CLOSER * view.shift[1])
        return Projection(
            np.ascontiguousarray(camera, np.float32),
            x.astype(np.float32),
            y.astype(np.float32),
            inverse.astype(np.float32),
            turn,
            self.pixels,
        )

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
        triangles, material = self.head["triangles"], self.head["material"]
        vertex_normals(projection.camera, triangles, self.normals)
        self.buffers.draw(
            projection.x, projection.y, projection.inverse_depth, triangles, self.sides if person.long_hair else self.sides_short
        )
        frame = self._cast_shadow(projection.camera, light.lights[0, :3])
        folded = np.clip(wrinkle_activation(au) * person.wrinkle_gain + person.static_wrinkles[:, None], 0, 1.25)
        masked = occluder is not None and occluder.kind == "mask"
        scalars = np.array((view.distance, person.pupil, masked, SHADOW_PIXELS / SHADOW_SPAN, SHADOW_PIXELS / 2), np.float32)
        colours = np.stack(
            [person.iris, person.body_colour, person.cloth, person.hair, occluder.colour if masked else person.cloth]
        ).astype(np.float32)
        image = np.repeat(np.repeat(background, self.supersampling, 0), self.supersampling, 1)
        b = self.buffers
        shade(
            b.index, b.second, b.third, triangles, material, self.normals, projection.camera, self.head["occlusion"], self.template, self.head["texture"],
            person.texture, self.head["field_wrinkles"], folded.astype(np.float32), projection.rotation, rotation(view.gaze[0], -view.gaze[1], 0), self.eye_frame,
            scalars, colours, light.lights, light.ambient, frame, self.shadow.depth, image,
        )  # fmt: skip
        image = image.reshape(self.size, self.supersampling, self.size, self.supersampling, 3).mean((1, 3), dtype=np.float32)
        if occluder is not None and occluder.kind in ("glasses", "sunglasses"):
            image = self._put_on_glasses(image, person, vertices, view, motion, light, occluder)
        elif occluder is not None:
            image = overlay(image, occluder, light, person.body_colour)
        return image, projection

    def _put_on_glasses(
        self, image, person: Identity, vertices, view: View, motion: Motion, light: Light, occluder: Occluder
    ) -> np.ndarray:
        """Draw glasses that sit on the nose and ears; what of them lies behind the head stays hidden."""
        ears = vertices[self.ears]
        lines = frame_points(person.eye_centre, float(person.eye_radius.mean()), occluder.place[:2], ears)
        names, lengths = list(lines), [len(line) for line in lines.values()]
        projection = self.project(person, np.concatenate([*lines.values()]).astype(np.float32), view, motion)
        screen = projection.screen(self.size)
        column, row = projection.x.astype(int).clip(0, self.pixels - 1), projection.y.astype(int).clip(0, self.pixels - 1)
        depth = self.buffers.depth[row, column]
        visible = depth <= projection.inverse_depth * 1.007
        # The shadow: along the key light on to a surface SETBACK behind the frame.
        direction = light.lights[0, :3]
        cast = projection.camera - direction * (SETBACK / max(float(direction[2]), 0.35))
        scale = view.distance * self.size / self._crop(person, view) / (view.distance - cast[:, 2])
        shadow = np.stack(
            [
                cast[:, 0] * scale + self.size * (0.5 + CLOSER * view.shift[0]),
                -cast[:, 1] * scale + self.size * (0.5 + CLOSER * view.shift[1]),
            ],
            1,
        )
        split = np.cumsum(lengths)[:-1]
        parts = [dict(zip(names, np.split(values, split), strict=True)) for values in (screen, shadow, visible)]
        width = self.size / self._crop(person, view) * (0.028 + 0.022 * occluder.place[2])
        level = light.ambient[0] + 0.6 * light.lights[0, 3:]
        return draw_glasses(image, *parts, width, occluder.kind == "sunglasses", level)

    def _crop(self, person: Identity, view: View) -> float:
        """Width of the image at the face, in dm."""
        return float((person.eye_centre[:, 1].mean() - person.mouth_centre[1]) / (MOUTH_LINE - EYE_LINE) / view.zoom)

    def _cast_shadow(self, camera: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Fill the depth map seen from the key light; returns its frame (3, 3)."""
        right = np.cross((0, 1, 0) if abs(direction[1]) < 0.9 else (0, 0, 1), direction)
        right = right / np.linalg.norm(right)
        frame = np.stack([right, np.cross(direction, right), direction]).astype(np.float32)
        seen = camera @ frame.T
        scale, centre = np.float32(SHADOW_PIXELS / SHADOW_SPAN), np.float32(SHADOW_PIXELS / 2)
        self.shadow.draw(seen[:, 0] * scale + centre, -seen[:, 1] * scale + centre, 1 / (10 - seen[:, 2]), self.casters, self.caster_sides)
        return frame

    def landmarks(self, projection: Projection) -> np.ndarray:
        """The 68 iBUG points (136,) as x, y in image pixels."""
        return projection.screen(self.size)[self.landmark_vertices].ravel()

    def motion_field(self, person: Identity, au_from: np.ndarray, au_to: np.ndarray, view: View) -> np.ndarray:
        """Magnitude in px (size, size) of the motion due to the expression alone, drawn where the surface is in the first frame."""
        return self.motion_fields(person, au_from, au_to, view, STILL, STILL)[0]

    def motion_fields(
        self, person: Identity, au_from: np.ndarray, au_to: np.ndarray, view: View, head_from: Motion, head_to: Motion
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What moves between two frames: magnitude (size, size) and flow (size, size, 2) of the expression alone, flow of the head alone.

        Flows are (u, v) in px, u to the right and v down, drawn where the surface is with the first expression and an unmoved head.
        The head's flow is that of the first expression carried by the head from `head_from` to `head_to`.
        """
        start, end = self.expressive(person, au_from, view.gaze), self.expressive(person, au_to, view.gaze)
        first = self.project(person, start, view)
        expression = self.project(person, end, view).screen(self.size) - first.screen(self.size)
        head = self.project(person, start, view, head_to).screen(self.size) - self.project(person, start, view, head_from).screen(self.size)
        self._draw_small(person, first)
        triangles = self.head["triangles"]
        magnitude = self.small.interpolate(np.linalg.norm(expression, axis=1).astype(np.float32), triangles)
        return magnitude, self.small.interpolate(expression, triangles), self.small.interpolate(head, triangles)

    def parts(self, person: Identity, au: np.ndarray, view: View) -> np.ndarray:
        """Part mask (size, size) uint8, values as in PARTS; hair, neck and clothes count as background."""
        self._draw_small(person, self.project(person, self.expressive(person, au, view.gaze), view))
        hit = self.small.index >= 0
        kind = np.where(hit, self.head["material"][self.small.index], -1)
        position = self.small.interpolate(self.template, self.head["triangles"])
        lip = self.small.interpolate(self.lips, self.head["triangles"])
        mask = np.zeros(hit.shape, np.uint8)
        skin = (kind == SKIN) & (anatomy.hairline(position) < 0) & (position[..., 2] > 0.2)
        mask[skin] = PARTS.index("skin")
        mask[skin & anatomy.brow_region(position)] = PARTS.index("brows")
        mask[skin & anatomy.nose_region(position)] = PARTS.index("nose")
        mask[(skin & (lip > 0.4)) | np.isin(kind, (MOUTH, TEETH, TONGUE))] = PARTS.index("mouth")
        mask[np.isin(kind, (EYE, LASH))] = PARTS.index("eyes")
        return mask

    def _draw_small(self, person: Identity, projection: Projection) -> None:
        ratio = np.float32(self.size / self.pixels)
        sides = self.sides if person.long_hair else self.sides_short
        self.small.draw(projection.x * ratio, projection.y * ratio, projection.inverse_depth, self.head["triangles"], sides)

    def _ear_vertices(self) -> np.ndarray:
        """Vertices (2,) where the ears meet the head at the top: right, left."""
        places = ((-0.70, 7.33, 0.05), (0.70, 7.33, 0.05))
        return np.array([np.linalg.norm(self.template[: self.n_head] - place, axis=1).argmin() for place in places])

    def _lip_vertices(self) -> np.ndarray:
        """Lip mask per vertex (V,), read off the texture chart."""
        field, skin = self.head["field_lip"], self.head["material"] == SKIN
        corners, uv = self.head["triangles"][skin].ravel(), self.head["texture"][skin].reshape(-1, 2)
        rows = np.clip((uv[:, 1] * field.shape[0]).astype(int), 0, field.shape[0] - 1)
        columns = np.clip((uv[:, 0] * field.shape[1]).astype(int), 0, field.shape[1] - 1)
        lips = np.zeros(len(self.template), np.float32)
        lips[corners] = field[rows, columns]
        return lips

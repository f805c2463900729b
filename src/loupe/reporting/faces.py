"""Pictures of faces: reconstructions, maps over faces, contact sheets. Faces are uint8 RGB, (K, H, W, 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from loupe.errors import LoupeError
from loupe.reporting.drawing import IMAGE_FORMATS, Drawing, blank
from loupe.reporting.style import PAGE, styled

_GREY = 128  # what stands where a patch is hidden
_LABEL, _BAR = 0.95, 0.55  # inches: left of the rows for their names, right of them for colour bars


def hide_patches(images: np.ndarray, masks: np.ndarray, patch: int) -> np.ndarray:
    """The images with their hidden patches grey.

    Args:
        images: uint8 (K, H, W, 3).
        masks: bool (K, L), True = hidden, patches in rows from the top left; L = (H / patch) * (W / patch).
        patch: side of a patch, px.

    Raises LoupeError where the number of patches does not fit the image.
    """
    count, height, width, _ = images.shape
    rows, columns = height // patch, width // patch
    if masks.shape != (count, rows * columns):
        raise LoupeError(
            f"masks has shape {masks.shape}, but {count} images of {height}x{width} px have {rows * columns} patches of {patch} px."
        )
    pixels = masks.reshape(count, rows, columns).repeat(patch, axis=1).repeat(patch, axis=2)
    return np.where(pixels[..., None], np.uint8(_GREY), images)


def reconstruction_strip(original: np.ndarray, masked: np.ndarray, reconstruction: np.ndarray, caption: str) -> Drawing:
    """Rows original, masked and reconstruction; a column for each face. All three: uint8 (K, H, W, 3)."""
    rows = {"original": original, "masked": masked, "reconstruction": reconstruction}
    _same_shape(**rows)
    hidden = float((masked != original).any(-1).mean())
    error = float(np.sqrt(np.mean((reconstruction.astype(np.float64) - original) ** 2)))
    alt = (
        f"{len(original)} faces in three rows: original, masked (about {hidden:.0%} of the pixels grey) and reconstruction "
        f"(root mean square error {error:.0f} of 255)."
    )
    return face_rows(rows, caption=caption, alt=alt)


@styled
def face_rows(rows: Mapping[str, np.ndarray], names: Sequence[str] = (), *, caption: str, alt: str) -> Drawing:
    """Named rows of faces under each other, each uint8 (K, H, W, 3); `names` title the columns."""
    _same_shape(**rows)
    count, height, width = next(iter(rows.values())).shape[:3]
    figure, axes = _grid(list(rows), count, height / width, names)
    for line, images in zip(axes, rows.values(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image)
    return Drawing(figure, caption, alt, IMAGE_FORMATS)


@styled
def maps_over_faces(
    faces: np.ndarray,
    maps: Mapping[str, np.ndarray],
    caption: str,
    motion: np.ndarray | None = None,
    names: Sequence[str] = (),
    unit: str = "1 = uniform",
) -> Drawing:
    """Importance, DMA or PoI maps over faces, with the true motion in the last row and its outline drawn into every map.

    Args:
        faces: uint8 (K, H, W, 3).
        maps: name -> float (K, h, w), a value a patch (or a pixel); each row has one colour scale for all its faces.
        motion: float (K, H, W), magnitude in px of the motion due to the expression alone. Its outline stands at half of the face's peak.
        names: titles of the columns.
        unit: what the numbers beside the colour bars mean.

    Raises LoupeError where the number of faces differs or a map holds a value that is not finite.
    """
    count, height, width = faces.shape[:3]
    layers = {**maps, **({"true motion (px)": motion} if motion is not None else {})}
    for label, layer in layers.items():
        if layer.ndim != 3 or len(layer) != count:
            raise LoupeError(f"Map {label!r} has shape {layer.shape}, but one map for each of {count} faces is needed: (K, h, w).")
        if not np.isfinite(layer).all():
            raise LoupeError(f"Map {label!r} holds values that are not finite: look at the model that made it.")
    labels = [f"{label}\n({unit})" if unit else label for label in maps] + list(layers)[len(maps) :]
    figure, axes = _grid(["face", *labels], count, height / width, names, beside=_BAR)
    for axis, face in zip(axes[0], faces, strict=True):
        axis.imshow(face)
    for line, layer in zip(axes[1:], layers.values(), strict=True):
        low, high = float(layer.min()), float(layer.max())
        high = high if high > low else low + 1
        for axis, face, values in zip(line, faces, layer, strict=True):
            axis.imshow(face.mean(-1), cmap="gray", vmin=0, vmax=255)
            seen = 0.1 + 0.75 * np.clip((values - low) / (high - low), 0, 1)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axis.imshow(values, cmap="inferno", vmin=low, vmax=high, alpha=seen, extent=extent)
        if motion is not None and layer is not motion:
            _outline(line, motion)
        scale = ScalarMappable(Normalize(low, high), cmap="inferno")  # a colour bar of its own: that of a see-through image is striped
        bar = figure.colorbar(scale, ax=list(line), fraction=0.025, pad=0.01, aspect=12)
        bar.ax.tick_params(labelsize=8, length=2)
        bar.ax.locator_params(nbins=3)
        bar.outline.set_linewidth(0.5)
    alt = f"{count} faces; under each, as colour over the grey face: {', '.join(layers)}."
    if motion is not None:
        alt += " " + " ".join(f"{label}: mean {_overlap(layer, motion)}." for label, layer in maps.items())
    return Drawing(figure, caption, alt, IMAGE_FORMATS)


@styled
def contact_sheet(images: np.ndarray, columns: int, caption: str, names: Sequence[str] = (), row_names: Sequence[str] = ()) -> Drawing:
    """Many faces in a grid, row by row. `images`: uint8 (N, H, W, 3); `names` title the columns, `row_names` the rows.

    Raises LoupeError where there is no image or `columns` is below one.
    """
    count = len(images)
    if count == 0 or columns < 1:
        raise LoupeError(f"A contact sheet needs at least one image and one column, not {count} and {columns}.")
    height, width = images.shape[1:3]
    rows = -(-count // columns)
    gap = max(1, width // 32)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet[row * (height + gap) :, column * (width + gap) :][:height, :width] = image
    left = _LABEL if row_names else 0.1
    body = PAGE - left
    figure = blank(PAGE, body * sheet.shape[0] / sheet.shape[1] + 0.1 + 0.2 * bool(names), fixed_aspect=True)
    axis = figure.subplots()
    axis.imshow(sheet)
    _bare(axis)
    if names:
        axis.set_xticks([column * (width + gap) + width / 2 for column in range(len(names))], names)
        axis.tick_params(axis="x", labeltop=True, labelbottom=False, length=0, pad=1)
    if row_names:
        axis.set_yticks([row * (height + gap) + height / 2 for row in range(len(row_names))], row_names)
        axis.tick_params(axis="y", length=0, pad=2)
    return Drawing(figure, caption, f"{count} faces in {rows} rows and {columns} columns. {caption}", IMAGE_FORMATS)


def _overlap(layer: np.ndarray, motion: np.ndarray) -> str:
    """Mean of a map inside the outline of the motion and outside it, in words."""
    count, height, width = motion.shape
    rows = np.arange(height) * layer.shape[1] // height
    columns = np.arange(width) * layer.shape[2] // width
    pixels = layer[:, rows][:, :, columns]
    inside = motion >= np.maximum(motion.max(axis=(1, 2), keepdims=True) / 2, 1e-6)
    if not inside.any():
        return f"{pixels.mean():.2f} (nothing moves)"
    return f"{pixels[inside].mean():.2f} where the face moves most, {pixels[~inside].mean():.2f} elsewhere"


def _outline(line: Sequence[Axes], motion: np.ndarray) -> None:
    for axis, moved in zip(line, motion, strict=True):
        if moved.max() > 0:
            axis.contour(moved, levels=[moved.max() / 2], colors="#56e0ff", linewidths=0.9)


def _grid(rows: Sequence[str], count: int, aspect: float, names: Sequence[str], beside: float = 0.0) -> tuple[Figure, np.ndarray]:
    """Axes for `count` pictures in each of the named rows; `names` title the columns, `beside` leaves room for colour bars, inches."""
    cell = (PAGE - _LABEL - beside) / max(count, 4)
    height = cell * aspect * len(rows) + (0.15 if beside else 0.1) + 0.2 * bool(names)
    figure = blank(_LABEL + beside + cell * count, height, fixed_aspect=True)
    axes = figure.subplots(len(rows), count, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for axis in axes.flat:
        _bare(axis)
    for axis, label in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, labelpad=4)
    for axis, name in zip(axes[0], names, strict=False):
        axis.set_title(name, fontweight="normal", fontsize=8, loc="center")
    return figure, axes


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def _same_shape(**stacks: np.ndarray) -> None:
    shapes = {name: stack.shape for name, stack in stacks.items()}
    first = next(iter(shapes.values()))
    if len(first) != 4 or first[-1] != 3 or len(set(shapes.values())) > 1:
        raise LoupeError(f"Rows of faces must be equal in shape, (K, H, W, 3), but they are {shapes}.")

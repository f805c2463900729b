"""Pictures of the study set for people: contact sheets and strips of micro-expression clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from loupe.faces.motion import MICRO_CLASSES
from loupe.faces.subject import ROLE_NAMES

_BACK, _INK, _MARGIN, _TITLE = (255, 255, 255), (30, 30, 30), 86, 16


def contact_sheet(images, rows: list[str], columns: list[str], scale: int = 1) -> Image.Image:
    """A titled grid. `images` (len(rows), len(columns)) nested sequence of uint8 (S, S, 3) or None; `scale` enlarges pixels whole-numbered."""
    size = next(image.shape[0] for line in images for image in line if image is not None) * scale
    sheet = Image.new("RGB", (_MARGIN + size * len(columns), _TITLE + size * len(rows)), _BACK)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for j, title in enumerate(columns):
        pen.text((_MARGIN + j * size + 2, 2), title, fill=_INK, font=font)
    for i, (title, line) in enumerate(zip(rows, images, strict=True)):
        pen.multiline_text((2, _TITLE + i * size + 2), title, fill=_INK, font=font)
        for j, image in enumerate(line):
            if image is not None:
                sheet.paste(Image.fromarray(np.asarray(image)).resize((size, size), Image.NEAREST), (_MARGIN + j * size, _TITLE + i * size))
    return sheet


def stills_sheet(folder: Path, people: int = 8, split: str | None = None, scale: int = 1) -> Image.Image:
    """People (rows) by expression class (columns) from a prepared `stills` folder: the first still of each class."""
    images = np.load(Path(folder) / "images.npy", mmap_mode="r")
    manifest = pd.read_parquet(Path(folder) / "manifest.parquet", columns=["sample", "split", "subject", "label", "label_name"])
    if split is not None:
        manifest = manifest[manifest["split"] == split]
    names = manifest.drop_duplicates("label").sort_values("label")["label_name"].tolist()
    first = manifest.drop_duplicates(["subject", "label_name"]).set_index(["subject", "label_name"])["sample"]
    subjects = list(manifest["subject"].unique())[:people]
    grid = [[images[first[subject, name]] if (subject, name) in first.index else None for name in names] for subject in subjects]
    return contact_sheet(grid, subjects, names, scale)


def micro_sheet(folder: Path, clips: int = 6, scale: int = 1, gain: float = 8.0) -> Image.Image:
    """Clips (rows) by stored frame, with |apex - onset| amplified `gain` times and the true motion of the expression beside it.

    Takes clips of all classes in turn from a prepared `micro` folder.
    """
    folder = Path(folder)
    images, motion = np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "motion.npy", mmap_mode="r")
    manifest = pd.read_parquet(folder / "manifest.parquet", columns=["sample", "clip", "role", "label", "label_name", "intensity"])
    order = {clip: i for i, clip in enumerate(sorted(manifest["clip"].unique()))}
    by_class = [list(manifest.loc[manifest["label"] == label, "clip"].unique()) for label in range(len(MICRO_CLASSES))]
    chosen = [by_class[i % 3][i // 3] for i in range(3 * clips) if i // 3 < len(by_class[i % 3])][:clips]
    grid, titles = [], []
    for clip in chosen:
        rows = manifest[manifest["clip"] == clip].set_index("role")
        frames = [np.asarray(images[rows.loc[role, "sample"]]) for role in ROLE_NAMES]
        difference = np.abs(frames[2].astype(int) - frames[0].astype(int))
        field = np.asarray(motion[order[clip]])
        frames += [np.clip(difference * gain, 0, 255).astype(np.uint8), heat(field, max(1e-3, float(field.max())))]
        grid.append(frames)
        titles.append(f"{rows['label_name'].iloc[0]}\n{clip}\nAU {rows['intensity'].max():.2f}\n{field.max():.2f} px")
    return contact_sheet(grid, titles, [*ROLE_NAMES, f"|difference| x{gain:.0f}", "true motion"], scale)


def heat(values: np.ndarray, largest: float) -> np.ndarray:
    """Values (H, W) from 0 to `largest` as black, red, yellow, white: uint8 (H, W, 3)."""
    share = np.clip(values / largest, 0, 1)[..., None]
    return (np.clip(share * 3 - np.arange(3), 0, 1) * 255).astype(np.uint8)

"""Do networks trained on real photographs see our faces, and where we say? `python scripts/landmark_check.py` (needs the extra `align`).

Draws unoccluded stills of new people (calibration seeds, never the study's), looks for a face with MediaPipe's detector, and compares its
face mesh with our 51 inner landmarks (iBUG 18-68) in shares of the outer-eye-corner distance. The image is set into a frame of its own edge
colour, because the study's crops are tighter than the photographs that the detector was trained on. Targets: a face in 98 % within 30
degrees of yaw; median error of an image 6 % within 15.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from loupe.config import find_root, load
from loupe.data.align.finder import MediaPipeFinder
from loupe.errors import LoupeError
from loupe.faces.expression import STILL_CLASSES
from loupe.faces.generate import Studio, generator_version, render_still
from loupe.progress import track

FIRST_SEED = 9300
BORDER = 0.5  # of the image's width, on every side
BANDS = ((0, 15), (15, 30), (30, 90))  # |yaw| in degrees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--stills", type=int, default=8, help="of each person, classes in turn")
    parser.add_argument("--size", type=int, default=112, help="px")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    options = parser.parse_args()
    if options.seed == load([]).data.seed:
        raise LoupeError(f"Seed {options.seed} draws the study's own people; take seeds from {FIRST_SEED}.")
    studio, find = Studio.open(options.size, find_root() / "data" / "scratch" / "assets"), MediaPipeFinder()
    rows = []
    for person in track(range(options.people), "people"):
        for still in range(options.stills):
            image, row = render_still(studio, options.seed, "train", person, still, STILL_CLASSES[still % len(STILL_CLASSES)])
            if row["occlusion"] == "none":
                rows.append((abs(np.degrees(row["yaw"])), *compare(find, image, np.asarray(row["landmarks"]).reshape(68, 2))))
    yaw, found = np.array([row[0] for row in rows]), np.array([row[1] is not None for row in rows])
    print(
        f"generator {generator_version()}, {options.size} px, seed {options.seed}, {len(rows)} unoccluded stills of {options.people} people"
    )
    within = yaw <= 30
    print(f"face found within 30 degrees: {found[within].mean():.3f} of {within.sum()}")
    for low, high in BANDS:
        band = (yaw >= low) & (yaw < high)
        errors = [row[1] for row, chosen in zip(rows, band & found, strict=True) if chosen]
        if errors:
            parts = np.median([row[2] for row, chosen in zip(rows, band & found, strict=True) if chosen], axis=0)
            told = ", ".join(f"{name} {value:.3f}" for name, value in zip(("brows", "nose", "eyes", "mouth"), parts, strict=True))
            print(f"|yaw| {low}-{high}: found {found[band].mean():.3f} of {band.sum()}, median error {np.median(errors):.3f} ({told})")


def compare(find, image: np.ndarray, points: np.ndarray) -> tuple[float | None, tuple[float, ...]]:
    """Mean distance of the inner landmarks over the outer-eye-corner distance, and that of brows, nose, eyes, mouth; None where no face is
    found."""
    border = round(BORDER * len(image))
    faces = find(np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge"))
    if not faces:
        return None, ()
    distance = np.linalg.norm(faces[0].points - border - points, axis=1) / np.linalg.norm(points[45] - points[36])
    return float(distance[17:].mean()), tuple(
        float(distance[part].mean()) for part in (slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 68))
    )


if __name__ == "__main__":
    try:
        main()
    except LoupeError as error:
        sys.exit(str(error))

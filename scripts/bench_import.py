"""How fast an import is, and how much memory it takes: `python scripts/bench_import.py --entries 200000`.

Writes cropped 224 px faces as JPEG (a few hundred, to which all entries of a faces.csv point in turn through hard links), imports them at
224 px, and prints pictures a second and the largest resident memory. `--photos` names a folder of photographs, in which faces are found and
aligned.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from loupe.data.importing import import_set

DISTINCT = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=4000)
    parser.add_argument("--size", type=int, default=224, help="px of the pictures and of the stored squares")
    parser.add_argument("--store", type=int, default=None, help="px of the stored squares, if another (less disk for many entries)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--photos", type=Path, help="find and align the faces in the JPEGs of this folder instead")
    parser.add_argument("--into", type=Path, help="work in a folder here (default: the system's temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.into) as home:
        raw = Path(home) / "raw"
        raw.mkdir()
        names = link_photos(raw, options.photos) if options.photos else write_faces(raw, options.entries, options.size)
        (raw / "faces.csv").write_text("path,subject\n" + "".join(f"{name},s{i // 20}\n" for i, name in enumerate(names)))
        before, start = os.times(), time.perf_counter()
        report = import_set(
            "csv", raw, Path(home) / "out", size=options.store or options.size, workers=options.workers, align=bool(options.photos)
        )
        seconds, after = time.perf_counter() - start, os.times()
    processor = after.user - before.user + after.system - before.system
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(f"{report.found:,} pictures, {report.used:,} used, {options.workers} workers")
    print(
        f"{report.found / seconds:.0f} a second by the clock; {report.found / processor:.0f} a second of one core's time; "
        f"{peak:.0f} MB at most"
    )


def write_faces(folder: Path, entries: int, size: int) -> list[str]:
    """`entries` names for DISTINCT pictures: soft shapes with noise, which JPEG takes about as many bytes for as for a face."""
    rng = np.random.default_rng(0)
    for number in range(min(DISTINCT, entries)):
        shapes = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(2))
        Image.blend(shapes, noise, 0.3).save(folder / f"face{number:07d}.jpg", quality=90)
    names = [f"face{number:07d}.jpg" for number in range(entries)]
    for number in range(DISTINCT, entries):
        os.link(folder / names[number % DISTINCT], folder / names[number])
    return names


def link_photos(folder: Path, photos: Path) -> list[str]:
    found = sorted(photos.rglob("*.jpg"))
    if not found:
        sys.exit(f"{photos} holds no .jpg files: name a folder of photographs.")
    names = [f"{number:05d}.jpg" for number in range(len(found))]
    for name, photo in zip(names, found, strict=True):
        (folder / name).symlink_to(photo.resolve())
    return names


if __name__ == "__main__":
    main()

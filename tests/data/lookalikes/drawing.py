"""Small face-like pictures, each different from the others."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def face(number: int, size: int = 16, grey: bool = False) -> Image.Image:
    """A patch of skin with two eyes and a mouth over noise drawn from `number`; equal numbers give equal pictures."""
    pixels = np.random.default_rng(number).integers(60, 200, (size, size, 3), dtype=np.uint8)
    unit = size // 8
    pixels[2 * unit : 3 * unit, 2 * unit : 3 * unit] = pixels[2 * unit : 3 * unit, 5 * unit : 6 * unit] = 20
    pixels[5 * unit : 6 * unit, 3 * unit : 5 * unit] = (180, 40, 50)
    picture = Image.fromarray(pixels)
    return picture.convert("L") if grey else picture


def save(path: Path, number: int, grey: bool = False, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    face(number, size, grey).save(path)


def encoded(number: int, size: int = 16) -> bytes:
    buffer = BytesIO()
    face(number, size).save(buffer, "JPEG")
    return buffer.getvalue()


def film(path: Path, frames: int = 12) -> None:
    """A short video, H.264 in MP4."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(face(number, 32))))
        container.mux(stream.encode())


def own_clips(root: Path) -> None:
    """faces.csv with two micro-expression clips of four frames."""
    rows = ["path,subject,clip,frame,fps,onset,apex,offset,label"]
    for clip, label in enumerate(("negative", "surprise")):
        for frame in range(1, 5):
            save(root / "pictures" / f"{clip}_{frame}.jpg", 10 * clip + frame)
            rows.append(f"pictures/{clip}_{frame}.jpg,s{clip},c{clip},{frame},100,1,3,4,{label}")
    (root / "faces.csv").write_text("\n".join(rows) + "\n")


def class_folders(root: Path) -> None:
    """Two classes of three people each."""
    for name in ("happy", "sad"):
        for number in range(3):
            save(root / name / f"ann{number}_1.jpg", number)


def smic_clips(root: Path) -> None:
    """SMIC as in `micro.smic`, two clips only."""
    for name in ("negative/s1_ne_01", "surprise/s1_sur_01"):
        for frame in range(140, 143):
            save(root / "NIR" / "s1" / "micro" / name / f"image{frame}.bmp", frame)


def workbook(path: Path, rows: list[list[object]], sheet: str = "Sheet1") -> None:
    import openpyxl

    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet(sheet)
    for row in rows:
        page.append(row)
    book.save(path)


def doubled(folder: Path) -> None:
    """Put a folder into a folder of its own name, as an archive that was unpacked into one, with the archive left beside it."""
    folder.rename(folder.with_name("aside"))
    folder.mkdir()
    folder.with_name("aside").rename(folder / folder.name)
    (folder / f"{folder.name}.zip").write_bytes(b"PK")

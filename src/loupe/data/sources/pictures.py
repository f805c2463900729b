"""Pictures of a download: finding them by frame number, and decoding them, also out of files that hold many."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from loupe.data.sources.paths import member, unpacked
from loupe.data.sources.recordio import read_record
from loupe.data.video import SUFFIXES as VIDEOS
from loupe.data.video import FrameReader
from loupe.errors import LoupeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".z01", ".bz2", ".xz")
_read_frame = FrameReader()
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)", re.ASCII)


def check_root(root: Path, title: str) -> None:
    """Raise LoupeError where `root` is absent, an archive, or a folder of nothing but archives."""
    if not root.exists():
        raise LoupeError(f"{root} does not exist: put the official {title} download there (see data/README.md).")
    if not root.is_dir():
        hint = "unpack it and name the folder" if root.suffix.lower() in _ARCHIVES else "name the folder of the download"
        raise LoupeError(f"{root} is a file, not a folder: {hint}.")
    names = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    if not names:
        raise LoupeError(f"{root} is empty: put the official {title} download there (see data/README.md).")
    if all(entry.is_file() and entry.suffix.lower() in _ARCHIVES for entry in names):
        raise LoupeError(f"{root} holds archives only ({names[0].name}): unpack them there first.")


def find_folder(root: Path, names: Iterable[str], depth: int = 4) -> Path | None:
    """The shallowest folder at or below `root` with one of these names (case does not matter); the first by name where several tie. In it the
    folder that it holds under its own name, where it holds nothing else (`unpacked`)."""
    wanted = {name.lower() for name in names}
    level = [root]
    for _ in range(depth + 1):
        hits = [folder for folder in level if folder.name.lower() in wanted]
        if hits:
            return unpacked(sorted(hits)[0])
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir()]
    return None


def find_file(root: Path, pattern: str, title: str, depth: int = 3) -> Path:
    """The one file at or below `root` whose name matches the regular expression; raises LoupeError where there is none, or several."""
    test = re.compile(pattern, re.IGNORECASE)
    level, hits = [root], []
    for _ in range(depth + 1):
        entries = [entry for folder in level for entry in _entries(folder)]
        hits = sorted(Path(entry.path) for entry in entries if entry.is_file() and test.fullmatch(entry.name))
        if hits:
            break
        level = [Path(entry.path) for entry in entries if entry.is_dir()]
    if not hits:
        raise LoupeError(f"{root} holds no {title}: put the official file there (see data/README.md).")
    if len(hits) > 1:
        raise LoupeError(
            f"{root} holds several files that could be {title} ({hits[0].name}, {hits[1].name}): keep the one you want to use."
        )
    return hits[0]


def picture_names(folder: Path) -> list[str]:
    """Names of the pictures in a folder, sorted; none where it does not exist."""
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(SUFFIXES) and entry.is_file())


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """Frame number -> picture. The number is the last one in the name (`img46`, `reg_img46`, `006_05562`, `175`), never the place in the
    folder, so that holes and a first frame other than 1 do no harm. Of two files with one number the first by name counts.
    """
    found: dict[int, Path] = {}
    for name in picture_names(folder):
        number = _LAST_NUMBER.search(Path(name).stem)
        if number and len(number.group(1)) <= 9:
            found.setdefault(int(number.group(1)), folder / name)
    return dict(sorted(found.items()))


def subfolders(folder: Path) -> list[Path]:
    """Sorted sub-folders, `unpacked`; none where `folder` does not exist."""
    return sorted(unpacked(Path(entry.path)) for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("."))


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def load_picture(root: Path, path: str) -> tuple[bytes, np.ndarray]:
    """Stored bytes of a picture (what its checksum is taken of) and its pixels, uint8 (H, W, 3), upright; grey pictures get three channels.

    `path` is below `root`; `file.rec#offset` names a RecordIO record, `file.csv#offset` a FER2013 line and `file.mp4#number` a frame of a video,
    whose "bytes" are the video's checksum and the number: decoders may differ in a bit, the file does not.
    Raises LoupeError naming the picture where it is missing, empty, cut short or no picture.
    """
    name, offset = member(root, path)
    where, name = root / name, name.lower()
    if not os.path.isfile(where):
        raise LoupeError(f"{where} is missing: put the picture there, or unpack the download again.")
    try:
        if offset and name.endswith(".rec"):
            data = read_record(where, int(offset)).image
        elif offset and name.endswith(VIDEOS):
            return _video_bytes(where, offset), _read_frame(where, int(offset))
        elif offset:
            data = _csv_line(where, int(offset))
            return data, _pixels_of_line(data)
        else:
            data = where.read_bytes()
        if not data:
            raise LoupeError(f"{root / path} is empty (0 bytes): copy it again from the download.")
        with Image.open(BytesIO(data)) as picture:
            return data, np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LoupeError(f"{root / path} cannot be read as a picture ({error}): copy it again from the download.") from error


def _video_bytes(path: Path, number: str) -> bytes:
    stat = path.stat()
    return f"{_checksum(path, stat.st_size, stat.st_mtime_ns)}#{number}".encode()


@lru_cache(maxsize=64)
def _checksum(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _csv_line(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.readline()


def _pixels_of_line(line: bytes) -> np.ndarray:
    """FER2013 keeps 48 x 48 grey values as the longest field of a line."""
    field = max(re.split(rb"[,;\t]", line.replace(b'"', b"")), key=len)
    values = np.array(field.split(), dtype=np.int64)
    if len(values) != 48 * 48 or values.min() < 0 or values.max() > 255:
        raise ValueError(f"{len(values)} grey values instead of 2304 between 0 and 255")
    return np.repeat(values.astype(np.uint8).reshape(48, 48, 1), 3, axis=2)

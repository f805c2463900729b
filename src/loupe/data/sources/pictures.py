"""Pictures of a download: finding them by frame number, and reading them, also out of files that hold many.

Names that begin with a dot or are no text, links in a circle and links to nowhere are no data anywhere. `left_over` lists what a reader
does not use.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Container, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from loupe.data.decoding import decode
from loupe.data.sources.paths import member, unpacked
from loupe.data.sources.recordio import read_record
from loupe.data.video import SUFFIXES as VIDEOS
from loupe.data.video import FrameReader
from loupe.errors import LoupeError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".z01", ".bz2", ".xz")
_read_frame = FrameReader()
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)", re.ASCII)
_COPY = re.compile(
    r"\d *[ (~]|\(\d+\)$|cop[yi]|kopie", re.ASCII | re.IGNORECASE
)  # image144 (1), image144 2, image144 - Copy, Kopie von ...
OTHER_ENDING = "ending that is not read"
BESIDE = "beside the data: "  # begins the reason of a file that is no entry of its set


def check_root(root: Path, title: str) -> None:
    """Raise LoupeError where `root` is absent, an archive, or a folder of nothing but archives."""
    if not root.exists():
        raise LoupeError(f"{root} does not exist: put the official {title} download there (see data/README.md).")
    if not root.is_dir():
        hint = "unpack it and name the folder" if root.suffix.lower() in _ARCHIVES else "name the folder of the download"
        raise LoupeError(f"{root} is a file, not a folder: {hint}.")
    if not _is_text(str(root.resolve())):
        raise LoupeError(f"{ascii(str(root.resolve()))} is not UTF-8: rename the folder.")
    entries = _entries(root)
    if not entries:
        raise LoupeError(f"{root} is empty: put the official {title} download there (see data/README.md).")
    if all(_is_file(entry) and entry.name.lower().endswith(_ARCHIVES) for entry in entries):
        raise LoupeError(f"{root} holds archives only ({entries[0].name}): unpack them there first.")


def find_folder(root: Path, names: Iterable[str], depth: int = 4) -> Path | None:
    """The shallowest folder at or below `root` with one of these names (case does not matter); the first by name where several tie. In it
    the folder that it holds under its own name, where it holds nothing else (`unpacked`)."""
    wanted = {name.lower() for name in names}
    level = [root]
    for _ in range(depth + 1):
        hits = [folder for folder in level if folder.name.lower() in wanted]
        if hits:
            return unpacked(sorted(hits)[0])
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if _is_folder(entry)]
    return None


def find_file(root: Path, pattern: str, title: str, depth: int = 3) -> Path:
    """The one file at or below `root` whose name matches the regular expression; raises LoupeError where there is none, or several."""
    test = re.compile(pattern, re.IGNORECASE)
    level, hits = [root], []
    for _ in range(depth + 1):
        entries = [entry for folder in level for entry in _entries(folder)]
        hits = sorted(Path(entry.path) for entry in entries if _is_file(entry) and test.fullmatch(entry.name))
        if hits:
            break
        level = [Path(entry.path) for entry in entries if _is_folder(entry)]
    if not hits:
        raise LoupeError(f"{root} holds no {title}: put the official file there (see data/README.md).")
    if len(hits) > 1:
        raise LoupeError(
            f"{root} holds several files that could be {title} ({hits[0].name}, {hits[1].name}): keep the one you want to use."
        )
    return hits[0]


def picture_names(folder: Path) -> list[str]:
    """Names of the pictures in a folder, sorted; none where it does not exist."""
    return file_names(folder, SUFFIXES)


def file_names(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names of the files with one of these endings in a folder, sorted; none where it does not exist."""
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(endings) and _is_file(entry))


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """Frame number -> picture. The number is the last one in the name (`img46`, `reg_img46`, `006_05562`, `175`), never the place in the
    folder, so that holes and a first frame other than 1 do no harm. Copies (`img46 (1)`, `img46 - Copy`, `img46_2` beside `img46`) are no
    frames; of two files with one number the one that is named like most others counts, then the first by name. `strays` lists the others.
    """
    names = picture_names(folder)
    stems = {Path(name).stem for name in names}
    numbered = []
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix.lower()
        number = _LAST_NUMBER.search(stem)
        original = re.sub(r"[-_.]\d+$", "", stem)
        if number and len(number.group(1)) <= 9 and not _COPY.search(stem) and (original == stem or original not in stems):
            numbered.append((int(number.group(1)), _LAST_NUMBER.sub("", stem) + suffix, name))
    common = Counter(pattern for _, pattern, _ in numbered)
    found: dict[int, Path] = {}
    for number, _, name in sorted(numbered, key=lambda entry: (-common[entry[1]], entry[2])):
        found.setdefault(number, folder / name)
    return dict(sorted(found.items()))


def strays(folder: Path, frames: dict[int, Path]) -> list[tuple[str, str]]:
    """Files of a folder of frames that are none of `frames`: (path below the folder, reason)."""
    used = {path.name for path in frames.values()}
    return [(item, BESIDE + why) for item, why in left_over(folder, used, SUFFIXES, "copy, or no frame number of its own")]


def subfolders(folder: Path) -> list[Path]:
    """Sorted sub-folders, `unpacked`; none where `folder` does not exist."""
    return sorted(unpacked(Path(entry.path)) for entry in _entries(folder) if _is_folder(entry))


def left_over(root: Path, used: Container[str], endings: tuple[str, ...], otherwise: str) -> list[tuple[str, str]]:
    """Every file at any depth below `root` that is not in `used` (paths below `root`): its path and why it is not used.

    `otherwise`: the reason of a file that has one of the `endings` and can be opened. A name that is no text is shown by ascii().
    """
    rows, folders = [], [root]
    for folder in folders:
        for entry in sorted(_scan(folder), key=lambda entry: entry.name):
            path = Path(entry.path).relative_to(root).as_posix()
            if _is_folder(entry):
                folders.append(Path(entry.path))
            elif not _is_text(path):
                rows.append((ascii(path), "name is no text (not UTF-8, or control characters)"))
            elif not _is_file(entry):
                rows.append((path, "no file: a link to nowhere or in a circle"))
            elif path not in used:
                rows.append((path, otherwise if entry.name.lower().endswith(endings) else OTHER_ENDING))
    return rows


def _entries(folder: Path) -> list[os.DirEntry]:
    return [entry for entry in _scan(folder) if _is_text(entry.name)]


def _scan(folder: Path) -> list[os.DirEntry]:
    """Entries of a folder, none where it is not there. Not among them: hidden names, those of macOS (`._img46.jpg`) and of its archives
    included."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LoupeError(f"{folder} cannot be opened ({error.strerror}): you need the right to read it.") from error


def _is_text(name: str) -> bool:
    try:
        return all(byte >= 32 for byte in name.encode())
    except UnicodeEncodeError:
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle
        return False


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, but no link to a folder that it lies in, which would have no end."""
    try:
        above = Path(entry.path).absolute().parents
        return entry.is_dir() and not (entry.is_symlink() and any(os.path.samefile(entry.path, folder) for folder in above))
    except OSError:
        return False


def load_picture(root: Path, path: str) -> tuple[bytes, np.ndarray]:
    """Stored bytes of a picture (what its checksum is taken of) and its pixels, uint8 (H, W, 3), upright; grey pictures get three channels.

    `path` is below `root`; `file.rec#offset` names a RecordIO record, `file.csv#offset` a FER2013 line and `file.mp4#number` a frame of a
    video, whose "bytes" are the video's checksum and the number: decoders may differ in a bit, the file does not.
    Raises LoupeError naming the picture where it is missing, empty, cut short or no picture (loupe.data.decoding).
    """
    name, offset = member(root, path)
    where, name = root / name, name.lower()
    if not os.path.isfile(where):
        raise LoupeError(f"{where} is missing: put the picture there, or unpack the download again.")
    try:
        if offset and name.endswith(VIDEOS):
            return _video_bytes(where, offset), _read_frame(where, int(offset))
        if offset and name.endswith(".csv"):
            data = _csv_line(where, int(offset))
            return data, _pixels_of_line(data)
        data = read_record(where, int(offset)).image if offset else where.read_bytes()
    except LoupeError:
        raise
    except Exception as error:  # the disk's, the video decoder's, NumPy's
        raise LoupeError(
            f"{root / path} cannot be read ({getattr(error, 'strerror', None) or error}): may you read it, is it whole?"
        ) from error
    return data, decode(data, str(root / path))


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

"""Picture files written byte by byte, with whatever tags and chunks a camera or an editor may put there."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

Tag = tuple[int, int, int, bytes]  # number, type, count, value
ODD = (282, 10, 1, struct.pack("<ii", -1, 0))  # XResolution as a signed rational of -1/0: Pillow reads it and cannot write it again
TURNS = {  # EXIF orientation -> the upright picture, from the definition: where row 0 and column 0 of the stored one lie
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


def orientation(turn: int) -> Tag:
    return 274, 3, 1, struct.pack("<H", turn)


def directory(tags: list[Tag], start: int = 8) -> bytes:
    """A little-endian TIFF header and one directory of tags at byte `start`, with what lies between left to the caller."""
    tags = sorted(tags)
    body, extra = struct.pack("<H", len(tags)), b""
    offset = start + 2 + 12 * len(tags) + 4
    for number, kind, count, value in tags:
        body += struct.pack("<HHI", number, kind, count)
        body += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", offset + len(extra))
        extra += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
    return body + struct.pack("<I", 0) + extra


def exif(tags: list[Tag]) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory(tags)


def tiff(samples: bytes, width: int, height: int, tags: list[Tag]) -> bytes:
    """One uncompressed strip. `tags` come beside width, height and strip, or in their place: BitsPerSample 258, photometric 262,
    SampleFormat 339 ..."""
    short = lambda number, value: (number, 3, 1, struct.pack("<H", value))
    given = {number: (number, *rest) for number, *rest in tags}
    start = 8 + len(samples) + len(samples) % 2
    plain = [short(256, width), short(257, height), short(259, 1), short(262, 1), short(277, 1), short(278, height)]
    plain += [(273, 4, 1, struct.pack("<I", 8)), (279, 4, 1, struct.pack("<I", len(samples)))]
    whole = {tag[0]: tag for tag in plain} | given
    return (b"II*\0" + struct.pack("<I", start) + samples).ljust(start, b"\0") + directory([*whole.values()], start)


def chunk(kind: bytes, content: bytes, check: int | None = None) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) if check is None else check)


def png_chunks(samples: np.ndarray) -> list[bytes]:
    """IHDR, IDAT and IEND of an array (H, W) or (H, W, 3) of uint8 or uint16."""
    height, width, *channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8) if samples.dtype == np.uint16 else samples
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 8 * samples.dtype.itemsize, 2 if channels else 0, 0, 0, 0)
    return [chunk(b"IHDR", head), chunk(b"IDAT", packed), chunk(b"IEND", b"")]


def png(samples: np.ndarray, extra: tuple[bytes, ...] = ()) -> bytes:
    """A PNG with `extra` chunks behind its header."""
    head, *rest = png_chunks(samples)
    return b"\x89PNG\r\n\x1a\n" + b"".join([head, *extra, *rest])


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path

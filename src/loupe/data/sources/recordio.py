"""MXNet RecordIO, the container of InsightFace's face recognition sets, read without MXNet.

A record is a little-endian uint32 magic number, a uint32 whose low 29 bits are the length of what follows (its top 3 bits mark a record
split in parts; the sets of InsightFace have none), the content, and zeros up to a multiple of 4. The content of a picture is an IRHeader
(uint32 flag, float32 label, uint64 id, uint64 id2), `flag` further float32 labels, and the encoded picture (github.com/apache/mxnet,
python/mxnet/recordio.py and 3rdparty/dmlc-core/include/dmlc/recordio.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from loupe.errors import LoupeError

MAGIC = 0xCED7230A
HEADER = struct.Struct("<IfQQ")


@dataclass(frozen=True)
class Record:
    """flag: how many labels follow the header; labels: those, or the one in the header; image: the encoded picture, b"" in index
    records."""

    flag: int
    labels: tuple[float, ...]
    image: bytes


def read_record(path: Path, offset: int) -> Record:
    """The record that starts at byte `offset`; raises LoupeError naming file and offset where there is none or it is cut short."""
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:
            raise LoupeError(f"{path} ends before the record at byte {offset}: the file is cut short; download it again.")
        magic, length = struct.unpack("<II", head)
        if magic != MAGIC or length >> 29:
            raise LoupeError(f"{path} has no whole record at byte {offset}: train.idx belongs to another file, or the file is damaged.")
        content = file.read(length)
    if len(content) < length or length < HEADER.size:
        raise LoupeError(f"{path} ends inside the record at byte {offset}: the file is cut short; download it again.")
    flag, label, _, _ = HEADER.unpack_from(content)
    end = HEADER.size + 4 * flag
    if end > length:
        raise LoupeError(f"{path} has a damaged record at byte {offset} ({flag} labels in {length} bytes): download it again.")
    labels = struct.unpack_from(f"<{flag}f", content, HEADER.size) if flag else (label,)
    return Record(flag, labels, content[end:])

"""A path in a list and the file that it means: names in another Unicode form, files that hold many pictures, folders in folders of their
own name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

from loupe.data.video import SUFFIXES as VIDEOS

_HOLD_MANY = (".rec", ".csv", *VIDEOS)
_BESIDE = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".z01", ".bz2", ".xz", ".txt", ".md", ".pdf", ".html", ".url", ".ini", ".db")


def member(root: Path, path: str) -> tuple[str, str]:
    """The file below `root` that `path` means, as the disk spells it, and the number of the picture in it, "" for the whole file.

    `#number` names a picture only behind a file that holds many (RecordIO, CSV, video), and only where no file has the whole name.
    """
    name, _, number = path.rpartition("#")
    inside = name.lower().endswith(_HOLD_MANY) and number.isascii() and number.isdecimal()
    if inside and not os.path.isfile(root / path):
        return _on_disk(root, name), number
    return _on_disk(root, path), ""


def spelt(root: Path, path: str) -> str:
    """`path` with the name of its file as the disk spells it: a Mac writes ë as two characters (NFD), most others as one (NFC)."""
    return path if path.isascii() else "#".join(part for part in member(root, path) if part)


def _on_disk(root: Path, path: str) -> str:
    """As given where there is no such file in either form."""
    if path.isascii() or os.path.exists(root / path):
        return path
    place = PurePosixPath()
    for part in PurePosixPath(path).parts:
        forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        place /= next((form for form in forms if os.path.exists(root / place / form)), part)
    return place.as_posix()


def unpacked(folder: Path) -> Path:
    """`folder`, or the folder of the same name in it, where archives and notes are all that lies beside: what comes of unpacking `x.zip`
    into `x`."""
    for _ in range(3):
        if not folder.name or not os.path.isdir(folder / folder.name):
            break
        beside = (name for name in os.listdir(folder) if not name.startswith((".", "__MACOSX")) and not name.lower().endswith(_BESIDE))
        if any(name != folder.name for name in beside):
            break
        folder /= folder.name
    return folder

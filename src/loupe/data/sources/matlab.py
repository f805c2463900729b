"""Fields of a MATLAB struct, read in a process of its own: scipy's reader is fast, but a damaged file can end the process that reads it.

The file is also the script of that process, which needs NumPy and SciPy alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

_ABSENT = 3  # exit code of the reading process: a field is not there; its name is on the output


class Unreadable(Exception):
    """The file is no MATLAB file with that variable; the text says what came of reading it."""


class Absent(Exception):
    """The struct lacks a field; the text is its name."""


def struct_fields(path: Path, variable: str, numbers: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The fields of the struct `variable`, each (n,): float64 for `numbers` (NaN for what is none), text for `texts` ("" for what is none).

    Raises Unreadable and Absent.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "fields.npz"
        command = [sys.executable, "-P", __file__, str(path), variable, ",".join(numbers), ",".join(texts), str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == _ABSENT:
            raise Absent(done.stdout.strip())
        if done.returncode:
            raise Unreadable(done.stdout.strip() or "the reader crashed")
        with np.load(out, allow_pickle=False) as fields:
            return {name: fields[name] for name in (*numbers, *texts)}


def text(cell: object) -> str:
    """A string out of nested one-element arrays; "" for anything else."""
    while isinstance(cell, np.ndarray):
        if cell.size != 1:
            return ""
        cell = cell.reshape(-1)[0]
    return cell.strip() if isinstance(cell, str) else ""


def number(cell: object) -> float:
    """The first number of an array, or NaN."""
    try:
        return float(np.asarray(cell).reshape(-1)[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        return float("nan")


def _main(path: str, variable: str, numbers: str, texts: str, out: str) -> int:
    from scipy.io import loadmat

    try:
        struct = loadmat(path)[variable][0, 0]
        wanted = [(name, number, float) for name in numbers.split(",")] + [(name, text, str) for name in texts.split(",")]
        absent = [name for name, _, _ in wanted if name not in (struct.dtype.names or ())]
        if absent:
            print(absent[0])
            return _ABSENT
        fields = {name: np.array([read(cell) for cell in np.asarray(struct[name]).reshape(-1)], dtype=kind) for name, read, kind in wanted}
        np.savez(out, **fields)
    except Exception as error:  # scipy raises half a dozen types on damaged files
        print(type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

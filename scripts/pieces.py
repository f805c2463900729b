"""The study in pieces, where a machine is lent for minutes at a time: `python scripts/pieces.py --scale gpu --minutes 9 --pack home`.

Runs `scripts/study.py` until it is whole or the minutes are over. Over: everything is ended, exit code 3, and the same command goes on where it
was (finished stages, grid cells and people are kept; a training loses what came after its last checkpoint). Whole: predictions, tables, figures,
records and the page are packed into archives small enough to bring home, without stores and weights, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNFINISHED = 3
PACKED = ("reports", "data/runs", "data/logs", "conf", "dvc.lock")
LEFT_BEHIND = (".safetensors", ".npy", ".tmp")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run the study for some minutes; the same command continues it. At the end, pack its results."
    )
    parser.add_argument("--scale", default="gpu", help="a file of conf/scale without .yaml (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this piece (default: %(default)s)")
    parser.add_argument("--into", type=Path, help="folder of the run (default: .scratch/<scale>)")
    parser.add_argument("--pack", type=Path, default=Path("packed"), help="folder for the archives (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=15.0, help="of files in one archive, before compression (default: %(default)s)")
    options = parser.parse_args()
    home = options.into or ROOT / ".scratch" / options.scale
    if options.minutes <= 0 or options.megabytes <= 0:
        sys.exit("--minutes and --megabytes must be above 0.")
    study = [sys.executable, str(ROOT / "scripts" / "study.py"), "--scale", options.scale]
    running = subprocess.Popen([*study, *(["--into", str(options.into)] if options.into else [])])
    try:
        code = running.wait(timeout=60 * options.minutes)
    except subprocess.TimeoutExpired:
        running.kill()  # whatever it started watches it and ends within a second
        running.wait()
        print(f"{options.minutes:g} minutes are over: the same command goes on.", file=sys.stderr)
        return UNFINISHED
    if code:
        return code
    for path, size in pack(home.resolve(), options.pack, options.megabytes):
        print(f"{path}: {size / 2**20:.1f} MB")
    return 0


def pack(home: Path, folder: Path, megabytes: float) -> Iterator[tuple[Path, int]]:
    """Write `results-1.tar.gz`, `results-2.tar.gz`, ... into `folder`, each of at most `megabytes` of files (a larger single file stands alone).

    Every archive unpacks by itself, into the same layout. Yields each with its size in bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("results-*.tar.gz"):
        old.unlink()
    batches: list[list[Path]] = [[]]
    room = megabytes * 2**20
    for path in packed_files(home):
        if batches[-1] and path.stat().st_size > room:
            batches.append([])
            room = megabytes * 2**20
        batches[-1].append(path)
        room -= path.stat().st_size
    for number, batch in enumerate(batches, start=1):
        target = folder / f"results-{number}.tar.gz"
        with tarfile.open(target, "w:gz") as archive:
            for path in batch:
                archive.add(path, path.relative_to(home).as_posix())
        yield target, target.stat().st_size


def packed_files(home: Path) -> list[Path]:
    found = []
    for name in PACKED:
        start = home / name
        found += [start] if start.is_file() else [path for path in start.rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix not in LEFT_BEHIND)


if __name__ == "__main__":
    sys.exit(main())

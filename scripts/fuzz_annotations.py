"""Read thousands of damaged files (annotations, pictures, films, downloads, odd folders): `python scripts/fuzz_annotations.py 10000`.

Draws new files at every start (the tests of each day read a few hundred, always the same ones). A reader must refuse a file with one
sentence or account for every entry in it. Ends with the exit code of pytest, which prints the smallest file that broke a reader.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "data" / "sources").glob("test_fuzz*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int, nargs="?", default=10_000, help="how many files in all (default: %(default)s)")
    files = parser.parse_args().files
    if files < 1:
        sys.exit(f"{files} files cannot be read: ask for at least 1.")
    # The project's own -q, added to this one, would print a number of tests instead of their names.
    collect = [sys.executable, "-m", "pytest", *TESTS, "--collect-only", "-q", "--override-ini=addopts=--import-mode=importlib"]
    listed = subprocess.run(collect, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    readers = [line for line in listed if line.startswith(tuple(TESTS)) and "no_workbook" not in line]
    each = -(-files // len(readers))
    print(f"{len(readers)} readers, {each} mutated files each", flush=True)
    environment = os.environ | {"LOUPE_FUZZ_EXAMPLES": str(each)}
    command = [sys.executable, "-m", "pytest", *TESTS, "--hypothesis-show-statistics", "-p", "no:cacheprovider", "--timeout", "0"]
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment).returncode)


if __name__ == "__main__":
    main()

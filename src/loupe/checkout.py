"""Which commit a checkout stands at, and whether its code or settings differ from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What a stage is made from: a commit is its commit where nothing of this differs. Results are left out, because a run itself changes them.
_CODE = ("src", "conf", "dvc.yaml", "notebooks/*.py")


def commit_of(root: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout at `root` and whether code or settings differ from it; (None, None) without git or history.

    A scratch copy (`.scratch/<scale>` inside a checkout) speaks of that checkout; a ZIP unpacked inside somebody else's repository does not.
    """
    home = _checkout(root)
    commit = home and _git(home, "rev-parse", "HEAD")
    if not home or not commit:
        return None, None
    changed = _git(home, "status", "--porcelain", "--", *_CODE)
    return commit, None if changed is None else bool(changed)


def commit_that_runs(root: Path) -> tuple[str | None, bool | None]:
    """As `commit_of`, for a stage that is about to run at `root`.

    A scratch copy has the commit that `scripts/study.py` hands on in LOUPE_COMMIT ("+" behind it: code or settings differed). One that is run
    by hand has none: its checkout may have moved on since it was copied.
    """
    if handed := os.environ.get("LOUPE_COMMIT"):
        return handed.removesuffix("+"), handed.endswith("+")
    return commit_of(root) if _checkout(root) == root.resolve() else (None, None)


def committed_in(root: Path, path: Path) -> str | None:
    """The commit that holds `path` (file or folder below `root`) as it stands now; None where it differs from what is committed."""
    if _checkout(root) != root.resolve():
        return None
    if _git(root, "status", "--porcelain", "--", str(path)) != "":
        return None
    return _git(root, "log", "-1", "--format=%H", "--", str(path)) or None


def _checkout(root: Path) -> Path | None:
    found = _git(root, "rev-parse", "--show-toplevel")
    if not found:
        return None
    top, here = Path(found).resolve(), root.resolve()
    return top if here == top or here.is_relative_to(top / ".scratch") else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

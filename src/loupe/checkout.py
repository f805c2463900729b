"""Which commit a checkout stands at, and whether its code or settings differ from it. Git is asked here alone, whatever the user's own
settings."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from loupe.errors import LoupeError

# What a stage is made from: a commit is its commit where nothing of this differs. Results are left out, because a run itself changes them.
_CODE = ("src", "conf", "dvc.yaml", "notebooks/*.py")


def commit_of(root: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout at `root` and whether code or settings differ from it; (None, None) without git or history.

    A scratch copy (`.scratch/<scale>` inside a checkout) speaks of that checkout; a ZIP unpacked inside somebody else's repository does
    not.

    Raises LoupeError where there is a repository and git refuses to speak of it (another owner, a damaged one), as all functions here do.
    """
    home = checkout_of(root)
    commit = home and _line(home, "rev-parse", "--verify", "--quiet", "HEAD")
    if not home or not commit:
        return None, None
    changed = git(home, "status", "--porcelain", "--untracked-files=normal", "--", *_CODE)
    return commit, None if changed is None else bool(changed)


def commit_that_runs(root: Path) -> tuple[str | None, bool | None]:
    """As `commit_of`, for a stage that is about to run at `root`.

    A scratch copy has the commit that `scripts/study.py` hands on in LOUPE_COMMIT ("+" behind it: code or settings differed). One that is
    run by hand has none: its checkout may have moved on since it was copied.
    """
    if handed := os.environ.get("LOUPE_COMMIT"):
        return handed.removesuffix("+"), handed.endswith("+")
    return commit_of(root) if checkout_of(root) == root.resolve() else (None, None)


def committed_in(root: Path, path: Path) -> str | None:
    """The commit that holds `path` (file or folder below `root`) as it stands now; None where it differs from what is committed."""
    if checkout_of(root) != root.resolve():
        return None
    if git(root, "status", "--porcelain", "--untracked-files=normal", "--", str(path)) != b"":
        return None
    return _line(root, "rev-list", "-1", "HEAD", "--", str(path)) or None


def checkout_of(root: Path) -> Path | None:
    """The top of the checkout that `root` is, or of which it is a scratch copy; None where there is none."""
    top, here = repository_of(root), root.resolve()
    return top if top and (here == top or here.is_relative_to(top / ".scratch")) else None


def repository_of(root: Path) -> Path | None:
    """The top folder of the git repository, of whatever project, that `root` lies in; None where it lies in none."""
    try:
        done = _run(root, "rev-parse", "--show-toplevel")
    except (OSError, subprocess.TimeoutExpired) as error:
        if not (root / ".git").exists():
            return None
        raise LoupeError(f"git does not answer for {root} ({error}): install it, or mend that, and start again.") from error
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout).rstrip("\n")).resolve()
    said = os.fsdecode(done.stderr).strip()
    if "not a git repository" in said and not (root / ".git").exists():
        return None
    if dubious := re.search(r"dubious ownership in repository at '(.+)'", said):
        way = f"run `git config --global --add safe.directory '{dubious[1]}'`"
        raise LoupeError(f"git refuses {root}, because the folder belongs to another user: {way} and start again.")
    raise LoupeError(f"git refuses {root} ({said.splitlines()[0] if said else 'no reason given'}): mend that and start again.")


def git(root: Path, *arguments: str) -> bytes | None:
    """What `git ARGUMENTS` prints in the repository at `root`; None where it fails."""
    try:
        done = _run(root, *arguments)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def misleads_git(name: str) -> bool:
    """Whether a variable may point git at another repository, or change how it reads paths: what a profile or the hook that started us
    exports."""
    return name.startswith("GIT_") and not re.match("GIT_(CEILING|CONFIG_|DISCOVERY|EXEC|TEST)", name)


def _line(root: Path, *arguments: str) -> str | None:
    found = git(root, *arguments)
    return None if found is None else found.decode().strip()


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not misleads_git(name)}
    words = ["git", "-C", str(root), *arguments]
    return subprocess.run(words, env=environment | {"LC_ALL": "C"}, capture_output=True, timeout=60, check=False)

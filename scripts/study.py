"""Run the whole study and build its page: `make study`, `make study SCALE=smoke`, `make study SCALE=laptop DATA=folder RAW=~/photos`.

The default scale runs in place and owns `dvc.lock` and the committed results. Any other scale, and any other data, runs in a scratch copy
under `.scratch/` that shares DVC's cache and leaves the checkout as it was. A copy is brought up to date at every start but keeps its own
outputs, so a second run executes nothing and a killed run continues.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

import psutil
import yaml
from configobj import ConfigObj
from one_study import OneStudy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
from loupe.checkout import commit_of, git, misleads_git, repository_of  # noqa: E402
from loupe.errors import LoupeError  # noqa: E402

DEFAULTS = yaml.safe_load((ROOT / "conf" / "study.yaml").read_text(encoding="utf-8"))
KEPT = "finished stages are kept, and the same command continues"
COPIED = Path(".dvc", "tmp", "copied.json")  # in a copy: what was copied, and its stamps
DVC = [sys.executable, "-P", "-m", "dvc"]  # its script in .venv/bin names the folder that set-up ran in, which may have been moved since
WAYS = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EACCES: "allow writing", errno.EROFS: "allow writing"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the study through DVC, then build reports/index.html.")
    parser.add_argument("stages", nargs="*", help="stop after these stages (default: all)")
    parser.add_argument("--scale", default=DEFAULTS["scale"], help="a file of conf/scale without .yaml (default: %(default)s)")
    parser.add_argument("--data", default=DEFAULTS["data"], help="a file of conf/data without .yaml (default: %(default)s)")
    parser.add_argument("--raw", default=DEFAULTS["raw"], help="folder of your own faces, for --data folder")
    parser.add_argument("--into", type=Path, help="run in this folder, with a DVC cache of its own, instead of here or under .scratch/")
    parser.add_argument("--force", action="store_true", help="run every stage again, even where nothing changed")
    options = parser.parse_args()
    for group in ("scale", "data"):
        known = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        if getattr(options, group) not in known:
            sys.exit(f"conf/{group}/{getattr(options, group)}.yaml does not exist: choose one of {', '.join(known)}.")
    settings = {"scale": options.scale, "data": options.data, "raw": options.raw}
    if options.raw != DEFAULTS["raw"]:
        settings["raw"] = str(Path(options.raw).expanduser().resolve())
    check_raw(settings)
    prepare_environment()
    end_with_parent()
    try:
        allow_without_git(ROOT)
        run(folder_for(options, settings), options, settings)
    except LoupeError as error:
        stop(str(error).rstrip("."))
    except OSError as error:
        stop(f"{error.filename or ROOT}: {error.strerror}: {WAYS.get(error.errno, 'mend that')} and start again")
    except subprocess.CalledProcessError as error:
        stop(f"`{' '.join(map(str, error.cmd))}` failed: {(error.stderr or '').strip() or 'see above'}")
    except KeyboardInterrupt:
        stop("Interrupted", 130)


def run(home: Path, options: argparse.Namespace, settings: dict) -> None:
    with OneStudy(home):
        if home != ROOT:
            prepare_copy(home, options, settings)
        reproduce(home, options)
        if not options.stages:
            page(home)


def stop(reason: str, code: int = 1) -> NoReturn:
    """End with one sentence, and another where DVC removed committed results for a stage that did not come to its end."""
    gone = (git(ROOT, "ls-files", "--deleted", "--", "reports") or b"").splitlines()
    back = (
        f" {len(gone)} committed files of reports/ are gone until their stages end; `git checkout reports` brings them back."
        if gone
        else ""
    )
    print(f"{reason}; {KEPT}.{back}", file=sys.stderr)
    sys.exit(code)


def prepare_environment() -> None:
    """What the stages inherit: this environment's programs, a shell that keeps them, and no repository but the one they run in."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.environ["SHELL"] = "/bin/sh"  # DVC runs stages in it, and another one's start-up file may set PATH anew, or refuse
    os.environ["LOUPE_OWNER"] = str(os.getpid())  # a stage ends itself when this process is gone
    for name in [name for name in os.environ if name == "LOUPE_COMMIT" or misleads_git(name)]:
        del os.environ[name]


def check_raw(settings: dict) -> None:
    """Refuse missing faces in a sentence of ours: DVC would speak of a dependency."""
    raw, given, own = ROOT / settings["raw"], settings["raw"] != DEFAULTS["raw"], settings["data"] == "folder"
    if own and not given and DEFAULTS["data"] != "folder":
        sys.exit("DATA=folder needs your faces: say where they are, e.g. make study DATA=folder RAW=/your/faces.")
    if (own or given) and not raw.exists():
        sys.exit(f"RAW={raw} does not exist: name the folder that holds your faces.")
    if own and not raw.is_dir():
        sys.exit(f"RAW={raw} is not a folder: name the folder that holds your faces (unpack an archive first).")


def folder_for(options: argparse.Namespace, settings: dict) -> Path:
    """Where to run: this checkout for the defaults, else a scratch copy named after scale and data."""
    if options.into:
        home = options.into.resolve()
        ours = (home / COPIED).is_file() or not home.exists() or {path.name for path in home.iterdir()} <= {".dvc"}
        if home != ROOT and (not ours or ROOT in home.parents or home in ROOT.parents):
            sys.exit(f"--into {home}: name a new folder outside this checkout, whose files would be written over.")
        return home
    if settings == DEFAULTS:
        return ROOT
    return ROOT / ".scratch" / (options.scale if options.data == DEFAULTS["data"] else f"{options.scale}-{options.data}")


def prepare_copy(home: Path, options: argparse.Namespace, settings: dict) -> None:
    """Bring the scratch copy up to date and give it its scale, its DVC cache and your own data."""
    if options.into is None:
        print(f"Scale {options.scale} runs in {home.relative_to(ROOT)}; results in this checkout stay as they are.", flush=True)
    copy_checkout(home)
    hand_on_commit()
    write_if_changed(home / "conf" / "study.yaml", yaml.safe_dump(settings, sort_keys=False))
    local = ConfigObj({"core": {"no_scm": "true"}})  # quotes as DVC's reader wants it: a path may hold # or a comma
    if options.into is None:
        cache = subprocess.run([*DVC, "cache", "dir"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        local["cache"] = {"dir": cache.rstrip("\n")}
    write_if_changed(home / ".dvc" / "config.local", "\n".join([*local.write(), ""]))
    (home / "data").mkdir(exist_ok=True)
    for name in ("raw", "imported"):
        if (home / "data" / name).is_symlink():
            (home / "data" / name).unlink()  # the checkout may have been moved
        if (ROOT / "data" / name).exists() and not (home / "data" / name).exists():
            (home / "data" / name).symlink_to(ROOT / "data" / name)


def hand_on_commit() -> None:
    """Let the stages of a copy, which has no history of its own, note the commit that was copied."""
    commit, dirty = commit_of(ROOT)
    os.environ["LOUPE_COMMIT"] = f"{commit or ''}{'+' if dirty else ''}"


def allow_without_git(root: Path) -> None:
    """Let DVC run in a folder that is under no version control (a ZIP), and undo that where a repository has appeared since."""
    local = root / ".dvc" / "config.local"
    marked = local.is_file() and "no_scm = true" in local.read_text(encoding="utf-8")
    if (repository_of(root) is not None) == marked:
        change = ["--unset", "core.no_scm"] if marked else ["core.no_scm", "true"]
        subprocess.run([*DVC, "config", "--quiet", "--local", *change], cwd=root, check=True)


def copy_checkout(home: Path) -> None:
    """Bring the copy up to date: every file that git would not ignore, but no stage output, no page about results and no `dvc.lock`.

    Unchanged files are not touched (their time stamps key numba's cache); files that left the checkout leave the copy. A file that somebody
    edited in the copy is set aside before it is replaced.
    """
    told = [f"reports/{path.name}" for path in (ROOT / "reports").glob("*.*")]  # pages speak of the checkout's results
    made = ["dvc.lock", "conf/study.yaml", *told, *outputs_of_stages(ROOT)]
    files = [file for file in unignored_files(ROOT) if not any(file == out or file.startswith(f"{out}/") for out in made)]
    listing = home / COPIED
    try:
        before = dict(json.loads(listing.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):  # a new copy, or a killed start of one
        before = {}
        listing.touch()
    for file in before.keys() - set(files):
        set_aside_if_edited(home / file, before[file])
        (home / file).unlink(missing_ok=True)
    for file in files:
        source, target = ROOT / file, home / file
        if not target.is_file() or stamp(source) != stamp(target):
            if target.is_file() and source.read_bytes() != target.read_bytes():
                set_aside_if_edited(target, before.get(file))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    listing.write_text(json.dumps({file: stamp(home / file) for file in files}), encoding="utf-8")


def set_aside_if_edited(target: Path, copied: list[int] | None) -> None:
    """Keep what somebody wrote into the copy since it was made, under another name, and say so. copied: the file's stamp then, if known."""
    if copied is None or not target.is_file() or stamp(target) == copied:
        return
    kept = target.with_name(f"{target.stem}.yours-{target.stat().st_mtime_ns // 10**9}{target.suffix}")
    target.rename(kept)
    print(
        f"{target} was edited in the copy: your version is kept as {kept.name}. Edit the checkout instead, and the copy follows.",
        flush=True,
    )


def stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def unignored_files(root: Path) -> list[str]:
    """Files that the project's .gitignore does not exclude, tracked or not; links to folders are passed over. Needs git, but no
    repository."""
    with tempfile.TemporaryDirectory() as empty:
        git = ["git", f"--git-dir={empty}", f"--work-tree={root}", "-c", "core.excludesFile="]
        subprocess.run(["git", "init", "--quiet", "--bare", empty], check=True, capture_output=True)
        command = [*git, "ls-files", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(file for file in listed.split("\0") if (root / file).is_file())


def outputs_of_stages(root: Path) -> list[str]:
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = [out for stage in stages.values() for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in outs]


def write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def end_with_parent() -> None:
    """End when the command that started this one (make) is gone, so that a killed `make study` leaves nothing running."""
    parent = psutil.Process().parent()
    if parent is None or Path(parent.name()).stem not in ("make", "gmake"):
        return

    def watch() -> None:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def reproduce(home: Path, options: argparse.Namespace) -> None:
    command = [*DVC, "repro", *(["--force"] if options.force else []), *options.stages]
    with subprocess.Popen(command, cwd=home) as dvc:
        try:
            code = dvc.wait()
        except KeyboardInterrupt:  # which DVC was sent, too: it has a stage to end and a lock file to write
            with contextlib.suppress(subprocess.TimeoutExpired):
                dvc.wait(timeout=30)
            raise
    if code:
        stop("The study stopped at the error above")
    for mark in (home / "data" / "scratch").glob("*/published"):  # recorded in dvc.lock, so nothing needs it any more
        shutil.rmtree(mark.parent, ignore_errors=True)


def page(home: Path) -> None:
    if not (home / "reports" / "claims.csv").is_file():
        return
    environment = os.environ | {"PYTHONPATH": str(home / "src")}
    if home == ROOT and (home / "scripts" / "results.py").is_file():  # a copy's README speaks of the checkout's results, not of its own
        subprocess.run([sys.executable, "scripts/results.py"], cwd=home, env=environment)
    if subprocess.run([sys.executable, "-m", "loupe.cli", "page"], cwd=home, env=environment).returncode:
        stop("The page could not be built (see above)")
    index = home / "reports" / "index.html"
    print(f"\nDone: open {os.path.relpath(index)}")


if __name__ == "__main__":
    main()

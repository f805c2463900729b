"""Run the whole study and build its page: `make study`, `make study SCALE=smoke`, `make study SCALE=laptop DATA=folder RAW=~/photos`.

The default scale runs in place and owns `dvc.lock` and the committed results. Any other scale, and any other data, runs in a scratch copy under
`.scratch/` that shares DVC's cache and leaves the checkout as it was. A copy is brought up to date at every start but keeps its own outputs,
so a second run executes nothing and a killed run continues.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = yaml.safe_load((ROOT / "conf" / "study.yaml").read_text(encoding="utf-8"))
KEPT = "finished stages are kept, and the same command continues"


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

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["LOUPE_OWNER"] = str(os.getpid())  # a stage ends itself when this process is gone
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "LOUPE_COMMIT"):
        os.environ.pop(name, None)
    end_with_parent()
    home = folder_for(options, settings)
    try:
        allow_without_git(ROOT)
        with OneStudy(home):
            if home != ROOT:
                prepare_copy(home, options, settings)
            reproduce(home, options)
            if not options.stages:
                page(home)
    except OSError as error:
        sys.exit(f"{error.filename or ROOT}: {error.strerror}: mend that (free some space, or allow writing) and start again; {KEPT}.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(map(str, error.cmd))}` failed: {(error.stderr or '').strip() or 'see above'}; {KEPT}.")


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
        return options.into.resolve()
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
    local = "[core]\n    no_scm = true\n"
    if options.into is None:
        cache = subprocess.run(["dvc", "cache", "dir"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        local += f"[cache]\n    dir = {cache}\n"
    write_if_changed(home / ".dvc" / "config.local", local)
    for name in ("raw", "imported"):
        if (ROOT / "data" / name).exists() and not (home / "data" / name).exists():
            (home / "data").mkdir(exist_ok=True)
            (home / "data" / name).symlink_to(ROOT / "data" / name)


def hand_on_commit() -> None:
    """Let the stages of a copy, which has no history of its own, note the commit that was copied."""
    sys.path.insert(0, str(ROOT / "src"))
    from loupe.checkout import commit_of

    commit, dirty = commit_of(ROOT)
    os.environ["LOUPE_COMMIT"] = f"{commit or ''}{'+' if dirty else ''}"


def allow_without_git(root: Path) -> None:
    """Let DVC run in a folder that is under no version control (a ZIP), and undo that where a repository has appeared since."""
    inside = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], cwd=root, capture_output=True).returncode == 0
    local = root / ".dvc" / "config.local"
    marked = local.is_file() and "no_scm = true" in local.read_text(encoding="utf-8")
    if inside == marked:
        change = ["--unset", "core.no_scm"] if marked else ["core.no_scm", "true"]
        subprocess.run(["dvc", "config", "--quiet", "--local", *change], cwd=root, check=True)


def copy_checkout(home: Path) -> None:
    """Bring the copy up to date: every file that git would not ignore, but no stage output and no `dvc.lock`.

    Unchanged files are not touched (their time stamps key numba's cache); files that left the checkout leave the copy. A file that somebody
    edited in the copy is set aside before it is replaced.
    """
    made = ["dvc.lock", "conf/study.yaml", *outputs_of_stages(ROOT)]
    files = [file for file in unignored_files(ROOT) if not any(file == out or file.startswith(f"{out}/") for out in made)]
    listing = home / ".dvc" / "tmp" / "copied.json"
    before = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    if isinstance(before, list):  # a copy that was made before stamps were noted
        before = dict.fromkeys(before)
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
    """Files that the project's .gitignore does not exclude, tracked or not. Needs git, but no repository: a ZIP will do."""
    with tempfile.TemporaryDirectory() as empty:
        git = ["git", f"--git-dir={empty}", f"--work-tree={root}", "-c", "core.excludesFile="]
        subprocess.run(["git", "init", "--quiet", "--bare", empty], check=True, capture_output=True)
        command = [*git, "ls-files", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(file for file in listed.split("\0") if file and not file.endswith("/"))


def outputs_of_stages(root: Path) -> list[str]:
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = [out for stage in stages.values() for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in outs]


def write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class OneStudy:
    """One study a folder at a time, and a clean start after a kill: what a killed DVC left half-written is set right."""

    def __init__(self, home: Path):
        self.tmp = home / ".dvc" / "tmp"
        self.lock_file = home / "dvc.lock"
        self.owner = self.tmp / "study.pid"

    def __enter__(self) -> None:
        self.tmp.mkdir(parents=True, exist_ok=True)
        running = self._running()
        if running:
            sys.exit(f"The study already runs here (process {running}): wait for it, or end it with `kill {running}` and start again.")
        self.owner.write_text(f"{os.getpid()} {psutil.Process().create_time()}", encoding="utf-8")
        self._restore_locks()

    def __exit__(self, *_: object) -> None:
        self.owner.unlink(missing_ok=True)

    def _running(self) -> int | None:
        try:
            pid, created = self.owner.read_text(encoding="utf-8").split()
            return int(pid) if abs(psutil.Process(int(pid)).create_time() - float(created)) < 1 else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _restore_locks(self) -> None:
        rwlock = self.tmp / "rwlock"
        if rwlock.is_file():
            # The DVC of a study that was killed a moment ago needs a second to notice. After that, DVC itself speaks of owners that run. Dead
            # ones are cleared here: DVC believes them alive when another process got their number (always so in a restarted container).
            psutil.wait_procs([psutil.Process(pid) for pid in owners(rwlock) if dvc_runs(pid)], timeout=15)
            if not any(dvc_runs(pid) for pid in owners(rwlock)):
                rwlock.unlink()
        if self.lock_file.is_file() and not is_whole(self.lock_file):
            self.lock_file.unlink()  # what it said about finished stages stands in the run cache, too


def is_whole(lock_file: Path) -> bool:
    """Whether DVC would accept its lock file. DVC writes it in place, so a kill can cut it short."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock_file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        return False
    return True


def owners(rwlock: Path) -> Iterable[int]:
    """Process numbers in DVC's lock file; none when a kill cut it short."""
    try:
        found = json.loads(rwlock.read_text(encoding="utf-8"))
        held = [*found.get("write", {}).values(), *(reader for readers in found.get("read", {}).values() for reader in readers)]
        return {int(entry["pid"]) for entry in held}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def dvc_runs(pid: int) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


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
    command = ["dvc", "repro", *(["--force"] if options.force else []), *options.stages]
    code = subprocess.run(command, cwd=home).returncode
    if code:
        sys.exit(f"The study stopped at the error above; {KEPT}.")
    for mark in (home / "data" / "scratch").glob("*/published"):  # recorded in dvc.lock, so nothing needs it any more
        shutil.rmtree(mark.parent, ignore_errors=True)


def page(home: Path) -> None:
    if not (home / "reports" / "claims.csv").is_file():
        return
    environment = os.environ | {"PYTHONPATH": str(home / "src")}
    if subprocess.run([sys.executable, "-m", "loupe.cli", "page"], cwd=home, env=environment).returncode:
        sys.exit(f"The page could not be built (see above); {KEPT}.")
    index = home / "reports" / "index.html"
    print(f"\nDone: open {os.path.relpath(index)}")


if __name__ == "__main__":
    main()

"""Random SIGKILLs over a smoke study: every rerun must end with the tables of the undisturbed run.

`python tests/wiring/kill_study.py --kills 20 [--seed 0]` runs the study once in peace and once with kills, each in a scratch copy, and compares
every table and `dvc.lock`. CI runs it with 2. Each kill takes the whole process tree at a random moment, or one process of it (DVC, a runner, a
kernel, a worker); the same command then continues.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil
from processes import processes_in, wait_for
from test_study import Lab, files


def undisturbed(lab: Lab) -> float:
    """Seconds of the study in peace."""
    start = time.monotonic()
    process = lab.start()
    text = lab.finish(process)
    if process.returncode:
        sys.exit(f"the undisturbed study failed:\n{text[-3000:]}")
    return time.monotonic() - start


def victims(lab: Lab, whole_tree: bool, chance: random.Random) -> list[psutil.Process]:
    found = processes_in(lab.home)
    return found if whole_tree or not found else [chance.choice(found)]


def disturbed(lab: Lab, kills: int, seconds: float, chance: random.Random) -> int:
    """Run with `kills` kills spread at random over the study's time, then to the end; returns how many struck."""
    struck = 0
    for number in range(kills):
        process = lab.start()
        end = time.monotonic() + chance.uniform(0.3, max(2.0, 1.5 * seconds / max(kills, 1)))
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:  # done before the blow; the next round must find nothing to do
            lab.finish(process)
            continue
        whole = chance.random() < 0.5
        for victim in victims(lab, whole, chance):
            try:
                victim.kill()
                struck += 1 if not whole else 0
            except psutil.NoSuchProcess:
                continue
        if whole:
            struck += 1
            process.kill()
        lab.finish(process)
        wait_for(lambda: not processes_in(lab.home), seconds=120)
        print(f"kill {number + 1} of {kills}: {'all' if whole else 'one process'}; exit status {process.returncode}", flush=True)
    last = lab.start()
    text = lab.finish(last)
    if last.returncode:
        sys.exit(f"the study did not continue:\n{text[-3000:]}")
    return struck


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many times to strike")
    parser.add_argument("--seed", type=int, default=0, help="when and whom to strike")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        labs = []
        for name in ("peace", "kills"):
            logs = Path(folder, name, "logs")
            logs.mkdir(parents=True)
            labs.append(Lab(Path(folder, name, "copy"), logs))
        peace, war = labs
        try:
            seconds = undisturbed(peace)
            struck = disturbed(war, options.kills, seconds, chance)
        finally:
            for lab in labs:
                for process in processes_in(lab.home):
                    process.kill()
        expected, found = files(peace.home / "reports/tables"), files(war.home / "reports/tables")
        differ = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        same_lock = (peace.home / "dvc.lock").read_bytes() == (war.home / "dvc.lock").read_bytes()
    print(f"{struck} of {options.kills} kills struck; {len(expected)} tables, {len(differ)} differ{': ' + ', '.join(differ) if differ else ''}")
    if not same_lock:
        print("dvc.lock differs: an output is not the same")
    return 1 if differ or not same_lock or not expected else 0


if __name__ == "__main__":
    sys.exit(main())

"""Random SIGKILLs over a smoke study: every rerun must end with the tables of the undisturbed run.

`python tests/wiring/kill_study.py --kills 20 [--seed 0]` runs the study once in peace and once with kills, each in a scratch copy, and
compares every table and `dvc.lock`. Each kill takes the whole process tree at a random moment, or one process of it (DVC, a runner, a
kernel, a worker); the same command then continues. `make test` strikes twice, at moments of its choice (test_study.py).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator
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


def disturbed(copies: Iterator[Lab], kills: int, seconds: float, chance: random.Random) -> list[Lab]:
    """Strike `kills` times, spread at random over the study's time, and let it end; where it ends before that, it begins anew in the next
    copy. Returns the copies, each with a study that has ended."""
    labs, struck = [next(copies)], 0
    while struck < kills:
        lab = labs[-1]
        process = lab.start()
        end = time.monotonic() + chance.uniform(0.3, max(2.0, 1.5 * seconds / kills))
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:
            ended(lab, process)
            labs.append(next(copies))
            continue
        whole = chance.random() < 0.5
        hit = False
        for victim in victims(lab, whole, chance):
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                hit = True
        if whole:
            process.kill()
        struck += whole or hit
        lab.finish(process)
        wait_for(lambda lab=lab: not processes_in(lab.home), seconds=120)
        if whole or hit:
            print(f"kill {struck} of {kills}: {'all' if whole else 'one process'}; exit status {process.returncode}", flush=True)
    ended(labs[-1], labs[-1].start())
    return labs


def ended(lab: Lab, process) -> None:
    """Wait for the study's own end, which must be a good one."""
    text = lab.finish(process)
    if process.returncode:
        sys.exit(f"the study did not continue:\n{text[-3000:]}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many times to strike")
    parser.add_argument("--seed", type=int, default=0, help="when and whom to strike")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        made = []

        def copies() -> Iterator[Lab]:
            for number in itertools.count():
                logs = Path(folder, f"{number}", "logs")
                logs.mkdir(parents=True)
                made.append(Lab(Path(folder, f"{number}", "copy"), logs))
                yield made[-1]

        labs = copies()
        try:
            peace = next(labs)
            seconds = undisturbed(peace)
            wars = disturbed(labs, options.kills, seconds, chance)
        finally:
            for lab in made:
                for process in processes_in(lab.home):
                    process.kill()
        expected, lock = files(peace.home / "reports/tables"), (peace.home / "dvc.lock").read_bytes()
        differ, other_lock = set(), False
        for war in wars:
            found = files(war.home / "reports/tables")
            differ |= {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
            other_lock |= (war.home / "dvc.lock").read_bytes() != lock
    print(
        f"{options.kills} kills in {len(wars)} studies; {len(expected)} tables, "
        f"{len(differ)} differ{': ' + ', '.join(sorted(differ)) if differ else ''}"
    )
    if other_lock:
        print("dvc.lock differs: an output is not the same")
    return 1 if differ or other_lock or not expected else 0


if __name__ == "__main__":
    sys.exit(main())

"""Speed of the face generator on this machine, end to end: `python scripts/bench_faces.py --runs 5`.

Each run draws new people from scratch (identity, rendering, camera, writing) with 2 processes: 40 people x 32 stills, and all frames of
four micro-expression clips a process. Prints every run, then median, minimum and maximum. Targets on 2 free cores at 64 px: 40 stills/s,
60 clip frames/s, start-up 3 s warm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from loupe.config import find_root
from loupe.faces.generate import prepare
from loupe.faces.plan import StudySetPlan, generator_version
from loupe.faces.subject import Studio, clip_scene, render_frame

FIRST_SEED = 9200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--people", type=int, default=40)
    options = parser.parse_args()
    assets = find_root() / "data" / "scratch" / "assets"
    print(
        f"generator {generator_version()}, {options.size} px, {options.workers} processes, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    measured: dict[str, list[float]] = {"start-up, s": [], "stills/s": [], "clip frames/s": []}
    start_up(assets, options.size)  # fills the caches of compiler and disk
    for run in range(options.runs):
        measured["start-up, s"].append(start_up(assets, options.size))
        measured["stills/s"].append(stills(FIRST_SEED + run, options, assets))
        measured["clip frames/s"].append(frames(FIRST_SEED + 10 * run, options, assets))
        print(f"run {run + 1}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in measured.items()), flush=True)
    for name, values in measured.items():
        print(f"{name}: median {np.median(values):.2f}, {min(values):.2f} to {max(values):.2f}, n = {len(values)}")


def start_up(assets: Path, size: int) -> float:
    """Seconds until a fresh process is ready to draw."""
    code = f"from pathlib import Path; from loupe.faces.subject import Studio; Studio.open({size}, Path({str(assets)!r}))"
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def stills(seed: int, options, assets: Path) -> float:
    """Stills a second with the processes started anew; the first person, drawn by the parent, is part of it."""
    plan = StudySetPlan(seed=seed, size=options.size, train_subjects=options.people, stills_per_subject=32)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        count = prepare(plan, Path(folder) / "out", Path(folder) / "people", options.workers, assets)["stills"]
        return count / (time.perf_counter() - begin)


def frames(seed: int, options, assets: Path) -> float:
    """Frames a second of whole micro-expression clips, one person a process, the processes started and warm."""
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        drawn = list(
            pool.map(clip_frames, range(seed, seed + options.workers), [options.size] * options.workers, [assets] * options.workers)
        )
    return sum(count for count, _ in drawn) / max(seconds for _, seconds in drawn)


def clip_frames(seed: int, size: int, assets: Path) -> tuple[int, float]:
    """Draw every frame of four clips of one person; returns their number and the seconds it took."""
    studio = Studio.open(size, assets)
    scenes = [clip_scene(studio, seed, "micro", 0, clip, "micro", "happiness", 1) for clip in range(4)]
    render_frame(studio, seed, "micro", 0, 0, 0, scenes[0])
    begin, count = time.perf_counter(), 0
    for clip, scene in enumerate(scenes):
        for frame in range(scene.script.frames):
            render_frame(studio, seed, "micro", 0, clip, frame, scene)
            count += 1
    return count, time.perf_counter() - begin


if __name__ == "__main__":
    main()

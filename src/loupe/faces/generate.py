"""Render a study set with several processes, resumably, into the prepared layout: `<set>/images.npy` and `<set>/manifest.parquet`."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing as mp
import os
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from loupe.errors import LoupeError
from loupe.faces.assets import DEFAULT_CACHE
from loupe.faces.expression import AU_NAMES, STILL_CLASSES
from loupe.faces.motion import MICRO_CLASSES
from loupe.faces.plan import DIAL_OF_SET, Job, StudySetPlan, generator_version, jobs
from loupe.faces.subject import Rendered, Studio, clip_scene, render_frame, render_job, render_still
from loupe.progress import track

__all__ = [
    "AU_NAMES",
    "MICRO_CLASSES",
    "STILL_CLASSES",
    "StudySetPlan",
    "Studio",
    "clip_scene",
    "generator_version",
    "prepare",
    "render_frame",
    "render_still",
]

SETS = ("stills", "camera", "shift", "clips", "micro", "micro_shift", *DIAL_OF_SET, "macro")
TRUTHS = {"motion": np.float32, "parts": np.uint8, "expression_flow": np.float32, "head_flow": np.float32}  # stored a micro clip
# Manifest columns with what stands in a row that has no such thing.
COLUMNS = {
    "sample": -1, "set": "", "split": "", "subject": "", "clip": "", "frame": -1, "fps": float("nan"), "onset": -1, "apex": -1, "offset": -1,
    "role": "", "label": -1, "label_name": "", "prototype": "", "au": (), "intensity": float("nan"), "yaw": float("nan"), "pitch": float("nan"),
    "roll": float("nan"), "light": "", "background": "", "occlusion": "", "landmarks": (), "age": float("nan"), "sex": float("nan"),
    "tone": float("nan"), "hair": "", "beard": float("nan"), "source": "",
}  # fmt: skip
_studio: Studio | None = None


def prepare(plan: StudySetPlan, out: Path, scratch: Path, workers: int, cache_dir: Path = DEFAULT_CACHE) -> dict[str, int]:
    """Render `plan` into `out` and return the number of images by set.

    A set of which the plan asks for nothing is written empty. Each finished person stands in `scratch` as one file, so a killed run continues where it was. The bytes written do not depend on
    `workers`. Raises LoupeError for a senseless plan, damaged head data, an unwritable folder or a full disk.
    """
    plan.check()
    if workers < 1:
        raise LoupeError(f"The number of workers is {workers}, but at least one process must draw; set workers to 1 or more.")
    out, scratch = Path(out), Path(scratch)
    listed = jobs(plan)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        missing = [job for job in listed if _read(_path(scratch, job, plan)) is None]
        for _ in track(_draw(missing, plan, scratch, workers, Path(cache_dir)), "faces", total=len(missing)):
            pass
        counts = {}
        for name in SETS:
            chosen = [job for job in listed if job.set == name or (name == "camera" and job.cameras == 2)]
            counts[name] = _assemble(chosen, plan, scratch, out / name)
    except OSError as error:
        raise _explain(error, error.filename or scratch) from error
    return counts


def _explain(error: OSError, folder) -> LoupeError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LoupeError(f"No space is left for {folder}; free some and run the same command again, finished people are kept.")
    return LoupeError(
        f"Cannot write or read {folder} ({error.strerror or error}); check the folder's rights and run the same command again."
    )


def _path(scratch: Path, job: Job, plan: StudySetPlan) -> Path:
    """Where a finished job stands; the name changes with everything that decides its pixels."""
    parts = [
        generator_version(),
        plan.seed,
        plan.size,
        plan.nuisance if job.set not in ("stills", "shift", *DIAL_OF_SET) else 0,
        plan.macro_stride if job.set == "macro" else 0,
        asdict(job),
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=int).encode()).hexdigest()[:12]
    return scratch / job.set / f"{job.subject}-{key}.npz"


def _read(path: Path) -> Rendered | None:
    """A finished job, or None if it is absent or not whole. Every byte is checked first: numpy stops reading an array where its header says, and a
    damaged header may say so before the archive's checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(damaged)
        with np.load(path, allow_pickle=False) as stored:
            rows, clips, side_rows = (json.loads(str(stored[name])) for name in ("rows", "clips", "side_rows"))
            return Rendered(stored["images"], rows, clips, {name: stored[name] for name in TRUTHS}, stored["side_images"], side_rows)
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception:  # a damaged file: zip, numpy's header reader and JSON raise errors of many kinds
        path.unlink()
        return None


def _write(path: Path, done: Rendered) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, side_rows = (np.array(json.dumps(rows, default=lambda value: np.asarray(value).tolist())) for rows in (done.rows, done.side_rows))
    arrays = {"images": done.images, "rows": rows, "clips": np.array(json.dumps(done.clips)), **done.truths}
    with _replacing(path) as file:
        np.savez(file, **arrays, side_images=done.side_images, side_rows=side_rows)


class _replacing:
    """Write beside `path` and move over it once whole, so that nothing half-written is ever taken for finished."""

    def __init__(self, path: Path):
        self.path, self.partial = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self):
        self.file = open(self.partial, "wb")
        return self.file

    def __exit__(self, kind, *_):
        try:
            self.file.close()
        finally:
            if kind is not None:
                self.partial.unlink(missing_ok=True)
        if kind is None:
            os.replace(self.partial, self.path)


def _draw(missing: list[Job], plan: StudySetPlan, scratch: Path, workers: int, cache_dir: Path) -> Iterator[None]:
    """Draw jobs, one yield a finished person."""
    if not missing:
        return
    _open(plan.size, cache_dir)
    first, rest = missing[:1], missing[1:]
    if workers == 1 or not rest:
        first, rest = missing, []
    for job in first:  # with several processes the first person also fills the compiler's cache for them
        _run(job, plan, scratch)
        yield
    if not rest:
        return
    context = mp.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(plan.size, cache_dir)) as pool:
        futures = [pool.submit(_run, job, plan, scratch) for job in rest]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _open(size: int, cache_dir: Path) -> None:
    global _studio
    if _studio is None or _studio.renderer.size != size:
        _studio = Studio.open(size, cache_dir)


def _start_worker(size: int, cache_dir: Path) -> None:
    """Prepare a worker; it ends with its parent even if that is killed."""

    def end_with_parent():
        wait([mp.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _open(size, cache_dir)


def _run(job: Job, plan: StudySetPlan, scratch: Path) -> None:
    path = _path(scratch, job, plan)
    done = render_job(_studio, job, plan.seed, plan.nuisance, plan.macro_stride)
    try:
        _write(path, done)
    except OSError as error:
        raise _explain(error, path.parent) from error


def _assemble(listed: list[Job], plan: StudySetPlan, scratch: Path, folder: Path) -> int:
    """Gather the finished jobs of one set into its store and manifest; returns the number of images."""
    folder.mkdir(parents=True, exist_ok=True)
    done = [_read(_path(scratch, job, plan)) for job in listed]
    taken = [(part.side_images, part.side_rows) if folder.name == "camera" else (part.images, part.rows) for part in done]
    shape = (sum(len(images) for images, _ in taken), plan.size, plan.size, 3)
    with _replacing(folder / "images.npy") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for images, _ in taken:
            file.write(np.ascontiguousarray(images).tobytes())
    rows = [row for _, part in taken for row in part]
    with _replacing(folder / "manifest.parquet") as file:
        _manifest(rows).to_parquet(file, index=False)
    if folder.name.startswith("micro"):
        clips = [clip for part in done for clip in part.clips]
        order = np.argsort(clips, kind="stable")
        for name, dtype in TRUTHS.items():
            empty = (0, plan.size, plan.size) + (2,) * name.endswith("flow")
            stacked = np.concatenate([part.truths[name] for part in done])[order] if clips else np.zeros(empty, dtype)
            with _replacing(folder / f"{name}.npy") as file:
                np.save(file, stacked.astype(dtype))
    return shape[0]


def _manifest(rows: list[dict]):
    """Rows as a data frame with the study's columns and types."""
    import pandas as pd

    frame = pd.DataFrame([{**COLUMNS, **row, "sample": i} for i, row in enumerate(rows)], columns=list(COLUMNS))
    for name, empty in COLUMNS.items():
        if isinstance(empty, tuple):
            frame[name] = [np.asarray(value, np.float32) for value in frame[name]]
        else:
            frame[name] = frame[name].astype({int: "int64", float: "float64", str: "object"}[type(empty)])
    return frame

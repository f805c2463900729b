"""Render people into a folder that explains itself: pictures (PNG or one array a set), `manifest.parquet`, `datacard.md`, `contact.png`.

The pictures are the study set's: person n of seed s has the same face and the same stills here as in the study's training split.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from loupe.errors import LoupeError
from loupe.faces.folder.datacard import datacard
from loupe.faces.generate import TRUTHS, prepare
from loupe.faces.plan import StudySetPlan, generator_version
from loupe.faces.sheets import micro_sheet, stills_sheet
from loupe.progress import track

FORMS = ("png", "store")
SETS = ("stills", "camera", "micro")
_LIMITS = {  # what a user may ask for: lowest, highest
    "subjects": (1, 100_000), "stills": (0, 10_000), "clips": (0, 10_000), "size": (16, 512), "seed": (0, 2**63), "workers": (1, 512),
    "nuisance": (0, 2), "cameras": (1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What to render: `stills` and micro-expression `clips` of each of `subjects` people, at `size` px. The bytes do not depend on `workers`."""

    subjects: int = 8
    stills: int = 8
    clips: int = 0
    size: int = 112
    seed: int = 0
    nuisance: int = 1
    cameras: int = 1
    form: str = "png"

    def plan(self) -> StudySetPlan:
        """The generator's plan. Raises LoupeError naming the option that makes no sense."""
        for name, value in asdict(self).items():
            if name in _LIMITS:
                check_range(name, value)
        if self.form not in FORMS:
            raise LoupeError(f"--form is {self.form!r}, but must be {' or '.join(FORMS)}.")
        if self.stills + self.clips == 0:
            raise LoupeError("Nothing is asked for: give --stills or --clips, a number for each person.")
        return StudySetPlan(
            seed=self.seed, size=self.size, pretrain_subjects=0, train_subjects=self.subjects if self.stills else 0, val_subjects=0,
            test_subjects=0, stills_per_subject=self.stills, clip_subjects=0, frames_per_clip_subject=0,
            micro_subjects=self.subjects if self.clips else 0, micro_clips=self.subjects * self.clips, none_clips=0, macro_clips=0,
            macro_stride=1, nuisance=self.nuisance, second_cameras=self.cameras - 1,
        )  # fmt: skip


def check_range(name: str, value: int) -> None:
    """Raise LoupeError where an option lies outside what can be rendered."""
    low, high = _LIMITS[name]
    if not low <= value <= high:
        raise LoupeError(f"--{name} is {value}, but must lie between {low} and {high:,}.")


def render_folder(order: Order, out: Path, workers: int, cache_dir: Path) -> dict[str, int]:
    """Render `order` into `out` and return the number of images by set.

    A killed run continues with the next one; `manifest.parquet` is written last, so a folder that has one is whole. Raises LoupeError for a
    senseless order, for a folder that holds other pictures or files, and for one that cannot be written.
    """
    plan = order.plan()
    check_range("workers", workers)
    plan.check()
    out = Path(out)
    try:
        _claim(out, order)
        if (out / "manifest.parquet").is_file():
            return pd.read_parquet(out / "manifest.parquet", columns=["set"])["set"].value_counts().to_dict()
        unfinished = out / ".unfinished"
        prepare(plan, unfinished / "sets", unfinished / "people", workers, cache_dir)
        _contact_sheet(unfinished / "sets", out / "contact.png")
        manifest = pd.concat([_place(unfinished / "sets" / name, out, order.form) for name in SETS if _count(unfinished / "sets" / name)])
        manifest = manifest.reset_index(drop=True).drop(columns="sample")
        (out / "datacard.md").write_text(datacard(manifest, generator_version(), order.seed, asdict(order)), encoding="utf-8")
        manifest.to_parquet(out / ".manifest.parquet", index=False)
        os.replace(out / ".manifest.parquet", out / "manifest.parquet")
        shutil.rmtree(unfinished)
    except OSError as error:
        raise LoupeError(
            f"Cannot write {error.filename or out} ({error.strerror or error}); check the folder and its free space, then run the same command again."
        ) from error
    return manifest["set"].value_counts().to_dict()


def _claim(out: Path, order: Order) -> None:
    """Note in `out` what it will hold; refuse a folder that holds something else."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = {"generator": generator_version(), **asdict(order)}
    note = out / "order.json"
    if note.is_file():
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != wanted:
            told = (
                "another order"
                if not isinstance(found, dict) or found.get("generator") == wanted["generator"]
                else "another generator version"
            )
            raise LoupeError(f"{out} holds pictures of {told} (see order.json): give another --out, or delete the folder.")
        return
    if any(path.name != ".order.json" for path in out.iterdir()):
        raise LoupeError(f"{out} is not empty, and nothing says that these pictures belong there: give an empty or new folder.")
    (out / ".order.json").write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    os.replace(out / ".order.json", note)


def _count(folder: Path) -> int:
    return len(pd.read_parquet(folder / "manifest.parquet", columns=["sample"])) if (folder / "manifest.parquet").is_file() else 0


def _place(prepared: Path, out: Path, form: str) -> pd.DataFrame:
    """Put one prepared set into `out`; returns its manifest with the column `path`, relative to `out` (and `row`, for form `store`)."""
    name = prepared.name
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    (out / name).mkdir(exist_ok=True)
    if name == "micro":  # ground truth of clips, in the order of their sorted names
        for truth in TRUTHS:
            shutil.copyfile(prepared / f"{truth}.npy", out / name / f"{truth}.npy")
    if form == "store":
        shutil.copyfile(prepared / "images.npy", out / name / "images.npy")
        return manifest.assign(path=f"{name}/images.npy", row=manifest["sample"])
    images = np.load(prepared / "images.npy", mmap_mode="r")
    if name == "micro":
        paths = [
            f"{name}/{clip}/{frame:05d}-{role}.png"
            for clip, frame, role in zip(*(manifest[c] for c in ("clip", "frame", "role")), strict=True)
        ]
    else:
        numbers = manifest.groupby("subject").cumcount()
        paths = [f"{name}/{subject}/{number:05d}.png" for subject, number in zip(manifest["subject"], numbers, strict=True)]
    for image, path in track(list(zip(images, paths, strict=True)), f"{name}: PNG"):
        _write_png(np.asarray(image), out / path)
    return manifest.assign(path=paths)


def _write_png(image: np.ndarray, path: Path) -> None:
    if path.is_file():  # from a run that was killed; written whole or not at all
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    Image.fromarray(image).save(partial, "PNG")
    os.replace(partial, path)


def _contact_sheet(prepared: Path, target: Path) -> None:
    """People by class, and below them clips by frame, of what was rendered."""
    sheets = []
    if _count(prepared / "stills"):
        sheets.append(stills_sheet(prepared / "stills"))
    if _count(prepared / "micro"):
        sheets.append(micro_sheet(prepared / "micro"))
    page = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), (255, 255, 255))
    top = 0
    for sheet in sheets:
        page.paste(sheet, (0, top))
        top += sheet.height
    page.save(target)

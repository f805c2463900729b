"""From imported sets (`loupe data import`) to the stores of the study: who pre-trains, who is labelled, which clips are left out in turn.

`loupe use` writes a short list (study.json) that names the set of each role and the SHA-256 of its manifest. A role without a set stays
generated.

* `faces`: unlabelled faces for MAE-Face. Nobody of the labelled validation or test people, and no copy of their pictures, is among them.
* `expression`: labelled faces. Official splits stand; where there is no test part, the official validation part is it, and validation
  people are
  drawn from the training people, because whatever is chosen must not be chosen on the people who are scored.
* `micro`: micro-expression clips for leave-one-subject-out, every frame from onset to offset.
* `clips`: unlabelled clip frames for Micron-BERT; nobody of `micro` is among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from loupe.data.manifest import check_manifest, complete
from loupe.data.store import Store, read_store
from loupe.errors import LoupeError
from loupe.progress import track

if TYPE_CHECKING:
    from loupe.faces.plan import StudySetPlan

ROLES = ("faces", "expression", "micro", "clips")
SHARES = {"test": 0.2, "val": 0.1}  # of the training people, where a set has no such part
PROBE_TRAIN, PROBE_VAL = 2000, 1000  # labelled faces beside the unlabelled ones, for notebook 02's linear probe
_CHUNK = 512


@dataclass(frozen=True)
class ImportedSets:
    """Folders that `loupe data import` wrote, by role; None where the role stays generated."""

    faces: Path | None = None
    expression: Path | None = None
    micro: Path | None = None
    clips: Path | None = None


def fingerprint(folder: Path) -> str:
    """SHA-256 of a set's manifest, which holds the checksum of every picture. Raises LoupeError where it is missing."""
    path = folder / "manifest.parquet"
    if not path.is_file():
        raise LoupeError(f"{path} is missing: import the set with `loupe data import` first.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sets(path: Path, sets: ImportedSets) -> None:
    """Write the list that `read_sets` reads; folders are named from the list's own folder where they lie below it."""
    roles = {}
    for role in ROLES:
        folder = getattr(sets, role)
        if folder is not None:
            inside = folder.resolve().is_relative_to(path.parent.resolve())
            name = folder.resolve().relative_to(path.parent.resolve()).as_posix() if inside else str(folder.resolve())
            roles[role] = {"folder": name, "manifest": fingerprint(folder)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(roles, indent=1) + "\n", encoding="utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def read_sets(path: Path) -> ImportedSets:
    """Read the list of `loupe use`. Raises LoupeError where it is missing or damaged, or where a set has changed since."""
    try:
        roles = json.loads(path.read_text(encoding="utf-8"))
        chosen = {role: (path.parent / entry["folder"], entry["manifest"]) for role, entry in roles.items()}
        sets = ImportedSets(**{role: folder for role, (folder, _) in chosen.items()})
    except FileNotFoundError as error:
        raise LoupeError(f"{path} is missing: choose imported sets with `loupe use`.") from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise LoupeError(f"{path} is damaged ({type(error).__name__}): choose the sets again with `loupe use`.") from error
    for role, (folder, manifest) in chosen.items():
        if fingerprint(folder) != manifest:
            raise LoupeError(f"{folder} has been imported again since `loupe use {role}=…` chose it: run `loupe use` again.")
    return sets


def generated_part(plan: StudySetPlan, sets: ImportedSets) -> StudySetPlan:
    """The plan without the faces that imported sets replace. Micro-expression clips are drawn in any case: only theirs is the true motion
    known."""
    changes: dict[str, int] = {}
    if sets.faces:
        changes["pretrain_subjects"] = 0
    if sets.expression:
        changes |= {"train_subjects": 0, "val_subjects": 0, "test_subjects": 0, "macro_clips": 0}
    if sets.clips:
        changes["clip_subjects"] = 0
    if sets.clips or sets.micro:  # nobody knows which looks imported clips have: none can be held out from them
        changes["shift_clips"] = 0
    return replace(plan, **changes)


def write_imported(sets: ImportedSets, out: Path, size: int, seed: int) -> None:
    """Put the imported sets in the place of the generated stores in `out` (`labelled`, `stills`, `micro`, `clips`), at `size` px.

    Labelled faces come from `out/stills` where no expression set is named. Raises LoupeError for a set without stored pictures or with too
    small ones, without labels, without clips, and where pre-training would be left without anybody.

    True motion is known of generated clips only: with `micro` they move to `micro/truth`, with all that is known of them.
    `labelled/landmarks.npy` holds the points that a detector found in labelled faces, where the import kept any (`--align`, AffectNet);
    views cut their boxes from them.
    """
    labelled = None
    if sets.expression:
        source = read_images(sets.expression, size)
        rows, split = labelled_rows(source.manifest, seed, str(sets.expression))
        named = source.manifest["label"].where(source.manifest.index.isin(rows), -1)
        source = Store(source.images, from_zero(source.manifest.assign(label=named)))
        labelled = (source, rows, split)
        table = write_rows(out / "labelled", [(source, rows, {"split": split})], size)
        _write_landmarks(out / "labelled" / "landmarks.npy", table)
    if sets.faces or sets.expression:
        _write_stills(sets, out, size, seed, labelled)
    if sets.micro:
        micro = read_images(sets.micro, size)
        rows = micro_rows(micro.manifest, str(sets.micro))
        truth = out / "micro" / "truth"  # see loupe.data.clips.with_true_motion
        truth.mkdir(exist_ok=True)
        for path in sorted(path for path in (out / "micro").iterdir() if path.is_file()):
            os.replace(path, truth / path.name)
        write_rows(out / "micro", [(micro, rows, {"split": "loso"})], size)
    if sets.clips:
        clips, people = read_images(sets.clips, size), set(read_store(out / "micro").subjects)
        rows = clip_rows(clips.manifest, people, str(sets.clips))
        write_rows(out / "clips", [(clips, rows, {"split": "unlabelled", "label": -1, "label_name": ""})], size)


def read_images(folder: Path, size: int) -> Store:
    """Pictures and manifest of an imported set; raises LoupeError where they were not stored, or are smaller than `size` px."""
    if not (folder / "images.npy").is_file():
        raise LoupeError(f"{folder} holds no stored pictures: import the set again with --size {size}.")
    store = read_store(folder)
    if store.images.shape[1] < size or store.images.shape[1] != store.images.shape[2]:
        height, width = store.images.shape[1:3]
        raise LoupeError(
            f"{folder} holds pictures of {width} x {height} px, but the scale needs {size}: import the set again with --size {size}."
        )
    return store


def labelled_rows(table: pd.DataFrame, seed: int, name: str, shares: Mapping[str, float] = SHARES) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers with a class, and the split of each: train, val or test (see the module's text)."""
    rows = np.flatnonzero((table["label"] >= 0) & table["split"].isin(["train", "val", "test"]))
    split, people = table["split"].to_numpy()[rows].astype(object), table["subject"].to_numpy()[rows]
    if "train" not in split:
        raise LoupeError(f"{name} has no labelled training pictures: choose a set of expressions (`loupe data list`).")
    rng = np.random.default_rng(seed)
    if "test" not in split and "val" in split:
        split[split == "val"] = "test"
    for part, share in shares.items():
        if part in split:
            continue
        names = np.array(sorted(set(people[split == "train"])), dtype=object)
        count = max(1, round(share * len(names)))
        if count >= len(names):
            raise LoupeError(f"{name} has {len(names)} training subject(s), too few to draw {part} people from them: name a larger set.")
        drawn = set(rng.permutation(names)[:count])
        split[np.array([person in drawn for person in people]) & (split == "train")] = part
    return rows, split


def from_zero(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its classes counted from 0 in their order: a set may have some of Aff-Wild2's classes only. -1 stays."""
    places = {number: place for place, number in enumerate(sorted(set(table["label"]) - {-1}))}
    return table.assign(label=[places.get(number, -1) for number in table["label"]])


def pretraining_rows(table: pd.DataFrame, scored: pd.DataFrame, people: set[str], name: str) -> np.ndarray:
    """Row numbers to pre-train on: none of the subjects `people`, none of the set's own val and test parts, and no picture that equals one
    of `scored` (by checksum or by difference hash, where the tables hold them). Raises LoupeError where none is left.
    """
    keep = ~table["split"].isin(["val", "test"]) & ~table["subject"].isin(people | set(scored["subject"]))
    for column in ("sha", "dhash"):
        if column in table and column in scored:
            keep &= ~table[column].isin(set(scored[column]))
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise LoupeError(f"{name} has nobody left to pre-train on once validation and test people are out: name another set for faces.")
    return rows


def micro_rows(table: pd.DataFrame, name: str) -> np.ndarray:
    """Row numbers of the clips; raises LoupeError for a set without clips, classes or enough people."""
    rows = np.flatnonzero((table["clip"] != "") & (table["split"] == "loso"))
    if not len(rows) or not (table["label"].to_numpy()[rows] >= 0).any():
        raise LoupeError(f"{name} has no micro-expression clips with a class: choose a set of micro-expressions (`loupe data list`).")
    if table["subject"].iloc[rows].nunique() < 2:
        raise LoupeError(f"{name} has one subject only, but one is left out in turn: name a set with more people.")
    return rows


def clip_rows(table: pd.DataFrame, people: set[str], name: str) -> np.ndarray:
    """Row numbers of clip frames of nobody in `people`; raises LoupeError where none is left or their frame rate is unknown."""
    rows = np.flatnonzero((table["clip"] != "") & ~table["subject"].isin(people))
    if not len(rows):
        raise LoupeError(f"{name} has no clips of people outside the micro-expression set: name another set for clips.")
    if not (table["fps"].to_numpy()[rows] > 0).all():
        raise LoupeError(
            f"{name} does not say the frame rate of its clips, which sets the gap between two frames: name another set for clips."
        )
    return rows


def _write_stills(sets: ImportedSets, out: Path, size: int, seed: int, labelled: tuple[Store, np.ndarray, np.ndarray] | None) -> None:
    """`stills` = faces to pre-train on, and labelled ones for the linear probe of notebook 02."""
    drawn = read_store(out / "stills") if not (sets.faces and sets.expression) else None
    drawn = Store(np.array(drawn.images), drawn.manifest) if drawn else None  # the file is about to be replaced
    if labelled:
        source, rows, split = labelled
        parts = [_probe(source, rows, split, part, count, seed) for part, count in (("train", PROBE_TRAIN), ("val", PROBE_VAL))]
        scored = source.manifest.iloc[rows[split != "train"]]
    else:
        parts = [(drawn, np.flatnonzero(drawn.manifest["split"] != "pretrain"), {})]
        scored = drawn.manifest[drawn.manifest["split"].isin(["val", "test"])]
    seen = {person for store, rows, _ in parts for person in store.manifest["subject"].iloc[rows]}
    if sets.faces:
        faces = read_images(sets.faces, size)
        rows = pretraining_rows(faces.manifest, scored, seen, str(sets.faces))
        parts = [(faces, rows, {"split": "pretrain", "label": -1, "label_name": ""}), *parts]
    else:
        parts = [(drawn, np.flatnonzero(drawn.manifest["split"] == "pretrain"), {}), *parts]
    write_rows(out / "stills", parts, size)


def _probe(store: Store, rows: np.ndarray, split: np.ndarray, part: str, count: int, seed: int) -> tuple[Store, np.ndarray, dict]:
    """About `count` rows of whole subjects of one part, in the store's order: a few people lost to pre-training rather than a little of
    all."""
    chosen = rows[split == part]
    people = store.manifest["subject"].to_numpy()[chosen]
    sizes = pd.Series(people).value_counts().sort_index()
    order = sizes.iloc[np.random.default_rng([seed, 1]).permutation(len(sizes))]
    taken = set(order.index[: int(np.searchsorted(order.cumsum().to_numpy(), count)) + 1])
    chosen = chosen[np.array([person in taken for person in people])]
    return store, chosen[np.unique(np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int))], {"split": part}


def write_rows(folder: Path, parts: list[tuple[Store, np.ndarray, dict]], size: int) -> pd.DataFrame:
    """Write a store from rows of others, in pieces (memory stays flat): (store, row numbers, columns to set) each; larger pictures are
    resized, and their landmarks (px) with them. Returns its manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = [_scaled(store.manifest.iloc[rows], size / store.images.shape[1]).assign(**columns) for store, rows, columns in parts]
    table = complete(pd.concat([complete(part) for part in tables], ignore_index=True))
    table["sample"] = np.arange(len(table))
    check_manifest(table, str(folder / "manifest.parquet"))
    with (folder / "images.tmp").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (len(table), size, size, 3)})
        pieces = [(store, rows[start : start + _CHUNK]) for store, rows, _ in parts for start in range(0, len(rows), _CHUNK)]
        for store, rows in track(pieces, f"copying {folder.name}"):
            file.write(_resized(store.images[rows], size).tobytes())
    os.replace(folder / "images.tmp", folder / "images.npy")
    table.to_parquet(folder / "manifest.tmp", index=False)
    os.replace(folder / "manifest.tmp", folder / "manifest.parquet")
    return table


def _scaled(table: pd.DataFrame, factor: float) -> pd.DataFrame:
    if factor == 1 or "landmarks" not in table:
        return table
    points = [np.asarray(found, dtype=np.float32) * np.float32(factor) for found in table["landmarks"]]
    return table.assign(landmarks=pd.Series(points, index=table.index, dtype=object))


def _write_landmarks(path: Path, table: pd.DataFrame) -> None:
    """(N, 68 or 5, 2) float32 px, NaN for faces without points; no file where no face has any, or not all have the same ones."""
    path.unlink(missing_ok=True)
    found = [np.asarray(points, dtype=np.float32).ravel() for points in table["landmarks"]]
    lengths = {len(points) for points in found} - {0}
    if len(lengths) != 1 or not lengths <= {2 * 5, 2 * 68}:
        return
    (length,) = lengths
    points = np.stack([row if len(row) else np.full(length, np.nan, dtype=np.float32) for row in found])
    np.save(path, points.reshape(len(table), -1, 2), allow_pickle=False)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    if images.shape[1] == size:
        return np.asarray(images)
    small = [Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0) for image in images]
    return np.stack([np.asarray(image) for image in small])

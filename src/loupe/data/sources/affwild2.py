"""Aff-Wild2 EXPR (ABAW challenges): one class a video frame, official train and validation videos, cropped and aligned faces.

Layout: `6th ABAW Annotations/EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<video>.txt` (older years:
`annotations/EXPR_Set/{Training_Set,Validation_Set}`) and `cropped_aligned/<video>/00001.jpg`; the faces of 50 newer videos lie in a folder
of their own, `cropped_aligned_new_50_vids`, beside or in the first. Data line i (from 1) labels `{i:05d}.jpg`; -1 means ignore; frames
without a detected face have no picture; `_left` and `_right` are two persons of one video. Counts: EmotiEffLib, ABAW6 notebooks. Who a
person is across videos is not published: subject = the annotation file.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.manifest import STILL_CLASSES
from loupe.data.sources.listing import Count, Dropped, Listing, finish
from loupe.data.sources.pictures import check_root, numbered_pictures, strays, subfolders
from loupe.data.sources.sheets import lines, whole
from loupe.errors import LoupeError

TITLE = "Aff-Wild2"
SPLITS = {"train_set": "train", "training_set": "train", "validation_set": "val"}
OFFICIAL = {  # labelled frames with a face, by class in the order of STILL_CLASSES; labelled frames without one
    "train": ((177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866), 12044),
    "val": ((82258, 6126, 5296, 8408, 34511, 25157, 12332, 106444), 3698),
}
FILES = {"val": 70}
NO_FACE, IGNORED, DAMAGED, UNLABELLED = (
    "no face found by the organisers",
    "ignored by the annotators (-1)",
    "damaged label line",
    "picture without a label",
)


def read(root: Path) -> Listing:
    """Read annotations and list the faces; raises LoupeError where a folder is absent or a file's header is not a list of classes."""
    check_root(root, TITLE)
    annotations = _annotations(root)
    faces = _face_folders(root)
    if not faces:
        raise LoupeError(f"{root} holds no folder cropped_aligned: unpack the organisers' cropped and aligned faces there.")
    videos: dict[str, list[Path]] = {}
    for folder in (video for part in faces for video in subfolders(part) if video not in faces):
        videos.setdefault(folder.name, []).append(folder)
    dropped, parts, found, outnumbered = Dropped(), [], 0, 0
    missing = {"train": 0, "val": 0}
    files = {"train": 0, "val": 0}
    for folder, split in _split_folders(annotations):
        for path in sorted(folder.glob("[!.]*.txt")):
            labels = parse(lines(path), str(path))
            pictures: dict[int, Path] = {}  # of a frame in two folders the picture in the first counts
            for video in videos.get(path.stem, []):
                new = {frame: picture for frame, picture in numbered_pictures(video).items() if frame not in pictures}
                for item, why in strays(video, new):
                    dropped.add(f"{video.relative_to(root).as_posix()}/{item}", why)
                pictures |= new
            part, lacking, surplus = _video(path.stem, split, labels, pictures, root, dropped)
            found += len(labels) + surplus
            missing[split] += lacking
            files[split] += 1
            outnumbered += surplus > 1
            parts.append(part)
    if not any(len(part) for part in parts):
        raise LoupeError(f"No labelled frame of {annotations} has a face in {faces[0]}: are both of the same release?")
    table = pd.concat(parts, ignore_index=True)
    counts = [Count("val files", files["val"], (FILES["val"],), source="EmotiEffLib")]
    per_class = table.groupby(["split", "label"]).size()
    for split, (numbers, lost) in OFFICIAL.items():
        total = int((table["split"] == split).sum())
        counts.append(Count(f"{split} frames", total, (sum(numbers),), 0.01, "EmotiEffLib, 1 % for other face crops"))
        for label, number in enumerate(numbers):
            seen = int(per_class.get((split, label), 0))
            counts.append(Count(f"{split} {STILL_CLASSES[label]}", seen, (number,), 0.02, "EmotiEffLib, 2 % for other face crops"))
        counts.append(Count(f"{split} labelled, no face", missing[split], (lost,), 0.5, "EmotiEffLib, 50 % for other face crops"))
    counts.append(Count("videos with 2 or more pictures beyond the labels", outnumbered, (0,), source="off by one is known"))
    counts.append(Count("damaged label lines", sum(row[1] == DAMAGED for row in dropped.rows), (0,), source="official files have none"))
    release = ", ".join([annotations.relative_to(root).as_posix(), *dict.fromkeys(folder.name for folder in faces)])
    return Listing(finish(table, "affwild2", release), dropped.table(), found, len(table), "frame", release, counts)


def parse(rows: list[str], name: str) -> np.ndarray:
    """Labels in Aff-Wild2 order, int (frames,); -1 ignore, -2 damaged. The header's order counts (the 7 classes of older years lack Other).

    Raises LoupeError for a header that is not a list of distinct Aff-Wild2 classes. Empty lines at the end are no frames.
    """
    header = [field.strip().capitalize() for field in rows[0].split(",")] if rows else []
    if len(header) < 7 or len(set(header)) != len(header) or not set(header) <= set(STILL_CLASSES):
        raise LoupeError(f"{name}, line 1, is not a list of the classes ({','.join(STILL_CLASSES)}): is it an EXPR annotation file?")
    order = [STILL_CLASSES.index(field) for field in header]
    values = [row.strip() for row in rows[1:]]
    while values and not values[-1]:
        values.pop()
    numbers = [whole(value) for value in values]
    return np.array([-1 if n == -1 else order[n] if n is not None and 0 <= n < len(order) else -2 for n in numbers], dtype=np.int64)


def _video(
    name: str, split: str, labels: np.ndarray, pictures: dict[int, Path], root: Path, dropped: Dropped
) -> tuple[pd.DataFrame, int, int]:
    """Rows of one video; labelled frames without a face; pictures beyond the last label."""
    rows, lacking = [], 0
    for frame, label in enumerate(labels.tolist(), start=1):
        item = f"{name}/{frame:05d}.jpg"
        if label == -1:
            dropped.add(item, IGNORED)
        elif label == -2:
            dropped.add(item, DAMAGED)
        elif frame not in pictures:
            lacking += 1
            dropped.add(item, NO_FACE)
        else:
            rows.append((pictures[frame].relative_to(root).as_posix(), frame, label))
    surplus = [frame for frame in pictures if not 1 <= frame <= len(labels)]
    for frame in surplus:
        dropped.add(f"{name}/{pictures[frame].name}", UNLABELLED, f"the file has {len(labels)} labels")
    table = pd.DataFrame(rows, columns=["path", "frame", "label"])
    table["label_name"] = table["label"].map(dict(enumerate(STILL_CLASSES))).astype(str)
    return table.assign(split=split, subject=f"affwild2-{name}", clip=f"affwild2-{name}"), lacking, len(surplus)


def _face_folders(root: Path) -> list[Path]:
    """Every folder `cropped_aligned...` at most four levels below root, the shallowest first."""
    level, found = [root], []
    for _ in range(5):
        found += [folder for folder in level if folder.name.lower().startswith("cropped_aligned")]
        level = [child for folder in level for child in subfolders(folder)]
    return found


def _annotations(root: Path) -> Path:
    """The folder that holds Train_Set and Validation_Set: of several editions ("6th ABAW Annotations") the latest."""
    found = []
    for folder in [root, *(below for first in subfolders(root) for below in [first, *subfolders(first)])]:
        if folder.name.upper().startswith("EXPR") or folder == root:
            if {SPLITS.get(child.name.lower()) for child in subfolders(folder)} >= {"train", "val"}:
                found.append(folder)
    if not found:
        raise LoupeError(f"{root} holds no EXPR annotations (EXPR_Recognition_Challenge/Train_Set and Validation_Set): unpack them there.")
    return max(found, key=lambda folder: (_edition(folder), folder.as_posix()))


def _edition(folder: Path) -> int:
    match = re.search(r"(\d+)(?:st|nd|rd|th)", folder.parent.name)
    return int(match.group(1)) if match else 0


def _split_folders(annotations: Path) -> list[tuple[Path, str]]:
    return [(folder, SPLITS[folder.name.lower()]) for folder in subfolders(annotations) if folder.name.lower() in SPLITS]

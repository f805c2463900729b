"""Aff-Wild2, AffectNet, RAF-DB, FER2013, FER+, CelebA, IMDB-WIKI and CASIA-WebFace: official layouts, a few dozen pictures each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from lookalikes.drawing import encoded, face, save

AFFWILD2_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AFFECTNET_HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def affwild2(root: Path, *, old: bool = False) -> None:
    """Four annotation files, two splits. Traps: -1 labels, frames without a face, a picture more than labels, `_left` and `_right` of one
    video."""
    base = root / ("annotations/EXPR_Set" if old else "6th ABAW Annotations/EXPR_Recognition_Challenge")
    train, val = ("Training_Set" if old else "Train_Set"), "Validation_Set"
    videos = {
        (train, "5-60-1920x1080-1"): ([0, 1, 2, 3, 4, 5, 6, 7, -1, -1], set()),
        (train, "10-60-1280x720_left"): ([0] * 6, {3}),
        (train, "10-60-1280x720_right"): ([4] * 5, set()),
        (val, "video7"): ([0, 7, 6, 5, 4, 3, 2, 1], {8}),
    }
    for number, ((split, name), (labels, without)) in enumerate(videos.items()):
        path = base / split / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([AFFWILD2_HEADER, *map(str, labels)]) + "\n")
        extra = 1 if name.endswith("right") else 0
        for frame in range(1, len(labels) + 1 + extra):
            if frame not in without:
                save(root / "cropped_aligned" / name / f"{frame:05d}.jpg", number * 100 + frame)


def affectnet_old(root: Path) -> None:
    """11 codes twice in training, once in validation; landmarks with `;`, one box, one -2 for valence."""
    points = ";".join(f"{value}.5" for value in range(136))
    for split, (name, rounds) in {"train": ("training.csv", 2), "val": ("validation.csv", 1)}.items():
        rows = [AFFECTNET_HEADER]
        for number in range(11 * rounds):
            path = f"{number % 3 + 1}/{split}{number:04d}.jpg"
            save(root / "Manually_Annotated/Manually_Annotated_Images" / path, number + (1000 if split == "val" else 0))
            rows.append(f"{path},4,4,8,8,{points},{number % 11},{-2 if number == 0 else 0.5},-0.25")
        (root / name).write_text("\n".join(rows) + "\n")


def affectnet_new(root: Path) -> None:
    """8 codes twice in train_set, once in val_set; numbers as text, as the official files have them; -2 where valence is missing."""
    for name, rounds, first in (("train_set", 2, 0), ("val_set", 1, 500)):
        for number in range(8 * rounds):
            stem = root / name / "annotations" / str(first + number)
            save(root / name / "images" / f"{first + number}.jpg", first + number)
            stem.parent.mkdir(parents=True, exist_ok=True)
            np.save(f"{stem}_exp.npy", np.array(str(number % 8)))
            np.save(f"{stem}_val.npy", np.array("-2" if number == 0 else "0.5"))
            np.save(f"{stem}_aro.npy", np.array("-0.25"))


def rafdb(root: Path) -> None:
    """Seven codes twice in train, once in test."""
    rows = [f"train_{n + 1:05d}.jpg {n % 7 + 1}" for n in range(14)] + [f"test_{n + 1:04d}.jpg {n % 7 + 1}" for n in range(7)]
    for number, row in enumerate(rows):
        save(root / "basic/Image/aligned" / row.split()[0].replace(".jpg", "_aligned.jpg"), number)
    (root / "basic/EmoLabel").mkdir(parents=True)
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("\n".join(rows) + "\n")


def fer2013(root: Path) -> None:
    """Seven codes in each of three usages; the last test picture equals the first training picture, as in public copies. FER+ votes beside
    it."""
    rows, votes = ["emotion,pixels,Usage"], ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for part, usage in enumerate(("Training", "PublicTest", "PrivateTest")):
        for code in range(7):
            number = 0 if (part, code) == (2, 6) else part * 7 + code
            pixels = np.asarray(face(number, 48, grey=True)).ravel()
            rows.append(f'{code},"{" ".join(map(str, pixels))}",{usage}')
            counts = [0] * 10
            column = {0: 4, 1: 5, 2: 6, 3: 1, 4: 3, 5: 2, 6: 0}[code]  # the vote agrees with FER2013's label, but for:
            if part == 1 and code == 1:
                column = 7  # contempt
            counts[column] = 9
            counts[8] += 1  # a single vote for unknown is an outlier
            if part == 1 and code == 0:
                counts = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]  # not a face
            if part == 1 and code == 2:
                counts = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]  # no majority
            name = "" if (part, code) == (2, 0) else f"fer{part * 7 + code:07d}.png"
            votes.append(",".join([usage, name, *map(str, counts)]))
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013.csv").write_text("\n".join(rows) + "\n")
    (root / "fer2013new.csv").write_text("\n".join(votes) + "\n")


def celeba(root: Path) -> None:
    """Twelve pictures of four people; partitions disjoint in people; attributes with double spaces before positive values."""
    names = [f"{number:06d}.jpg" for number in range(1, 13)]
    for number, name in enumerate(names):
        save(root / "img_align_celeba" / name, number)
    rows = ["12", "Bald Male Smiling "] + [f"{name} -1 {' 1' if n % 4 < 2 else '-1'}  1" for n, name in enumerate(names)]
    (root / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n")
    (root / "identity_CelebA.txt").write_text("".join(f"{name} {n % 4 + 1}\n" for n, name in enumerate(names)))
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {(0, 0, 1, 2)[n % 4]}\n" for n, name in enumerate(names)))


def imdb_wiki(root: Path) -> None:
    """Six rows a half. Traps: face_score -inf, a birth day before the calendar, unknown sex (NaN), names in nested arrays."""
    from scipy.io import savemat

    for half, key in (("imdb", "imdb"), ("wiki", "wiki")):
        paths = [f"{n % 2:02d}/{half}{n}_1980-01-01_2010.jpg" for n in range(6)]
        for number, path in enumerate(paths):
            save(root / f"{half}_crop" / path, number + (50 if half == "wiki" else 0))
        cells = np.empty((2, 6), dtype=object)
        cells[0], cells[1] = paths, [f"{half} person {n % 3}" for n in range(6)]
        days = 723181.0  # 1 January 1980 as MATLAB counts days
        score = [1.0, 2.0, 3.0, -np.inf, 4.0, 5.0]
        meta = {
            "dob": [days, days, days, days, 47.0, days],
            "photo_taken": [2010.0] * 6,
            "full_path": cells[0:1],
            "gender": [1.0, 0.0, np.nan, 1.0, 0.0, 1.0],
            "name": cells[1:2],
            "face_location": np.zeros((1, 6)),
            "face_score": score,
            "second_face_score": [np.nan] * 6,
        }
        savemat(root / f"{half}_crop" / f"{half}.mat", {key: meta})


def casia_folders(root: Path) -> None:
    """Three people with four pictures each."""
    for person in (45, 99, 100):
        for number in range(1, 5):
            save(root / "CASIA-WebFace" / f"{person:07d}" / f"{number:03d}.jpg", person * 10 + number)


def casia_records(root: Path) -> None:
    """The same as InsightFace packs it: record 0 announces, records 1..12 are pictures, 13..15 the people's ranges."""
    root.mkdir(parents=True, exist_ok=True)
    records = [struct.pack("<IfQQ2f", 2, 0.0, 0, 0, 13.0, 16.0)]
    for person in range(3):
        for number in range(4):
            records.append(struct.pack("<IfQQ", 0, float(person), len(records), 0) + encoded(person * 10 + number))
    for person in range(3):
        records.append(struct.pack("<IfQQ2f", 2, 0.0, len(records), 0, 1.0 + person * 4, 5.0 + person * 4))
    index, offset = [], 0
    with (root / "train.rec").open("wb") as file:
        for number, content in enumerate(records):
            index.append(f"{number}\t{offset}")
            block = struct.pack("<II", 0xCED7230A, len(content)) + content
            offset += file.write(block + b"\0" * (-len(block) % 4))
    (root / "train.idx").write_text("\n".join(index) + "\n")
    (root / "property").write_text("3,112,112\n")

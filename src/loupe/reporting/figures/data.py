"""Pictures of the prepared sets: who is in them, and what their clips show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.clips import with_true_motion
from loupe.data.store import Store, read_store
from loupe.reporting.drawing import Drawing
from loupe.reporting.faces import contact_sheet, face_rows, maps_over_faces
from loupe.reporting.figures.registry import NothingToDraw, figure
from loupe.study import Study


def evenly(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Up to `count` rows at even distances, the first and the last among them."""
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, count).round().astype(int))]


def micro_clips(study: Study) -> tuple[Store, np.ndarray]:
    """The generated micro-expression clips, also where `micro` is imported, and the true motion of each (N, H, W), px, in the order of
    their names."""
    known = with_true_motion(study.needed(Path("data/prepared/micro")))
    return read_store(known), np.load(known / "motion.npy")


@figure("start-here/classes")
def classes(study: Study) -> Drawing:
    store = study.store("labelled")
    train, names = store.split("train"), store.class_names
    rows = [np.flatnonzero(train.labels == label) for label in range(len(names))]
    pairs = np.concatenate([own[:: max(1, len(own) // 2)][:2] for own in rows])
    order = np.concatenate([pairs[0::2], pairs[1::2]])
    caption = "Two people for each class of the study."
    return contact_sheet(np.asarray(train.images[order]), columns=len(names), names=names, caption=caption)


@figure("data/people-and-classes")
def people_and_classes(study: Study) -> Drawing:
    store = study.store("labelled")
    names, train = store.class_names, store.split("train")
    people = sorted(set(train.subjects))[:6]
    white = np.full_like(train.images[0], 255)
    faces = []
    for person in people:
        for label in range(len(names)):
            rows = train.manifest.index[(train.subjects == person) & (train.labels == label)]
            faces.append(train.images[rows[0]] if len(rows) else white)
    size = study.config.scale.image.size
    caption = f"{len(people)} training people (rows) and the {len(names)} classes (columns), as stored: {size} px."
    return contact_sheet(np.stack(faces), columns=len(names), names=names, row_names=people, caption=caption)


@figure("data/pretraining-faces")
def pretraining_faces(study: Study) -> Drawing:
    images = study.store("stills").split("pretrain").images
    rows = np.random.default_rng(0).choice(len(images), min(48, len(images)), replace=False)
    caption = "Unlabelled faces for pre-training, drawn at random: pose, light, background, occlusion and camera vary."
    return contact_sheet(images[np.sort(rows)], columns=12, caption=caption)


@figure("data/other-looks")
def other_looks(study: Study) -> Drawing:
    """A column for each of up to eight test people: a labelled still, the same instant through the second camera, and one of the pictures
    with held-out looks. A row whose set is empty is left out. Row i of `camera` shows row i of `labelled` from the side, as the generator
    writes them.
    """
    labelled, camera, shift = (study.store(name) for name in ("labelled", "camera", "shift"))
    test = labelled.manifest[labelled.manifest["split"] == "test"].drop_duplicates("subject")
    if len(shift.manifest):
        test = test[test["subject"].isin(set(shift.subjects))]
    if not len(test) or not (len(camera.manifest) or len(shift.manifest)):
        raise NothingToDraw("These faces have neither a second camera nor held-out looks.")
    people = evenly(test, 8)
    rows = {"examined": np.asarray(labelled.images)[people.index]}
    said = ["a still"]
    if len(camera.manifest):
        rows["second camera"] = np.asarray(camera.images)[people.index]
        said.append("the same instant from 20 to 40 degrees to the side")
    if len(shift.manifest):
        first = shift.manifest.drop_duplicates("subject").set_index("subject")["sample"]
        rows["held-out looks"] = np.asarray(shift.images)[first.loc[people["subject"]].to_numpy()]
        said.append("other pictures of them whose light, background and hair no training picture has")
    listed = f"{', '.join(said[:-1])}{',' * (len(said) > 2)} and {said[-1]}"
    alt = f"{len(people)} faces in rows: {', '.join(rows)}."
    return face_rows(rows, names=list(people["subject"]), caption=f"{len(people)} test people: {listed}.", alt=alt)


@figure("data/macro-clip")
def macro_clip(study: Study) -> Drawing:
    """Frames of the clip that shows most classes, in the order of time, with the class of each."""
    macro = study.store("macro")
    if not len(macro.manifest):
        raise NothingToDraw("These faces come without ordinary clips.")
    number = macro.manifest.groupby("clip")["label"].nunique()
    frames = evenly(macro.manifest[macro.manifest["clip"] == number.idxmax()].sort_values("frame"), 8)
    seconds = frames["frame"] / frames["fps"]
    names = [f"{name}\n{time:.1f} s" for name, time in zip(frames["label_name"], seconds, strict=True)]
    caption = f"Clip {frames['clip'].iloc[0]}: {len(frames)} of its frames, each with its class. Neutral is an intensity below .15."
    alt = f"Frames of one face: {', '.join(frames['label_name'])}."
    return face_rows({"frame": np.asarray(macro.images)[frames.index]}, names=names, caption=caption, alt=alt)


def _moving(micro: Store) -> pd.DataFrame:
    return micro.manifest[(micro.manifest["role"] == "apex") & (micro.manifest["label"] >= 0)]


@figure("data/micro-clip")
def micro_clip(study: Study) -> Drawing:
    micro, _ = micro_clips(study)
    moving = _moving(micro)
    clip = moving.iloc[len(moving) // 2]["clip"]
    frames = micro.manifest[micro.manifest["clip"] == clip].sort_values("frame")
    images = np.asarray(micro.images[frames["sample"].to_numpy()])
    difference = np.clip(128 + 10 * (images.astype(int) - images[:1].astype(int)), 0, 255).astype(np.uint8)
    names = [f"{role} ({frame})" for role, frame in zip(frames["role"], frames["frame"], strict=True)]
    what = f"Clip {clip}, {frames['label_name'].iloc[0]}"
    caption = f"{what}: stored frames (frame numbers in brackets) and their difference to the onset frame."
    alt = "Five frames of a face that look alike; the amplified differences show the moving parts and the head's own drift."
    return face_rows({"frame": images, "10 × (frame − onset)": difference}, names=names, caption=caption, alt=alt)


@figure("data/micro-motion")
def micro_motion(study: Study) -> Drawing:
    micro, motion = micro_clips(study)
    clips, some = sorted(set(micro.manifest["clip"])), evenly(_moving(micro), 6)
    onsets = micro.manifest[micro.manifest["role"] == "onset"].set_index("clip")["sample"]
    faces = np.asarray(micro.images[onsets.loc[some["clip"]].to_numpy()])
    gap = np.abs(np.asarray(micro.images[some["sample"].to_numpy()]).astype(float) - faces).mean(-1)
    true_motion = motion[[clips.index(name) for name in some["clip"]]]
    caption = "What a frame difference sees and what truly moved. Lines mark where the true motion is at least half of its peak."
    return maps_over_faces(faces, {"|apex − onset|": gap}, caption, motion=true_motion, names=list(some["label_name"]), unit="grey levels")

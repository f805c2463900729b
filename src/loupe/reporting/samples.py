"""Pictures of a prepared study set beside each other: the same people through another camera and in other looks, a clip with its classes."""

from __future__ import annotations

import numpy as np

from loupe.data.store import Store
from loupe.reporting.drawing import Drawing
from loupe.reporting.faces import face_rows


def other_looks(labelled: Store, camera: Store, shift: Store, columns: int = 8, caption: str = "") -> Drawing | None:
    """A column for each of up to `columns` test people: a labelled still, the same instant through the second camera, and one of the pictures with
    held-out looks. A row whose store is empty is left out; None where both are.

    Row i of `camera` shows row i of `labelled` from the side, as the generator writes them.
    """
    manifest = labelled.manifest
    test = manifest[manifest["split"] == "test"].drop_duplicates("subject")
    if len(shift.manifest):
        test = test[test["subject"].isin(set(shift.subjects))]
    chosen = test.iloc[np.unique(np.linspace(0, len(test) - 1, columns).round().astype(int))] if len(test) else test
    rows = {"examined": np.asarray(labelled.images)[chosen.index]}
    if len(camera.manifest):
        rows["second camera"] = np.asarray(camera.images)[chosen.index]
    if len(shift.manifest):
        first = shift.manifest.drop_duplicates("subject").set_index("subject")["sample"]
        rows["held-out looks"] = np.asarray(shift.images)[first.loc[chosen["subject"]].to_numpy()]
    if len(rows) == 1 or not len(chosen):
        return None
    caption = caption or (
        f"{len(chosen)} test people: a still, the same instant from 20 to 40 degrees to the side, and other pictures of them whose light, background and "
        "hair no training picture has."
    )
    return face_rows(rows, names=list(chosen["subject"]), caption=caption, alt=f"{len(chosen)} faces in rows: {', '.join(rows)}.")


def clip_strip(macro: Store, columns: int = 8, caption: str = "") -> Drawing | None:
    """Frames of the clip that shows most classes, in the order of time, with the class of each; None where there are no clips."""
    if not len(macro.manifest):
        return None
    shown = macro.manifest.groupby("clip")["label"].nunique()
    frames = macro.manifest[macro.manifest["clip"] == shown.idxmax()].sort_values("frame")
    frames = frames.iloc[np.unique(np.linspace(0, len(frames) - 1, columns).round().astype(int))]
    seconds = frames["frame"] / frames["fps"]
    names = [f"{name}\n{time:.1f} s" for name, time in zip(frames["label_name"], seconds, strict=True)]
    said = caption or f"Clip {frames['clip'].iloc[0]}: {len(frames)} of its frames, each with its class. Neutral is an intensity below .15."
    return face_rows(
        {"frame": np.asarray(macro.images)[frames.index]},
        names=names,
        caption=said,
        alt=f"Frames of one face: {', '.join(frames['label_name'])}.",
    )

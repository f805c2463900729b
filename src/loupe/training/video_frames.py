"""Labelled frames of video: every k-th stored frame against all of them, and smoothing over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loupe.evaluation.guards import Vault
from loupe.evaluation.predictions import Label, joined, labelled
from loupe.evaluation.protocols import Split, every_kth_frame
from loupe.evaluation.smoothing import smooth_arms
from loupe.training.features_encoder import encoder_step
from loupe.training.probes import Probe
from loupe.training.stills import StillData, cell_predictions, cells_of, view_of

if TYPE_CHECKING:
    from loupe.session import Session


def why_not(frames: pd.DataFrame, classes: Sequence[str]) -> str:
    """Why the manifest `frames` cannot be trained on and scored with the classes of the labelled stills, in a few words; "" where it
    can."""
    missing = [split for split in ("train", "val", "test") if split not in set(frames["split"])]
    if missing:
        return f"there are no labelled frames of {' or '.join(missing)} people"
    found = set(zip(frames["label"], frames["label_name"], strict=True))
    return "" if found == set(enumerate(classes)) else "their classes are not those of the labelled faces"


def stored_every(frames: pd.DataFrame) -> int:
    """Of how many frames of the video one is stored: the usual distance between two stored frames of a clip."""
    steps = frames.sort_values(["clip", "frame"]).groupby("clip")["frame"].diff()
    return int(steps.median())


def budgets(frames: pd.DataFrame, every: int, vault: Vault) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """Training rows of every `every`-th stored frame and of all, by their share; and the rows that are asked, of validation and test
    people."""
    people = Split.from_manifest(frames)
    train = people.rows(frames, "train")
    opened = vault.open(people, frames, "every k-th frame of video against all frames, and smoothing over time")
    some = train[every_kth_frame(*(frames[column].to_numpy()[train] for column in ("clip", "frame")), every)]
    thinned = stored_every(frames)
    print(
        f"{len(some)} of {len(train)} stored training frames; 1 in {thinned} is stored, so these are 1 in {thinned * every} of the video's"
    )
    return {1 / every: some, 1.0: train}, np.concatenate([people.rows(frames, "val"), opened])


def frame_predictions(
    session: Session, budgets: Mapping[float, np.ndarray], asked: np.ndarray, encoder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of a probe on the frozen encoder and of the experiment's networks for each budget, as they are and smoothed; and the
    windows that validation people chose."""
    config, video, folder = session.config, session.store("macro"), session.prepared("macro")
    regime, told, cells = config.experiments.low_label.frames, [], []
    features = session.make(encoder_step(folder, encoder, config)) / "features.npy"
    arms = [arm for arm in regime.arms if view_of(arm, config).name != "camera"]  # no second camera took the clips
    for share, rows in budgets.items():
        folds = min(4, np.bincount(video.labels[rows]).max(), len(set(video.subjects[rows])))
        probe = Probe(folder, features, rows, asked, tuple(regime.probe_c), int(folds))
        said = probe.answers(session.make(probe.step(f"probe-{share:g}")))
        told.append(labelled(said, Label("frames", "probe", share, regime="frames", pretraining="mae-face")))
        cells += cells_of(config, arms, share, StillData(folder, rows, asked, encoder), task="frames", regime="frames")
    networks = (
        [cell_predictions(cells, session.make_all([cell.step(config, session.scratch) for cell in cells], "cells on frames"))]
        if cells
        else []
    )
    raw = joined([*networks, *told])
    smooth, windows = smooth_arms(raw, video.manifest.set_index("sample")["frame"], regime.windows, len(video.class_names))
    return joined([raw, smooth]), windows

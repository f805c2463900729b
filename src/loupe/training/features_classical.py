"""Features of clips that no network makes, as steps: each writes `features.npy`, a row a clip in the order of `onset_and_apex`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from loupe.data.augment import to_float
from loupe.data.clips import onset_and_apex
from loupe.data.store import read_store
from loupe.models.baselines.frame_difference import features_frame_difference
from loupe.models.baselines.lbp_top import features_lbp_top
from loupe.models.baselines.optical_flow import features_flow, flow_fields
from loupe.models.baselines.three_stream import FLOW_SIDE
from loupe.progress import track
from loupe.steps import Step


def classical_step(method: str, clips: Path, grid: int, *, labelled_only: bool = False) -> Step:
    """The features that the classifier of `method` takes. clips: a store; grid: side of the coarse grid of flow and difference."""
    return Step(f"features-{method}", write_features, {"method": method, "clips": clips, "grid": grid, "labelled_only": labelled_only})


def write_features(folder: Path, method: str, clips: Path, grid: int, labelled_only: bool) -> None:
    store = read_store(clips)
    pairs = onset_and_apex(store, labelled_only=labelled_only)
    if method == "flow-svm":
        features = features_flow(pairs.onset, pairs.apex, grid)
    elif method == "difference-svm":
        features = features_frame_difference(pairs.onset, pairs.apex, grid)
    elif method == "majority":
        features = np.zeros((len(pairs.clips), 1))
    elif method == "lbp-top":  # the stored frames of a clip, interpolated in time
        frames = store.manifest.sort_values(["clip", "frame"]).groupby("clip")["sample"].apply(list)
        features = features_lbp_top(np.asarray(store.images[frames[clip]]) for clip in track(pairs.clips, "LBP-TOP"))
    elif method == "flow-cnn":
        features = flow_fields(pairs.onset, pairs.apex, FLOW_SIDE).transpose(0, 3, 1, 2)[:, None]
    elif method == "difference-vit":
        features = np.stack([to_float(torch.from_numpy(shown)).numpy() for shown in (pairs.onset, pairs.apex)], axis=1)
    else:
        raise ValueError(f"{method} has no features without a network")
    np.save(folder / "features.npy", features)

"""What DMA and PoI point at, beside rivals that need no learning, scored against the true motion and the true parts of the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.data.clips import OnsetApex, onset_and_apex
from loupe.data.store import read_store
from loupe.evaluation.explain import (
    centre_prior,
    frame_difference,
    localisation_scores,
    part_energy,
    part_region,
    patch_contrast,
    training_mean_map,
)
from loupe.evaluation.predictions import Label, joined, labelled
from loupe.models.baselines.optical_flow import flow, without_affine
from loupe.models.micron_bert import MicronBert
from loupe.training.micro import patch_maps

OURS = ("dma", "poi", "weight", "dma-inverted", "poi-inverted", "weight-inverted")


@dataclass(frozen=True)
class KnownClips:
    """Clips of the store `folder` with a class, and what truly moved in each, (N, H, W); parts (N, H, W): what each pixel of the onset
    frame shows."""

    pairs: OnsetApex
    motion: np.ndarray
    parts: np.ndarray

    @classmethod
    def read(cls, folder: Path, some: set[str] | None = None) -> KnownClips:
        """some: names of the clips to take, all without it."""
        pairs = onset_and_apex(read_store(folder), labelled_only=True)
        if some is not None:
            pairs = pairs.some(np.isin(pairs.clips, sorted(some)))
        truths = (np.load(folder / f"{name}.npy")[pairs.clip_index] for name in ("motion", "parts"))
        return cls(pairs, *truths)


def motion_maps(model: MicronBert, clips: KnownClips) -> dict[str, np.ndarray]:
    """Our maps with both signs, since the paper leaves it open whether a changed patch is high or low, and the rivals: name -> (N, L) or
    (N, H, W)."""
    pairs, ours = clips.pairs, patch_maps(model, clips.pairs.onset, clips.pairs.apex)
    stabilised = [np.linalg.norm(without_affine(flow(a, b)), axis=-1) for a, b in zip(pairs.onset, pairs.apex, strict=True)]
    signed = {sign: values for name, one in ours.items() for sign, values in ((name, one), (f"{name}-inverted", inverted(one)))}
    rivals = {"mean-map": training_mean_map(clips.motion, pairs.subjects), "difference": frame_difference(pairs.onset, pairs.apex)}
    return {**signed, **rivals, "flow-stabilised": np.stack(stabilised)}


def part_maps(model: MicronBert, clips: KnownClips) -> dict[str, np.ndarray]:
    """PoI of the onset frame with both signs, and the rivals."""
    onset = clips.pairs.onset
    poi = patch_maps(model, onset, onset)["poi"]
    return {
        "poi": poi,
        "poi-inverted": inverted(poi),
        "uniform": np.ones_like(poi),
        "centre": np.broadcast_to(centre_prior(clips.parts.shape[1:]), clips.parts.shape),
        "contrast": patch_contrast(onset, model.encoder.patch_size),
        "mean-mask": training_mean_map(part_region(clips.parts), clips.pairs.subjects),
    }


def inverted(maps: np.ndarray) -> np.ndarray:
    return maps.max(axis=1, keepdims=True) - maps


def motion_records(maps: Mapping[str, np.ndarray], clips: KnownClips, patch: int, seed: int) -> pd.DataFrame:
    """Scores of each map and clip against the true motion, in the study's schema (task `localisation`)."""
    return joined(
        [_record("localisation", arm, clips, seed, localisation_scores(values, clips.motion, patch)) for arm, values in maps.items()]
    )


def part_records(maps: Mapping[str, np.ndarray], clips: KnownClips, patch: int, seed: int) -> pd.DataFrame:
    """The share of each map on eyes, brows and mouth, clip by clip (task `parts`)."""
    scores = {arm: {"energy_inside": part_energy(values, clips.parts, patch)} for arm, values in maps.items()}
    return joined([_record("parts", arm, clips, seed, found) for arm, found in scores.items()])


def _record(task: str, arm: str, clips: KnownClips, seed: int, scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    label = Label(task, arm, seed=seed, pretraining="micron-bert" if arm in OURS else "none")
    return labelled(pd.DataFrame({**clips.pairs.rows, **scores}).assign(label=0, pred=0), label)


def mean_scores(records: pd.DataFrame) -> pd.DataFrame:
    """A row a map: mean over clips of each score, n_clips and n_subjects."""
    scores = [name for name in ("pointing_game", "energy_inside", "rank_correlation") if name in records]
    means = records.groupby("arm", sort=False)[scores].mean().reset_index()
    return means.assign(n_clips=records["clip"].nunique(), n_subjects=records["subject"].nunique())

"""Features of clips from a frozen Micron-BERT, as a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from loupe.config import Config
from loupe.data.augment import to_float
from loupe.data.clips import onset_and_apex
from loupe.data.store import read_store
from loupe.experiments import MicronArm
from loupe.models.micron_bert import MicronBert
from loupe.models.micron_classifier import read_pair
from loupe.part import part_of
from loupe.steps import Step
from loupe.training.build_micron import build_micron_bert, exchanged_by
from loupe.training.checkpoint import load_weights
from loupe.training.device import resolve_device
from loupe.training.micro import MICRON_READ


def micron_step(name: str, clips: Path, weights: Path | None, config: Config, arm: MicronArm | None = None, **options: object) -> Step:
    """`features.npy` (N, ...), a row a clip of the store `clips`, read as the experiment says; without `weights` from the untrained network
    of the study's first seed.

    arm: what is exchanged in the network. options: `readout` (another one), `poi_topk` (share of the patches that PoI keeps),
    `labelled_only` (clips with a class).
    """
    arguments = {
        "clips": clips,
        "weights": weights,
        "config": part_of(config, *MICRON_READ),
        "arm": arm,
        "seed": config.scale.seeds[0],
        "readout": config.experiments.micro_expressions.readout,
        **options,
    }
    return Step(f"features-{name}", write_micron_features, arguments)


def write_micron_features(
    folder: Path, clips: Path, weights: Path | None, config: Config, arm: MicronArm | None, seed: int, readout: str, **options: object
) -> None:
    pairs = onset_and_apex(read_store(clips), labelled_only=bool(options.get("labelled_only")))
    model = build_micron_bert(config, seed, poi_topk=options.get("poi_topk"), **exchanged_by(arm))
    if weights is not None:
        load_weights(weights, model)
    model = model.to(resolve_device(config.scale.device))
    np.save(folder / "features.npy", onset_apex_features(model, pairs.onset, pairs.apex, readout))


@torch.inference_mode()
def onset_apex_features(model: MicronBert, onset: np.ndarray, apex: np.ndarray, readout: str) -> np.ndarray:
    """Features (N, 16 D), or (N, 2 D) with `mean`, of uint8 frame pairs (N, H, W, 3), read as `loupe.models.micron_classifier` says."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    for start in range(0, len(onset), 128):
        pair = [to_float(torch.from_numpy(np.ascontiguousarray(x[start : start + 128])).to(device)) for x in (onset, apex)]
        parts.append(read_pair(model.encoder, model.attention, *pair, readout).float().cpu())
    return torch.cat(parts).numpy()

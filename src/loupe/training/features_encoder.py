"""Features of pictures from a frozen encoder, as a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.data.store import read_store
from loupe.part import part_of
from loupe.steps import Step
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import load_weights
from loupe.training.device import resolve_device
from loupe.training.mae_face import pooled_features


def encoder_step(store: Path, encoder: Path, config: Config) -> Step:
    """`features.npy` of the frozen encoder: the mean of its patch tokens."""
    read = part_of(config, "scale.device", "scale.image", "scale.encoder")
    return Step("features-encoder", write_encoder_features, {"store": store, "encoder": encoder, "config": read})


def write_encoder_features(folder: Path, store: Path, encoder: Path, config: Config) -> None:
    network = build_encoder(config)
    load_weights(encoder, network)
    np.save(folder / "features.npy", pooled_features(network.to(resolve_device(config.scale.device)), np.array(read_store(store).images)))

"""How much pre-training does it take? Encoders that have seen a multiple of the study's pictures, fine-tuned and probed (stage dose)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from loupe.config import Config
from loupe.evaluation.predictions import Label, joined, labelled
from loupe.part import part_of
from loupe.steps import Step
from loupe.training.build_encoder import build_encoder
from loupe.training.checkpoint import save_weights
from loupe.training.features_encoder import encoder_step
from loupe.training.mae_face import pretraining_step
from loupe.training.probes import Probe
from loupe.training.stills import StillData, cell_predictions, cells_of

if TYPE_CHECKING:
    from loupe.session import Session

FINE_TUNED, PROBE = "mae", "mae-probe"


def at_dose(config: Config, times: float) -> Config:
    """The settings with `times` as many epochs of pre-training, the warm-up in proportion: a schedule of its own that runs to its end."""
    mae = config.scale.mae
    longer = replace(mae, epochs=max(1, round(times * mae.epochs)), warmup_epochs=round(times * mae.warmup_epochs))
    return replace(config, scale=replace(config.scale, mae=longer))


def pictures_seen(config: Config, times: float, count: int) -> int:
    """Pictures that pre-training on `count` faces draws, each as often as it is drawn; 0 for none."""
    mae = at_dose(config, times).scale.mae
    batch = min(mae.batch, count)
    return mae.epochs * (count // batch) * batch if times else 0


def dosed_step(stills: Path, config: Config, times: float) -> Step:
    """`encoder.safetensors` after `times` the study's pictures; for 0 as it is drawn at random."""
    if times == 0:
        arguments = {"config": part_of(config, "scale.image", "scale.encoder"), "seed": config.scale.seeds[0]}
        return Step("untrained", write_untrained, arguments)
    return replace(pretraining_step(stills, at_dose(config, times)), name=f"pretraining-{times:g}")


def write_untrained(folder: Path, config: Config, seed: int) -> None:
    torch.manual_seed(seed)
    save_weights(folder / "encoder.safetensors", build_encoder(config))


def dose_answers(session: Session, encoder: Path, times: float, subsets: Mapping[float, np.ndarray], asked: np.ndarray) -> pd.DataFrame:
    """Predictions, with `times` as a column, of the single view fine-tuned from `encoder` (arm `mae`, all seeds) and of a probe on the
    frozen encoder (arm `mae-probe`), each at every share of `subsets` (share -> rows of the store `labelled`)."""
    config, store, folder = session.config, session.store("labelled"), session.prepared("labelled")
    experiment = config.experiments.low_label
    arms = [arm for arm in experiment.arms if arm.name == FINE_TUNED]
    cells = [cell for share, rows in subsets.items() for cell in cells_of(config, arms, share, StillData(folder, rows, asked, encoder))]
    steps = [replace(cell.step(config, session.scratch), name=f"{cell.name}-times{times:g}") for cell in cells]
    told = [cell_predictions(cells, session.make_all(steps, f"cells at {times:g} times the pictures"))]
    features = session.make(replace(encoder_step(folder, encoder, config), name=f"features-times{times:g}")) / "features.npy"
    for share, rows in subsets.items():
        folds = min(4, int(np.bincount(store.labels[rows], minlength=len(store.class_names)).min()))
        probe = Probe(folder, features, rows, asked, tuple(experiment.hog_c), folds)
        said = probe.answers(session.make(probe.step(f"{PROBE}-{share:g}-times{times:g}")))
        told.append(labelled(said, Label("stills", PROBE, share, pretraining="mae-face" if times else "none")))
    return joined(told).assign(times=times)

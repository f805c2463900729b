"""Micron-BERT's second stage: all weights fine-tuned on onset and apex of the training people of a fold. A step is one arm, seed and fold.

Folds are by subject, and few (`loupe.evaluation.protocols.stratified_folds`) where training for each person left out is too dear.
Predictions carry the regime `folds`, and rivals are asked in the same folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from loupe.config import Config
from loupe.data.augment import flip_and_shift, to_float
from loupe.data.clips import OnsetApex, onset_and_apex
from loupe.data.store import read_store
from loupe.evaluation.predictions import Label, answers, joined, labelled
from loupe.experiments import TunedArm
from loupe.models.micron_classifier import MicronClassifier
from loupe.part import part_of
from loupe.steps import CHECKPOINTS, Step
from loupe.training.build_micron import build_micron_bert
from loupe.training.checkpoint import load_weights
from loupe.training.clip_tasks import ClipTask
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit
from loupe.training.micro import MICRON_READ
from loupe.training.schedules import warmup_cosine

PREDICTED_AT_ONCE = 64
_READ = (*MICRON_READ, "scale.micro_finetune", "experiments.micro_expressions.fine_tuning.recipe")


@dataclass(frozen=True)
class TuningCell:
    """`arm`, started from `weights` (None: drawn by the seed), learns in fold number `fold` of its task."""

    arm: TunedArm
    seed: int
    fold: int
    weights: Path | None

    def step(self, task: ClipTask, clips: Path, config: Config) -> Step:
        """clips: the store of which `task` has its rows. An arm that is renamed is not trained again."""
        nameless = replace(self, arm=replace(self.arm, name=""))
        arguments = {"cell": nameless, "task": task, "clips": clips, "config": part_of(config, *_READ)}
        return Step(f"{self.arm.name}-fold{self.fold}-{self.seed}", write_tuned_answers, arguments)

    def predictions(self, folder: Path, task: ClipTask) -> pd.DataFrame:
        label = Label(task.name, self.arm.name, seed=self.seed, regime="folds", pretraining=self.arm.pretraining)
        return labelled(pd.read_parquet(folder / "predictions.parquet"), label)


def tuning_cells(config: Config, task: ClipTask, weights: Mapping[str, Path]) -> list[TuningCell]:
    """A cell for each arm of the scale, seed and fold. weights: by what an arm's `pretraining` says; KeyError where they are missing."""
    starts = [
        (arm, None if arm.pretraining == "none" else weights[arm.pretraining])
        for arm in config.experiments.micro_expressions.fine_tuning.arms
    ]
    folds = range(len(task.folds))
    return [TuningCell(arm, seed, fold, start) for arm, start in starts for seed in config.scale.seeds for fold in folds]


def write_tuned_answers(folder: Path, cell: TuningCell, task: ClipTask, clips: Path, config: Config) -> None:
    """Step: fine-tune on the clips of the fold's training people, then say what the network sees in those of the people left out."""
    pairs = onset_and_apex(read_store(clips), labelled_only=False).some(task.part)
    model = tuned(config, cell, task, pairs, folder / CHECKPOINTS / folder.name.removesuffix(".partial"))
    held_out = np.flatnonzero(task.fold_of == cell.fold)
    found = answers(task.rows.iloc[held_out], class_probabilities(model, pairs, held_out))
    found.assign(fold=task.fold_names[held_out]).to_parquet(folder / "predictions.parquet", index=False)


def build_tuned(config: Config, cell: TuningCell, classes: int) -> MicronClassifier:
    """The classifier as it starts; the seed draws what pre-training did not make."""
    arm = cell.arm
    encoder = cell.weights if arm.pretraining == "mae-face" else None
    micron = build_micron_bert(config, cell.seed, encoder_weights=encoder, dma=arm.dma, poi=arm.poi)
    if cell.weights is not None and encoder is None:
        load_weights(cell.weights, micron)
    dropout = config.experiments.micro_expressions.fine_tuning.recipe.dropout if arm.readout != "mean" else 0.0
    return MicronClassifier(micron, classes=classes, readout=arm.readout, dropout=dropout)


def tuned(config: Config, cell: TuningCell, task: ClipTask, pairs: OnsetApex, checkpoints: Path) -> MicronClassifier:
    """Train on the fold's training people, for as many steps as the scale says: nothing is chosen on anybody.

    Classes are weighted by inverse frequency; both frames of a pair share flip and shift. pairs: the task's clips.
    """
    settings, schedule = config.experiments.micro_expressions.fine_tuning.recipe, config.scale.micro_finetune
    device, train = resolve_device(config.scale.device), np.flatnonzero(task.trains(task.folds[cell.fold]))
    frames = [torch.from_numpy(frame[train]).to(device) for frame in (pairs.onset, pairs.apex)]
    labels = torch.from_numpy(task.labels[train].astype(np.int64)).to(device)
    weight, present = torch.zeros(task.classes, device=device), np.unique(task.labels[train])
    balance = compute_class_weight("balanced", classes=present, y=task.labels[train])
    weight[torch.from_numpy(present).to(device)] = torch.tensor(balance, dtype=torch.float32, device=device)
    shift = round(settings.shift * config.scale.image.size / 64)

    def inputs_of(rows, generator):
        rows = rows.to(device)
        moved = flip_and_shift([frame[rows] for frame in frames], shift, generator)
        return labels[rows], *map(to_float, moved)

    def loss_of(module, truth, onset, apex):
        each = functional.cross_entropy(module(onset, apex).float(), truth, reduction="none")
        return {"loss": (weight[truth] * each).mean()}

    # The loop's layers are two here (MicronClassifier.group_matcher): the head learns at the full rate, all else at a share of it.
    lr = warmup_cosine(schedule.steps, min(round(settings.warmup_share * schedule.steps), schedule.steps - 1), schedule.head_lr)
    batch, rate = min(schedule.batch, len(train)), schedule.lr / schedule.head_lr
    recipe = Recipe.of(config, settings, schedule, lr=lr, batch=batch, seed=cell.seed, layer_decay=rate)
    model = build_tuned(config, cell, task.classes)
    fit(model, inputs_of, loss_of, len(train), recipe, checkpoints)
    return model.eval()


@torch.inference_mode()
def class_probabilities(model: MicronClassifier, pairs: OnsetApex, rows: np.ndarray) -> np.ndarray:
    """(len(rows), classes) float32."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(rows), PREDICTED_AT_ONCE):
        chosen = rows[start : start + PREDICTED_AT_ONCE]
        onset, apex = (to_float(torch.from_numpy(frame[chosen]).to(device)) for frame in (pairs.onset, pairs.apex))
        parts.append(model(onset, apex).float().softmax(-1).cpu().numpy())
    return np.concatenate(parts)


def tuned_predictions(cells: Sequence[TuningCell], folders: Sequence[Path], task: ClipTask) -> pd.DataFrame:
    """What the finished steps of `cells` in `folders` say, one after the other."""
    return joined([cell.predictions(folder, task) for cell, folder in zip(cells, folders, strict=True)])

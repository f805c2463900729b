"""Leave-one-subject-out predictions from features of clips, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import Config
from loupe.evaluation.best_epoch import best_epoch_table
from loupe.evaluation.predictions import Label, answers, joined, labelled
from loupe.part import part_of
from loupe.steps import Step
from loupe.training.clip_tasks import ClipTask
from loupe.training.device import resolve_device
from loupe.training.loso import HeadRecipe, loso_heads, loso_heads_on_the_way

_READ = ("scale.device", "scale.seeds", "scale.micro_head", "experiments.micro_expressions.weight_decays")


def head_step(name: str, task: ClipTask, features: Path, config: Config) -> Step:
    """Linear heads on frozen features (`features.npy`, (N, D) of all clips), for each of the scale's seeds; see `loso_heads`."""
    return Step(f"{task.name}-{name}", write_head_answers, {"task": task, "features": features, "config": part_of(config, *_READ)})


def write_head_answers(folder: Path, task: ClipTask, features: Path, config: Config) -> None:
    each = loso_heads(task, np.load(features)[task.part], head_recipe(config), resolve_device(config.scale.device))
    write_answers(folder, task, config.scale.seeds, each)


def lesson_step(task: ClipTask, features: Path, config: Config, every: int) -> Step:
    """What `write_head_answers`' heads and heads on noise say after every `every`-th step and after the last, by the rules of
    `best_epoch_table`."""
    read = part_of(config, *_READ, "data.seed")
    return Step("best-epoch", write_lesson, {"task": task, "features": features, "config": read, "every": every})


def write_lesson(folder: Path, task: ClipTask, features: Path, config: Config, every: int) -> None:
    own = np.load(features)
    noise = np.random.default_rng(config.data.seed).standard_normal(own.shape).astype(np.float32)
    recipe, device = head_recipe(config), resolve_device(config.scale.device)
    marks = sorted({*range(every, recipe.steps + 1, every), recipe.steps})
    on_the_way = {
        arm: loso_heads_on_the_way(task, values[task.part], recipe, marks, device).argmax(-1)
        for arm, values in (("micron-bert", own), ("noise", noise))
    }
    best_epoch_table(task.labels, task.subjects, on_the_way).to_parquet(folder / "table.parquet", index=False)


def head_recipe(config: Config) -> HeadRecipe:
    head = config.scale.micro_head
    return HeadRecipe(config.scale.seeds, head.steps, head.lr, config.experiments.micro_expressions.weight_decays)


def write_answers(folder: Path, task: ClipTask, seeds: Sequence[int], each: Sequence[np.ndarray]) -> None:
    """The probabilities (n, classes) that each seed gives the task's clips."""
    parts = [answers(task.rows, found).assign(seed=seed, fold=task.fold_names) for seed, found in zip(seeds, each, strict=True)]
    joined(parts).to_parquet(folder / "predictions.parquet", index=False)


def clip_predictions(folder: Path, task: ClipTask, arm: str, **state: object) -> pd.DataFrame:
    """What a finished step in `folder` says, in the study's schema; state: columns of `loupe.evaluation.predictions.Label`."""
    return labelled(pd.read_parquet(folder / "predictions.parquet"), Label(task.name, arm, **state))

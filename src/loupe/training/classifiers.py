"""Classifiers that are fitted anew in each fold of leave one subject out: linear ones, and two small networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.models.baselines.linear import make_linear_svm, make_majority
from loupe.part import part_of
from loupe.steps import Step
from loupe.training.clip_steps import write_answers
from loupe.training.clip_tasks import ClipTask
from loupe.training.device import resolve_device
from loupe.training.loso import loso_probabilities
from loupe.training.micro_networks import NetworkClassifier, difference_vit, three_stream

_READ = "scale.device scale.seeds scale.image scale.flow_cnn scale.difference_vit".split()
_GRIDS = ("experiments.micro_expressions.svm_c", "experiments.micro_expressions.weight_decays")


def classifier_step(name: str, task: ClipTask, features: Path, config: Config, called: str = "") -> Step:
    """What the classifier of method `name` says of each clip, from `features.npy`, a row a clip. called: ends the step's name, where a
    stage asks in several sets of folds."""
    arguments = {"task": task, "method": name, "features": features, "config": part_of(config, *_READ, *_GRIDS)}
    return Step(f"{task.name}-{name}{called}", write_classifier_answers, arguments, {"workers": config.scale.workers})


def write_classifier_answers(folder: Path, task: ClipTask, method: str, features: Path, config: Config, workers: int) -> None:
    makers, grid, seeds = classifier_of(method, config)
    clips = np.load(features)[task.part]
    each = loso_probabilities(task, clips, makers, grid, label=f"{task.name}, {method}", workers=workers)
    write_answers(folder, task, seeds, each)


def classifier_of(method: str, config: Config):
    """(makers, settings, seeds) of a method: one maker a seed; settings to choose from, the strongest regularisation first (of equals the
    first is taken). A method that is not one of the two networks is a linear SVM, or names the most frequent class."""
    settings = config.experiments.micro_expressions
    if method == "majority":
        return [make_majority], [1.0], [0]
    decays, device = sorted(settings.weight_decays, reverse=True), resolve_device(config.scale.device)
    if method == "flow-cnn":
        return (
            [partial(NetworkClassifier, three_stream, config.scale.flow_cnn, seed, "cpu") for seed in config.scale.seeds],
            decays,
            config.scale.seeds,
        )
    if method == "difference-vit":
        recipe, place = config.scale.difference_vit, device if device.type == "cuda" else "cpu"  # processes share an NVIDIA GPU
        build = partial(difference_vit, size=recipe.encoder, patch=config.scale.image.patch)
        return [partial(NetworkClassifier, build, recipe, seed, place) for seed in config.scale.seeds], decays, config.scale.seeds
    return [make_linear_svm], sorted(settings.svm_c), [0]

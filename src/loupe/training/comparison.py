"""The cells of the dual-view comparison: who takes part, what each arm is asked, and cross-validation beside the fixed test people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from loupe.config import Config
from loupe.data.conditions import COVERED, SHIFTED, Condition
from loupe.data.covering import covering_step
from loupe.data.store import Store, read_store
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split
from loupe.experiments import Arm
from loupe.steps import Shelf
from loupe.training.cross_validation import fold_cells, person_folds
from loupe.training.stills import StillCell, StillData, sees_one_picture
from loupe.training.targets import knows_units


def arms_taking_part(config: Config, store: Store, transfer: object | None) -> tuple[list[Arm], list[str]]:
    """The experiment's arms that these faces allow, and for those left out why, one sentence each."""
    arms, reasons = config.experiments.dual_view.arms, []
    if transfer is None and any(arm.transfer for arm in arms):
        arms = [arm for arm in arms if not arm.transfer]
        reasons.append(
            "There are no labelled clips of training people (set `macro`): the arms that start from them are left out, "
            "and their claim stays open."
        )
    if not knows_units(store.manifest["au"]) and any(arm.task == "units" for arm in arms):
        arms = [arm for arm in arms if arm.task != "units"]
        reasons.append("Nobody knows the action units of these faces: the arms that detect them are left out, and their claim stays open.")
    return arms, reasons


def further_conditions(labelled: Path, split: Split, shelf: Shelf, vault: Vault, seed: int) -> list[Condition]:
    """The test people with a part of the face covered, and in looks that no training picture has where the set `shift` beside `labelled`
    has some."""
    manifest = read_store(labelled).manifest
    rows = vault.open(split, manifest, "the same arms, a part of the face covered")
    conditions = [Condition(COVERED, shelf.make(covering_step(labelled, rows, seed)), np.arange(len(rows)))]
    shift = labelled.with_name("shift")
    shown = read_store(shift).manifest
    if len(shown):
        conditions.append(Condition(SHIFTED, shift, vault.open(split, shown, "the same arms, looks that training never showed")))
    else:
        print("These faces have no set `shift`: the condition `shifted` is left out, and its claim stays open.")
    return conditions


def compared_cells(config: Config, arms: Sequence[Arm], data: StillData, mapped: Arm) -> list[StillCell]:
    """A cell for each arm and seed. All learn from the same rows; `data.conditions` and the training people are shown to the arms that the
    experiment names, and the network of `mapped`'s first seed is kept."""
    experiment, cells = config.experiments.dual_view, []
    for arm in arms:
        further = data.conditions if arm.name in experiment.further_conditions and sees_one_picture(arm, config) else ()
        own = replace(data, conditions=further, fit=arm.name in experiment.training_people)
        for seed in config.scale.seeds:
            keep = arm is mapped and seed == config.scale.seeds[0]
            cells.append(StillCell(arm, experiment.fraction, seed, own, keep_weights=keep))
    return cells


def crossed_cells(config: Config, arms: Sequence[Arm], data: StillData, pretrained_on: set[str], vault: Vault) -> list[StillCell]:
    """The cells of cross-validation by subject, none where the scale has none. Left out, too, where pre-training saw people whom it would
    test."""
    experiment, manifest = config.experiments.dual_view.cross_validation, read_store(data.labelled).manifest
    if not experiment.arms:
        return []
    split = Split.from_manifest(manifest)
    if pretrained_on & (split.train | split.test):
        print("Pre-training saw people whom cross-validation would test: it is left out.")
        return []
    folds = person_folds(manifest, pretrained_on, experiment.folds, config.data.seed)
    return fold_cells(config, [arm for arm in arms if arm.name in experiment.arms], folds, vault, data)

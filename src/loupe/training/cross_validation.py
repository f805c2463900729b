"""Cross-validation by subject: every training and test person is tested once, by networks that saw nobody of the person's fold.

One fixed test set is a draw of people; folds ask everybody. Validation people take no part: the study's settings were chosen on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from loupe.config import Config
from loupe.data.store import read_store
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset, subject_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.experiments import Arm
from loupe.training.stills import StillCell, StillData, cells_of


def person_folds(manifest: pd.DataFrame, pretrain: Iterable[str], folds: int, seed: int) -> list[Split]:
    """Folds of the manifest's training and test people. Raises LoupeError where pre-training saw one of them, and for fewer people than
    folds."""
    people = manifest.loc[manifest["split"].isin(("train", "test")), "subject"]
    return subject_folds(people, folds, np.random.default_rng(seed), pretrain=pretrain)


def fold_cells(config: Config, arms: Sequence[Arm], folds: Sequence[Split], vault: Vault, data: StillData) -> list[StillCell]:
    """A cell for each arm, fold and seed: learn from the study's share of the labels of the fold's training people, predict those left out.
    `data`: as for the fixed test set; its rows are exchanged."""
    store = read_store(data.labelled)
    fraction, cells = config.experiments.dual_view.fraction, []
    for number, fold in enumerate(folds):
        train = fold.rows(store.manifest, "train")
        rows = train[label_subset(store.labels[train], store.subjects[train], fraction, np.random.default_rng([config.data.seed, number]))]
        tested = vault.open(fold, store.manifest, f"cross-validation, fold {number + 1} of {len(folds)}")
        cells += cells_of(config, arms, fraction, replace(data, rows=rows, asked=tested, conditions=(), fit=False), fold=str(number))
    return cells


def fold_gain(crossed: pd.DataFrame, arm: str, against: str, classes: int, resamples: int) -> pd.DataFrame:
    """One row: macro-F1 of `arm` minus that of `against`, predictions pooled over folds, with its 95 % interval over people and seeds."""
    pair = [crossed[crossed["arm"] == name] for name in (arm, against)]
    interval = bootstrap_interval(
        effect_of(*pair, "macro_f1", classes, names=(arm, against)), np.random.default_rng(0), resamples=resamples
    )
    counts = {"n_folds": crossed["fold"].nunique(), "n_seeds": crossed["seed"].nunique(), "n_subjects": crossed["subject"].nunique()}
    return pd.DataFrame(
        [{"comparison": f"{arm} - {against}", "gain": interval.value, "low": interval.low, "high": interval.high, **counts}]
    )

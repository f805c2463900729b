"""Cross-validation by subject: every training and test person is tested once, by networks that saw nobody of the person's fold.

One fixed test set is a draw of people; folds ask everybody. Validation people take no part: the study's settings were chosen on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.bench import Bench
from loupe.config import Config
from loupe.data.store import read_store
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import Vault
from loupe.evaluation.protocols import Split, label_subset, subject_folds
from loupe.evaluation.statistics import bootstrap_interval
from loupe.settings import Arm
from loupe.training.jobs import Job
from loupe.training.stills import cell_jobs

_MARK = "-fold"


def person_folds(manifest: pd.DataFrame, pretrain: Iterable[str], folds: int, seed: int) -> list[Split]:
    """Folds of the manifest's training and test people. Raises LoupeError where pre-training saw one of them, and for fewer people than folds."""
    people = manifest.loc[manifest["split"].isin(("train", "test")), "subject"]
    return subject_folds(people, folds, np.random.default_rng(seed), pretrain=pretrain)


def fold_jobs(
    bench: Bench, config: Config, arms: Sequence[Arm], folds: Sequence[Split], vault: Vault, labelled: Path, encoder_weights: Path
) -> list[Job]:
    """One job an arm, fold and seed: fine-tune on the study's share of the labels of the fold's training people, predict those left out."""
    store = read_store(labelled)
    fraction, jobs = config.experiments.dual_view.fraction, []
    for number, fold in enumerate(folds):
        train = fold.rows(store.manifest, "train")
        rows = train[label_subset(store.labels[train], store.subjects[train], fraction, np.random.default_rng([config.data.seed, number]))]
        tested = vault.open(fold, store.manifest, f"cross-validation, fold {number + 1} of {len(folds)}")
        named = [replace(arm, name=f"{arm.name}{_MARK}{number}") for arm in arms]
        jobs += cell_jobs(bench, config, named, fraction, rows, tested, labelled, encoder_weights)
    return jobs


def take_folds(cells: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells without those of folds, and those of folds: arms under their own names, `fold` set, everybody `test`."""
    named = cells["arm"].str.extract(rf"^(.+){_MARK}(\d+)$")
    crossed = named[1].notna()
    found = cells[crossed].assign(arm=named.loc[crossed, 0], fold=named.loc[crossed, 1], split="test")
    return cells[~crossed].reset_index(drop=True), found.reset_index(drop=True)


def fold_gain(crossed: pd.DataFrame, arm: str, against: str, classes: int, resamples: int) -> pd.DataFrame:
    """One row: macro-F1 of `arm` minus that of `against`, predictions pooled over folds, with its 95 % interval over people."""
    pair = [crossed[crossed["arm"] == name] for name in (arm, against)]
    interval = bootstrap_interval(
        effect_of(*pair, "macro_f1", classes, names=(arm, against)), np.random.default_rng(0), resamples=resamples
    )
    counts = {"n_folds": crossed["fold"].nunique(), "n_seeds": crossed["seed"].nunique(), "n_subjects": crossed["subject"].nunique()}
    return pd.DataFrame(
        [{"comparison": f"{arm} - {against}", "gain": interval.value, "low": interval.low, "high": interval.high, **counts}]
    )

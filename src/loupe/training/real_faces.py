"""Photographs of one's own, read by what was learnt on generated faces: folds by person, a few labels to all of them
(`scripts/real_faces.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.config import Config
from loupe.data.imported import from_zero
from loupe.data.importing import import_set
from loupe.data.sources.folder import TABLE
from loupe.data.store import Store, read_store, write_store
from loupe.errors import LoupeError
from loupe.evaluation.claims import Cell, Claim, ClaimBook, claims_table
from loupe.evaluation.duplicates import near_duplicates
from loupe.evaluation.guards import Vault
from loupe.evaluation.predictions import Label, labelled
from loupe.evaluation.protocols import label_subset, subject_folds
from loupe.experiments import Arm
from loupe.steps import Step
from loupe.training.fixmatch import CnnCell
from loupe.training.probes import Probe
from loupe.training.stills import StillCell, StillData, cells_of

STAGE, FOLDS, LABELS = "real-faces", 5, (10, 40)  # and all labels
ARMS, CNN = (Arm("mae", "single"), Arm("scratch", "single", init="scratch")), Arm("small-cnn", "small-cnn", init="scratch")
PROBES = {"hog": "none", "mae-probe": "mae-face"}  # by the pre-training of their features
# Photographs are few: fewer faces a step and fewer steps than for the study's stills, by the label budget as there (from scratch three
# times as many).
SHORTER = {"batch": 16, "epochs": 6, "min_steps": 40}
QUESTIONS = (
    ("pretraining", "mae", "scratch", "an encoder pre-trained on generated faces beats the same encoder from scratch."),
    ("probe", "mae-probe", "hog", "a linear probe of an encoder pre-trained on generated faces beats HOG."),
)


def shorter(config: Config) -> Config:
    """The study's settings with the steps of this comparison, or the scale's own where these are fewer."""
    own = config.scale.finetune
    steps = {name: min(value, getattr(own, name)) for name, value in SHORTER.items()}
    return replace(config, scale=replace(config.scale, finetune=replace(own, **steps)))


def faces_step(root: Path, size: int, align: bool) -> Step:
    """The labelled faces below `root` as a store of `size` px. It stays on this machine: photographs do not travel with results."""
    return Step("faces", write_faces, {"root": root, "size": size, "align": align}, shared=False)


def write_faces(folder: Path, root: Path, size: int, align: bool) -> None:
    """Class sub-folders, or a CSV beside the pictures (`loupe.data.sources.folder`); everybody is tested in some fold, so all rows are of
    the split `test`.

    Raises LoupeError as the import does, for fewer than two classes, and where two people share a picture: they would stand in two folds.
    """
    report = import_set("csv" if (root / TABLE).is_file() else "folder", root, folder / "import", size=size, align=align)
    print(f"{report.used} of {report.found} pictures used" + "".join(f"; {why}: {count}" for why, count in report.reasons.items()))
    whole = read_store(folder / "import")
    chosen = whole.rows((whole.manifest["label"] >= 0).to_numpy())
    if chosen.manifest["label"].nunique() < 2:
        raise LoupeError(f"{root} has fewer than two classes: put each class into a sub-folder of its own.")
    check_people(chosen)
    write_store(folder, chosen.images, from_zero(chosen.manifest).assign(split="test"))
    shutil.rmtree(folder / "import")


def check_people(faces: Store) -> None:
    """Raise LoupeError where pictures of two people are copies of each other."""
    images = np.asarray(faces.images)
    for one, other in near_duplicates(images, images):
        if faces.subjects[one] != faces.subjects[other]:
            names = [f"{faces.manifest['source'][row]} (person {faces.subjects[row]})" for row in (one, other)]
            raise LoupeError(
                f"{names[0]} and {names[1]} are one picture, so one person would be in two folds: give both one person's name."
            )


@dataclass(frozen=True)
class Task:
    """One fold at one budget. rows: to learn from; asked: of people whom they do not show; labels: how many, None for all; fraction: the
    same as a share."""

    fold: str
    labels: int | None
    fraction: float
    rows: np.ndarray
    asked: np.ndarray

    def __str__(self) -> str:
        return f"{self.labels or 'all'}-fold{self.fold}"


def tasks_of(faces: Store, pretrained_on: set[str], seed: int, vault: Vault) -> list[Task]:
    """The folds, each with a few labels and with all of them: nested, of all classes, of as many people as possible.

    Raises LoupeError for fewer people than folds, and where pre-training saw one of them.
    """
    folds = subject_folds(faces.subjects, FOLDS, np.random.default_rng(seed), pretrain=pretrained_on)
    parts = [fold.rows(faces.manifest, "train") for fold in folds]
    fewest, tasks = min(map(len, parts)), []
    for number, (fold, train) in enumerate(zip(folds, parts, strict=True)):
        asked = vault.open(fold, faces.manifest, f"photographs, fold {number + 1} of {FOLDS}")
        for labels in (*(budget for budget in LABELS if budget < fewest), None):
            share, rng = min(1.0, labels / len(train)) if labels else 1.0, np.random.default_rng([seed, number])
            rows = train[label_subset(faces.labels[train], faces.subjects[train], share, rng)]
            tasks.append(Task(str(number), labels, round(labels / fewest, 4) if labels else 1.0, rows, asked))
    return tasks


def network_cells(config: Config, faces: Path, encoder: Path, tasks: Sequence[Task]) -> list[StillCell]:
    """A cell for each network, seed, fold and budget."""
    cells: list[StillCell] = []
    for task in tasks:
        data = StillData(faces, task.rows, task.asked, encoder)
        cells += cells_of(config, ARMS, task.fraction, data, fold=task.fold)
        cells += [CnnCell(CNN, task.fraction, seed, data, fold=task.fold) for seed in config.scale.seeds]
    return cells


def probe_of(config: Config, faces: Path, features: Path, task: Task) -> Probe:
    """Logistic regression on fixed features, its C chosen on inner people."""
    fewest = int(np.bincount(read_store(faces).labels[task.rows]).min())
    return Probe(faces, features, task.rows, task.asked, tuple(config.experiments.low_label.hog_c), folds=min(4, fewest))


def probe_predictions(arm: str, task: Task, said: pd.DataFrame) -> pd.DataFrame:
    """`Probe.answers` in the study's schema."""
    return labelled(said, Label("stills", arm, task.fraction, fold=task.fold, pretraining=PROBES[arm]))


def verdicts(predictions: pd.DataFrame, all_labels: str, classes: int, seed: int, resamples: int) -> pd.DataFrame:
    """What the study's own rule says of pre-training on these photographs: a row a question and budget
    (`loupe.evaluation.claims.claims_table`).

    all_labels: the sentence of conf/claims.yaml that asks the same with all labels; reports/claims.csv finds the verdict by it.
    """
    fractions = dict(zip(LABELS, sorted(set(predictions["fraction"]) - {1.0}), strict=False)) if len(predictions) else {}
    claims = []
    for name, arm, rival, words in QUESTIONS:
        for labels in (*LABELS, None):
            sentence = f"On photographs, with {labels or 'all'} labels, {words}" if labels or name != "pretraining" else all_labels
            cells = [Cell(STAGE, which, fractions.get(labels, 0.0) if labels else 1.0) for which in (arm, rival)]
            facts = {"paper": "emotic-mae", "source": "", "metric": "macro_f1", "paper_number": "", "task": "stills"}
            claims.append(Claim(f"{name}-{labels or 'all'}", sentence=sentence, a=cells[0], b=(cells[1],), **facts))
    table = claims_table(
        ClaimBook({"stills": classes}, tuple(claims)), {STAGE: predictions} if len(predictions) else {}, seed=seed, resamples=resamples
    )
    columns = (
        "id sentence metric value_a value_b guess effect low high p_holm detectable n_subjects n_samples n_seeds floor verdict".split()
    )
    return table[columns].assign(verdict=table["verdict"].where(table["effect"].notna(), "not run"))

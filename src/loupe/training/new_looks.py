"""Two further questions to Micron-BERT's pre-training: clips whose looks it never showed, and pre-training on uneven people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from loupe.data.clips import onset_and_apex
from loupe.data.conditions import SHIFTED
from loupe.data.skew import people_by_attribute, skewed_people, upper_half
from loupe.evaluation.protocols import loso_folds
from loupe.training.classifiers import classifier_step
from loupe.training.clip_steps import clip_predictions, head_step
from loupe.training.clip_tasks import ClipTask, clip_tasks
from loupe.training.features_classical import classical_step
from loupe.training.features_micron import micron_step
from loupe.training.micro import pretraining_step

if TYPE_CHECKING:
    from loupe.session import Session


def shifted_predictions(session: Session, weights: Path) -> list[pd.DataFrame]:
    """Predictions of the pre-trained and the untrained network and of optical flow on the clips `micro_shift`, heads trained on the other
    people's shifted clips (condition `shifted`); nothing where there are none."""
    clips, config = session.store("micro_shift"), session.config
    if not len(clips.manifest):
        print("The set micro_shift is empty here (scale.faces.shift_clips, or imported micro-expressions): its claim stays open.")
        return []
    looks, folder = onset_and_apex(clips, labelled_only=True), session.prepared("micro_shift")
    folds = loso_folds(looks.subjects, pretrain=set(session.store("clips").subjects))
    session.vault.open_folds(
        folds, clips.manifest, "pre-trained and untrained, looks that pre-training never showed, leave one subject out"
    )
    task, said = clip_tasks(looks, folds)["micro"], []
    for arm, file in (("micron-bert", weights), ("micron-bert-untrained", None)):
        name = f"{arm}-{SHIFTED}"
        features = session.make(micron_step(name, folder, file, config, labelled_only=True)) / "features.npy"
        origin = "micron-bert" if file else "none"
        made = session.make(head_step(name, task, features, config))
        said.append(clip_predictions(made, task, arm, condition=SHIFTED, pretraining=origin))
    grid = config.experiments.micro_expressions.flow_grid
    flow = session.make(classical_step("flow-svm", folder, grid, labelled_only=True)) / "features.npy"
    return [*said, clip_predictions(session.make(classifier_step("flow-svm", task, flow, config)), task, "flow-svm", condition=SHIFTED)]


def skewed_predictions(session: Session, task: ClipTask) -> list[pd.DataFrame]:
    """Predictions of the whole method, pre-trained at each dose of the experiment on uneven people (columns `dose`); nothing where the
    scale has no doses, or nobody knows what people look like."""
    config, clips = session.config, session.prepared("clips")
    doses = config.experiments.ablations.skew
    if not doses:
        print("This scale pre-trains on no skewed people (more: false): the claim stays open.")
        return []
    if people_by_attribute(session.store("clips").manifest).isna().any():
        print("Nobody knows the skin tone of the people in these unlabelled clips (only generated ones have one): the claim stays open.")
        return []
    steps = [pretraining_step(f"pretraining-dose-{dose:g}", clips, config, dose=dose) for dose in doses]
    said = []
    for dose, folder in zip(doses, session.make_all(steps, "pre-training on skewed people"), strict=True):
        name, weights = f"dose-{dose:g}", folder / "micron_bert.safetensors"
        features = session.make(micron_step(name, session.prepared("micro"), weights, config)) / "features.npy"
        made = session.make(head_step(name, task, features, config))
        said.append(clip_predictions(made, task, "micron-bert", pretraining="micron-bert", dose=dose))
    return said


def people_of_doses(manifest: pd.DataFrame, doses: list[float], seed: int) -> pd.DataFrame:
    """How many people of the upper and of the lower half each dose takes: columns dose, n_upper, n_lower."""
    tone = people_by_attribute(manifest)
    upper, rows = upper_half(tone), []
    for dose in doses:
        people = set(skewed_people(tone, dose, seed))
        rows.append({"dose": dose, "n_upper": len(people & upper), "n_lower": len(people - upper)})
    return pd.DataFrame(rows).astype({"n_upper": "Int64", "n_lower": "Int64"})

"""Figures of the micro-expressions: Micron-BERT's pre-training and maps, people left out, uneven pre-training people."""

from __future__ import annotations

import numpy as np
import pandas as pd

from loupe.data.clips import onset_and_apex
from loupe.faces.motion import MICRO_CLASSES
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.curves import training_curves
from loupe.reporting.drawing import Drawing
from loupe.reporting.faces import maps_over_faces
from loupe.reporting.figures.data import micro_clips
from loupe.reporting.figures.registry import NothingToDraw, figure
from loupe.reporting.loso import loso_subjects
from loupe.reporting.selection import usual
from loupe.reporting.skew import skew_curve, skew_points
from loupe.study import Study


@figure("micron-bert/training-curves")
def pretraining_curves(study: Study) -> Drawing:
    caption = (
        "Micron-BERT pre-training. The deviation of the contextual token is the canary: if it falls to 0, all faces get the same token and "
        "the agreement is won by collapse."
    )
    return training_curves(pd.read_parquet(study.run("micron-bert", "pretraining/history.parquet")), caption)


@figure("micron-bert/maps")
def maps(study: Study) -> Drawing:
    from loupe.training.build_micron import build_micron_bert
    from loupe.training.checkpoint import load_weights
    from loupe.training.micro import patch_maps

    model = build_micron_bert(study.config, study.config.scale.seeds[0])
    load_weights(study.run("micron-bert", "pretraining/micron_bert.safetensors"), model)
    micro, motion = micro_clips(study)
    pairs = onset_and_apex(micro, labelled_only=True)
    motion = motion[pairs.clip_index]
    strongest = np.argsort(-motion.max(axis=(1, 2)), kind="stable")[:6]
    values, side = patch_maps(model, pairs.onset, pairs.apex), model.encoder.grid[0]
    layers = {"DMA": "dma", "PoI": "poi", "DMA × PoI": "weight"}
    layers = {label: values[name].reshape(-1, side, side)[strongest] for label, name in layers.items()}
    names = [pairs.label_names[index] for index in strongest]
    caption = (
        "The six clips with the largest true motion: DMA, PoI and their product over the onset frame. "
        "Lines: true motion at least half its peak."
    )
    return maps_over_faces(pairs.onset[strongest], layers, caption, motion=motion[strongest], names=names)


def _micro(study: Study, stage: str) -> pd.DataFrame:
    predictions = study.predictions(stage)
    return predictions[predictions["task"] == "micro"]


@figure("micro-expressions/confusion")
def confusion(study: Study) -> Drawing:
    return confusion_matrix(usual(_micro(study, "micro-expressions")), list(MICRO_CLASSES), "micron-bert")


@figure("micro-expressions/people")
def people(study: Study) -> Drawing:
    methods = [method for method in study.config.experiments.micro_expressions.methods if method != "majority"]
    return loso_subjects(usual(_micro(study, "micro-expressions")), methods)


@figure("ablations/skew")
def skew(study: Study) -> Drawing:
    predictions, doses = _micro(study, "ablations"), study.config.experiments.ablations.skew
    if not doses:
        raise NothingToDraw("This scale pre-trains on no skewed people: choose one with `more: true` (smoke, gpu).")
    if predictions["dose"].isna().all():
        raise NothingToDraw("Nobody knows the skin tone of the people in these unlabelled clips (only generated ones have one).")
    return skew_curve(skew_points(predictions, doses, len(MICRO_CLASSES), study.config.scale.statistics.resamples))

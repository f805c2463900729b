"""Figures of effects: the claims of the two papers, and what is lost without each part of their methods."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.claims import Cell, cell_predictions
from loupe.evaluation.effects import effect_of
from loupe.evaluation.statistics import bootstrap_interval
from loupe.faces.motion import MICRO_CLASSES
from loupe.reporting.drawing import Drawing
from loupe.reporting.effects import ablation_effects, effect_plot
from loupe.reporting.figures.registry import NothingToDraw, figure
from loupe.reporting.selection import usual
from loupe.reporting.style import metric_name
from loupe.study import Study


def own_tasks(study: Study) -> tuple[set[str], str]:
    """The tasks that are scored on faces which were not generated, and in words on which faces what is scored.

    A folder of one's own or an imported set of expressions is what stills are scored on, an imported set of micro-expressions their clips.
    """
    data = study.config.data
    roles = json.loads((study.root / data.imported).read_text(encoding="utf-8")) if data.source == "imported" else {}
    own = {"stills"} if data.source == "folder" or "expression" in roles else set()
    own |= {"micro", "spotting"} if "micro" in roles else set()
    mixed = f"on {data.source} data (conf/study.yaml): {', '.join(sorted(own))}; all else on generated faces"
    return own, mixed if own else "on generated faces"


def _claims(study: Study, paper: str, title: str) -> Drawing:
    claims = pd.read_csv(study.needed(Path("reports/claims.csv")))
    decided = claims[claims["effect"].notna() & (claims["paper"] == paper)]
    if decided.empty:
        raise NothingToDraw(f"No claim of {title} was run at this scale.")
    _, where = own_tasks(study)
    caption = (
        f"{title}: effect of each claim with its 95 % interval over people and seeds; "
        f"the tick is the smallest effect of interest. O{where[1:]}."
    )
    return effect_plot(decided, caption)


@figure("claims/effects-emotic-mae")
def emotic_mae(study: Study) -> Drawing:
    return _claims(study, "emotic-mae", "Emotic MAE")


@figure("claims/effects-micron-bert")
def micron_bert(study: Study) -> Drawing:
    return _claims(study, "micron-bert", "Micron-BERT")


def part_effects(study: Study, task: str) -> pd.DataFrame:
    """Difference of each ablation of `task` (stills or micro) to the whole method: columns task, arm, metric, effect, low, high.

    Intervals are over people and seeds. Raises LoupeError where an arm or the whole method has no predictions.
    """
    experiment = study.config.experiments.ablations
    if task == "stills":
        share, arms, metric, classes = experiment.fraction, experiment.arms, "macro_f1", len(study.store("labelled").class_names)
        whole = Cell("dual-view", "concat", share)
    else:
        share, arms, metric, classes = 1.0, experiment.micro, "uf1", len(MICRO_CLASSES)
        whole = Cell("micro-expressions", "micron-bert")
    runs = {stage: usual(study.predictions(stage)) for stage in ("ablations", whole.stage)}
    rows = []
    for arm in arms:
        cells = (Cell("ablations", arm.name, share), whole)
        without, full = (cell_predictions(cell, task, runs) for cell in cells)
        if without is None or full is None:
            raise LoupeError(f"{cells[0] if without is None else whole} has no predictions: run `dvc repro ablations`.")
        effect = effect_of(without, full, metric, classes)
        interval = bootstrap_interval(effect, np.random.default_rng(0), resamples=study.config.scale.statistics.resamples)
        rows.append({"task": task, "arm": arm.name, "metric": metric, "effect": interval.value, "low": interval.low, "high": interval.high})
    return pd.DataFrame(rows)


def _ablations(study: Study, task: str, reference: str) -> Drawing:
    effects = part_effects(study, task)
    return ablation_effects(effects, reference, f"change of {metric_name(effects['metric'].iloc[0])} when the part is taken out")


@figure("ablations/effects-stills")
def stills_effects(study: Study) -> Drawing:
    return _ablations(study, "stills", "concat")


@figure("ablations/effects-micro")
def micro_effects(study: Study) -> Drawing:
    return _ablations(study, "micro", "micron-bert")

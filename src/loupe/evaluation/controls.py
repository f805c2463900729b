"""Controls of the decision rule itself, on stored predictions (design, Protocol 5).

A rule that says "supported" must say it where a gain was put in, and must not say it where there is none. Three studies in which the truth is
known are made out of a real one: arms exchanged at random, one arm against itself with other seeds, and one arm against itself improved.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.effects import CountsEffect, Effect, effect_of
from loupe.evaluation.metrics import CONFUSION_METRICS, grouped_confusion
from loupe.evaluation.statistics import bootstrap_interval, permutation_p, verdict


def supported(effect: Effect, sesoi: float, rng: np.random.Generator, *, resamples: int) -> bool:
    """Whether the rule calls the effect supported, as a single claim."""
    interval = bootstrap_interval(effect, rng, resamples=resamples)
    return verdict(interval.value, interval.low, interval.high, permutation_p(effect, rng, resamples=resamples), sesoi) == "supported"


def exchange_null_rate(
    effect: Effect, rng: np.random.Generator, *, sesoi: float = 0.0, simulations: int = 500, resamples: int = 1000
) -> float:
    """Share of "supported" among studies in which the two arms were exchanged at random within each subject: no difference exists.

    With sesoi = 0 this tests interval and p alone; with the study's sesoi it is the rule as used.
    """
    n = len(effect.subjects)
    draws = (effect.after_exchange(rng.random(n) < 0.5) for _ in range(simulations))
    return float(np.mean([supported(draw, sesoi, rng, resamples=resamples) for draw in draws]))


def fresh_seed_null_rate(
    arm: pd.DataFrame, metric: str, classes: int, rng: np.random.Generator, *, sesoi: float = 0.0, simulations: int = 500, resamples: int = 1000
) -> float:
    """Share of "supported" among studies of an arm against itself: half its seeds against the other half, on resampled subjects.

    Raises LoupeError below two seeds, and for a metric that is not a function of confusion matrices.
    """
    effect = _confusion_effect(arm, metric, classes)
    n_seeds, n = effect.a.shape[:2]
    if n_seeds < 2:
        raise LoupeError("an arm against itself needs at least two seeds; run another.")
    hits = []
    for _ in range(simulations):
        order, people = rng.permutation(n_seeds), rng.integers(n, size=n)
        half = n_seeds // 2
        drawn = tuple(str(i) for i in range(n))
        study = CountsEffect(drawn, effect.a[order[:half]][:, people], effect.a[order[half : 2 * half]][:, people], effect.score)
        hits.append(supported(study, sesoi, rng, resamples=resamples))
    return float(np.mean(hits))


def inject_gain(arm: pd.DataFrame, metric: str, classes: int, gain: float, rng: np.random.Generator) -> pd.DataFrame:
    """The arm with wrong predictions, drawn at random, put right until its score (mean over seeds) has risen by at least `gain`: a positive control.

    Raises LoupeError where the arm is too good to rise so far.
    """
    score = CONFUSION_METRICS[metric]
    seeds = arm["seed"].astype("category").cat.codes.to_numpy()
    label, start = arm["label"].to_numpy(), arm["pred"].to_numpy()
    wrong = rng.permutation(np.flatnonzero(start != label))

    def after(count: int) -> tuple[float, np.ndarray]:
        pred = start.copy()
        pred[wrong[:count]] = label[wrong[:count]]
        return float(score(grouped_confusion(seeds, label, pred, classes, seeds.max() + 1)).mean()), pred

    target = after(0)[0] + gain
    if after(wrong.size)[0] < target:
        raise LoupeError(f"a gain of {gain:.3f} in {metric} is above what this arm can reach; inject a smaller one.")
    low, high = 0, wrong.size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if after(middle)[0] >= target else (middle + 1, high)
    return arm.assign(pred=after(low)[1])


def _confusion_effect(arm: pd.DataFrame, metric: str, classes: int) -> CountsEffect:
    if metric not in CONFUSION_METRICS:
        raise LoupeError(f"this control works on {', '.join(CONFUSION_METRICS)}, not on {metric}.")
    return effect_of(arm, None, metric, classes)

"""Controls of the decision rule itself, on stored predictions (design, Protocol 5).

A rule that says "supported" must say it where a gain was put in, and must not say it where there is none. Three studies in which the truth is
known are made out of a real one: arms exchanged at random, one arm against itself with other seeds, and one arm against itself improved.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from loupe.errors import LoupeError
from loupe.evaluation.effects import CountsEffect, Effect, effect_of
from loupe.evaluation.metrics import CONFUSION_METRICS, grouped_confusion
from loupe.evaluation.statistics import bootstrap_interval, detectable_effect, permutation_p, verdict


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
    arm: pd.DataFrame, metric: str, classes: int, rng: np.random.Generator, *, sesoi: float = 0.0, resamples: int = 1000
) -> float:
    """Share of "supported" when an arm meets itself: every choice of half its seeds against an equal number of the others, on the real subjects.

    Unlike `exchange_null_rate` this keeps what is common to a seed (a lucky initialisation helps all subjects at once), which resampling subjects
    cannot see. Few seeds give few, dependent studies: five give 30. Subjects are not resampled for more of them: the halves of a stored arm do
    differ a little on its subjects, so a resampled population would hold a true difference and the study would be no null.
    Raises LoupeError below two seeds, and for a metric that is not a function of confusion matrices.
    """
    effect = _confusion_effect(arm, metric, classes)
    seeds = range(len(effect.a))
    half = len(seeds) // 2
    if half == 0:
        raise LoupeError("an arm against itself needs at least two seeds; run another.")
    pairs = [(one, other) for one in combinations(seeds, half) for other in combinations(set(seeds) - set(one), half)]
    studies = (CountsEffect(effect.subjects, effect.a[list(one)], effect.a[list(other)], effect.score) for one, other in pairs)
    return float(np.mean([supported(study, sesoi, rng, resamples=resamples) for study in studies]))


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
        return float(score(grouped_confusion(seeds, label, pred, classes, int(seeds.max()) + 1)).mean()), pred

    target = after(0)[0] + gain
    if after(wrong.size)[0] < target:
        raise LoupeError(f"a gain of {gain:.3f} in {metric} is above what this arm can reach; inject a smaller one.")
    low, high = 0, wrong.size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if after(middle)[0] >= target else (middle + 1, high)
    return arm.assign(pred=after(low)[1])


def control_table(
    a: pd.DataFrame, b: pd.DataFrame, metric: str, classes: int, rng: np.random.Generator, *, sesoi: float, simulations: int, resamples: int = 1000
) -> pd.DataFrame:
    """How often the rule says "supported" in studies of known truth, made of the stored predictions of two arms.

    Columns: control, truth (`no difference` or `a gain`), supported (share), limit (largest share allowed, or smallest where a gain is true),
    studies. Nulls are run with sesoi = 0, which is harder on the rule than its use.
    """
    effect = effect_of(a, b, metric, classes)
    rows = [("arms exchanged at random within subjects", exchange_null_rate(effect, rng, simulations=simulations, resamples=resamples), simulations)]
    permuted = []
    samples = a["sample"].unique()
    for _ in range(simulations):
        label = pd.Series(rng.permutation(a.drop_duplicates("sample").set_index("sample").loc[samples, "label"].to_numpy()), index=samples)
        arms = [arm.assign(label=arm["sample"].map(label).to_numpy()) for arm in (a, b)]
        permuted.append(supported(effect_of(*arms, metric, classes), 0.0, rng, resamples=resamples))
    rows.append(("labels permuted", float(np.mean(permuted)), simulations))
    if a["seed"].nunique() > 1:
        seeds = a["seed"].nunique()
        studies = comb(seeds, seeds // 2) * comb(seeds - seeds // 2, seeds // 2)
        rows.append(("the same arm with other seeds", fresh_seed_null_rate(a, metric, classes, rng, resamples=resamples), studies))
    table = [{"control": name, "truth": "no difference", "supported": share, "limit": 0.05, "studies": n} for name, share, n in rows]
    gain = 2 * detectable_effect(bootstrap_interval(effect, rng, resamples=resamples).error)
    draws = max(1, simulations // 25)
    found = [
        supported(effect_of(inject_gain(b, metric, classes, max(gain, sesoi), rng), b, metric, classes), sesoi, rng, resamples=resamples)
        for _ in range(draws)
    ]
    table.append({"control": f"a gain of {max(gain, sesoi):.3f} put in", "truth": "a gain", "supported": float(np.mean(found)), "limit": 0.95, "studies": draws})
    return pd.DataFrame(table)


def _confusion_effect(arm: pd.DataFrame, metric: str, classes: int) -> CountsEffect:
    if metric not in CONFUSION_METRICS:
        raise LoupeError(f"this control works on {', '.join(CONFUSION_METRICS)}, not on {metric}.")
    return effect_of(arm, None, metric, classes)

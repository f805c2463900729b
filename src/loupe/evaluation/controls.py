"""Controls of the decision rule itself, on stored predictions (design, Protocol 5).

A rule that says "supported" must say it where a gain was put in, and must not say it where there is none. Studies in which the truth is
known are made out of a real one: arms exchanged at random, labels permuted, one arm against itself with other seeds, and one arm against
itself improved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from loupe.config import Config
from loupe.errors import LoupeError
from loupe.evaluation.arms import ArmArrays, arms_of
from loupe.evaluation.effects import CountsEffect, Effect, effect_between, effect_of
from loupe.evaluation.metrics import CONFUSION_METRICS, grouped_confusion
from loupe.evaluation.statistics import bootstrap_interval, detectable_effect, permutation_p, verdict
from loupe.steps import Step

Study = Callable[[np.random.Generator], Effect]  # makes a study of known truth
AT_MOST, AT_LEAST = 0.05, 0.95  # share of "supported" where no difference exists, and where a gain is true
FRESH_SEEDS = "the same arm with other seeds"
CHUNK = 25  # studies that a process is handed at once


def supported(effect: Effect, sesoi: float, rng: np.random.Generator, *, resamples: int) -> bool:
    """Whether the rule calls the effect supported, as a single claim."""
    return _supported_at(effect, (sesoi,), rng, resamples)[0]


def _supported_at(effect: Effect, margins: Sequence[float], rng: np.random.Generator, resamples: int) -> list[bool]:
    """The same interval and p under several smallest effects of interest."""
    interval = bootstrap_interval(effect, rng, resamples=resamples)
    p = permutation_p(effect, rng, resamples=resamples)
    return [verdict(interval.value, interval.low, interval.high, p, margin) == "supported" for margin in margins]


def supported_shares(
    studies: Sequence[Study], margins: Sequence[float], rng: np.random.Generator, *, resamples: int = 1000, workers: int = 1
) -> np.ndarray:
    """Share of "supported" among `studies` for each smallest effect of interest in `margins` (M,). With 0 interval and p stand alone.

    Each study is made and decided with a generator of its own, spawned from `rng`: the shares do not depend on the number of processes,
    `workers`.
    """
    drawn = list(zip(studies, rng.spawn(len(studies)), strict=True))
    parts = [drawn[start : start + CHUNK] for start in range(0, len(drawn), CHUNK)]
    found = Parallel(n_jobs=min(workers, len(parts)))(delayed(_decide)(part, margins, resamples) for part in parts)
    return np.mean(np.concatenate(found), axis=0)


def _decide(drawn: Sequence[tuple[Study, np.random.Generator]], margins: Sequence[float], resamples: int) -> list[list[bool]]:
    return [_supported_at(make(own), margins, own, resamples) for make, own in drawn]


def exchanged_studies(effect: Effect, simulations: int) -> list[Study]:
    """Studies in which the two arms are exchanged at random within each subject: no difference exists."""
    return [partial(_exchange, effect)] * simulations


def _exchange(effect: Effect, rng: np.random.Generator) -> Effect:
    return effect.after_exchange(rng.random(len(effect.subjects)) < 0.5)


def permuted_studies(a: pd.DataFrame, b: pd.DataFrame, metric: str, classes: int, simulations: int) -> list[Study]:
    """Studies in which the labels are permuted among the samples: nobody can read them.

    Not quite "no difference" for a macro average: an arm that names few classes scores lower on random labels than one that names all. So
    the rule as used must stay below its limit here, while interval and p alone may find that small difference more often.
    """
    return [partial(_permute, arms_of(a, b, metric), metric, classes)] * simulations


def _permute(arms: list[ArmArrays], metric: str, classes: int, rng: np.random.Generator) -> Effect:
    label = rng.permutation(arms[0].label)
    return effect_between([replace(arm, label=label) for arm in arms], metric, classes)


def fresh_seed_studies(arm: pd.DataFrame, metric: str, classes: int) -> list[Study]:
    """An arm against itself: every choice of half its seeds against an equal number of the others, on the real subjects.

    Unlike `exchanged_studies` this keeps what is common to a seed (a lucky initialisation helps all subjects at once), which resampling
    subjects alone cannot see. Few seeds give few, dependent studies: five give 30. Subjects are not resampled for more of them: the halves
    of a stored arm do differ a little on its subjects, so a resampled population would hold a true difference and the study would be no
    null. Raises LoupeError below four seeds (halves of one seed hold no spread to draw), and for a metric that is not a function of
    confusion matrices.
    """
    _check_metric(metric)
    effect = effect_of(arm, None, metric, classes)
    seeds = range(len(effect.a))
    half = len(seeds) // 2
    if half < 2:
        raise LoupeError("an arm against itself needs at least four seeds, two a side; run more.")
    pairs = [(one, other) for one in combinations(seeds, half) for other in combinations(set(seeds) - set(one), half)]
    return [partial(_halves, effect, list(one), list(other)) for one, other in pairs]


def _halves(effect: CountsEffect, one: list[int], other: list[int], rng: np.random.Generator) -> Effect:
    """Nothing is drawn to make it; `rng` is what every study is called with."""
    return CountsEffect(effect.subjects, effect.a[one], effect.a[other], effect.score)


def improved_studies(arm: pd.DataFrame, metric: str, classes: int, gain: float, simulations: int) -> list[Study]:
    """The arm with `gain` put in (`inject_gain`) against itself: positive controls."""
    _check_metric(metric)
    return [partial(_improve, *arms_of(arm, None, metric), metric, classes, gain)] * simulations


def _improve(arm: ArmArrays, metric: str, classes: int, gain: float, rng: np.random.Generator) -> Effect:
    return effect_between([inject_gain(arm, metric, classes, gain, rng), arm], metric, classes)


def inject_gain(arm: ArmArrays, metric: str, classes: int, gain: float, rng: np.random.Generator) -> ArmArrays:
    """The arm with wrong predictions, drawn at random, put right until its score (mean over seeds) has risen by at least `gain`.

    Raises LoupeError where the arm is too good to rise so far.
    """
    score, count = CONFUSION_METRICS[metric], arm.n_seeds
    seeds, label, start = np.repeat(np.arange(count), len(arm.label)), np.tile(arm.label, count), arm.values.ravel()
    wrong = rng.permutation(np.flatnonzero(start != label))

    def after(number: int) -> tuple[float, np.ndarray]:
        pred = start.copy()
        pred[wrong[:number]] = label[wrong[:number]]
        return float(score(grouped_confusion(seeds, label, pred, classes, count)).mean()), pred

    target = after(0)[0] + gain
    if after(wrong.size)[0] < target:
        raise LoupeError(f"a gain of {gain:.3f} in {metric} is above what this arm can reach; inject a smaller one.")
    low, high = 0, wrong.size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if after(middle)[0] >= target else (middle + 1, high)
    return replace(arm, values=after(low)[1].reshape(arm.values.shape))


def largest_gain(arm: ArmArrays, metric: str, classes: int) -> float:
    """How far the arm's score, mean over seeds, would rise if it were right everywhere."""
    score, seeds = CONFUSION_METRICS[metric], np.repeat(np.arange(arm.n_seeds), len(arm.label))
    label = np.tile(arm.label, arm.n_seeds)
    now, perfect = (score(grouped_confusion(seeds, label, pred, classes, arm.n_seeds)).mean() for pred in (arm.values.ravel(), label))
    return float(perfect - now)


@dataclass(frozen=True)
class Comparison:
    """Predictions of two arms of one task with so many classes, and the metric in which they are compared."""

    a: pd.DataFrame
    b: pd.DataFrame
    metric: str
    classes: int


def control_table(
    compared: Comparison, rng: np.random.Generator, *, sesoi: float, simulations: int, resamples: int = 1000, workers: int = 1
) -> pd.DataFrame:
    """How often the rule says "supported" in studies of known truth, made of the stored predictions of two arms.

    simulations: studies of each control; an arm against itself has as many as its seeds can be halved. The table does not depend on
    `workers`. A gain is put in where the second arm can rise so far: where a study is too small to find even a perfect arm, none is.

    Columns: control, truth (`no difference` or `a gain`), supported (share, the rule as used), limit (largest share allowed, or smallest
    where a gain is true), without_margin (share with smallest effect of interest 0: interval and p alone, harder on the rule than its use),
    limit_without_margin (largest share allowed there; given for an arm against itself, which tells whether the interval holds seeds), holds
    (whether the limits are kept), studies (their number).
    """
    a, b, metric, classes = compared.a, compared.b, compared.metric, compared.classes
    effect = effect_of(a, b, metric, classes)
    gain = max(2 * detectable_effect(bootstrap_interval(effect, rng, resamples=resamples).error), sesoi)
    nulls = {
        "arms exchanged at random within subjects": exchanged_studies(effect, simulations),
        "labels permuted": permuted_studies(a, b, metric, classes, simulations),
    }
    if a["seed"].nunique() >= 4:
        nulls[FRESH_SEEDS] = fresh_seed_studies(a, metric, classes)
    gains = {}
    if gain <= largest_gain(*arms_of(b, None, metric), metric, classes):
        gains = {f"a gain of {gain:.3f} put in": improved_studies(b, metric, classes, gain, simulations)}
    table = []
    for truth, limit, controls in (("no difference", AT_MOST, nulls), ("a gain", AT_LEAST, gains)):
        for name, studies in controls.items():
            rule, bare = supported_shares(studies, (sesoi, 0.0), rng, resamples=resamples, workers=workers)
            bare_limit = AT_MOST if name == FRESH_SEEDS else np.nan
            holds = bool(rule <= limit and not bare > bare_limit) if controls is nulls else bool(rule >= limit)
            found = {"supported": rule, "limit": limit, "without_margin": bare, "limit_without_margin": bare_limit}
            found |= {"holds": holds, "studies": len(studies)}
            table.append({"control": name, "truth": truth} | found)
    return pd.DataFrame(table)


def control_step(task: str, compared: Comparison, config: Config) -> Step:
    """`control_table` of two arms of `task` as a step: `table.parquet`, with as many studies as the scale says."""
    arguments = {"compared": compared, "seed": config.data.seed, "simulations": config.scale.statistics.controls}
    return Step(f"controls-{task}", write_controls, arguments, {"workers": config.scale.workers})


def write_controls(folder: Path, compared: Comparison, seed: int, simulations: int, workers: int) -> None:
    rng = np.random.default_rng(seed)
    table = control_table(compared, rng, sesoi=0.05, simulations=simulations, resamples=400, workers=workers)
    table.to_parquet(folder / "table.parquet", index=False)


def _check_metric(metric: str) -> None:
    if metric not in CONFUSION_METRICS:
        raise LoupeError(f"this control works on {', '.join(CONFUSION_METRICS)}, not on {metric}.")

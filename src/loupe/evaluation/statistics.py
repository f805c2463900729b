"""Intervals, p-values and what a study of this size can find; people are the unit of inference, seeds are drawn with them.

Seeds are averaged inside the effect, and an interval speaks about new people read by networks trained from new seeds. It does not hold the
spread of new pre-trainings, of which a study has one (the claims table prints how many), nor, for an arm that ran once, that of another
run. p does not hold seeds: it asks whether these trained models differ on new people. A verdict of "supported" needs both, so the interval
alone guards against a lucky seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm, t

from loupe.errors import LoupeError
from loupe.evaluation.effects import Effect

RESAMPLES = 10_000
LEVEL = 0.95
ALPHA = 0.05
POWER = 0.80


@dataclass(frozen=True)
class Interval:
    """Estimate with its two-sided interval; `error` is its standard error over people and seeds, `freedom` its degrees of freedom
    (Satterthwaite 1946), `method` is "bca" or "percentile"."""

    value: float
    low: float
    high: float
    error: float
    method: str
    freedom: float
    level: float = LEVEL


@dataclass(frozen=True)
class SeedSpread:
    """How far an arm's seeds lie apart on everybody: scores (S,); variance of their mean, `raw` as observed, `own` less what people add."""

    scores: NDArray[np.float64]
    raw: float
    own: float


@dataclass(frozen=True)
class DrawnSeeds:
    """moved (R,): by how much the seeds drawn change the effect in each resample. arms: spread of each arm that has seeds."""

    moved: NDArray[np.float64]
    arms: tuple[SeedSpread, ...]


def subject_weights(n_subjects: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each subject occurs in each resample (R, n): n draws with replacement."""
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=resamples)


def seed_spread(scores: NDArray, jackknife: NDArray) -> SeedSpread:
    """Spread of one arm's seeds from their scores on everybody (S,) and with one subject left out (n, S).

    Seeds that are equally good still differ on n people, and the draw of people holds that already: its jackknife variance is taken off
    (not below 0), at the median of what S seeds would show of it. At its mean, few seeds that lie close by luck would too often
    count as equal.
    """
    n, seeds = jackknife.shape
    apart = jackknife - jackknife.mean(axis=1, keepdims=True)
    by_people = (n - 1) / n * ((apart - apart.mean(axis=0)) ** 2).sum() / (seeds - 1)
    variance = scores.var(ddof=1)
    # Without a finite jackknife (AUROC of people of whom one holds a whole class) nothing is taken off.
    typical = chi2.median(seeds - 1) / (seeds - 1)
    own = max(variance - typical * by_people, 0.0) if np.isfinite(by_people) else variance
    return SeedSpread(scores, variance / seeds, own / seeds)


def _drawn_seeds(spread: SeedSpread, resamples: int, rng: np.random.Generator, tail: float | None) -> NDArray[np.float64]:
    """Change of an arm's score by drawing its S seeds with replacement (R,), as wide as `spread.own` says.

    tail: draws are expanded so that this quantile of their normal approximation lies where Student's with S - 1 degrees of freedom does.
    """
    if spread.own <= 0:
        return np.zeros(resamples)
    seeds = len(spread.scores)
    moved = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds - 1 / seeds
    factor = np.sqrt(spread.own / spread.raw)
    if tail is not None:
        factor *= np.sqrt(seeds / (seeds - 1)) * t.ppf(tail, seeds - 1) / norm.ppf(tail)
    return factor * (moved @ spread.scores)


def bootstrap_interval(
    effect: Effect, rng: np.random.Generator, *, resamples: int = RESAMPLES, level: float = LEVEL, small_sample: bool = True
) -> Interval:
    """Interval of an effect by resampling people and, crossed with them, the seeds of each arm.

    BCa (Efron 1987), the percentile method where BCa is undefined: where all resamples lie on one side of the estimate, or where leaving
    out any one person changes nothing. A resample in which the score itself is undefined (AUROC without one of the classes) is left out.

    A resample is the effect on the people drawn plus what the seeds drawn change on everybody. Each arm draws seeds on its own: seed k of
    one and of the other have at most a head's first weights and an order of batches in common, and to draw them in pairs would trust that.
    An arm of one run has no seed to draw. Scoring the seeds drawn on the people drawn would count three times what one seed and one person
    have in common (pigeonhole bootstrap, Owen 2007); here the draw of people counts it, and `seed_spread` takes it off the seeds. The
    acceleration is that of independent samples, seeds as symmetric (five tell no skewness): the sum of cubes of the people's jackknife,
    over 6 times the power 1.5 of the sum of its squares and the variances of the arms' means over seeds.

    small_sample: place the tails by sqrt(n / (n - 1)) t_{n-1} instead of the normal quantile (Hesterberg 2015, section 3.3, "expanded"
    intervals), and expand the draw of S seeds likewise by S - 1: a bootstrap is too narrow by both factors. False: neither, as scipy has
    it.

    Coverage in %, 20 people, 3 classes, 12 samples a person (400 studies); in brackets 40, 8, 32 (200). Arms that do not differ, five
    seeds; errors of two seeds have nothing in common, or (last column) the larger part:

    | sd of a seed's accuracy | people alone | people and seeds | errors in common |
    |---|---|---|---|
    | 0 | 95.8 (94.0) | 97.8 (96.0) | 97.5 (97.5) |
    | .02 | 94.2 (78.5) | 98.8 (96.0) | 97.5 (95.5) |
    | .05 | 85.2 (49.0) | 98.8 (96.5) | 97.8 (97.5) |

    Two seeds an arm that differ by .05: the interval lies above 0 in 1.0 (40 people: 1.5) %, over people alone in 7.8 (13.0).
    """
    n = len(effect.subjects)
    if n < 2:
        raise LoupeError("an interval over subjects needs at least two of them; use a scale or a split with more.")
    everyone, left_out = np.ones((1, n)), 1.0 - np.eye(n)
    value = float(effect.resampled(everyone)[0])
    people = effect.resampled(subject_weights(n, resamples, rng))
    arms = zip((1, -1), effect.scores(everyone), effect.scores(left_out), strict=False)
    spreads = {sign: seed_spread(scores[0], each) for sign, scores, each in arms if scores.shape[1] > 1}
    tail = (1 + level) / 2 if small_sample else None
    moved = sum((sign * _drawn_seeds(spread, resamples, rng, tail) for sign, spread in spreads.items()), np.zeros(resamples))
    drawn = DrawnSeeds(moved, tuple(spreads.values()))
    return interval_from(value, people, effect.resampled(left_out), drawn, level=level, small_sample=small_sample)


def interval_from(
    value: float, people: NDArray, jackknife: NDArray, seeds: DrawnSeeds | None = None, *, level: float = LEVEL, small_sample: bool = True
) -> Interval:
    """Interval from the estimate, its replicates on resampled people (R,), its leave-one-subject-out values (n,) and the draws of seeds."""
    seeds = seeds or DrawnSeeds(np.zeros(len(people)), ())
    defined, n, tails = np.isfinite(people), len(jackknife), np.array([(1 - level) / 2, (1 + level) / 2])
    if defined.sum() < 2 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), float("nan"), "percentile", float("nan"), level)
    replicates, own = (people + seeds.moved)[defined], sum(arm.own for arm in seeds.arms)
    quantiles = np.sqrt(n / (n - 1)) * t.ppf(tails, n - 1) if small_sample else norm.ppf(tails)
    corrected = _bca_tails(value, replicates, jackknife, quantiles, own)
    low, high = np.quantile(replicates, norm.cdf(quantiles) if corrected is None else corrected)
    method = "percentile" if corrected is None else "bca"
    by_people = people[defined].var(ddof=1)
    unsure = by_people**2 / (n - 1) + sum(arm.raw**2 / (len(arm.scores) - 1) for arm in seeds.arms if arm.own > 0)
    freedom = (by_people + own) ** 2 / unsure if unsure > 0 else n - 1
    return Interval(value, float(low), float(high), float(np.sqrt(by_people + own)), method, float(freedom), level)


def _bca_tails(value: float, replicates: NDArray, jackknife: NDArray, quantiles: NDArray, own: float) -> NDArray | None:
    below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    gaps = jackknife.mean() - jackknife
    spread = (gaps**2).sum()
    # Sums of products differ in the last bits between equal subjects: a spread at that scale is none.
    if not 0 < below < 1 or not np.isfinite(spread) or spread <= 1e-24:
        return None
    bias = norm.ppf(below)
    acceleration = (gaps**3).sum() / (6 * (spread + own) ** 1.5)
    z = bias + quantiles
    scale = 1 - acceleration * z
    if (scale <= 0).any():
        return None
    return norm.cdf(bias + z / scale)


def permutation_p(effect: Effect, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> float:
    """Two-sided p of no difference between two arms as trained: exchange them within subjects, all seeds together.

    All 2^n exchanges where these are no more than `resamples`; else `resamples` random ones, and the observed one counts among them, so
    that p is never 0 (Phipson and Smyth 2010). Seeds are not drawn: p may be small where one arm had lucky seeds, which the interval must
    tell.
    """
    n = len(effect.subjects)
    observed = abs(float(effect.exchanged(np.zeros((1, n), dtype=bool))[0]))
    exact = n < 63 and 2**n <= resamples
    swaps = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool) if exact else rng.random((resamples, n)) < 0.5
    as_large = int((np.abs(effect.exchanged(swaps)) >= observed - 1e-12).sum())
    return as_large / len(swaps) if exact else (as_large + 1) / (resamples + 1)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of a family of p-values (m,) -> (m,)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def detectable_effect(error: float, *, level: float = LEVEL, power: float = POWER) -> float:
    """Smallest true effect that a two-sided test at 1 - `level` finds with probability `power`: (z_{.975} + z_{.80}) x standard error.

    `error` is the standard error of the effect over people and seeds; normal approximation, before Holm's adjustment.
    """
    return float((norm.ppf((1 + level) / 2) + norm.ppf(power)) * error)


def verdict(effect: float, low: float, high: float, p_adjusted: float, sesoi: float, *, alpha: float = ALPHA) -> str:
    """Protocol 4. sesoi: smallest effect of interest, in units of the metric.

    "supported": interval above 0, adjusted p < alpha and effect >= sesoi. "not supported": upper end below sesoi. Else "inconclusive".
    """
    if low > 0 and p_adjusted < alpha and effect >= sesoi:
        return "supported"
    return "not supported" if high < sesoi else "inconclusive"

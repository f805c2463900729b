"""Intervals, p-values and what a study of this size can find; the subject is the unit of inference (design, Protocol 4).

Seeds are averaged inside the effect, so an interval speaks about new *subjects* seen by these trained models. It does not hold the
spread of new pre-trainings, of which a study has few (the claims table prints how many), nor luck common to a whole seed. How much that
matters, in simulation (an arm against itself, five fresh seeds each, 500 studies): where seeds differ by .02 in accuracy the full rule says
"supported" in 1.2 % (20 subjects, 3 classes) and 0 % (40 subjects, 8 classes), where they differ by .05 in 6.4 % and 3.6 %. What keeps it
there is the smallest effect of interest; interval and p alone would say so in up to 10 % and 26 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from loupe.errors import LoupeError
from loupe.evaluation.effects import Effect

RESAMPLES = 10_000
LEVEL = 0.95
ALPHA = 0.05
POWER = 0.80


@dataclass(frozen=True)
class Interval:
    """Estimate with its two-sided interval; `error` is the bootstrap standard error, `method` is "bca" or "percentile"."""

    value: float
    low: float
    high: float
    error: float
    method: str
    level: float = LEVEL


def subject_weights(n_subjects: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each subject occurs in each resample (R, n): n draws with replacement."""
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=resamples)


def bootstrap_interval(
    effect: Effect, rng: np.random.Generator, *, resamples: int = RESAMPLES, level: float = LEVEL, small_sample: bool = True
) -> Interval:
    """Interval of an effect by resampling subjects: BCa (Efron 1987), the percentile method where BCa is undefined.

    BCa is undefined where all resamples lie on one side of the estimate, or where leaving out any one subject changes nothing. A
    resample in which the score itself is undefined (AUROC without one of the classes) is left out.

    small_sample: place the tails by sqrt(n / (n - 1)) t_{n-1} instead of the normal quantile (Hesterberg 2015, section 3.3, "expanded"
    intervals). A bootstrap of n subjects is too narrow by both factors: in simulations of this study's designs (20 and 40 subjects, macro-F1
    differences, 1,500 studies each) plain BCa covers 92.7 to 94.0 %, expanded BCa 94.7 to 95.2 %. False gives plain BCa, as scipy computes it.
    """
    n = len(effect.subjects)
    if n < 2:
        raise LoupeError("an interval over subjects needs at least two of them; use a scale or a split with more.")
    value = float(effect.resampled(np.ones((1, n)))[0])
    replicates = effect.resampled(subject_weights(n, resamples, rng))
    jackknife = effect.resampled(1.0 - np.eye(n))
    return interval_from(value, replicates, jackknife, level=level, small_sample=small_sample)


def interval_from(value: float, replicates: NDArray, jackknife: NDArray, *, level: float = LEVEL, small_sample: bool = True) -> Interval:
    """Interval from the estimate, its bootstrap replicates (R,) and its leave-one-subject-out values (n,)."""
    replicates = replicates[np.isfinite(replicates)]
    if replicates.size < 2 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), float("nan"), "percentile", level)
    n, tails = len(jackknife), np.array([(1 - level) / 2, (1 + level) / 2])
    quantiles = np.sqrt(n / (n - 1)) * t.ppf(tails, n - 1) if small_sample else norm.ppf(tails)
    corrected = _bca_tails(value, replicates, jackknife, quantiles)
    low, high = np.quantile(replicates, norm.cdf(quantiles) if corrected is None else corrected)
    method = "percentile" if corrected is None else "bca"
    return Interval(value, float(low), float(high), float(replicates.std(ddof=1)), method, level)


def _bca_tails(value: float, replicates: NDArray, jackknife: NDArray, quantiles: NDArray) -> NDArray | None:
    below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    gaps = jackknife.mean() - jackknife
    spread = (gaps**2).sum()
    # Sums of products differ in the last bits between equal subjects: a spread at that scale is none.
    if not 0 < below < 1 or not np.isfinite(spread) or spread <= 1e-24:
        return None
    bias = norm.ppf(below)
    acceleration = (gaps**3).sum() / (6 * spread**1.5)
    z = bias + quantiles
    scale = 1 - acceleration * z
    if (scale <= 0).any():
        return None
    return norm.cdf(bias + z / scale)


def permutation_p(effect: Effect, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> float:
    """Two-sided p of no difference between two arms: exchange them within subjects, all seeds together.

    All 2^n exchanges where these are no more than `resamples`; else `resamples` random ones, and the observed one counts among them, so
    that p is never 0 (Phipson and Smyth 2010).
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

    `error` is the bootstrap standard error of the effect over subjects; normal approximation, before Holm's adjustment.
    """
    return float((norm.ppf((1 + level) / 2) + norm.ppf(power)) * error)


def verdict(effect: float, low: float, high: float, p_adjusted: float, sesoi: float, *, alpha: float = ALPHA) -> str:
    """Protocol 4. sesoi: smallest effect of interest, in units of the metric.

    "supported": interval above 0, adjusted p < alpha and effect >= sesoi. "not supported": upper end below sesoi. Else "inconclusive".
    """
    if low > 0 and p_adjusted < alpha and effect >= sesoi:
        return "supported"
    return "not supported" if high < sesoi else "inconclusive"

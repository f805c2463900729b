"""Intervals, p-values and adjustments against slow oracles, scipy and sums by hand, and in simulation."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loupe.errors import LoupeError
from loupe.evaluation.effects import CountsEffect, effect_of
from loupe.evaluation.metrics import macro_f1_of
from loupe.evaluation.statistics import (
    DrawnSeeds,
    SeedSpread,
    bootstrap_interval,
    detectable_effect,
    holm,
    interval_from,
    permutation_p,
    subject_weights,
    verdict,
)


def mean_effect(values: np.ndarray) -> CountsEffect:
    """The mean of one number a subject, as an effect."""
    sums = np.stack([values, np.ones_like(values)], axis=-1)[None]
    return CountsEffect(tuple(map(str, range(values.size))), sums, None, lambda s: s[..., 0] / s[..., 1])


def test_bca_equals_scipy():
    values = np.random.default_rng(0).exponential(size=30)
    ours = bootstrap_interval(mean_effect(values), np.random.default_rng(1), resamples=200_000, small_sample=False)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=200_000, rng=np.random.default_rng(2), batch=20_000)
    assert ours.method == "bca"
    assert ours.value == pytest.approx(values.mean())
    # Two runs of 200,000 resamples agree to about a hundredth of the standard error; BCa and percentile differ by more than a tenth here.
    tolerance = 0.02 * ours.error
    assert [ours.low, ours.high] == pytest.approx([theirs.confidence_interval.low, theirs.confidence_interval.high], abs=tolerance)
    assert ours.error == pytest.approx(theirs.standard_error, rel=0.01)


def test_bca_equals_scipy_on_the_same_replicates():
    values = np.random.default_rng(3).exponential(size=15)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=2000, rng=np.random.default_rng(4))
    jackknife = np.array([np.delete(values, i).mean() for i in range(15)])
    ours = interval_from(values.mean(), theirs.bootstrap_distribution, jackknife, small_sample=False)
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=1e-9)


def test_small_sample_interval_of_a_mean_approaches_students():
    # For a mean of normal data the exact interval is Student's; plain resampling of 8 values is 22 % narrower.
    values = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    exact = stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    expanded, plain = (
        bootstrap_interval(mean_effect(values), np.random.default_rng(0), resamples=50_000, small_sample=s) for s in (True, False)
    )
    assert expanded.high == pytest.approx(exact, rel=0.05) and expanded.low == pytest.approx(-exact, rel=0.05)
    assert plain.high < 0.85 * exact
    percentile = interval_from(0.0, np.linspace(-1, 1, 100_001), np.zeros(8))
    wanted = stats.norm.cdf(np.sqrt(8 / 7) * stats.t.ppf(0.975, 7)) * 2 - 1
    assert (percentile.method, percentile.high) == ("percentile", pytest.approx(wanted, abs=1e-4))


def test_weights_are_draws_with_replacement():
    weights = subject_weights(6, 20_000, np.random.default_rng(5))
    assert (weights.sum(axis=1) == 6).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.03)
    assert weights.var(axis=0) == pytest.approx(np.full(6, 5 / 6), abs=0.05)


def test_percentile_where_bca_is_undefined(simulated_pair):
    constant = bootstrap_interval(mean_effect(np.full(8, 0.3)), np.random.default_rng(6), resamples=500)
    assert (constant.method, constant.error) == ("percentile", pytest.approx(0, abs=1e-12))
    assert [constant.low, constant.high] == pytest.approx([0.3, 0.3])
    a, _ = simulated_pair(np.random.default_rng(7), 1.0, 1.0, subjects=5)
    same = bootstrap_interval(effect_of(a, a, "uf1", 3), np.random.default_rng(8), resamples=500)
    assert (same.value, same.low, same.high, same.method) == (0, 0, 0, "percentile")


def test_people_and_seeds_are_drawn_together():
    """Against a loop over replicates: the effect on the people drawn, plus what the seeds drawn would change on everybody."""
    rng = np.random.default_rng(20)
    arms = [np.stack([confusions(rng, np.clip(rng.normal(skill + luck, 0.1, 5), 0, 1), 12) for luck in lucks])
            for skill, lucks in ((0.6, (-0.2, 0, 0.2)), (0.4, (0.3, 0, 0.1, -0.2)))]  # fmt: skip
    everyone, left_out = np.ones(5), 1 - np.eye(5)

    def score(arm, seed, weights):
        return float(macro_f1_of(sum(weight * matrix for weight, matrix in zip(weights, arms[arm][seed], strict=True))))

    def mean(arm, weights):
        return np.mean([score(arm, seed, weights) for seed in range(len(arms[arm]))])

    drawing, resamples = np.random.default_rng(21), 40
    people = np.array([mean(0, weights) - mean(1, weights) for weights in subject_weights(5, resamples, drawing)])
    moved, spreads = np.zeros(resamples), []
    for arm, sign in ((0, 1), (1, -1)):
        seeds = len(arms[arm])
        scores = np.array([score(arm, seed, everyone) for seed in range(seeds)])
        apart = np.array([[score(arm, seed, kept) - mean(arm, kept) for seed in range(seeds)] for kept in left_out])
        by_people = sum(4 / 5 * ((apart[:, seed] - apart[:, seed].mean()) ** 2).sum() for seed in range(seeds)) / (seeds - 1)
        raw, own = scores.var(ddof=1), scores.var(ddof=1) - by_people * stats.chi2.ppf(0.5, seeds - 1) / (seeds - 1)
        assert own > 0
        wider = np.sqrt(own / raw) * np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)
        for replicate, counts in enumerate(drawing.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)):
            moved[replicate] += sign * wider * (np.repeat(scores, counts).mean() - scores.mean())
        spreads.append(SeedSpread(scores, raw / seeds, own / seeds))
    jackknife = np.array([mean(0, kept) - mean(1, kept) for kept in left_out])
    slow = interval_from(mean(0, everyone) - mean(1, everyone), people, jackknife, DrawnSeeds(moved, tuple(spreads)))
    fast = bootstrap_interval(CountsEffect(tuple("abcde"), *arms, macro_f1_of), np.random.default_rng(21), resamples=resamples)
    assert fast.method == slow.method == "bca" and fast.freedom < 9
    assert [fast.value, fast.low, fast.high, fast.error] == pytest.approx([slow.value, slow.low, slow.high, slow.error], abs=1e-12)
    assert fast.error**2 == pytest.approx(people.var(ddof=1) + sum(arm.own for arm in spreads))


@pytest.mark.parametrize("metric", ["uf1", "auroc", "sensitivity_at_fpr05"])
def test_without_a_spread_of_seeds_people_alone_are_drawn(simulated_pair, metric):
    """One run an arm, and five runs that are the same: the interval on people, exactly."""
    a, b = simulated_pair(np.random.default_rng(22), 0.7, 0.4, subjects=8, classes=2, seeds=1)
    once = effect_of(a, b, metric, 2)
    five = effect_of(pd.concat([a.assign(seed=seed) for seed in range(5)]), b, metric, 2)
    weights = subject_weights(8, 300, np.random.default_rng(23))
    wanted = interval_from(float(once.resampled(np.ones((1, 8)))[0]), once.resampled(weights), once.resampled(1 - np.eye(8)))
    for effect in (once, five):
        found = bootstrap_interval(effect, np.random.default_rng(23), resamples=300)
        assert [found.low, found.high, found.freedom] == pytest.approx([wanted.low, wanted.high, 7], abs=1e-12)


@pytest.mark.parametrize("luck", [0.0, 0.05])
def test_intervals_cover_new_people_and_new_seeds(luck):
    """Arms that do not differ, 20 people x 5 seeds; people alone would cover about 94 and 65 %."""
    rng, names, covered = np.random.default_rng(24), tuple(map(str, range(20))), []
    for _ in range(300):
        people = rng.normal(0.5, 0.15, 20)
        arms = [people + rng.normal(0, 0.05, 20) + rng.normal(0, luck, (5, 1)) + rng.normal(0, 0.1, (5, 20)) for _ in range(2)]
        sums = [np.stack([arm, np.ones_like(arm)], axis=-1) for arm in arms]
        interval = bootstrap_interval(CountsEffect(names, *sums, lambda s: s[..., 0] / s[..., 1]), rng, resamples=400)
        covered.append(interval.low <= 0 <= interval.high)
    slack = 2 * np.sqrt(0.95 * 0.05 / 300)
    assert 0.95 - slack <= np.mean(covered) <= 0.97 + slack


def test_one_subject_is_refused():
    with pytest.raises(LoupeError, match="at least two"):
        bootstrap_interval(mean_effect(np.array([0.3])), np.random.default_rng(0))


def test_resamples_without_a_class_are_left_out(simulated):
    # One of four subjects holds every positive: almost a third of the resamples have no AUROC.
    frame = simulated(np.random.default_rng(9), subjects=4, per_subject=10, classes=2, seeds=1)
    frame["label"] = ((frame["subject"] == "s000") & (frame["sample"] % 2 == 0)).astype(int)
    effect = effect_of(frame, None, "auroc", 2)
    interval = bootstrap_interval(effect, np.random.default_rng(10), resamples=1000)
    assert np.isnan(effect.resampled(np.array([[0, 2, 1, 1]]))).all()
    assert np.isfinite([interval.low, interval.high]).all() and interval.method == "percentile"


def slow_exact_p(effect) -> float:
    n = len(effect.subjects)
    values = [effect.exchanged(np.array([swap], dtype=bool))[0] for swap in product([False, True], repeat=n)]
    return float(np.mean([abs(v) >= abs(values[0]) - 1e-12 for v in values]))


@pytest.mark.parametrize("metric", ["uf1", "auroc"])
def test_permutation_p_equals_enumeration(simulated_pair, metric):
    a, b = simulated_pair(np.random.default_rng(11), 0.7, 0.5, subjects=8, classes=2)
    effect = effect_of(a, b, metric, 2)
    exact = slow_exact_p(effect)
    assert permutation_p(effect, np.random.default_rng(12), resamples=256) == exact
    # Fewer than 2^8: random exchanges, close to the exact value.
    many = [permutation_p(effect, np.random.default_rng(i), resamples=255) for i in range(100)]
    assert np.mean(many) == pytest.approx((exact * 255 + 1) / 256, abs=4 * np.std(many) / 10 + 1e-12)


def test_permutation_p_equals_scipy_on_means():
    rng = np.random.default_rng(13)
    a, b = rng.normal(0.4, 1, (2, 9))
    counts = [np.stack([v, np.ones(9)], axis=-1)[None] for v in (a, b)]
    effect = CountsEffect(tuple("abcdefghi"), *counts, lambda s: s[..., 0] / s[..., 1])
    theirs = stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf)
    assert permutation_p(effect, rng, resamples=512) == pytest.approx(theirs.pvalue)


def confusions(rng: np.random.Generator, right: np.ndarray, clips: int) -> np.ndarray:
    """Confusion matrices (n, 3, 3) of people who are read rightly with the probabilities `right` (n,), else at random."""
    chance = np.broadcast_to(((1 - right) / 3)[:, None, None], (right.size, 3, 3)) + right[:, None, None] * np.eye(3)
    return rng.multinomial(rng.multinomial(clips, [0.4, 0.3, 0.3], size=right.size), chance)


def test_permutation_p_is_uniform_without_a_difference():
    rng = np.random.default_rng(14)
    names, p = tuple(map(str, range(15))), []
    for _ in range(400):
        right = np.clip(rng.normal(0.5, 0.2, 15), 0, 1)
        a, b = (confusions(rng, right, 8)[None] for _ in range(2))
        p.append(permutation_p(CountsEffect(names, a, b, macro_f1_of), rng, resamples=199))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.03], [0.03]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.7, 0.8], [1, 1]),
        ([0.01, 0.01, 0.6], [0.03, 0.03, 0.6]),
        # In order: 7 x .004, 6 x .01, 5 x .03, 4 x .03 (not below the one before), 3 x .2, 2 x .5, 1 x .9 (not below the one before).
        ([0.2, 0.01, 0.03, 0.5, 0.004, 0.03, 0.9], [0.6, 0.06, 0.15, 1, 0.028, 0.15, 1]),
    ],
)
def test_holm_by_hand(p, adjusted):
    np.testing.assert_allclose(holm(p), adjusted)


def test_detectable_effect_is_found_with_the_stated_power():
    error = 0.02
    effect = detectable_effect(error)
    z = np.random.default_rng(15).normal(effect, error, 100_000) / error
    assert np.mean(np.abs(z) > stats.norm.ppf(0.975)) == pytest.approx(0.80, abs=0.01)


def test_verdicts_follow_the_protocol():
    assert verdict(0.08, 0.02, 0.14, 0.01, 0.05) == "supported"
    assert verdict(0.08, 0.02, 0.14, 0.05, 0.05) == "inconclusive"
    assert verdict(0.08, -0.01, 0.14, 0.01, 0.05) == "inconclusive"
    assert verdict(0.04, 0.02, 0.06, 0.01, 0.05) == "inconclusive"
    assert verdict(0.03, 0.02, 0.04, 0.001, 0.05) == "not supported"
    assert verdict(-0.2, -0.3, -0.1, 0.001, 0.05) == "not supported"
    assert verdict(0.0, np.nan, np.nan, 1.0, 0.05) == "inconclusive"


def test_intervals_cover_the_truth():
    """Effect of two arms on 20 people, three classes of unequal size: the 95 % interval covers the population's value."""
    rng = np.random.default_rng(16)

    def people(n: int) -> list[np.ndarray]:
        talent = rng.normal(0, 0.15, n)
        return [confusions(rng, np.clip(skill + talent, 0, 1), 12) for skill in (0.6, 0.5)]

    population = [macro_f1_of(arm.sum(axis=0)) for arm in people(200_000)]
    truth, names, covered = population[0] - population[1], tuple(map(str, range(20))), []
    for _ in range(400):
        a, b = people(20)
        interval = bootstrap_interval(CountsEffect(names, a[None], b[None], macro_f1_of), rng, resamples=1000)
        covered.append(interval.low <= truth <= interval.high)
    # What 400 studies of 1,000 resamples can tell; the docstring of bootstrap_interval holds the measurement.
    slack = 2 * np.sqrt(0.95 * 0.05 / 400)
    assert 0.93 - slack <= np.mean(covered) <= 0.97 + slack

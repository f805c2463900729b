"""Controls of the rule: no difference is not called supported, an injected gain is; and a rule that ignores subjects is caught."""

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.evaluation.controls import (
    control_table,
    exchanged_studies,
    fresh_seed_studies,
    inject_gain,
    null_rates,
    permuted_studies,
    supported,
)
from loupe.evaluation.effects import effect_of
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.statistics import bootstrap_interval, detectable_effect

LIMIT = 0.05


def margin(simulations: int) -> float:
    return 3 * np.sqrt(LIMIT * (1 - LIMIT) / simulations)


@pytest.mark.parametrize("metric", ["uf1", "auroc"])
def test_arms_exchanged_at_random_are_not_supported(simulated_pair, metric):
    rng = np.random.default_rng(0)
    a, b = simulated_pair(rng, 0.8, 0.4, classes=2, seeds=2)
    effect = effect_of(a, b, metric, 2)
    assert supported(effect, 0.05, rng, resamples=1000)
    assert null_rates(exchanged_studies(effect, rng, 200), [0.0], rng, resamples=300) <= LIMIT + margin(200)


def test_the_same_arm_with_fresh_seeds_is_not_supported(simulated):
    rng = np.random.default_rng(1)
    arms = (simulated(rng, subjects=20, per_subject=8, seeds=2, skill=0.5) for _ in range(80))
    assert np.mean([null_rates(fresh_seed_studies(arm, "uf1", 3), [0.0], rng, resamples=300) for arm in arms]) <= LIMIT + margin(80)


def test_fresh_seeds_meet_in_every_way(simulated):
    """A seed that is better throughout is seen: among two seeds it wins one of two meetings; among five it is in a winning pair in 12 of 30."""
    for seeds, share in ((2, 1 / 2), (5, 12 / 30)):
        arm = simulated(np.random.default_rng(2), seeds=1, skill=0.3)
        lucky = [arm.assign(pred=arm["label"], seed=0), *(arm.assign(seed=seed) for seed in range(1, seeds))]
        assert null_rates(fresh_seed_studies(pd.concat(lucky), "uf1", 3), [0.0], np.random.default_rng(3), resamples=200) == share


def test_permuted_labels_are_not_supported(simulated_pair):
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(20):
        a, b = simulated_pair(rng, 0.7, 0.4, seeds=1, per_subject=8)
        rates.append(null_rates(permuted_studies(a, b, "uf1", 3, rng, 3), [0.0], rng, resamples=300))
    assert np.mean(rates) <= LIMIT + margin(60)


def test_on_random_labels_a_macro_average_favours_whoever_names_all_classes(simulated):
    """Why permuted labels are judged by the rule as used: interval and p alone rightly find that a constant guess scores lower than a random one."""
    rng = np.random.default_rng(8)
    arm = simulated(rng, subjects=40, per_subject=16, classes=8, seeds=1, skill=0.0)
    constant = arm.assign(pred=0)
    rule, bare = null_rates(permuted_studies(arm, constant, "macro_f1", 8, rng, 20), [0.2, 0.0], rng, resamples=200)
    assert bare > 0.9 and rule == 0


def test_an_injected_gain_is_supported(simulated):
    rng = np.random.default_rng(3)
    for _ in range(20):
        arm = simulated(rng, subjects=20, seeds=3, skill=0.4)
        fresh = simulated(rng, subjects=20, seeds=3, skill=0.4, labels=arm[arm["seed"] == 0]["label"].to_numpy())
        error = bootstrap_interval(effect_of(arm, fresh, "uf1", 3), rng, resamples=1000).error
        gain = max(2 * detectable_effect(error), 0.05)
        better = inject_gain(arm, "uf1", 3, gain, rng)
        effect = effect_of(better, arm, "uf1", 3)
        assert gain <= effect.resampled(np.ones((1, 20)))[0] < gain + 0.01
        assert supported(effect, 0.05, rng, resamples=1000)


def test_injection_has_a_ceiling(simulated):
    arm = simulated(np.random.default_rng(4), skill=0.9)
    with pytest.raises(LoupeError, match="above what this arm can reach"):
        inject_gain(arm, "uf1", 3, 0.5, np.random.default_rng(0))
    perfect = inject_gain(
        arm, "uf1", 3, 1 - np.mean([macro_f1(f["label"], f["pred"], 3) for _, f in arm.groupby("seed")]), np.random.default_rng(0)
    )
    assert (perfect["pred"] == perfect["label"]).all()


def test_rows_taken_for_subjects_would_be_caught(simulated_pair):
    """Planted bug: treating every row as its own subject, where whole people are read well by one arm. The null control must see it."""
    rng = np.random.default_rng(5)
    false = []
    for _ in range(60):
        a, b = simulated_pair(rng, 0.5, 0.5, subjects=12, per_subject=20, seeds=1, classes=2)
        # Each arm happens to fit some people and not others: a difference within a person, none between arms.
        for frame in (a, b):
            fits = dict(zip(sorted(frame["subject"].unique()), rng.random(12) < 0.5, strict=True))
            frame["pred"] = np.where(frame["subject"].map(fits), frame["label"], 1 - frame["label"])
        rows = [frame.assign(subject=frame["sample"].astype(str)) for frame in (a, b)]
        false.append([supported(effect_of(*pair, "uf1", 2), 0.0, rng, resamples=200) for pair in ((a, b), rows)])
    by_subject, by_row = np.mean(false, axis=0)
    assert by_subject <= LIMIT + margin(60) < by_row


def test_the_table_of_controls_tells_gains_from_nothing(simulated_pair):
    a, b = simulated_pair(np.random.default_rng(5), 0.5, 0.4, seeds=3, per_subject=8, subjects=12)
    table = control_table(a, b, "uf1", 3, np.random.default_rng(0), sesoi=0.05, simulations=25, resamples=100).set_index("truth")
    nulls, gain = table.loc["no difference"], table.loc["a gain"]
    assert list(nulls["studies"]) == [25, 25, 6] and gain["studies"] == 1
    assert (nulls["supported"].iloc[:2] <= LIMIT + margin(25)).all()
    assert gain["supported"] == 1 and (table["supported"] <= table["without_margin"]).all()


def test_a_gain_can_be_put_into_many_classes_and_seeds(simulated):
    """Five seeds of eight classes: a counter of 320 bins, more than a byte holds."""
    arm = simulated(np.random.default_rng(4), subjects=20, per_subject=16, classes=8, seeds=5, skill=0.3)
    better = inject_gain(arm, "macro_f1", 8, 0.1, np.random.default_rng(0))
    rise = (
        [macro_f1(p["label"], p["pred"], 8) for _, p in better.groupby("seed")],
        [macro_f1(p["label"], p["pred"], 8) for _, p in arm.groupby("seed")],
    )
    assert 0.1 <= np.mean(rise[0]) - np.mean(rise[1]) < 0.11

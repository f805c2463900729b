"""Controls of the rule: no difference is not called supported, an injected gain is; and a rule that ignores subjects is caught."""

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.evaluation.arms import arms_of
from loupe.evaluation.controls import (
    Comparison,
    control_table,
    exchanged_studies,
    fresh_seed_studies,
    inject_gain,
    largest_gain,
    permuted_studies,
    supported,
    supported_shares,
)
from loupe.evaluation.effects import effect_between, effect_of
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.statistics import bootstrap_interval, detectable_effect

LIMIT = 0.05


def margin(simulations: int) -> float:
    return 3 * np.sqrt(LIMIT * (1 - LIMIT) / simulations)


@pytest.mark.parametrize("metric", ["uf1", "auroc"])
def test_arms_exchanged_at_random_are_not_supported(simulated_pair, metric):
    rng = np.random.default_rng(0)
    a, b = simulated_pair(rng, 0.8, 0.4, classes=2, seeds=5)
    effect = effect_of(a, b, metric, 2)
    assert supported(effect, 0.05, rng, resamples=1000)
    assert supported_shares(exchanged_studies(effect, 200), [0.0], rng, resamples=300) <= LIMIT + margin(200)


def test_the_same_arm_with_fresh_seeds_is_not_supported(simulated):
    """By interval and p alone, too, though its seeds differ by .05 in accuracy. On people alone about one study in eight is."""
    rng = np.random.default_rng(1)
    arms = (simulated(rng, subjects=20, per_subject=12, seeds=5, skill=0.5, luck=0.05) for _ in range(30))
    assert np.mean([supported_shares(fresh_seed_studies(arm, "uf1", 3), [0.0], rng, resamples=200) for arm in arms]) <= LIMIT


def test_fresh_seeds_meet_in_every_way(simulated):
    """A seed that is better throughout is in a winning pair in 12 of 30 meetings of two against two, and a lucky seed supports nothing."""
    arm, rng = simulated(np.random.default_rng(2), seeds=1, skill=0.3), np.random.default_rng(3)
    lucky = pd.concat([arm.assign(pred=arm["label"], seed=0), *(arm.assign(seed=seed) for seed in range(1, 5))])
    studies = fresh_seed_studies(lucky, "uf1", 3)
    assert np.mean([study(rng).resampled(np.ones((1, 20)))[0] > 0.2 for study in studies]) == 12 / 30
    assert supported_shares(studies, [0.0], rng, resamples=200) == 0
    with pytest.raises(LoupeError, match="at least four seeds"):
        fresh_seed_studies(lucky[lucky["seed"] < 3], "uf1", 3)


def test_permuted_labels_are_not_supported(simulated_pair):
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(20):
        a, b = simulated_pair(rng, 0.7, 0.4, seeds=1, per_subject=8)
        rates.append(supported_shares(permuted_studies(a, b, "uf1", 3, 3), [0.0], rng, resamples=300))
    assert np.mean(rates) <= LIMIT + margin(60)


def test_on_random_labels_a_macro_average_favours_whoever_names_all_classes(simulated):
    """Why permuted labels are judged by the rule as used: interval and p alone rightly find that a constant guess scores lower than a
    random one."""
    rng = np.random.default_rng(8)
    arm = simulated(rng, subjects=40, per_subject=16, classes=8, seeds=1, skill=0.0)
    constant = arm.assign(pred=0)
    rule, bare = supported_shares(permuted_studies(arm, constant, "macro_f1", 8, 20), [0.2, 0.0], rng, resamples=200)
    assert bare > 0.9 and rule == 0


def test_an_injected_gain_is_supported(simulated):
    rng = np.random.default_rng(3)
    for _ in range(20):
        arm = simulated(rng, subjects=20, seeds=5, skill=0.4)
        fresh = simulated(rng, subjects=20, seeds=5, skill=0.4, labels=arm[arm["seed"] == 0]["label"].to_numpy())
        error = bootstrap_interval(effect_of(arm, fresh, "uf1", 3), rng, resamples=1000).error
        gain = max(2 * detectable_effect(error), 0.05)
        (before,) = arms_of(arm, None, "uf1")
        effect = effect_between([inject_gain(before, "uf1", 3, gain, rng), before], "uf1", 3)
        assert gain <= effect.resampled(np.ones((1, 20)))[0] < gain + 0.01
        assert supported(effect, 0.05, rng, resamples=1000)


def test_injection_has_a_ceiling(simulated):
    (arm,) = arms_of(simulated(np.random.default_rng(4), skill=0.9), None, "uf1")
    with pytest.raises(LoupeError, match="above what this arm can reach"):
        inject_gain(arm, "uf1", 3, 0.5, np.random.default_rng(0))
    perfect = inject_gain(arm, "uf1", 3, 1 - np.mean([macro_f1(arm.label, seed, 3) for seed in arm.values]), np.random.default_rng(0))
    assert (perfect.values == arm.label).all() and (arm.values != arm.label).any()


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


def test_a_study_too_small_to_find_a_perfect_arm_is_asked_for_no_gain(simulated_pair):
    a, b = simulated_pair(np.random.default_rng(5), 0.5, 0.4, seeds=4, per_subject=8, subjects=3)
    arm = arms_of(b, None, "uf1")[0]
    scores = [macro_f1(arm.label, seed, 3) for seed in arm.values]
    assert largest_gain(arm, "uf1", 3) == pytest.approx(1 - np.mean(scores))
    table = control_table(Comparison(a, b, "uf1", 3), np.random.default_rng(0), sesoi=1.0, simulations=2, resamples=20)
    assert set(table["truth"]) == {"no difference"}


def test_the_table_of_controls_tells_gains_from_nothing(simulated_pair):
    a, b = simulated_pair(np.random.default_rng(5), 0.5, 0.4, seeds=4, per_subject=8, subjects=12)
    table = control_table(Comparison(a, b, "uf1", 3), np.random.default_rng(0), sesoi=0.05, simulations=30, resamples=100).set_index(
        "truth"
    )
    nulls, gain = table.loc["no difference"], table.loc["a gain"]
    assert list(nulls["studies"]) == [30, 30, 6] and gain["studies"] == 30
    assert (nulls["supported"].iloc[:2] <= LIMIT + margin(30)).all()
    assert gain["supported"] == 1 and gain["holds"] and (table["supported"] <= table["without_margin"]).all()
    bare = nulls["without_margin"] <= nulls["limit_without_margin"].fillna(1)
    assert (nulls["holds"] == (nulls["supported"] <= LIMIT) & bare).all() and list(nulls["limit_without_margin"].notna()) == [
        False,
        False,
        True,
    ]


def test_the_table_does_not_depend_on_the_number_of_workers(simulated_pair):
    """30 studies a control are two pieces of work: two processes take one each."""
    a, b = simulated_pair(np.random.default_rng(6), 0.5, 0.45, seeds=2, per_subject=8, subjects=12)
    one, two, other = (
        control_table(Comparison(a, b, "uf1", 3), np.random.default_rng(seed), sesoi=0.02, simulations=30, resamples=40, workers=workers)
        for seed, workers in ((0, 1), (0, 2), (1, 1))
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other), "the draws leave no trace in this table: it would equal itself whatever the workers do"


@pytest.mark.parametrize("word", ["supported", "inconclusive"])
def test_a_rule_that_always_says_the_same_is_caught(simulated_pair, monkeypatch, word):
    """Planted: whatever the data, one verdict. Always "supported" breaks every null, always "inconclusive" the gain."""
    a, b = simulated_pair(np.random.default_rng(7), 0.3, 0.2, seeds=2, per_subject=8, subjects=12)
    monkeypatch.setattr("loupe.evaluation.controls.verdict", lambda *_: word)
    table = control_table(Comparison(a, b, "uf1", 3), np.random.default_rng(0), sesoi=0.05, simulations=4, resamples=20)
    assert (table["holds"] == (table["truth"] == ("a gain" if word == "supported" else "no difference"))).all()
    assert set(table["supported"]) == {float(word == "supported")}


def test_a_gain_can_be_put_into_many_classes_and_seeds(simulated):
    """Five seeds of eight classes: a counter of 320 bins, more than a byte holds."""
    (arm,) = arms_of(simulated(np.random.default_rng(4), subjects=20, per_subject=16, classes=8, seeds=5, skill=0.3), None, "macro_f1")
    better = inject_gain(arm, "macro_f1", 8, 0.1, np.random.default_rng(0))
    after, before = (np.mean([macro_f1(arm.label, seed, 8) for seed in found.values]) for found in (better, arm))
    assert 0.1 <= after - before < 0.11
    assert ((better.values != arm.values) <= (better.values == arm.label)).all()

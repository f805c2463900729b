"""The lesson of the best epoch: each rule keeps what an obvious loop keeps, and luck alone gains by choosing."""

import numpy as np
from sklearn.metrics import f1_score

from loupe.evaluation.best_epoch import BEST, BEST_EACH, FIXED, best_epoch_table, kept_predictions


def drawn(rng, people=8, clips=6, steps=12):
    subjects = np.repeat([f"p{i}" for i in range(people)], clips)
    return rng.integers(0, 3, people * clips), subjects, rng.integers(0, 3, (steps, people * clips))


def test_each_rule_keeps_what_a_loop_keeps():
    for seed in range(5):
        truth, subjects, said = drawn(np.random.default_rng(seed))
        kept = kept_predictions(truth, subjects, said)
        scores = [f1_score(truth, step, labels=range(3), average="macro", zero_division=0) for step in said]
        np.testing.assert_array_equal(kept[FIXED], said[-1])
        np.testing.assert_array_equal(kept[BEST], said[scores.index(max(scores))])
        for person in set(subjects):
            own, best, saved = subjects == person, -1.0, None
            for step in said:  # as published code does: save when the score has improved
                if (right := np.mean(step[own] == truth[own])) > best:
                    best, saved = right, step[own]
            np.testing.assert_array_equal(kept[BEST_EACH][own], saved)


def test_noise_gains_by_choosing_and_one_step_gains_nothing():
    rng = np.random.default_rng(0)
    truth, subjects, _ = drawn(rng)
    noise = rng.integers(0, 3, (12, 40, len(truth)))  # 40 seeds of a classifier that guesses
    table = best_epoch_table(truth, subjects, {"noise": noise}).set_index("rule")
    assert table.loc[FIXED, "points"] == 0 and 25 < 100 * table.loc[FIXED, "uf1_mean"] < 41
    assert 4 < table.loc[BEST, "points"] < table.loc[BEST_EACH, "points"] and table.loc[BEST_EACH, "points"] > 20
    assert (table["n_seeds"] == 40).all() and (table["n_steps"] == 12).all()
    assert not best_epoch_table(truth, subjects, {"noise": noise[:1]})["points"].any()

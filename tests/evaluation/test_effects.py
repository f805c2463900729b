"""Effects per subject equal slow recomputation from rows: for every draw, metric, and number of arms and seeds."""

import numpy as np
import pandas as pd
import pytest

from loupe.errors import LoupeError
from loupe.evaluation import metrics
from loupe.evaluation.effects import effect_of

CLASSES = 3
SLOW = {
    "macro_f1": lambda f: metrics.macro_f1(f["label"], f["pred"], CLASSES),
    "uf1": lambda f: metrics.uf1(f["label"], f["pred"], CLASSES),
    "uar": lambda f: metrics.uar(f["label"], f["pred"], CLASSES),
    "accuracy": lambda f: metrics.accuracy(f["label"], f["pred"], CLASSES),
    "auroc": lambda f: metrics.auroc(f["label"], f["p1"]),
    "sensitivity_at_fpr05": lambda f: metrics.sensitivity_at_fpr(f["label"], f["p1"], 0.05),
    "pointing_game": lambda f: f["pointing_game"].mean(),
}


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores as ranks within a seed: the scale on which arms are exchanged."""
    return frame.assign(p1=frame.groupby("seed")["p1"].rank())


def mean_over_seeds(frame: pd.DataFrame, metric: str) -> float:
    return float(np.mean([SLOW[metric](part) for _, part in frame.groupby("seed")]))


def drawn(frame: pd.DataFrame, weights: np.ndarray) -> pd.DataFrame:
    subjects = sorted(frame["subject"].unique())
    return pd.concat([frame[frame["subject"] == s] for s, w in zip(subjects, weights, strict=True) for _ in range(w)])


def arms(simulated_pair, metric: str, seeds: int, seeds_b: int):
    rng = np.random.default_rng(5)
    classes = 2 if metric in ("auroc", "sensitivity_at_fpr05") else CLASSES
    pair = simulated_pair(rng, 0.7, 0.4, subjects=7, per_subject=6, classes=classes, seeds=seeds, seeds_b=seeds_b)
    return [frame.assign(pointing_game=rng.integers(2, size=len(frame)).astype(float)).sample(frac=1, random_state=1) for frame in pair]


@pytest.mark.parametrize("metric", SLOW)
@pytest.mark.parametrize("seeds_b", [3, 1])
def test_resampling_statistics_equals_resampling_rows(simulated_pair, metric, seeds_b):
    a, b = arms(simulated_pair, metric, 3, seeds_b)
    effect = effect_of(a, b, metric, CLASSES)
    alone = effect_of(b, None, metric, CLASSES)
    rng = np.random.default_rng(6)
    weights = rng.multinomial(7, np.full(7, 1 / 7), size=12)
    want_a = np.array([mean_over_seeds(drawn(a, w), metric) for w in weights])
    want_b = np.array([mean_over_seeds(drawn(b, w), metric) for w in weights])
    np.testing.assert_allclose(effect.resampled(weights), want_a - want_b, atol=1e-12)
    np.testing.assert_allclose(alone.resampled(weights), want_b, atol=1e-12)


@pytest.mark.parametrize("metric", SLOW)
@pytest.mark.parametrize("seeds_b", [3, 1])
def test_exchanging_statistics_equals_exchanging_rows(simulated_pair, metric, seeds_b):
    a, b = arms(simulated_pair, metric, 3, seeds_b)
    effect = effect_of(a, b, metric, CLASSES)
    b = pd.concat([b.assign(seed=seed) for seed in range(3)]) if seeds_b == 1 else b
    a, b = (ranked(frame).sort_values(["seed", "sample"]).reset_index(drop=True) for frame in (a, b))
    swaps = np.random.default_rng(7).random((10, 7)) < 0.5
    swaps[0] = False
    want = []
    for swap in swaps:
        marked = a["subject"].isin(np.array(sorted(a["subject"].unique()))[swap])
        first, second = a.where(~marked, b), b.where(~marked, a)
        want.append(mean_over_seeds(first, metric) - mean_over_seeds(second, metric))
    np.testing.assert_allclose(effect.exchanged(swaps), want, atol=1e-12)
    everyone = np.ones((1, 7))
    np.testing.assert_allclose([effect.after_exchange(swap).resampled(everyone)[0] for swap in swaps], want, atol=1e-12)
    np.testing.assert_allclose(effect.exchanged(~swaps), -np.array(want), atol=1e-12)


def test_auroc_does_not_depend_on_an_arms_scale(simulated_pair):
    a, b = arms(simulated_pair, "auroc", 2, 2)
    swaps = np.random.default_rng(8).random((20, 7)) < 0.5
    stretched = b.assign(p1=np.exp(b["p1"].astype(float)) * 100)
    np.testing.assert_array_equal(effect_of(a, b, "auroc", 2).exchanged(swaps), effect_of(a, stretched, "auroc", 2).exchanged(swaps))


def test_unequal_arms_are_refused(simulated_pair):
    rng = np.random.default_rng(9)
    a, b = simulated_pair(rng, 0.6, 0.6, seeds=3)
    with pytest.raises(LoupeError, match="same samples"):
        effect_of(a, b[b["sample"] != 3], "uf1", 3)
    with pytest.raises(LoupeError, match="disagree"):
        effect_of(a, b.assign(label=(b["label"] + 1) % 3), "uf1", 3)
    with pytest.raises(LoupeError, match="3 seeds and arm B has 2"):
        effect_of(a, b[b["seed"] < 2], "uf1", 3)
    with pytest.raises(LoupeError, match="every seed"):
        effect_of(a.drop(a.index[5]), b, "uf1", 3)
    with pytest.raises(LoupeError, match="twice"):
        effect_of(pd.concat([a, a.iloc[:1]]), b, "uf1", 3)
    with pytest.raises(LoupeError, match="two subjects or labels"):
        effect_of(a.assign(subject=np.where((a["seed"] == 0) & (a["sample"] == 0), "x", a["subject"])), b, "uf1", 3)
    with pytest.raises(LoupeError, match="lack the column pointing_game"):
        effect_of(a, b, "pointing_game", 3)
    with pytest.raises(LoupeError, match="yes-or-no"):
        effect_of(a, b, "auroc", 3)
    with pytest.raises(LoupeError, match="needs two"):
        effect_of(a, None, "uf1", 3).exchanged(np.zeros((1, 20), dtype=bool))

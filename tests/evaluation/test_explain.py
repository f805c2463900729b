"""Localisation scores on maps whose score is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from loupe.errors import LoupeError
from loupe.evaluation.explain import (
    energy_inside,
    frame_difference,
    localisation_scores,
    motion_region,
    part_region,
    pointing_game,
    pool_to_patches,
    rank_correlation,
    training_mean_map,
    upsample,
)


def test_upsampling_and_pooling_are_inverse():
    maps = np.random.default_rng(0).random((3, 24))
    large = upsample(maps, (32, 48))
    assert large.shape == (3, 32, 48)
    assert (large[1, 8:16, 16:24] == maps[1, 1 * 6 + 2]).all()
    np.testing.assert_allclose(pool_to_patches(large, 8), maps)
    with pytest.raises(LoupeError, match="25 patches do not tile"):
        upsample(np.zeros((1, 25)), (32, 48))
    with pytest.raises(LoupeError, match="do not tile"):
        pool_to_patches(large, 7)


def test_pointing_and_energy_by_hand():
    region = np.array([[True, True, False, False]] * 5)
    maps = np.array([[0, 3, 1, 0], [0, 1, 3, 0], [2, 0, 2, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=float)
    np.testing.assert_allclose(pointing_game(maps, region), [1, 0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(energy_inside(maps, region), [3 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 2])
    np.testing.assert_allclose(energy_inside(maps, ~region), [1 / 4, 3 / 4, 1 / 2, 1 / 2, 1 / 2])
    with pytest.raises(LoupeError, match="non-negative"):
        energy_inside(-maps, region)
    with pytest.raises(LoupeError, match="not finite"):
        pointing_game(maps * np.nan, region)
    with pytest.raises(LoupeError, match="same shape"):
        pointing_game(maps, region[:, :3])


def test_chance_is_the_regions_share():
    rng = np.random.default_rng(1)
    region = np.zeros((4000, 8, 8), dtype=bool)
    region[:, 2:4, 1:7] = True
    maps = rng.random(region.shape)
    assert pointing_game(maps, region).mean() == pytest.approx(12 / 64, abs=0.02)
    assert energy_inside(maps, region).mean() == pytest.approx(12 / 64, abs=0.005)


def test_rank_correlation_equals_scipy():
    rng = np.random.default_rng(2)
    maps, motion = rng.integers(5, size=(6, 7, 7)).astype(float), rng.random((6, 7, 7))
    maps[5] = 2.0
    want = [spearmanr(m.ravel(), t.ravel()).statistic for m, t in zip(maps[:5], motion[:5], strict=True)]
    np.testing.assert_allclose(rank_correlation(maps, motion), [*want, 0.0], atol=1e-12)


def test_regions():
    motion = np.array([[[0, 1.0], [2.0, 4.0]], [[0, 0], [0, 0]]])
    assert motion_region(motion).tolist() == [[[False, False], [True, True]], [[False, False], [False, False]]]
    assert part_region(np.array([[[0, 2], [5, 1]]], dtype=np.uint8), [2, 5]).tolist() == [[[False, True], [True, False]]]


def test_rivals():
    rng = np.random.default_rng(3)
    onset, apex = rng.integers(256, size=(2, 2, 4, 4, 3)).astype(np.uint8)
    loop = np.mean([abs(int(apex[1, 2, 3, c]) - int(onset[1, 2, 3, c])) for c in range(3)])
    assert frame_difference(onset, apex)[1, 2, 3] == pytest.approx(loop)
    maps, subjects = rng.random((5, 2, 2)), np.array(["a", "a", "b", "c", "c"])
    mean = training_mean_map(maps, subjects)
    np.testing.assert_allclose(mean[0], maps[2:].mean(axis=0))
    np.testing.assert_allclose(mean[2], maps[[0, 1, 3, 4]].mean(axis=0))
    changed = maps.copy()
    changed[subjects == "c"] = 99
    np.testing.assert_array_equal(training_mean_map(changed, subjects)[3:], mean[3:])
    with pytest.raises(LoupeError, match="two subjects"):
        training_mean_map(maps, ["a"] * 5)


def test_the_true_motion_beats_every_other_map():
    rng = np.random.default_rng(4)
    motion = np.zeros((30, 32, 32))
    for clip in motion[:-1]:
        r, c = rng.integers(0, 24, 2)
        clip[r : r + 8, c : c + 8] = rng.uniform(0.5, 2)
    truth = pool_to_patches(motion, 8)
    own, noise = (localisation_scores(maps, motion, 8) for maps in (truth, rng.random(truth.shape)))
    for name, scores in own.items():
        assert np.isnan(scores[-1]) and np.isfinite(scores[:-1]).all()
        assert np.nanmean(scores) > np.nanmean(noise[name]) + 0.3
    np.testing.assert_allclose(own["pointing_game"][:-1], 1)
    np.testing.assert_allclose(own["rank_correlation"][:-1], 1)
    pixels = localisation_scores(motion, motion, 8)
    np.testing.assert_array_equal(pixels["energy_inside"], own["energy_inside"])

"""Localisation scores on maps whose score is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from loupe.errors import LoupeError
from loupe.evaluation.explain import (
    EXPRESSIVE_PARTS,
    centre_prior,
    energy_inside,
    frame_difference,
    localisation_scores,
    motion_region,
    part_energy,
    part_region,
    patch_contrast,
    pointing_game,
    pool_to_patches,
    rank_correlation,
    training_mean_map,
    upsample,
)
from loupe.faces.render import PARTS


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


def masks(rng, n=6, size=32):
    """Part masks with eyes, brows and mouth where they roughly are, moved a little; all else skin, nose or background."""
    parts = np.zeros((n, size, size), dtype=np.uint8)
    for face in parts:
        face[4:30, 6:26] = 1
        face[12:19, 14:18] = 4
        r, c = rng.integers(-2, 3, 2)
        for top, left, height, width, part in ((8, 9, 2, 5, 3), (8, 18, 2, 5, 3), (11, 9, 3, 5, 2), (11, 18, 3, 5, 2), (22, 11, 4, 10, 5)):
            face[top + r : top + r + height, left + c : left + c + width] = part
    return parts


def test_expressive_parts_are_eyes_brows_and_mouth():
    assert [PARTS[i] for i in EXPRESSIVE_PARTS] == ["eyes", "brows", "mouth"]


def test_an_even_map_scores_the_share_of_the_picture_and_a_planted_one_the_most():
    rng = np.random.default_rng(5)
    parts = masks(rng)
    area = np.isin(parts, [2, 3, 5]).mean(axis=(1, 2))
    fill = pool_to_patches(np.isin(parts, [2, 3, 5]), 8)
    np.testing.assert_allclose(part_energy(np.full((6, 16), 7.0), parts, 8), area)
    np.testing.assert_allclose(part_energy(np.ones(parts.shape), parts, 8), area)
    fullest = (fill == fill.max(axis=1, keepdims=True)).astype(float)
    planted, fair = part_energy(fullest, parts, 8), part_energy(fill, parts, 8)
    np.testing.assert_allclose(planted, fill.max(axis=1))
    np.testing.assert_allclose(fair, (fill**2).sum(axis=1) / fill.sum(axis=1))
    assert (planted > fair).all() and (fair > area + 0.1).all()
    assert (part_energy(1 - fill, parts, 8) < area).all()
    noise = part_energy(rng.random((6, 16)), parts, 8)
    assert (noise < planted).all()


def test_part_energy_counts_the_wanted_parts_alone():
    parts = masks(np.random.default_rng(6))
    even = np.ones((6, 16))
    np.testing.assert_allclose(part_energy(even, parts, 8, [4]), (parts == 4).mean(axis=(1, 2)))
    np.testing.assert_allclose(sum(part_energy(even, parts, 8, [i]) for i in range(6)), 1)
    assert part_energy(even, np.ones_like(parts), 8).tolist() == [0.0] * 6
    with pytest.raises(LoupeError, match="non-negative"):
        part_energy(-even, parts, 8)


def test_pixels_compete_on_the_grid_of_patches():
    """The mask itself, pixel by pixel, gains nothing by being finer than a patch."""
    parts = masks(np.random.default_rng(7))
    mask = np.isin(parts, [2, 3, 5]).astype(float)
    np.testing.assert_allclose(part_energy(mask, parts, 8), part_energy(pool_to_patches(mask, 8), parts, 8))
    assert (part_energy(mask, parts, 8) < 1).all()


def test_the_mean_mask_of_other_people_lies_between_an_even_map_and_the_own_mask():
    parts = masks(np.random.default_rng(8), n=12)
    region, people = part_region(parts), np.repeat(list("abcdef"), 2)
    others = part_energy(training_mean_map(region, people), parts, 8)
    assert (others > part_energy(np.ones((12, 16)), parts, 8)).all()
    assert others.mean() < part_energy(region.astype(float), parts, 8).mean()


def test_centre_prior_is_a_gaussian_in_the_middle():
    prior = centre_prior((8, 16))
    assert prior.shape == (8, 16) and np.allclose(prior, prior[::-1, ::-1])
    y, x = (1 + 0.5) / 8 - 0.5, (12 + 0.5) / 16 - 0.5
    assert prior[1, 12] == pytest.approx(np.exp(-(x**2 + y**2) / (2 * 0.25**2)))
    assert prior[3:5, 7:9].min() == prior.max()


def test_patch_contrast_is_the_deviation_of_grey():
    images = np.random.default_rng(9).integers(256, size=(2, 16, 24, 3)).astype(np.uint8)
    images[1, :8, 8:16] = 131
    contrast = patch_contrast(images, 8)
    assert contrast.shape == (2, 6) and contrast[1, 1] == pytest.approx(0, abs=1e-5)
    assert contrast[0, 5] == pytest.approx(images[0, 8:16, 16:24].mean(axis=-1).std())

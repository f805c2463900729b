"""Baselines: known motions are measured, features mean what they say, nothing but training rows is fitted on."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from loupe.errors import LoupeError
from loupe.models.baselines.au_oracle import features_au
from loupe.models.baselines.frame_difference import features_frame_difference
from loupe.models.baselines.frames import gray, resample
from loupe.models.baselines.hog import features_hog
from loupe.models.baselines.lbp_top import BINS, features_lbp_top, resample_time
from loupe.models.baselines.linear import choose_setting, class_probabilities, make_linear_svm, make_logistic_regression, make_majority
from loupe.models.baselines.optical_flow import features_flow, flow, flow_fields, strain, without_affine
from loupe.models.baselines.three_stream import ThreeStream


def texture(side=48, seed=0):
    """A smooth random picture, float (side, side, 3) in 0..255."""
    noise = gaussian_filter(np.random.default_rng(seed).random((side, side, 3)), (1.5, 1.5, 0), mode="wrap")
    return 255 * (noise - noise.min()) / (noise.max() - noise.min())


def warp(picture, u, v):
    """The picture after each pixel x of it moved to x + (u, v)."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(float)
    moved = [map_coordinates(picture[..., c], [y - v, x - u], order=3, mode="nearest") for c in range(3)]
    return np.stack(moved, axis=-1).clip(0, 255).round().astype(np.uint8)


def pair(u, v, seed=0):
    picture = texture(seed=seed)
    return picture.round().astype(np.uint8), warp(picture, u, v)


@pytest.mark.parametrize("u, v", [(0.8, 0.0), (0.0, -0.6), (1.5, 1.0), (0.0, 0.0)])
def test_flow_measures_a_known_shift(u, v):
    motion = flow(*pair(u, v))[8:-8, 8:-8]
    assert motion[..., 0].mean() == pytest.approx(u, abs=0.1) and motion[..., 1].mean() == pytest.approx(v, abs=0.1)


def test_strain_sees_stretch_and_neither_shift_nor_small_rotation():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    pixel = 2 / 31
    assert strain(np.stack([np.full_like(x, 3.0), np.full_like(x, -2.0)], -1)).max() == 0
    assert strain(np.stack([-0.02 * y, 0.02 * x], -1)).max() < 1e-6
    stretch = strain(np.stack([0.3 * x / pixel, 0 * x], -1))
    np.testing.assert_allclose(stretch, 0.3, rtol=1e-5)
    shear = strain(np.stack([0.2 * y / pixel, 0 * x], -1))  # e_xy = .1, so sqrt(2 * .01)
    np.testing.assert_allclose(shear, np.sqrt(0.02), rtol=1e-5)


def test_without_affine_leaves_the_expression_and_takes_the_head():
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    head = np.stack([0.5 + 0.3 * x - 0.2 * y, -0.4 + 0.2 * x + 0.1 * y], axis=-1)
    mouth = np.exp(-((x**2 + (y - 0.5) ** 2) / 0.02))[..., None] * np.array([0.0, 1.0])
    rest = without_affine((head + mouth).astype(np.float32))
    assert np.abs(rest - mouth).max() < 0.1
    assert np.abs(without_affine(head.astype(np.float32))).max() < 1e-5


def test_flow_features_are_the_resampled_fields():
    onset, apex = (np.stack(frames) for frames in zip(pair(0.8, 0), pair(0, 0.5, seed=1), strict=True))
    fields = flow_fields(onset, apex)
    assert fields.shape == (2, 48, 48, 3) and fields.dtype == np.float32
    rows = features_flow(onset, apex, side=12)
    assert rows.shape == (2, 432)
    np.testing.assert_allclose(rows[1].reshape(12, 12, 3), resample(fields[1], 12), atol=1e-6)
    np.testing.assert_allclose(fields[0, ..., 2], strain(fields[0, ..., :2]), atol=1e-6)


def test_gray_and_resample_keep_values():
    assert gray(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(1.0, abs=1e-6)
    assert gray(np.array([[0, 255, 0]], np.uint8)) == pytest.approx(0.7152)
    np.testing.assert_allclose(resample(np.full((9, 9, 2), 0.3), 4), 0.3, rtol=1e-6)


def test_frame_difference_is_zero_without_change_and_keeps_the_sign():
    frame = np.full((1, 32, 32, 3), 100, np.uint8)
    assert np.abs(features_frame_difference(frame, frame)).max() == 0
    darker = frame.copy()
    darker[:, :16] = 49
    rows = features_frame_difference(frame, darker, side=8).reshape(8, 8, 2)
    np.testing.assert_allclose(rows[0, 0], [-0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose(rows[-1, -1], 0, atol=1e-6)


@pytest.mark.parametrize(
    "extract",
    [
        lambda x: features_hog(x),
        lambda x: features_frame_difference(x, 255 - x),
        lambda x: features_lbp_top([np.stack([frame, 255 - frame, frame]) for frame in x]),
        lambda x: features_flow(x, np.roll(x, 1, axis=2), side=8),
    ],
    ids=["hog", "difference", "lbp-top", "flow"],
)
def test_a_sample_does_not_see_the_others(extract):
    images = np.stack([texture(32, seed) for seed in range(3)]).astype(np.uint8)
    np.testing.assert_allclose(extract(images)[1], extract(images[[1]])[0], atol=1e-6)


def test_hog_knows_the_direction_of_an_edge():
    upright = np.zeros((1, 32, 32, 3), np.uint8)
    upright[:, :, 14:] = 255
    flat = upright.transpose(0, 2, 1, 3)
    a, b = (features_hog(image, cells=4).reshape(-1, 8).sum(0) for image in (upright, flat))
    assert a.shape == (8,) and a.argmax() != b.argmax() and a.max() > 0.9 * a.sum()


def test_lbp_top_histograms_are_distributions_and_time_matters():
    still = texture(32).astype(np.uint8)[None].repeat(6, 0)
    moving = np.stack([warp(texture(32), 0.5 * t, 0) for t in range(6)])
    rows = features_lbp_top([still, moving], blocks=2).reshape(2, 4, 3, BINS)
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-5)
    change = np.abs(rows[0] - rows[1]).sum(-1).mean(0)
    assert change[1] > 2 * change[0]  # XT reacts far more than XY
    backwards = features_lbp_top([moving[::-1]], blocks=2).reshape(4, 3, BINS)
    assert np.abs(backwards - rows[1])[:, 1].sum() > 0.1


def test_time_resampling_keeps_ends_and_is_linear():
    ramp = np.arange(5.0)[:, None, None] * np.ones((1, 2, 2))
    np.testing.assert_allclose(resample_time(ramp, 9)[:, 0, 0], np.linspace(0, 4, 9))
    with pytest.raises(LoupeError, match="2 frames"):
        resample_time(ramp[:1], 9)


def test_au_oracle_reads_rows_and_refuses_none():
    np.testing.assert_array_equal(features_au([[0.0, 1.0], [0.5, 0.0]]), [[0, 1], [0.5, 0]])
    for bad in ([[], []], [[0.0], [0.0, 1.0]]):
        with pytest.raises(LoupeError, match="au column"):
            features_au(bad)


def blobs(n=60, classes=3, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return (rng.normal(size=(n, 5)) * spread + 2 * np.eye(classes, 5)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("make", [make_linear_svm, make_logistic_regression])
def test_scaler_is_fitted_on_training_rows_only(make):
    x, y = blobs()
    fitted = make(1.0).fit(x, y)
    np.testing.assert_allclose(fitted[0].mean_, x.mean(0), rtol=1e-5)
    before = fitted[0].mean_.copy()
    fitted.predict(x + 100)
    np.testing.assert_array_equal(fitted[0].mean_, before)
    assert (fitted.predict(x) == y).mean() > 0.8
    np.testing.assert_array_equal(make(1.0).fit(x, y).predict(x), fitted.predict(x))


@pytest.mark.parametrize("make", [make_linear_svm, make_logistic_regression, make_majority])
def test_probabilities_sum_to_one_and_rank_as_predict_does(make):
    x, y = blobs()
    for keep, known in ((y >= 0, [0, 1, 2]), (y != 1, [0, 2])):  # a fold may lack a class
        fitted = make(1.0).fit(x[keep], y[keep])
        table = class_probabilities(fitted, x, 4)
        assert table.shape == (60, 4) and table.dtype == np.float32
        np.testing.assert_allclose(table.sum(1), 1, rtol=1e-5)
        assert np.abs(table[:, [c for c in range(4) if c not in known]]).max() == 0
        np.testing.assert_array_equal(table.argmax(1), fitted.predict(x))
    with pytest.raises(LoupeError, match="labels"):
        class_probabilities(make(1.0).fit(x, y), x, 2)


def test_choose_setting_sees_subjects_and_prefers_the_simple():
    x, y = blobs(n=90, spread=3.0)
    subjects = np.arange(90) // 10
    chosen = choose_setting(make_linear_svm, x, y, subjects, grid=(1e-3, 1.0))
    assert chosen in (1e-3, 1.0)
    assert choose_setting(make_majority, x, y, subjects, grid=(5.0, 0.1, 1.0)) == 5.0  # all equal: the first
    with pytest.raises(LoupeError, match="two subjects"):
        choose_setting(make_linear_svm, x, y, np.zeros(90))


def test_choose_setting_never_splits_a_subject():
    """Features that are the subject's fingerprint and labels constant within a subject: leaking would look perfect."""
    seen = []

    class Spy:
        def fit(self, x, y):
            self.known = set(x[:, 0].tolist())
            return self

        def predict(self, x):
            seen.append(self.known & set(x[:, 0].tolist()))
            return np.zeros(len(x), int)

    subjects = np.repeat(np.arange(6), 5)
    choose_setting(lambda c: Spy(), subjects[:, None].astype(float), subjects % 2, subjects, grid=(1.0,))
    assert seen and not any(seen)


def test_three_stream_scale_comes_from_training_fields():
    fields = torch.randn(10, 3, 28, 28) * torch.tensor([1.0, 2.0, 0.1])[:, None, None]
    model = ThreeStream(3).eval()
    model.fit_scale(fields)
    torch.testing.assert_close(model.scale, fields.square().mean((0, 2, 3)).sqrt())
    plain = ThreeStream(3).eval()
    plain.load_state_dict(model.state_dict() | {"scale": torch.ones(3)})
    torch.testing.assert_close(model(fields), plain(fields / model.scale[:, None, None]))

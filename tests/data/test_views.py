"""Views: right pixels, right symmetry, no label in sight."""

import inspect

import numpy as np
import pytest

from loupe.data import views
from loupe.data.views import BOXES, VIEWS, make_view
from loupe.errors import LoupeError


@pytest.fixture
def faces():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


SUBJECTS = np.repeat(["a", "b", "c", "d"], 3)


def view(name, images, jitter=0.0, nose=False, seed=0):
    return make_view(name, images, SUBJECTS[: len(images)], jitter=jitter, nose=nose, generator=np.random.default_rng(seed))


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_every_view_keeps_shape_and_type_and_repeats(faces, name):
    first, second = view(name, faces, jitter=0.05), view(name, faces, jitter=0.05)
    assert first.shape == faces.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_parts_shows_eyes_above_and_mouth_below():
    images = np.zeros((1, 64, 64, 3), np.uint8)
    for part, value in (("eyes", 80), ("mouth", 200)):
        left, top, right, bottom = (round(64 * share) for share in BOXES[part])
        images[:, top:bottom, left:right] = value
    made = view("parts", images)[0]
    assert abs(int(np.median(made[:32])) - 80) <= 1
    assert abs(int(np.median(made[32:])) - 200) <= 1


def test_parts_of_a_mirrored_face_is_the_mirrored_view(faces):
    np.testing.assert_allclose(view("parts", faces[:, :, ::-1]).astype(int), view("parts", faces)[:, :, ::-1].astype(int), atol=1)


def test_mirror_is_symmetric_and_keeps_one_half(faces):
    made = view("mirror", faces)
    np.testing.assert_array_equal(made, made[:, :, ::-1])
    np.testing.assert_array_equal(made[:, :, 16:], faces[:, :, 16:])


def test_highlight_keeps_the_parts_and_dims_the_rest(faces):
    made = view("highlight", faces)
    left, top, right, bottom = BOXES["mouth"]
    row, column = int(32 * (top + bottom) / 2), int(32 * (left + right) / 2)
    np.testing.assert_array_equal(made[:, row, column], faces[:, row, column])
    assert made[:, :4].mean() < 0.5 * faces[:, :4].mean()


def test_jitter_moves_the_crop_and_duplicate_does_not_change(faces):
    assert (view("parts", faces, jitter=0.1) != view("parts", faces)).any()
    np.testing.assert_array_equal(view("duplicate", faces), faces)


def test_shuffled_never_shows_the_same_subject(faces):
    made = view("shuffled", faces)
    own = view("parts", faces)
    for i in range(len(faces)):
        same_subject = own[SUBJECTS == SUBJECTS[i]]
        assert not any((made[i] == candidate).all() for candidate in same_subject)


def test_labels_cannot_reach_a_view():
    assert "label" not in " ".join(inspect.signature(make_view).parameters)
    assert "labels" not in inspect.getsource(views).replace("Labels are not an input", "").lower()


def test_unknown_view_is_named(faces):
    with pytest.raises(LoupeError, match="ears"):
        view("ears", faces)

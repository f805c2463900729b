"""Views: right pixels, right symmetry, no label in sight."""

import math
from dataclasses import fields

import numpy as np
import pytest

from loupe.config import load
from loupe.data import face_layout
from loupe.data.face_layout import BOXES, CANONICAL, MIRRORED, five_points, part_boxes, turned
from loupe.data.store import write_store
from loupe.data.views import VIEWS, Faces, make_view
from loupe.errors import LoupeError
from loupe.experiments import Arm
from loupe.training.stills import view_of, with_view


@pytest.fixture
def faces():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


SUBJECTS = np.repeat(["a", "b", "c", "d"], 3)
FRAMES = np.tile([0, 5, 7], 4)


def view(name, images, jitter=0.0, nose=False, seed=0, **what):
    count = len(images)
    what = {"clips": SUBJECTS[:count], "frames": FRAMES[:count], "second": 255 - images} | what
    return make_view(name, Faces(images, SUBJECTS[:count], **what), jitter=jitter, nose=nose, generator=np.random.default_rng(seed))


@pytest.mark.parametrize("name", sorted(VIEWS))
@pytest.mark.parametrize("size", [32, 50])
def test_every_view_keeps_shape_and_type_and_repeats(name, size):
    images = np.random.default_rng(0).integers(0, 256, (12, size, size, 3), dtype=np.uint8)
    before = images.copy()
    first, second = view(name, images, jitter=0.05), view(name, images, jitter=0.05)
    assert first.shape == images.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(first, images)


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
    between = slice(math.ceil(32 * BOXES["eyes"][3]), int(32 * top))
    assert made[:, between].mean() < 0.5 * faces[:, between].mean()


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
    assert {field.name for field in fields(Faces)} == {"images", "subjects", "clips", "frames", "landmarks", "second"}


def test_unknown_view_is_named(faces):
    with pytest.raises(LoupeError, match="ears"):
        view("ears", faces)


@pytest.mark.parametrize("name", [name for name in sorted(VIEWS) if name not in ("shuffled", "neighbour")])
def test_the_picture_of_one_face_makes_its_view(faces, name):
    """Without jitter a row depends on its own face alone (`shuffled` and `neighbour` look at others by definition)."""
    other = faces.copy()
    other[1:] = 0
    np.testing.assert_array_equal(view(name, other)[0], view(name, faces)[0])
    assert (view(name, other)[1:] != view(name, faces)[1:]).any()


# ---- another frame, another camera


def test_neighbour_is_the_nearest_other_frame_of_the_clip(faces):
    order = np.random.default_rng(3).permutation(12)  # rows of a clip need not stand together or in order
    made = view("neighbour", faces[order], clips=SUBJECTS[order], frames=FRAMES[order])
    for place, row in enumerate(order):
        same = [i for i in range(12) if SUBJECTS[i] == SUBJECTS[row] and i != row]
        nearest = min(same, key=lambda i: abs(FRAMES[i] - FRAMES[row]))
        np.testing.assert_array_equal(made[place], faces[nearest])


def test_of_two_equally_near_frames_either_may_come(faces):
    middle = [view("neighbour", faces, frames=np.tile([0, 5, 10], 4), seed=seed)[1] for seed in range(20)]
    came = {next(i for i in (0, 2) if (picture == faces[i]).all()) for picture in middle}
    assert came == {0, 2}


@pytest.mark.parametrize("clips", [None, np.array([""] * 12), np.where(np.arange(12) == 5, "", SUBJECTS)])
def test_stills_have_no_neighbour(faces, clips):
    with pytest.raises(LoupeError, match="stills: choose view=parts"):
        view("neighbour", faces, clips=clips)


def test_a_clip_of_one_frame_is_named(faces):
    with pytest.raises(LoupeError, match="clip lonely has one"):
        view("neighbour", faces, clips=np.where(np.arange(12) == 5, "lonely", SUBJECTS))


def test_camera_is_the_second_picture_or_an_error(faces):
    np.testing.assert_array_equal(view("camera", faces), 255 - faces)
    with pytest.raises(LoupeError, match="prepared set `camera`.*view=warp"):
        view("camera", faces, second=None)
    with pytest.raises(LoupeError, match=r"\(11, 32, 32, 3\), not \(12, 32, 32, 3\)"):
        view("camera", faces, second=faces[1:])


# ---- the layout and detected landmarks


def in_pixels(points, size=32):
    return np.tile(points[None, :, :2] * size, (12, 1, 1))


def moved(points, scale=1.0, shift=(0.0, 0.0)):
    return (points[:, :2] - 0.5) * scale + 0.5 + np.array(shift)


def test_canonical_layout_is_symmetric_and_fits_its_boxes():
    flipped = CANONICAL[MIRRORED].copy()
    flipped[:, 0] = 1 - flipped[:, 0]
    np.testing.assert_allclose(flipped, CANONICAL, atol=1e-12)
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(68))
    for name, points in (("eyes", [*range(17, 27), *range(36, 48)]), ("nose", range(28, 36)), ("mouth", range(48, 68))):
        left, top, right, bottom = BOXES[name]
        inside = CANONICAL[list(points)]
        assert (inside[:, 0] > left).all() and (inside[:, 0] < right).all() and (inside[:, 1] > top).all() and (inside[:, 1] < bottom).all()
    assert CANONICAL[:, 2].argmax() == 30  # the tip of the nose is nearest


@pytest.mark.parametrize("kind", [68, 5])
def test_boxes_follow_detected_landmarks(kind):
    """A face shifted and enlarged has its boxes shifted and enlarged; jitter leaves a detected face alone."""
    points = CANONICAL[:, :2] if kind == 68 else five_points(CANONICAL[:, :2])
    found = np.stack([points, moved(points, 0.8, (0.1, -0.05))])
    boxes = part_boxes(2, found, 0.05, np.random.default_rng(0))
    for name, box in BOXES.items():
        np.testing.assert_allclose(boxes[name][0], box, atol=1e-6)
        np.testing.assert_allclose(boxes[name][1].reshape(2, 2), moved(np.array(box).reshape(2, 2), 0.8, (0.1, -0.05)), atol=1e-6)


def test_rows_without_landmarks_get_the_canonical_box():
    found = np.full((3, 68, 2), np.nan)
    found[1] = moved(CANONICAL, 0.7)
    found[2] = moved(CANONICAL, 0.7)
    found[2, 40, 1] = np.nan  # half a detection is none
    with_some, without = (part_boxes(3, points, 0.05, np.random.default_rng(0)) for points in (found, None))
    for name in BOXES:
        np.testing.assert_array_equal(with_some[name][[0, 2]], without[name][[0, 2]])
        assert np.abs(with_some[name][1] - without[name][1]).max() > 0.01


@pytest.mark.parametrize("name", ["parts", "highlight", "warp"])
@pytest.mark.parametrize("kind", [68, 5])
def test_views_use_detected_landmarks_where_there_are_some(faces, name, kind):
    points = moved(CANONICAL if kind == 68 else five_points(CANONICAL[:, :2]), 0.8, (0.06, 0))
    landmarks = in_pixels(points)
    landmarks[:6] = np.nan
    made, canonical = view(name, faces, landmarks=landmarks), view(name, faces)
    np.testing.assert_array_equal(made[:6], canonical[:6])
    assert all((made[i] != canonical[i]).any() for i in range(6, 12))


def test_landmarks_of_another_shape_are_refused(faces):
    for shape in ((11, 68, 2), (12, 51, 2), (12, 68, 3), (12, 136)):
        with pytest.raises(LoupeError, match="detected landmarks have shape"):
            view("parts", faces, landmarks=np.zeros(shape))


# ---- the pseudo view


def test_turning_by_zero_or_of_a_flat_face_leaves_places(monkeypatch):
    rng = np.random.default_rng(0)
    points, after = turned(None, 0.0, 0.0, rng)
    np.testing.assert_allclose(points, after, atol=1e-9)
    np.testing.assert_allclose(points, CANONICAL[:, :2], atol=1e-9)
    monkeypatch.setattr(face_layout, "CANONICAL", CANONICAL * [1, 1, 0])
    monkeypatch.setattr(face_layout, "_DEPTH", 0.0)
    points, after = turned(None, 0.5, 0.0, rng)  # a flat face only grows narrower
    np.testing.assert_allclose(after[:, 1], points[:, 1], atol=1e-9)
    np.testing.assert_allclose(after[:, 0] - after[8, 0], (points[:, 0] - points[8, 0]) * np.cos(0.5), atol=1e-9)


@pytest.mark.parametrize("yaw", [0.3, -0.3])
def test_turned_points_are_the_rotated_head(yaw):
    """Rotate the canonical points about the vertical axis in three dimensions, and look from the front."""
    axis = CANONICAL[[*range(36, 48), 48, 54], 2].mean()
    cos, sin = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    expected = (CANONICAL - [0.5, 0, axis]) @ rotation.T + [0.5, 0, axis]
    _, after = turned(None, yaw, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(after, expected[:, :2], atol=1e-9)
    assert np.sign(after[30, 0] - 0.5) == np.sign(yaw)  # the nose points where the head turns


def test_a_tilted_face_turns_about_its_own_axis():
    tilt = 0.4
    rotation = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    tilted = (CANONICAL[:, :2] - 0.5) @ rotation.T * 0.8 + 0.5
    _, upright_after = turned(CANONICAL[:, :2], 0.3, 0.0, np.random.default_rng(0))
    for found in (tilted, five_points(tilted)):
        points, after = turned(found, 0.3, 0.0, np.random.default_rng(0))
        np.testing.assert_allclose(after, (upright_after - 0.5) @ rotation.T * 0.8 + 0.5, atol=0.01)
        np.testing.assert_allclose(points, tilted, atol=0.01)


def test_warp_carries_the_landmarks_pixels_along():
    """A bright dot on each of a few landmarks lands where the turned landmark is, within a pixel."""
    size, dots = 96, [30, 36, 45, 48, 54, 57]
    y, x = np.mgrid[:size, :size] + 0.5
    for dot in dots:
        place = CANONICAL[dot, :2] * size
        picture = np.repeat((255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 4))[..., None], 3, 2).round().astype(np.uint8)
        for seed in range(4):
            made = view("warp", picture[None], seed=seed)[0, ..., 0].astype(float)
            centre = np.array([(made * x).sum(), (made * y).sum()]) / made.sum()
            either = [turned(None, yaw, 0.0, np.random.default_rng(0))[1][dot] * size for yaw in (-np.deg2rad(20), np.deg2rad(20))]
            assert min(np.linalg.norm(centre - to) for to in either) < 1.0


@pytest.mark.parametrize("level", [0, 1])
def test_warp_folds_nothing(level):
    """A ramp across the picture, or down it, stays one, up to the border that runs through the face."""
    ramp = np.linspace(0, 250, 96).astype(np.uint8)
    picture = np.repeat((ramp[:, None] + 0 * ramp if level else ramp + 0 * ramp[:, None])[..., None], 3, 2)
    for seed in range(4):
        made = view("warp", picture[None], seed=seed)[0, ..., 0].astype(int)
        assert np.diff(made, axis=1 - level).min() >= 0


def test_warp_turns_to_both_sides_and_jitters():
    images = np.tile(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8), (12, 1, 1, 1))
    assert len({picture.tobytes() for picture in view("warp", images)}) == 2
    assert len({picture.tobytes() for picture in view("warp", images, jitter=0.03)}) == 12


def test_flat_colour_stays_flat_under_every_drawing_that_only_moves_pixels():
    grey = np.full((12, 32, 32, 3), 90, np.uint8)
    for name in ("parts", "mirror", "neighbour", "warp", "duplicate", "shuffled"):
        assert (view(name, grey, jitter=0.03, nose=True) == 90).all(), name


# ---- what training passes


def prepared(folder, images, subjects, clips=""):
    import pandas as pd

    count = len(images)
    table = pd.DataFrame({"split": "train", "subject": subjects, "label": np.arange(count) % 2,
                          "label_name": np.where(np.arange(count) % 2, "b", "a"),
                          "clip": clips, "frame": FRAMES[:count], "landmarks": [[1.0] * 136] * count})  # fmt: skip
    write_store(folder, images, table)


@pytest.fixture
def shown(tmp_path):
    """The view `name` of the store `labelled`, with the numbers of conf/view."""
    return lambda name: (
        with_view(tmp_path / "labelled", view_of(Arm("x", "concat", view=name), load(["scale=smoke"])), 3, tmp_path / "made").view
    )


def test_with_view_hands_over_what_lies_beside_the_store(tmp_path, faces, shown):
    prepared(tmp_path / "labelled", faces, SUBJECTS, clips=SUBJECTS)
    prepared(tmp_path / "camera", 255 - faces, SUBJECTS)
    assert with_view(tmp_path / "labelled", None, 3, tmp_path / "made").view is None
    np.testing.assert_array_equal(shown("camera"), 255 - faces)
    np.testing.assert_array_equal(shown("neighbour")[0], faces[1])
    # The manifest's landmarks (here nonsense; in generated faces the truth) are not looked at; a detector's file is.
    settings, generator = load(["view=parts"]).view, np.random.default_rng([3, 77])
    canonical = make_view("parts", Faces(faces, SUBJECTS), jitter=settings.jitter, nose=settings.nose, generator=generator)
    np.testing.assert_array_equal(shown("parts"), canonical)
    np.save(tmp_path / "labelled" / "landmarks.npy", in_pixels(moved(CANONICAL, 0.8, (0.06, 0))).astype(np.float32))
    assert (shown("parts") != canonical).any()
    (tmp_path / "labelled" / "landmarks.npy").write_bytes(b"no array")
    with pytest.raises(LoupeError, match="landmarks.npy cannot be read"):
        shown("parts")


@pytest.mark.parametrize("name", ["parts", "highlight", "mirror", "duplicate"])
def test_a_view_read_back_lies_in_memory_as_the_fresh_one_does(tmp_path, faces, shown, name):
    """Another order of strides is another order of sums: the last bits of predictions would hang on which process made the view."""
    prepared(tmp_path / "labelled", faces, SUBJECTS, clips=SUBJECTS)
    fresh, kept = shown(name), shown(name)
    assert fresh.strides == kept.strides == np.ascontiguousarray(fresh).strides and np.array_equal(fresh, kept)
    assert len(list((tmp_path / "made").iterdir())) == 1


def test_with_view_refuses_a_camera_on_other_people(tmp_path, faces, shown):
    prepared(tmp_path / "labelled", faces, SUBJECTS)
    with pytest.raises(LoupeError, match="prepared set `camera`"):
        shown("camera")
    prepared(tmp_path / "camera", faces, SUBJECTS[::-1])
    with pytest.raises(LoupeError, match="other people"):
        shown("camera")


@pytest.mark.parametrize("name", ["parts", "highlight", "mirror", "neighbour", "warp", "camera"])
def test_every_ipsilateral_view_has_its_settings(name):
    assert load([f"view={name}"]).view.name == name and name in VIEWS

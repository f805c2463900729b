"""Covered pictures: grey exactly in the box, untouched elsewhere, the same each time, and nothing of what is hidden shows in a view."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loupe.config import load
from loupe.data.covering import GREY, cover, covered_boxes, write_covered
from loupe.data.face_layout import BOXES, CANONICAL, five_points
from loupe.data.store import read_store, write_store
from loupe.data.views import FROM_OTHER_PICTURES, VIEWS, detected_landmarks
from loupe.errors import LoupeError
from loupe.experiments import Arm
from loupe.training.stills import view_of, with_view

COUNT, SIZE = 40, 64
ROWS = np.arange(COUNT)[::-1][:30]  # not the first ones, not in order


def pixels(part):
    return [round(SIZE * share) for share in BOXES[part]]


def pictures(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def labelled(tmp_path):
    people = [f"p{i // 4}" for i in range(COUNT)]
    write_store(
        tmp_path / "labelled",
        pictures(),
        pd.DataFrame({"subject": people, "split": "test", "label": np.arange(COUNT) % 2, "label_name": ["a", "b"] * 20}),
    )
    return tmp_path / "labelled"


def test_the_eyes_or_the_mouth_are_grey_and_nothing_else_has_changed(labelled, tmp_path):
    write_covered(tmp_path / "covered", labelled, ROWS, seed=0)
    made = read_store(tmp_path / "covered")
    seen = []
    for image, before in zip(made.images, pictures()[ROWS], strict=True):
        for part in ("eyes", "mouth"):
            left, top, right, bottom = pixels(part)
            expected = before.copy()
            expected[top:bottom, left:right] = GREY
            if (image == expected).all():
                seen.append(part)
    assert len(seen) == len(ROWS) and 8 <= seen.count("eyes") <= 22  # each face one of both; about half of them each
    whole = read_store(labelled).manifest.iloc[ROWS]
    assert made.manifest["subject"].tolist() == whole["subject"].tolist() and made.labels.tolist() == whole["label"].tolist()
    np.testing.assert_array_equal(read_store(labelled).images, pictures())


def test_the_same_seed_covers_the_same_and_another_does_not(labelled, tmp_path):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        write_covered(tmp_path / name, labelled, ROWS, seed)
    one, again, other = ((tmp_path / name / "images.npy").read_bytes() for name in ("one", "again", "other"))
    assert one == again and one != other


@pytest.mark.parametrize("kind", [68, 5])
def test_the_box_follows_a_detected_face_and_stays_inside_the_picture(kind):
    points = CANONICAL[:, :2] if kind == 68 else five_points(CANONICAL[:, :2])
    found = np.tile(((points - 0.5) * 0.7 + 0.5 + np.array([0.1, 0.0])) * SIZE, (COUNT, 1, 1))
    found[0] = np.nan  # nothing found: the canonical box
    found[1] += 0.6 * SIZE  # half out of the picture
    boxes = covered_boxes((COUNT, SIZE, SIZE), found, np.random.default_rng(0))
    plain = covered_boxes((COUNT, SIZE, SIZE), None, np.random.default_rng(0))
    np.testing.assert_array_equal(boxes[0], plain[0])
    assert boxes.min() >= 0 and boxes.max() <= SIZE
    for box, canonical in zip(boxes[2:], plain[2:], strict=True):
        expected = (canonical.reshape(2, 2) / SIZE - 0.5) * 0.7 + 0.5 + np.array([0.1, 0.0])
        np.testing.assert_allclose(box.reshape(2, 2), expected * SIZE, atol=1.01)  # both are rounded to pixels
    assert cover(pictures(), boxes).shape == pictures().shape
    with pytest.raises(LoupeError, match="detected landmarks have shape"):
        covered_boxes((COUNT, SIZE, SIZE), found[1:], np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(set(VIEWS) - FROM_OTHER_PICTURES))
def test_no_hidden_pixel_reaches_a_view(labelled, tmp_path, name):
    """Planted: other pixels under the rectangle, and other detected landmarks. The view of the covered picture keeps its bytes, that of the
    clean one does not."""
    view = view_of(Arm("x", "concat", view=name), load(["scale=smoke"], Path(__file__).resolve().parents[2]))
    boxes = covered_boxes((len(ROWS), SIZE, SIZE), None, np.random.default_rng([0, 78]))
    planted = pictures()
    for row, (left, top, right, bottom) in zip(ROWS, boxes, strict=True):
        planted[row, top:bottom, left:right] = 255 - planted[row, top:bottom, left:right]
    write_store(tmp_path / "planted", planted, read_store(labelled).manifest)
    views = {}
    for store in (labelled, tmp_path / "planted"):
        write_covered(tmp_path / "covered", store, ROWS, seed=0)
        views[store.name] = with_view(tmp_path / "covered", view, 0, tmp_path / "views").view.tobytes()
        views[store.name, "clean"] = with_view(store, view, 0, tmp_path / "views").view.tobytes()
    assert views["labelled"] == views["planted"]
    assert views["labelled", "clean"] != views["planted", "clean"]


def test_a_covered_face_has_no_landmarks_to_cut_a_view_by(labelled, tmp_path):
    np.save(labelled / "landmarks.npy", np.tile(CANONICAL[None, :, :2] * SIZE, (COUNT, 1, 1)))
    write_covered(tmp_path / "covered", labelled, ROWS, seed=0)
    assert detected_landmarks(labelled) is not None and detected_landmarks(tmp_path / "covered") is None

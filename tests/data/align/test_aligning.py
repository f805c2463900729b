"""Alignment without a network: transforms, resampling, who is followed, and which frame decides."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from loupe.data.align.aligner import Aligner, Job, align_clip, align_picture, jobs, transform_of
from loupe.data.align.blazeface import _squares
from loupe.data.align.finder import Face, follow
from loupe.data.align.geometry import alignment, box_transform, pieces, reduced, steadied, warp
from loupe.data.face_layout import CANONICAL, five_points
from loupe.data.manifest import complete
from loupe.errors import LoupeError


def face(x, y, side=40.0, score=0.9):
    """A face whose square has its upper left corner at (x, y)."""
    points = CANONICAL[:, :2] * side + (x, y)
    return Face(np.array([x, y, x + side, y + side], dtype=float), points, points[[36, 45]], score, 1.0)


def test_alignment_undoes_any_similarity():
    turn = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    points = CANONICAL[:, :2] * 130 @ turn + (40, 70)
    np.testing.assert_allclose(alignment(points)(points), CANONICAL[:, :2], atol=1e-9)
    np.testing.assert_allclose(alignment(five_points(points))(points), CANONICAL[:, :2], atol=1e-9)
    with pytest.raises(LoupeError, match="one place"):
        alignment(np.zeros((68, 2)))


def test_warp_of_a_whole_pixel_square_is_a_cut():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(pixels, box_transform((40, 30), 20), 20), pixels[20:40, 30:50])


def test_warp_is_black_outside_and_turns_clockwise():
    pixels = np.full((20, 20, 3), 200, dtype=np.uint8)
    pixels[:10, :10] = 90
    corner = warp(pixels, box_transform((0, 0), 20), 20)
    assert (corner[:9, :9] == 0).all() and (corner[11:, 11:] == 90).all()
    turned = warp(pixels, box_transform((10, 10), 20, np.pi / 2), 20)  # a square turned clockwise shows the picture turned the other way
    np.testing.assert_array_equal(turned[1:-1, 1:-1], np.rot90(pixels)[1:-1, 1:-1])


def test_warp_averages_where_it_makes_smaller():
    noise = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    small = warp(noise, box_transform((256, 256), 512), 32)
    assert small.std() < 10  # means of 256 pixels each; skipping pixels would keep a deviation of 74
    assert abs(small.mean() - noise.mean()) < 1


def test_aligned_points_land_where_the_layout_says():
    pixels = np.zeros((200, 200, 3), dtype=np.uint8)
    found = face(50, 60, 100)
    for x, y in found.five:
        pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255
    aligned = align_picture(pixels, lambda _: [found], 100)
    for x, y in five_points(CANONICAL[:, :2]) * 100:
        assert aligned[int(y), int(x)].min() > 150
    assert align_picture(pixels, lambda _: [], 100) is None


def test_a_clip_has_the_onset_frames_transform_for_all_frames():
    frames = [np.random.default_rng(n).integers(0, 256, (80, 80, 3), dtype=np.uint8) for n in range(3)]
    places = {frame.tobytes(): face(10 + 5 * n, 10, 50) for n, frame in enumerate(frames)}  # the detector sees the face wander
    aligned = align_clip(frames, lambda pixels: [places[pixels.tobytes()]], 32)
    for frame, shown in zip(frames, aligned, strict=True):
        np.testing.assert_array_equal(shown, warp(frame, alignment(face(10, 10, 50).points), 32))
    assert align_clip(frames, lambda _: [], 32) is None


def test_one_face_is_followed_and_nobody_takes_over():
    video = [
        [],
        [face(100, 100, 60), face(10, 10, 40)],  # the larger one is chosen
        [face(12, 10, 90), face(104, 102, 58)],  # another is now larger
        [face(12, 10, 90)],  # the followed one is hidden
        [face(110, 104, 60), face(12, 10, 90)],
    ]
    followed, seen = zip(*follow(range(5), lambda number: video[number]), strict=True)
    assert [None if found is None else found.box[0] for found in followed] == [None, 100, 104, None, 110]
    assert seen == (0, 2, 2, 1, 2)


def test_a_face_is_taken_up_again_after_a_cut_and_nobody_is_taken_for_it():
    video = [
        [face(20, 100), face(300, 100, 30)],
        [face(440, 100)],  # a cut: one face, in a new place
        [face(440, 100, 120), face(300, 100, 30)],  # a cut to a larger picture of it; the other stands where it stood
        [face(10, 10), face(100, 100)],  # a cut: two new faces, and nothing says which is which
        [face(302, 100, 30)],
        [face(306, 100, 30)],  # the other moves on and stays the other
        [],
        [face(30, 200, 50)],
    ]
    followed, seen = zip(*follow(range(8), lambda number: video[number]), strict=True)
    assert [None if found is None else found.box[0] for found in followed] == [20, 440, 440, None, None, None, None, 30]
    assert seen == (2, 1, 2, 2, 1, 1, 0, 1)


def test_jobs_tell_pictures_clips_and_videos_apart():
    table = complete(
        pd.DataFrame(
            {
                "clip": ["", "b", "b", "a", "a", "a", ""],
                "frame": [-1, 7, 6, 3, 2, 4, -1],
                "role": ["", "", "", "apex", "onset", "offset", ""],
            }
        )
    )
    assert jobs(table) == [Job("picture", (0,)), Job("picture", (6,)), Job("video", (2, 1)), Job("onset", (4, 3, 5))]


def test_every_row_gets_its_transform_or_none():
    rows = [np.full((4, 4, 3), n, dtype=np.uint8) for n in range(7)]
    seen = {0: [], 1: [face(5, 5), face(30, 30, 20)], 2: [face(8, 8)], 3: [face(9, 9)], 4: [face(1, 1)], 5: [face(2, 2)], 6: []}
    boxes = {1: np.array([30.0, 30.0, 20.0, 20.0])}

    def broken(row):
        if row == 6:
            raise LoupeError("damaged")
        return rows[row]

    aligner = Aligner(broken, boxes.get, lambda: lambda pixels: seen[int(pixels.flat[0])])
    with ThreadPoolExecutor(2) as pool:
        found = aligner(
            pool, [Job("picture", (0,)), Job("picture", (1,)), Job("onset", (2, 3)), Job("video", (4, 5)), Job("picture", (6,))]
        )
    found = found.sort_values("row", ignore_index=True)
    corner = [
        None if (t := transform_of(p)) is None else t.inverse([[0, 0]])[0].round(6).tolist()
        for p in found[[f"p{i}" for i in range(6)]].to_numpy()
    ]
    # row 1: the annotated box says who is meant; row 3: the onset's; rows 4, 5: each its own, steadied; 0 and 6 show nobody
    weight = np.exp(-1 / 8)  # rows 4 and 5 are neighbours in a video: sigma is 2 frames
    first, second = (1 + 2 * weight) / (1 + weight), (2 + weight) / (1 + weight)
    assert corner == [None, [30, 30], [8, 8], [8, 8], [round(first, 6)] * 2, [round(second, 6)] * 2, None]
    assert found["faces"].tolist() == [0, 2, 1, 1, 1, 1, 0]
    assert [len(five) for five in found["five"]] == [0, 10, 10, 0, 10, 10, 0]
    np.testing.assert_allclose(np.array(found["five"][1]).reshape(5, 2), five_points(CANONICAL[:, :2]), atol=1e-6)


@pytest.mark.parametrize("shift, turn, scale", [(5, 0, 1), (0, np.pi, 1), (0, 0, 1.2), (400, 0, 1)])
def test_a_still_face_stays_still_around_a_cut(shift, turn, scale):
    cut = box_transform((120 + shift, 80), 100 * scale, turn)
    still = [box_transform((120, 80), 100)] * 10 + [cut] * 3 + [None] * 2 + [cut] * 5
    assert pieces(still).tolist() == [0] * 10 + [1] * 10
    for own, way in zip(still, steadied(still), strict=True):
        assert (own is None) == (way is None)
        if own is not None:
            np.testing.assert_allclose(way.params, own.params, atol=1e-9)


def test_a_fast_head_is_no_cut():
    nods = [box_transform((120 + 15 * np.sin(number / 3), 80), 100) for number in range(60)]
    assert not pieces(nods).any()


def test_parts_of_a_large_picture_hold_every_small_face_whole():
    width, height = 7680, 4320
    *wholes, halves, quarters = _squares(width, height, 1024)
    assert [len(group) for group in wholes] == [1, 1, 1] and len(halves) == 6 and len(list(_squares(1920, 1080, 1024))) == 3
    rng = np.random.default_rng(0)
    for part, group in ((2, halves), (4, quarters)):
        side = width / part / 2
        for x, y in rng.uniform(0, 1, (200, 2)) * (width - side, height - side):
            corners = [square([[x, y], [x + side, y + side]]) for square in group]
            assert any(0 <= found.min() and found.max() <= 1 for found in corners)


def test_a_picture_is_averaged_down_strip_by_strip():
    pixels = np.random.default_rng(0).integers(0, 256, (99, 66, 3), dtype=np.uint8)
    means = pixels.reshape(33, 3, 22, 3, 3).mean((1, 3))
    np.testing.assert_allclose(reduced(pixels, 3), means, atol=0.6)  # Pillow rounds in whole numbers
    assert reduced(pixels, 4).shape == (25, 17, 3) and reduced(pixels, 1) is pixels


def test_steadying_takes_jitter_and_leaves_motion():
    rng = np.random.default_rng(0)
    path = np.stack([50 + 2.0 * np.arange(60), 80 + 10 * np.sin(np.arange(60) / 12)], axis=1)
    noisy = [alignment(face(x, y, 100).points) for x, y in path + rng.normal(0, 1, path.shape)]
    corners = np.array([way.inverse([[0, 0]])[0] for way in steadied(noisy)])
    inside = slice(6, -6)  # at the ends a moving average lags
    assert np.sqrt(((corners - path)[inside] ** 2).mean()) < 0.5  # of a jitter of 1
    assert np.abs(np.diff(corners - path, axis=0)[inside]).max() < 0.6
    assert steadied([None, noisy[0], None])[0] is None
    np.testing.assert_allclose(steadied([None, noisy[0], None])[1].params, noisy[0].params)

"""What is behind the head moves as written, and nothing of it reaches the face's ground truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import fourier_shift

from loupe.faces.backdrop import Backdrop, Passer, draw_backdrop
from loupe.faces.motion import DIALS, MICRO_PROTOTYPES, SHIFT_MICRO_PROTOTYPES
from loupe.faces.sensor import CLEAN
from loupe.faces.subject import clip_scene, render_frame

STEADY = np.zeros((2, 3))


def picture(size=32):
    """Smooth and periodic, so that Fourier's shift is exact."""
    y, x = np.mgrid[0:size, 0:size] * 2 * np.pi / size
    return np.stack([1 + 0.5 * np.sin(x + c) * np.cos(y - c) for c in range(3)], axis=-1).astype(np.float32)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -2), (0.4, 0.3), (-1.7, 2.25)])
def test_the_background_moves_by_as_much_as_it_says(right, down):
    still = picture()
    there = Backdrop(still, "plain", np.array((right, down)) / 32 / 0.5, STEADY)
    assert np.allclose(there.moved(0.5) * 32, (right, down)) and (there.at(0) == still).all()
    expected = np.stack([np.fft.ifft2(fourier_shift(np.fft.fft2(still[..., c]), (down, right))).real for c in range(3)], axis=-1)
    inside = np.s_[7:-7, 7:-7]  # what comes in at the border is invented
    assert np.abs(there.at(0.5) - expected)[inside].max() < 2e-3 < np.abs(still - expected)[inside].max()


def test_a_sway_starts_where_the_picture_is_and_comes_back():
    sway = np.array(((0.02, 2.0, 0.7), (0.01, 4.0, 0.1)))
    there = Backdrop(picture(), "plain", np.zeros(2), sway)
    assert np.allclose(there.moved(0), 0) and np.allclose(there.moved(0.5), 0) and np.abs(there.moved(0.2)).max() > 0.005


def test_somebody_walks_past_at_the_speed_given():
    clothes, head = np.array((0.1, 0.2, 0.3), np.float32), np.array((0.5, 0.4, 0.3), np.float32)
    passer = Passer(start=0.2, speed=0.5, width=0.3, top=0.3, clothes=clothes, head=head)
    for time in (0.0, 0.4, 1.0):
        trunk, face = (cover[..., 0] for cover in passer.covers(400, time))
        assert not trunk[:120].any() and not face[:110].any()  # nothing above the head
        centre = 0.2 + 0.5 * time
        for part, wide in ((trunk[-1], 0.3), (face[158], 0.56 * 0.3)):
            assert abs((part * (np.arange(400) + 0.5) / 400).sum() / part.sum() - centre) < 0.003
            assert abs(part.mean() - wide) < 0.005 and 0 < part.max() <= 1
    still, shown = picture(), Backdrop(picture(), "plain", np.zeros(2), STEADY, passer).at(0.4)
    assert np.allclose(shown[-1, 12], clothes) and np.allclose(shown[12, 12], head) and np.allclose(shown[:8], still[:8])


def test_the_dial_decides_how_far_and_how_often_but_not_what_is_drawn():
    drawn = [
        [draw_backdrop(np.random.default_rng(seed), picture(), "plain", 0.4, dial.background, dial.passing, (1, 4)) for seed in range(400)]
        for dial in DIALS
    ]
    ways = [np.array([there.moved(0.4) for there in one]) for one in drawn]
    assert not ways[0].any() and all(there.passer is None for there in drawn[0])
    assert np.allclose(ways[2], ways[1] * DIALS[2].background / DIALS[1].background)
    steady = np.array([there.velocity * 0.4 for there in drawn[1]])
    assert abs(steady.std() / DIALS[1].background - 1) < 0.1
    for one, dial in zip(drawn, DIALS, strict=True):
        assert abs(np.mean([there.passer is not None for there in one]) - dial.passing) < 0.06
    assert all(wild.passer is not None for usual, wild in zip(drawn[1], drawn[2], strict=True) if usual.passer is not None)


def test_in_a_clip_the_face_stays_and_the_background_goes(studio):
    scene = clip_scene(studio, 7, "micro", 1, 0, "micro", "none", 0)
    scene = replace(scene, camera=CLEAN, script=replace(scene.script, gaze_shift=(0.0, 1.0, 0.0, 0.0)))
    size = studio.renderer.size
    going = replace(scene, backdrop=replace(scene.backdrop, picture=picture(size), velocity=np.array((0.2, 0.0)) / (20 / scene.script.fps)))
    first, last = (render_frame(studio, 7, "micro", 1, 0, frame, going) for frame in (0, 20))
    change = np.abs(first[0].astype(int) - last[0]).max(-1)
    low, high = first[1]["landmarks"].reshape(-1, 2).min(0).astype(int), first[1]["landmarks"].reshape(-1, 2).max(0).astype(int)
    face = np.zeros((size, size), bool)
    face[low[1] : high[1], low[0] + 4 : high[0] - 4] = True
    assert np.median(change[face]) == 0 and change[~face].max() > 20
    assert (first[1]["landmarks"] == last[1]["landmarks"]).all()


def test_held_out_variants_occur_nowhere_else():
    usual = [set(variant) for variants in MICRO_PROTOTYPES.values() for variant in variants]
    assert set(SHIFT_MICRO_PROTOTYPES) == set(MICRO_PROTOTYPES) and len(usual) > 20
    for variants in SHIFT_MICRO_PROTOTYPES.values():
        assert all(set(variant) not in usual for variant in variants), variants

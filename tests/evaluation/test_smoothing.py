"""Sliding-window smoothing against the sum written out frame by frame, and who may choose its window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loupe.errors import LoupeError
from loupe.evaluation.effects import effect_of
from loupe.evaluation.guards import check_ignores_test
from loupe.evaluation.metrics import macro_f1
from loupe.evaluation.smoothing import choose_window, smooth_arms, smooth_predictions, smoothed, window_scores

WINDOWS = [1, 3, 5, 9]


def by_hand(probabilities, clips, times, window):
    """For each frame: find those of its clip, put them in order, walk the window, divide by how many were there."""
    result = []
    for row in range(len(clips)):
        mine = sorted((times[other], other) for other in range(len(clips)) if clips[other] == clips[row])
        place = mine.index((times[row], row))
        inside = [other for at, (_, other) in enumerate(mine) if abs(at - place) <= (window - 1) / 2]
        result.append(sum(probabilities[other] for other in inside) / len(inside))
    return np.array(result)


def film(rng, lengths=(7, 1, 12, 4), classes=3):
    clips = np.repeat([f"c{i}" for i in range(len(lengths))], lengths)
    times = np.concatenate([np.cumsum(rng.integers(1, 9, n)) for n in lengths])  # every clip starts near 0: only its name keeps it apart
    shuffled = rng.permutation(len(clips))
    return rng.dirichlet(np.ones(classes), len(clips)), clips[shuffled], times[shuffled]


def predictions_of(rng, people, split, arm="probe", fraction=1.0, seeds=(0,), classes=3, noise=1.2, sample=0):
    """Clips of 20 frames, one a person, whose class changes every five; guesses with noise that is new in each frame, so that smoothing
    helps."""
    rows = []
    for seed in seeds:
        for person in range(people):
            label = np.repeat(rng.integers(classes, size=4), 5)
            score = np.eye(classes)[label] + noise * rng.normal(size=(20, classes))
            values = np.exp(score) / np.exp(score).sum(1, keepdims=True)
            about = {
                "task": "frames",
                "arm": arm,
                "fraction": fraction,
                "seed": seed,
                "fold": "",
                "split": split,
                "subject": f"{split}{person}",
                "clip": f"{split}{person}-1",
                "smoothed": False,
            }
            said = pd.DataFrame({**about, "sample": sample + 20 * person + np.arange(20), "label": label, "pred": values.argmax(1)})
            rows.append(said.assign(**{f"p{c}": values[:, c].astype(np.float32) for c in range(classes)}))
    return pd.concat(rows, ignore_index=True)


TIMES = pd.Series(np.tile(np.arange(0, 100, 5), 100))  # frame number of sample 0, 1, …


@pytest.mark.parametrize("window", [1, 3, 5, 15, 101])
def test_against_the_sum_written_out(window):
    rng = np.random.default_rng(window)
    values, clips, times = film(rng)
    found = smoothed(values, clips, times, window)
    np.testing.assert_allclose(found, by_hand(values, clips, times, window), atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    if window == 1:
        np.testing.assert_array_equal(found, values)
    if window == 101:  # longer than any clip: the mean of each
        np.testing.assert_allclose(found[clips == "c2"], np.broadcast_to(values[clips == "c2"].mean(0), (12, 3)), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 5, 9]))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_changes_no_bit_and_another_clip_changes_no_bit(seed, window):
    rng = np.random.default_rng(seed)
    values, clips, times = film(rng)
    found = smoothed(values, clips, times, window)
    mixed = rng.permutation(len(clips))
    np.testing.assert_array_equal(smoothed(values[mixed], clips[mixed], times[mixed], window), found[mixed])
    loud = values.copy()
    loud[clips == "c2"] = 1e6
    np.testing.assert_array_equal(smoothed(loud, clips, times, window)[clips != "c2"], found[clips != "c2"])
    assert (smoothed(loud, clips, times, window)[clips == "c2"] == 1e6).all()


def test_what_has_no_middle_no_clip_or_two_frames_at_once_is_refused():
    values, clips, times = film(np.random.default_rng(0))
    for window in (0, 2, -1):
        with pytest.raises(LoupeError, match="odd"):
            smoothed(values, clips, times, window)
    with pytest.raises(LoupeError, match="stills"):
        smoothed(values, np.where(clips == "c1", "", clips), times, 3)
    with pytest.raises(LoupeError, match="same time"):
        smoothed(np.tile(values, (2, 1)), np.tile(clips, 2), np.tile(times, 2), 3)
    with pytest.raises(LoupeError, match="row by row"):
        smoothed(values[1:], clips, times, 3)


def test_every_run_is_smoothed_for_itself():
    """Two seeds of two shares hold the same clips at the same times, in one table with its rows mixed."""
    rng = np.random.default_rng(1)
    parts = [predictions_of(rng, 3, "test", fraction=fraction, seeds=(0, 1)) for fraction in (0.1, 1.0)]
    table = pd.concat(parts).sample(frac=1, random_state=0)
    found = smooth_predictions(table, TIMES, 5)
    assert found["smoothed"].all() and found["sample"].tolist() == table["sample"].tolist()
    for (fraction, seed), run in table.groupby(["fraction", "seed"]):
        mine = found[(found["fraction"] == fraction) & (found["seed"] == seed)]
        expected = by_hand(run[["p0", "p1", "p2"]].to_numpy(float), run["clip"].to_numpy(), TIMES.loc[run["sample"]].to_numpy(), 5)
        np.testing.assert_allclose(mine[["p0", "p1", "p2"]], expected, atol=1e-6)
        assert mine["pred"].tolist() == expected.argmax(1).tolist()
    unchanged = [column for column in table if column not in ("smoothed", "pred", "p0", "p1", "p2")]
    pd.testing.assert_frame_equal(found[unchanged], table[unchanged])


def test_the_window_is_the_best_on_validation_people_and_the_smallest_of_equals():
    rng = np.random.default_rng(2)
    val = predictions_of(rng, 12, "val", seeds=(0, 1, 2))
    scores = window_scores(val, TIMES, WINDOWS, 3)
    for window in WINDOWS:
        runs = [smooth_predictions(run, TIMES, window) for _, run in val.groupby("seed")]
        assert scores[window] == pytest.approx(np.mean([macro_f1(run["label"], run["pred"], 3) for run in runs]))
    assert scores[3] > scores[1] + 0.05  # noise that is new in each frame
    assert choose_window(val, TIMES, WINDOWS, 3) == max(scores, key=scores.get) != 1
    right = val.assign(p0=(val["label"] == 0) * 1.0, p1=(val["label"] == 1) * 1.0, p2=(val["label"] == 2) * 1.0).assign(label=0, p0=1.0)
    assert choose_window(right, TIMES, [9, 5, 3], 3) == 3  # all alike


@pytest.mark.parametrize("split", ["test", "train", "loso"])
def test_no_window_is_chosen_on_other_than_validation_rows(split):
    rng = np.random.default_rng(3)
    val, other = predictions_of(rng, 3, "val"), predictions_of(rng, 1, split, sample=60)
    for rows, named in ((other, split), (pd.concat([val, other]), split), (val[:0], "none")):
        with pytest.raises(LoupeError, match=f"validation people alone, not on {named}"):
            choose_window(rows, TIMES, WINDOWS, 3)


def test_arms_get_windows_of_their_own_that_test_rows_cannot_move():
    """One arm is noisy in every frame, the other right wherever a class is held and hurt by any mixing; then every test row is spoilt."""
    rng = np.random.default_rng(4)
    noisy = pd.concat([predictions_of(rng, 12, "val"), predictions_of(rng, 5, "test", sample=240)])
    sharp = pd.concat([predictions_of(rng, 12, "val", noise=0.0), predictions_of(rng, 5, "test", noise=0.0, sample=240)]).assign(
        arm="sharp"
    )
    raw = pd.concat([noisy, sharp], ignore_index=True)
    found, windows = smooth_arms(raw, TIMES, WINDOWS, 3)
    chosen = windows.set_index("arm")["window"]
    assert chosen["sharp"] == 1 < chosen["probe"] and windows["smoothed"].all() and set(windows["fraction"]) == {1.0}
    assert len(found) == len(raw) and set(found["arm"]) == {"sharp", "probe"} and found["smoothed"].all()
    expected = smooth_predictions(raw[raw["arm"] == "probe"], TIMES, chosen["probe"])
    pd.testing.assert_frame_equal(found[found["arm"] == "probe"].reset_index(drop=True), expected.reset_index(drop=True))

    def choice(features, labels):
        spoilt = raw.assign(label=labels, **{f"p{c}": features[:, c] for c in range(3)})
        return smooth_arms(spoilt, TIMES, WINDOWS, 3)[1]["window"].to_numpy()

    def leaking_choice(features, labels):  # all rows called validation
        rows = raw.assign(split="val", label=labels, **{f"p{c}": features[:, c] for c in range(3)})
        return smooth_arms(rows, TIMES, WINDOWS, 3)[0]["pred"]

    given = raw[["p0", "p1", "p2"]].to_numpy(float), raw["label"].to_numpy(), np.flatnonzero(raw["split"] == "test"), rng
    check_ignores_test(choice, *given, what="The window")
    with pytest.raises(LoupeError, match="The window depends"):  # the probe can fail
        check_ignores_test(leaking_choice, *given, what="The window")


def test_the_effect_of_smoothing_is_one_over_people_not_frames():
    rng = np.random.default_rng(5)
    raw = predictions_of(rng, 10, "test")
    smooth = smooth_predictions(raw, TIMES, 3)
    effect = effect_of(smooth, raw, "macro_f1", 8)  # five classes that nobody shows: each counts as 0
    assert len(effect.subjects) == 10
    assert effect.resampled(np.ones((1, 10)))[0] == pytest.approx(
        macro_f1(smooth["label"], smooth["pred"], 8) - macro_f1(raw["label"], raw["pred"], 8)
    )
    twice = np.ones((1, 10))
    twice[0, 0] = 2
    more = pd.concat([smooth, smooth[smooth["subject"] == "test0"]]), pd.concat([raw, raw[raw["subject"] == "test0"]])
    assert effect.resampled(twice)[0] == pytest.approx(
        macro_f1(more[0]["label"], more[0]["pred"], 8) - macro_f1(more[1]["label"], more[1]["pred"], 8)
    )

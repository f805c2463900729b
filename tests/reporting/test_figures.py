"""What the figures draw is what the data say: heights, places, colours and counts, read back from the axes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from sklearn.metrics import f1_score

from loupe.errors import LoupeError
from loupe.evaluation.claims import NOT_RUN
from loupe.reporting.confusion import confusion_matrix
from loupe.reporting.curves import low_label_curves, low_label_points, training_curves
from loupe.reporting.drawing import render
from loupe.reporting.effects import ablation_effects, effect_plot
from loupe.reporting.faces import contact_sheet, face_rows, hide_patches, maps_over_faces, reconstruction_strip
from loupe.reporting.loso import loso_subjects, subject_accuracy
from loupe.reporting.style import ARMS, VERDICTS


def _points(predictions):
    return low_label_points(predictions, 2, np.random.default_rng(0), resamples=200)


def _drawn(drawing, arm):
    (axis,) = drawing.figure.axes
    (line,) = [line for line in axis.lines if line.get_color() == ARMS[arm].colour and len(line.get_xdata())]
    return line


def test_low_label_curve_stands_at_the_hand_computed_mean(predictions):
    line = _drawn(low_label_curves(_points(predictions), 0.1), "mae")
    shares, heights = line.get_data()
    assert list(shares) == [0.1, 1.0]
    # All labels, arm mae. Seed 0 misses 2 of the 8 samples of class 1 (F1 16/18 and 12/14), seed 1 misses 1 (16/17 and 14/15).
    by_hand = np.mean([(16 / 18 + 12 / 14) / 2, (16 / 17 + 14 / 15) / 2])
    assert heights[1] == pytest.approx(by_hand, abs=1e-12)
    for arm, fraction in (("mae", 0.1), ("scratch", 0.1), ("scratch", 1.0)):
        part = predictions[(predictions["arm"] == arm) & (predictions["fraction"] == fraction)]
        oracle = np.mean(
            [f1_score(run["label"], run["pred"], average="macro", labels=[0, 1], zero_division=0) for _, run in part.groupby("seed")]
        )
        shares, heights = _drawn(low_label_curves(_points(predictions), 0.1), arm).get_data()
        assert heights[list(shares).index(fraction)] == pytest.approx(oracle, abs=1e-12)


def test_low_label_points_count_seeds_and_people_and_hold_their_value(predictions):
    points = _points(predictions)
    assert set(points["n_seeds"]) == {2} and set(points["n_subjects"]) == {4}
    assert (points["low"] <= points["value"]).all() and (points["value"] <= points["high"]).all()
    bands = {to_hex(band.get_facecolor()[0], keep_alpha=False): band for band in low_label_curves(points, 0.1).figure.axes[0].collections}
    for arm in ("mae", "scratch"):
        corners = bands[ARMS[arm].colour.lower()].get_paths()[0].vertices.tolist()
        for row in points[points["arm"] == arm].itertuples():
            assert [row.fraction, row.low] in corners and [row.fraction, row.high] in corners


def test_low_label_axis_is_logarithmic_and_marks_the_shares_floor_and_ceiling(predictions):
    drawing = low_label_curves(_points(predictions), floor=0.1, ceiling=0.95)
    (axis,) = drawing.figure.axes
    assert axis.get_xscale() == "log"
    render(drawing, "png", dpi=40)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["10 %", "100 %"]
    assert {text.get_text() for text in axis.texts} == {"floor 0.10", "ceiling 0.95"}
    assert "at 10 %: MAE, single view 0." in drawing.alt


def test_scores_of_several_tasks_or_splits_are_not_pooled(predictions):
    with pytest.raises(LoupeError, match="'split'"):
        _points(pd.concat([predictions, predictions.assign(split="val", sample=predictions["sample"] + 100)]))
    with pytest.raises(LoupeError, match="'regime'"):
        _points(pd.concat([predictions.assign(regime="labels"), predictions.assign(regime="people")]))
    with pytest.raises(LoupeError, match="lack the column 'pred'"):
        _points(predictions.drop(columns="pred"))


def test_effect_plot_places_equal_the_claims(claims):
    drawing = effect_plot(claims.assign(floor=[False, False, True, None]))
    (axis,) = drawing.figure.axes
    marks = [line for line in axis.lines if line.get_gid() and line.get_gid().startswith("effect-")]
    bars = [line for line in axis.lines if line.get_gid() and line.get_gid().startswith("interval-")]
    ticks = [line for line in axis.lines if line.get_gid() and line.get_gid().startswith("sesoi-")]
    decided = claims[claims["effect"].notna()]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == list(zip(decided["effect"], decided.index, strict=True))
    assert [tuple(line.get_xdata()) for line in bars] == list(zip(decided["low"], decided["high"], strict=True))
    assert [tuple(line.get_xdata()) for line in ticks] == [(0.05, 0.05)] * 3
    assert [(line.get_color(), line.get_marker()) for line in marks] == [VERDICTS[verdict] for verdict in decided["verdict"]]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # first claim on top
    assert [label.get_text().replace("\n", " ") for label in axis.get_yticklabels()] == list(claims["sentence"])
    assert NOT_RUN in [text.get_text() for text in axis.texts]
    for row in decided.itertuples():
        floor = ", neither arm far from guessing" * (row.id == "poi")
        assert f"{row.sentence}: {row.effect:+.3f}, interval {row.low:+.3f} to {row.high:+.3f} ({row.verdict}{floor})" in drawing.alt
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, False, True]  # what lies on the floor is hollow


def test_effect_plot_refuses_what_it_would_draw_wrong(claims):
    with pytest.raises(LoupeError, match="'proven'"):
        effect_plot(claims.assign(verdict="proven"))
    with pytest.raises(LoupeError, match="low and high"):
        effect_plot(claims.rename(columns={"low": "high", "high": "low"}))
    with pytest.raises(LoupeError, match="no rows"):
        effect_plot(claims.iloc[:0])


def test_ablation_effects_tell_gain_from_loss_by_colour_and_shape():
    table = pd.DataFrame(
        {"arm": ["concat-scratch", "duplicate", "single"], "effect": [-0.2, 0.0, 0.1], "low": [-0.3, -0.1, 0.05], "high": [-0.1, 0.1, 0.2]}
    )
    drawing = ablation_effects(table, "concat", "change")
    marks = [line for line in drawing.figure.axes[0].lines if line.get_gid() and line.get_gid().startswith("effect-")]
    assert [line.get_xdata()[0] for line in marks] == [-0.2, 0.0, 0.1]
    assert len({line.get_color() for line in marks}) == 3
    assert [line.get_marker() for line in marks] == ["o", "D", "o"]
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == [ARMS[arm].label for arm in table["arm"]]


def test_confusion_matrix_counts_and_shares(predictions):
    drawing = confusion_matrix(predictions[predictions["fraction"] == 1.0], ("no", "yes"), "mae")
    axis = drawing.figure.axes[0]
    assert np.allclose(axis.collections[0].get_array(), [[1, 0], [3 / 16, 13 / 16]])  # seeds pooled: 2 + 1 samples of class 1 missed
    assert [text.get_text() for text in axis.texts] == ["100 %\n16", "0 %\n0", "19 %\n3", "81 %\n13"]
    assert [text.get_fontweight() for text in axis.texts] == ["bold", "normal", "normal", "bold"]
    assert "yes taken for no, 19 %" in drawing.alt and "Recognised: no 100 %, yes 81 %" in drawing.alt


def test_confusion_matrix_pools_nothing_that_differs_and_refuses_foreign_labels(predictions):
    whole = predictions[predictions["fraction"] == 1.0]
    for table, arm, words in (
        (predictions, "mae", "several values of 'fraction'"),
        (whole, "nobody", "arm 'nobody'"),
        (pd.concat([whole.assign(condition=""), whole.assign(condition="covered")]), "mae", "mix several values of 'condition'"),
    ):
        with pytest.raises(LoupeError, match=words):
            confusion_matrix(table, ("no", "yes"), arm)
    with pytest.raises(LoupeError, match="outside the 1 classes"):
        confusion_matrix(whole, ("no",), "mae")


def test_loso_draws_each_person_s_mean_over_seeds(run_of):
    runs = [run_of("micron-bert", 1.0, seed, [4, 1 + seed, 2], split="loso") for seed in range(2)] + [
        run_of("flow-svm", 1.0, 0, [1, 4, 2], split="loso")
    ]
    predictions = pd.concat(runs, ignore_index=True)
    table = subject_accuracy(predictions).set_index(["arm", "subject"])["accuracy"]
    assert table["micron-bert", "g0001"] == pytest.approx(np.mean([1 / 4, 2 / 4]))
    drawing = loso_subjects(predictions, ["micron-bert", "flow-svm"])
    axis = drawing.figure.axes[0]
    ours, flow = (line for line in axis.lines if len(line.get_xdata()) == 3)
    assert [line.get_marker() for line in (ours, flow)] == ["o", "s"]
    assert list(ours.get_ydata()) == pytest.approx([1.0, 0.5, 0.375])  # best person first
    assert list(flow.get_ydata()) == pytest.approx([0.25, 0.5, 1.0])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["g0000 (4)", "g0002 (4)", "g0001 (4)"]
    assert "ahead of optical flow + SVM on 1 people and behind on 1" in drawing.alt


def test_training_curves_draw_one_panel_a_quantity_in_the_order_of_steps():
    rows = [(step, name, value + step) for step in (1, 0) for name, value in (("rate", 1.0), ("ct_std", 2.0))]
    drawing = training_curves(pd.DataFrame(rows, columns=["step", "name", "value"]), "A run.")
    first, second = drawing.figure.axes
    assert [axis.get_title("left") for axis in (first, second)] == ["rate", "ct std"]
    assert [list(axis.lines[0].get_ydata()) for axis in (first, second)] == [[1, 2], [2, 3]]
    assert drawing.alt == "Training curves of one run: rate goes from 1 to 2; ct std goes from 2 to 3."


def test_hidden_patches_are_grey_and_the_others_untouched():
    images = np.random.default_rng(0).integers(0, 100, (1, 4, 4, 3), dtype=np.uint8)
    hidden = hide_patches(images, np.array([[False, True, False, False]]), 2)
    assert (hidden[0, :2, 2:] == 128).all()
    shown = np.ones((4, 4), bool)
    shown[:2, 2:] = False
    assert (hidden[0][shown] == images[0][shown]).all()
    with pytest.raises(LoupeError, match="4 patches of 2 px"):
        hide_patches(images, np.zeros((1, 5), bool), 2)


def test_reconstruction_strip_shows_the_arrays_and_says_the_error():
    images = np.random.default_rng(0).integers(0, 200, (3, 8, 8, 3), dtype=np.uint8)
    masked = hide_patches(images, np.tile([True, False, False, False], (3, 1)), 4)
    drawing = reconstruction_strip(images, masked, images + 10, "Rebuilt.")
    shown = [axis.images[0].get_array() for axis in drawing.figure.axes]
    assert (np.stack(shown) == np.concatenate([images, masked, images + 10])).all()
    assert "25% of the pixels grey" in drawing.alt and "error 10 of 255" in drawing.alt
    assert drawing.formats == ("png",)
    with pytest.raises(LoupeError, match="equal in shape"):
        face_rows({"a": images, "b": images[:2]}, caption="Two.", alt="Two.")


def test_maps_share_a_scale_and_the_outline_marks_half_of_the_true_peak():
    faces = np.full((2, 8, 8, 3), 90, np.uint8)
    maps = np.arange(8.0).reshape(2, 2, 2)
    motion = np.zeros((2, 8, 8), np.float32)
    motion[:, :4, :4] = 2.0
    drawing = maps_over_faces(faces, {"DMA": maps}, "Maps.", motion)
    rows = np.array(drawing.figure.axes[:6]).reshape(3, 2)
    layers = [axis.images[1] for axis in rows[1]]
    assert [layer.get_clim() for layer in layers] == [(0.0, 7.0)] * 2
    assert (np.stack([layer.get_array() for layer in layers]) == maps).all()
    (outline,) = rows[1, 0].collections
    assert list(outline.levels) == [1.0]
    assert to_hex(outline.get_edgecolor()[0]) == "#56e0ff"
    assert "DMA: mean 2.00 where the face moves most, 4.00 elsewhere" in drawing.alt  # (0 + 4) / 2; (1 + 2 + 3 + 5 + 6 + 7) / 6
    with pytest.raises(LoupeError, match="not finite"):
        maps_over_faces(faces, {"DMA": maps * np.nan}, "Maps.")
    with pytest.raises(LoupeError, match="one map for each of 2 faces"):
        maps_over_faces(faces, {"DMA": maps[:1]}, "Maps.")


def test_contact_sheet_puts_each_face_in_its_cell():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3) * 40
    sheet = contact_sheet(images, columns=3, caption="Five.", names=("a", "b", "c")).figure.axes[0].images[0].get_array()
    assert sheet.shape == (2 * 32 + 1, 3 * 32 + 2, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        assert (sheet[row * 33 : row * 33 + 32, column * 33 : column * 33 + 32] == 40 * index).all()
    assert (sheet[33:, 66:] == 255).all()  # no sixth face
    with pytest.raises(LoupeError, match="at least one image"):
        contact_sheet(images[:0], columns=3, caption="None.")

"""Cells of the grid of stills: the right people and pictures under every condition, transfer, weights that are kept, views with numbers of
their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from loupe.config import load
from loupe.data.conditions import COVERED, SHIFTED, Condition
from loupe.data.covering import write_covered
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.evaluation.protocols import Split
from loupe.experiments import Arm
from loupe.settings import View
from loupe.steps import KEY
from loupe.training import stills
from loupe.training.build_classifier import build_classifier
from loupe.training.checkpoint import load_weights
from loupe.training.stills import Labelled, StillCell, StillData, predict, sees_one_picture, view_of, with_view
from loupe.training.transfer import carry_over, transfer_set

ROOT = Path(__file__).resolve().parents[2]
SINGLE, CONCAT = Arm("single", "single", init="scratch"), Arm("concat", "concat", init="scratch")
MOVED = Arm("moved", "concat", init="scratch", transfer=True)
PEOPLE = ["t0"] * 8 + ["t1"] * 8 + ["v0"] * 4 + [f"e{i}" for i in range(3) for _ in range(4)]
TRAIN, ASKED, TEST = np.arange(16), np.arange(16, 32), np.arange(20, 32)
SPLIT = Split(train={"t0", "t1"}, val={"v0"}, test={"e0", "e1", "e2"})


@pytest.fixture
def data(store_of, tmp_path):
    labelled = store_of("labelled", PEOPLE, np.arange(32) % 2)
    return StillData(labelled, TRAIN, ASKED, tmp_path / "no-weights")


@pytest.fixture
def conditions(data, store_of, tmp_path):
    (tmp_path / "covered").mkdir()
    write_covered(tmp_path / "covered", data.labelled, TEST, seed=0)
    shift = store_of("shift", PEOPLE[20:], np.arange(12) % 2, seed=1)
    return (Condition(COVERED, tmp_path / "covered", np.arange(12)), Condition(SHIFTED, shift, np.arange(4, 12)))


@pytest.fixture
def frames(store_of):
    """Frames of three classes; the last has none."""
    return transfer_set(store_of("macro", ["t0"] * 6 + ["v0"] * 3 + ["e0"] * 3 + ["t1"] * 6, [0, 1, 2] * 5 + [0, 1, -1], seed=1), SPLIT)


def cell(arm, data, seed=0, **options):
    return StillCell(arm, 0.1, seed, data, **options)


def test_further_conditions_show_other_pictures_of_the_same_people_and_leave_the_clean_predictions_alone(data, conditions, run_cells):
    arms = (SINGLE, CONCAT)
    found = run_cells("with", *(cell(arm, replace(data, conditions=conditions)) for arm in arms))
    assert found.groupby(["arm", "condition"]).size().to_dict() == {
        (arm, condition): count for arm in ("single", "concat") for condition, count in (("", 16), ("covered", 12), ("shifted", 8))
    }
    clean = found[found["condition"] == ""].reset_index(drop=True)
    pd.testing.assert_frame_equal(clean, run_cells("without", *(cell(arm, data) for arm in arms)))
    assert set(found.loc[found["condition"] != "", "split"]) == {"test"} and set(clean["split"]) == {"val", "test"}
    for arm in arms:
        mine = found[found["arm"] == arm.name]
        tested, covered, shifted = (mine[(mine["condition"] == name) & (mine["split"] == "test")] for name in ("", "covered", "shifted"))
        assert tested["label"].tolist() == covered["label"].tolist() and tested["subject"].tolist() == covered["subject"].tolist()
        assert (tested["p0"].to_numpy() != covered["p0"].to_numpy()).all()
        assert shifted["sample"].tolist() == list(range(4, 12)) and shifted["subject"].tolist() == PEOPLE[24:]


def test_the_second_view_of_a_condition_is_made_of_its_own_pictures(data, conditions, run_cells, monkeypatch):
    """Seen with `duplicate`, whose view is the picture itself."""
    shown, inner = [], stills.predict

    def watched(model, arm, pictures, rows):
        shown.append((pictures.store.images[rows], pictures.view[rows]))
        return inner(model, arm, pictures, rows)

    monkeypatch.setattr(stills, "predict", watched)
    run_cells("d", cell(replace(CONCAT, view="duplicate"), replace(data, conditions=conditions)))
    stores = [(data.labelled, ASKED), *((condition.folder, condition.rows) for condition in conditions)]
    for (images, view), (folder, rows) in zip(shown, stores, strict=True):
        np.testing.assert_array_equal(images, read_store(folder).images[rows])
        np.testing.assert_array_equal(view, images)


@pytest.mark.parametrize("arm", [SINGLE, CONCAT])
def test_a_condition_whose_pictures_are_the_clean_ones_gives_the_clean_predictions(data, run_cells, arm):
    found = run_cells("same", cell(arm, replace(data, conditions=(Condition(COVERED, data.labelled, TEST),))))
    again = found[found["condition"] == COVERED]
    clean = found[(found["condition"] == "") & (found["split"] == "test")]
    np.testing.assert_allclose(clean[["p0", "p1"]], again[["p0", "p1"]], atol=1e-6)  # other sizes of a batch, other order of sums


def test_an_arm_that_shows_another_picture_has_no_further_condition(small):
    views = {"default": True, "mirror": True, "warp": True, "duplicate": True, "camera": False, "neighbour": False, "shuffled": False}
    assert {view: sees_one_picture(replace(CONCAT, view=view), small) for view in views} == views
    assert sees_one_picture(replace(SINGLE, view="camera"), small)
    assert not sees_one_picture(CONCAT, load(["view=camera"], ROOT))


def test_a_view_has_its_own_numbers_whichever_is_the_studys(small, data):
    """The jitter of `mirror` is what conf/view/mirror.yaml says, and not the active view's."""
    active = replace(small, view=View("parts", jitter=0.9, nose=True))
    own = load(["view=mirror"], ROOT).view
    mirror, usual = replace(CONCAT, view="mirror"), CONCAT
    assert view_of(mirror, active) == own and view_of(usual, active) == active.view
    assert view_of(replace(CONCAT, view="duplicate"), active).jitter == 0
    keys = [cell(arm, data).step(config, Path()).arguments["view"] for arm in (mirror, usual) for config in (small, active)]
    assert keys[0] == keys[1] and keys[2] != keys[3]


def test_only_labelled_frames_of_training_people_are_used(frames):
    assert frames.rows.tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_person_scored_on_stills_may_not_be_seen_in_clips(frames, part):
    with pytest.raises(LoupeError, match="transfer from macro saw 1 test subject.*t1"):
        transfer_set(frames.folder, replace(SPLIT, train={"t0"}, **{part: {"t1", "x"}}))


def test_without_clips_there_is_no_transfer(store_of):
    assert transfer_set(store_of("empty", [], []), SPLIT) is None
    assert transfer_set(store_of("unlabelled", ["t0"], [-1]), SPLIT) is None


def test_all_but_the_head_carries_over(small):
    before = build_classifier(small, MOVED, 3, 5, None)
    fresh, model = (build_classifier(small, MOVED, 2, 0, None) for _ in range(2))
    carry_over(before, model)
    for name, tensor in model.state_dict().items():
        source = fresh if name.startswith("head.") else before
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert any(name.startswith("fusion.") for name in model.state_dict())


def test_transfer_changes_the_start_and_nothing_of_other_arms(data, frames, run_cells, small, shelf_of):
    with_frames, half = replace(data, transfer=frames), replace(data, transfer=replace(frames, rows=frames.rows[:6]))
    plain = run_cells("plain", cell(CONCAT, data))
    moved, other = run_cells("moved", cell(MOVED, with_frames)), run_cells("half", cell(MOVED, half))
    assert (plain["p0"] != moved["p0"]).all() and (moved["p0"] != other["p0"]).all()
    assert "p2" not in moved and moved["label"].tolist() == plain["label"].tolist()  # two classes of the stills, not three of the frames
    keys = {shelf_of("keys").ingredients(cell(CONCAT, one).step(small, Path()))["key"] for one in (data, with_frames)}
    assert len(keys) == 1
    with pytest.raises(LoupeError, match="moved.* starts from another labelled set, but none was given"):
        run_cells("none-given", cell(MOVED, data))


def test_a_transfer_killed_between_its_two_trainings_goes_on_and_ends_the_same(data, frames, run_cells, monkeypatch, tmp_path):
    data = replace(data, transfer=frames)
    whole = run_cells("whole", cell(MOVED, data))
    inner, steps, killed = stills.fit, [], []

    def watched(model, inputs_of, *rest):
        if len(steps) == 1 and not killed:
            killed.append(True)
            raise KeyboardInterrupt
        steps.append(0)

        def counted(rows, generator):
            steps[-1] += 1
            return inputs_of(rows, generator)

        return inner(model, counted, *rest)

    monkeypatch.setattr(stills, "fit", watched)
    with pytest.raises(KeyboardInterrupt):
        run_cells("killed", cell(MOVED, data))
    pd.testing.assert_frame_equal(run_cells("killed", cell(MOVED, data)), whole)
    assert steps == [6, 0, 6]  # the frames; found whole; the stills
    assert sorted(path.name for path in (tmp_path / "killed" / "stage").glob("*/*")) == [KEY, "predictions.parquet"]


def test_a_network_that_is_kept_says_what_its_predictions_say(data, run_cells, small, tmp_path):
    table = run_cells("kept", cell(SINGLE, data, keep_weights=True), cell(SINGLE, data, seed=1))
    (weights,) = (tmp_path / "kept" / "stage").glob("*/network.safetensors")
    model = build_classifier(small, SINGLE, 2, 7, None).eval()
    load_weights(weights, model)
    again = predict(model, SINGLE, Labelled(read_store(data.labelled), None), ASKED)
    np.testing.assert_allclose(again, table.loc[table["seed"] == 0, ["p0", "p1"]], atol=1e-6)


def test_training_rows_are_predicted_under_their_own_split_and_change_no_other_row(data, run_cells):
    plain, more = run_cells("plain", cell(SINGLE, data)), run_cells("more", cell(SINGLE, replace(data, fit=True)))
    fitted = more["split"] == "train"
    pd.testing.assert_frame_equal(more[~fitted].reset_index(drop=True), plain)
    assert more.loc[fitted, "sample"].tolist() == list(range(16))


def test_predictions_say_what_they_are_of(data, run_cells):
    found = run_cells("about", cell(SINGLE, data, seed=3, task="frames", regime="frames", fold="2"))
    about = found[["task", "arm", "fraction", "seed", "fold", "regime", "pretraining", "smoothed"]].drop_duplicates()
    assert about.values.tolist() == [["frames", "single", 0.1, 3, "2", "frames", "none", False]] and found["dose"].isna().all()


def test_views_of_two_stores_are_not_taken_for_one_another(data, store_of, tmp_path):
    other = store_of("macro", PEOPLE, np.arange(32) % 2, seed=9)
    for folder in (data.labelled, other, data.labelled):
        shown = with_view(folder, View("duplicate", 0.0, False), 0, tmp_path / "views")
        np.testing.assert_array_equal(shown.view, read_store(folder).images)
    assert len(list((tmp_path / "views").iterdir())) == 2

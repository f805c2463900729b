"""One cell of the grid with further conditions: one file, the right people and pictures, the clean predictions untouched."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loupe.bench import Bench

from loupe.config import load
from loupe.data.conditions import COVERED, SHIFTED, Condition
from loupe.data.covering import write_covered
from loupe.data.store import read_store, write_store
from loupe.settings import Arm
from loupe.training import stills
from loupe.training.jobs import run_jobs
from loupe.training.stills import cell_jobs, sees_one_picture

CONFIG = load(["scale=smoke", "scale.finetune.max_steps=6"], Path(__file__).resolve().parents[2])
SINGLE, CONCAT = Arm("single", "single", init="scratch"), Arm("concat", "concat", init="scratch")
SPLITS = ["train"] * 16 + ["val"] * 4 + ["test"] * 12


def store_of(folder, splits, seed):
    size = CONFIG.scale.image.size
    images = np.random.default_rng(seed).integers(0, 256, (len(splits), size, size, 3), dtype=np.uint8)
    people = [f"{split}{row // 4}" for row, split in enumerate(splits)]
    names = np.array(["calm", "glad"])[np.arange(len(splits)) % 2]
    write_store(
        folder, images, pd.DataFrame({"subject": people, "split": splits, "label": np.arange(len(splits)) % 2, "label_name": names})
    )
    return folder


@pytest.fixture
def grid(tmp_path):
    """Runs the cells of some arms under some conditions, and returns the bench."""
    labelled = store_of(tmp_path / "labelled", SPLITS, 0)
    shift = store_of(tmp_path / "shift", ["test"] * 12, 1)
    test = np.flatnonzero(np.array(SPLITS) == "test")
    write_covered(labelled, test, tmp_path / "covered", seed=0)
    conditions = [Condition(COVERED, tmp_path / "covered", np.arange(12)), Condition(SHIFTED, shift, np.arange(4, 12))]

    def run(name, arms, chosen=conditions):
        bench = Bench(tmp_path / name)
        stills._loaded.clear()
        jobs = cell_jobs(bench, CONFIG, arms, 0.1, np.arange(16), np.arange(16, 32), labelled, tmp_path / "no-weights", chosen)
        run_jobs(jobs, "cells", workers=1)
        return bench

    return run


def test_one_file_holds_a_cell_and_all_its_conditions(grid, tmp_path):
    bench = grid("a", [SINGLE, CONCAT])
    assert sorted(path.name for path in (bench.folder / "cells").iterdir()) == [f"{name}-0.1-0.parquet" for name in ("concat", "single")]
    cells = bench.cells()
    assert cells.groupby("arm").size().to_dict() == {
        "single": 16, "single-covered": 12, "single-shifted": 8, "concat": 16, "concat-covered": 12, "concat-shifted": 8,
    }  # fmt: skip
    further = cells[cells["arm"].str.contains("-")]
    assert set(further["split"]) == {"test"} and set(further["subject"]) <= set(cells.loc[cells["split"] == "test", "subject"])
    shown = read_store(tmp_path / "shift").manifest.iloc[4:]
    mine = cells[cells["arm"] == "concat-shifted"]
    assert mine["sample"].tolist() == shown["sample"].tolist() and mine["subject"].tolist() == shown["subject"].tolist()


def test_conditions_leave_the_clean_predictions_alone_and_see_other_pictures(grid):
    with_, without = grid("with", [SINGLE, CONCAT]).cells(), grid("without", [SINGLE, CONCAT], ()).cells()
    assert set(without["arm"]) == {"single", "concat"}
    for arm in ("single", "concat"):
        pd.testing.assert_frame_equal(
            with_[with_["arm"] == arm].reset_index(drop=True), without[without["arm"] == arm].reset_index(drop=True)
        )
        clean = with_[(with_["arm"] == arm) & (with_["split"] == "test")]
        covered = with_[with_["arm"] == f"{arm}-covered"]
        assert clean["label"].tolist() == covered["label"].tolist() and clean["subject"].tolist() == covered["subject"].tolist()
        assert (clean["p0"].to_numpy() != covered["p0"].to_numpy()).all()


def test_the_second_view_of_a_condition_is_made_of_its_own_pictures(grid, tmp_path, monkeypatch):
    """Seen with `duplicate`, whose view is the picture itself."""
    shown = []
    inner = stills.predict

    def watched(model, config, arm, data, rows):
        shown.append((data.store.images[rows], data.views["duplicate"][rows]))
        return inner(model, config, arm, data, rows)

    monkeypatch.setattr(stills, "predict", watched)
    grid("d", [Arm("duplicate", "concat", view="duplicate", init="scratch")])
    stores = [
        (read_store(tmp_path / name).images, rows)
        for name, rows in (("labelled", np.arange(16, 32)), ("covered", np.arange(12)), ("shift", np.arange(4, 12)))
    ]
    assert len(shown) == 3
    for (images, view), (stored, rows) in zip(shown, stores, strict=True):
        np.testing.assert_array_equal(images, stored[rows])
        np.testing.assert_array_equal(view, stored[rows])


@pytest.mark.parametrize("arm", [SINGLE, CONCAT])
def test_a_condition_whose_pictures_are_the_clean_ones_gives_the_clean_predictions(grid, tmp_path, arm):
    """The network, the rows and the order are the same: what differs under a condition is the picture alone."""
    same = Condition(COVERED, tmp_path / "labelled", np.arange(20, 32))
    cells = grid("same", [arm], [same]).cells()
    clean = cells[(cells["arm"] == arm.name) & (cells["split"] == "test")]
    again = cells[cells["arm"] == same.arm(arm.name)]
    np.testing.assert_allclose(clean[["p0", "p1"]], again[["p0", "p1"]], atol=1e-6)  # other sizes of a batch, other order of sums


def test_an_arm_that_shows_another_picture_has_no_further_condition():
    views = {"default": True, "mirror": True, "warp": True, "duplicate": True, "camera": False, "neighbour": False, "shuffled": False}
    assert {view: sees_one_picture(Arm("x", "concat", view=view), CONFIG) for view in views} == views
    assert sees_one_picture(Arm("x", "single", view="camera"), CONFIG)
    assert not sees_one_picture(Arm("x", "concat"), load(["view=camera"], Path(__file__).resolve().parents[2]))

"""The benchmark compares like with like, waits its turn, and says what is missing. No test here asserts a wall time."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from folds import problem, sequential_heads
from inputs import as_jpegs, as_store, customary, mapped, pictures
from loupe.config import load
from loupe.data.store import read_store
from loupe.errors import LoupeError
from loupe.training.loso import HeadRecipe, loso_heads
from mae_models import Shape, build_all, training_step
from people import plan_of
from quality import Curve, curve, paper_recipe
from rows import compared
from run import app
from timing import Timing, interleaved

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
TINY = Shape(image=16, patch=8, width=16, depth=1, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2, batch=4)


def test_variants_take_turns_and_warm_up_does_not_count():
    calls = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "xy"}, 3, CPU, least_seconds=0)
    assert "".join(calls) == "xxyy" + "xyxyxy" and all(len(timing.seconds) == 3 for timing in timings.values())


def test_short_runs_are_repeated_and_count_one_each(monkeypatch):
    clock, calls = [0.0], {"short": 0, "long": 0}
    monkeypatch.setattr("timing.time.perf_counter", lambda: clock[0])

    def run(name: str, seconds: float) -> None:
        calls[name] += 1
        clock[0] += seconds

    timings = interleaved({"short": lambda: run("short", 0.25), "long": lambda: run("long", 3.0)}, 2, CPU, warm_up=1, least_seconds=1.0)
    assert calls == {"short": 1 + 2 * 4, "long": 1 + 2} and timings["short"].seconds == (0.25, 0.25) and timings["long"].median == 3.0


def test_the_ratio_is_against_the_fastest_rival():
    timings = {"loupe": Timing((2.0, 1.0, 4.0)), "slow": Timing((9.0, 8.0, 9.0)), "quick": Timing((3.0, 3.0, 1.5))}
    lines = {line["variant"]: line for line in compared("a", "x", timings, {"gone": "not installed"}, 12)}
    assert lines["loupe"]["value"] == 6 and lines["loupe"]["best"] == 12 and lines["gone"]["value"] is None
    assert lines["loupe / fastest other"]["value"] == 1.5 and lines["loupe / fastest other"]["best"] == 1.5


def test_compiled_variants_are_compared_with_peers_as_they_are_and_compiled():
    seconds = {"loupe": 2.0, "loupe compiled": 1.0, "peer": 4.0, "peer compiled": 3.0}
    lines = {line["variant"]: line["value"] for line in compared("a", "x", {name: Timing((t,)) for name, t in seconds.items()}, {}, 1)}
    assert lines["loupe / fastest other"] == 2 and lines["loupe compiled / fastest other"] == 4
    assert lines["loupe compiled / fastest other compiled"] == 3


def test_a_peer_that_is_not_installed_is_a_line(monkeypatch):
    for name in ("transformers", "lightly", "lightly.models"):
        monkeypatch.setitem(sys.modules, name, None)
    models, missing = build_all(TINY, CPU)
    assert list(models) == ["loupe"] and set(missing) == {"transformers", "lightly"} and "not installed" in missing["lightly"]


def test_peers_have_our_size_and_learn():
    models, _ = build_all(TINY, CPU)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name, model in models.items():
        before = [p.clone() for p in model.parameters()]
        training_step(model, CPU, "fp32")(images)
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), name


def test_sequential_heads_are_the_batched_ones():
    (task, features), recipe = problem(people=4, clips=24, width=6), HeadRecipe([0, 3], 20, 0.05, [0.1])
    np.testing.assert_allclose(sequential_heads(task, features, recipe), loso_heads(task, features, recipe), atol=1e-5)


def test_every_input_path_gives_batches_of_the_same_pixels(tmp_path):
    images = pictures(40, 16)
    path = as_store(images, tmp_path)
    assert mapped(path, 8, CPU)(3).shape == customary(as_jpegs(images), 16, 8, CPU, 0)(3).shape == (8, 3, 16, 16)


def test_time_to_quality_counts_training_only_and_finds_the_first_crossing(tmp_path):
    assert Curve((1.0, 2.0, 3.0), (0.2, 0.5, 0.4)).reaches(0.4) == 2.0 and Curve((1.0,), (0.1,)).reaches(0.4) is None
    assert Curve((1.0, 2.0, 3.0, 4.0), (0.5, 0.2, 0.4, 0.5)).reaches(0.4) == 3.0  # one lucky probe does not count
    config = load(["scale=smoke", "scale.image.size=16", "scale.encoder.width=48", "scale.mae.epochs=2", "scale.mae.batch=8"], ROOT)
    path = as_store(pictures(32, 16), tmp_path)
    store = read_store(path.parent)
    table = store.manifest.assign(split=["train"] * 24 + ["val"] * 8, label=np.arange(32) % 2, subject=["a"] * 24 + ["b"] * 8)
    table = table.assign(label_name=[("x", "y")[i % 2] for i in range(32)])
    found = curve(paper_recipe(config), np.asarray(store.images), type(store)(store.images, table), 0, tmp_path / "c", 4)
    assert (
        len(found.scores) >= 5
        and found.seconds[0] == 0
        and list(found.seconds) == sorted(found.seconds)
        and all(0 <= score <= 1 for score in found.scores)
    )


@pytest.mark.parametrize(("arguments", "sentence"), [(["--rows", "a,z"], "--rows has z"), (["-n", "0"], "at least 1")])
def test_bad_options_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(LoupeError, match=sentence):
        raise CliRunner().invoke(app, arguments).exception


def test_row_f_uses_people_of_no_study():
    config = load(["scale=smoke"], ROOT)
    plan = plan_of(config)
    plan.check()
    assert (
        plan.seed != config.data.seed
        and plan.test_subjects == 0
        and min(plan.pretrain_subjects, plan.train_subjects, plan.val_subjects) > 0
    )
    with pytest.raises(LoupeError, match="choose another"):
        plan_of(load(["scale=smoke", f"data.seed={plan.seed}"], ROOT))

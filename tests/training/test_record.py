"""The record of a run: true counts and sums, one folder for a run that was killed and went on, nothing without a session."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import torch
from runs import IMAGES, ROOT, classifier, classify, inputs_of, loss_of, recipe
from torch import nn
from typer.testing import CliRunner

from loupe.cli import app
from loupe.commands.runs import read_runs
from loupe.config import load
from loupe.errors import LoupeError
from loupe.models.mae import MaskedAutoencoder
from loupe.models.vit import Encoder
from loupe.training import record
from loupe.training.energy import EnergyMeter
from loupe.training.flops import measured_matmul_rate, step_flops
from loupe.training.loop import fit
from loupe.training.record import Place, record_in, summary

CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path):
    record_in(Place(tmp_path, "toy", load(["scale=smoke"], ROOT)))
    yield tmp_path / "data" / "logs" / "runs"
    record_in(None)


def steps_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_in_its_folder_and_no_step_is_told_twice(tmp_path, place):
    calls = 0

    def dying(rows, generator):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return inputs_of(rows, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), dying, loss_of, len(IMAGES), recipe(12), tmp_path / "one", "one")
    (folder,) = place.glob("toy/one-*")
    with (folder / "steps.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 9.0}\n{"step": 8, "lo')  # written after the checkpoint, the last line by halves
    history = fit(classifier(), inputs_of, loss_of, len(IMAGES), recipe(12), tmp_path / "one", "one")
    (facts,) = read_runs(place)
    steps = steps_of(folder)
    assert [entry["step"] for entry in steps] == list(range(12)) and facts["run"] == folder.name
    assert [entry["loss"] for entry in steps] == [entry["loss"] for entry in history]
    assert [(leg["first_step"], leg["steps"]) for leg in facts["legs"]] == [(0, 7), (7, 5)] and facts["status"] == "finished"
    assert facts["config"]["scale"]["name"] == "smoke" and facts["seed"] == 7 and facts["last_loss"] == history[-1]["loss"]
    assert facts["flops_per_step"] > 0 and facts["images_per_second"] > 0 and 0 <= facts["mfu"] < 1 and facts["peak_memory_mb"] > 50
    classify(tmp_path / "two" / "one", steps=3)  # another run of the same name has a folder of its own
    assert len(read_runs(place)) == 2


def test_what_ended_a_run_is_told_and_listed(tmp_path, place, monkeypatch):
    def broken(module, *inputs):
        return {"loss": loss_of(module, *inputs)["loss"] * float("nan")}

    with pytest.raises(LoupeError):
        fit(classifier(), inputs_of, broken, len(IMAGES), recipe(6), tmp_path / "bad", "bad")
    (folder,) = place.glob("toy/bad-*")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "failed" and "nan at step 0" in facts["error"]
    facts |= {"status": "running", "commit": "0123456789abcdef", "dirty": True, "energy_joule": 1500.0}
    facts["legs"][-1]["pid"] = 2**22 + 1  # no such process
    (folder / "run.json").write_text(json.dumps(facts))
    for name in ("dvc.yaml", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["runs"])
    assert said.exit_code == 0, said.output
    header, line = said.output.splitlines()
    assert "killed" in line and "01234567+" in line and "1.5" in line and header.split()[0] == "stage"
    assert json.loads(CliRunner().invoke(app, ["runs", "toy", "--json"]).output)[0]["status"] == "killed"
    assert isinstance(CliRunner().invoke(app, ["runs", "other"]).exception, LoupeError)


def test_without_a_session_nothing_is_written(tmp_path):
    classify(tmp_path / "checkpoints" / "free", steps=3)
    assert not list(tmp_path.rglob("run.json")) and not list(tmp_path.rglob("record"))


def test_operations_are_those_of_the_matrix_products():
    """Linear(3 -> 5) on 7 rows: 2·7·3·5 forward, twice that backward less the gradient of the input, which nobody asks for."""
    layer = nn.Linear(3, 5)
    loss = lambda module, x: {"loss": module(x).sum()}
    assert step_flops(layer, loss, (torch.ones(7, 3),)) == 2 * (2 * 7 * 3 * 5)


def test_a_masked_autoencoder_counts_only_what_it_computes():
    """Twelve hidden of sixteen: the encoder embeds 4 patches, its blocks see 1 + 4 tokens; the decoder's attention sees 1 + 16, its MLP and its
    pixels only the 12. Counted by hand: products of weights, and of queries, keys, values."""
    width, tokens, batch = 16, 5, 2
    encoder = Encoder(image_size=32, patch_size=8, width=width, depth=1, heads=2)
    model = MaskedAutoencoder(encoder, decoder_width=8, decoder_depth=1, decoder_heads=2)

    def block(w, n, given):
        return 2 * n * w * (3 * w + w) + 2 * given * w * 8 * w + 2 * 2 * n * n * w

    embed, unembed, pixels = 2 * 4 * 192 * width, 2 * tokens * width * 8, 2 * 12 * 8 * 192
    forward = embed + block(width, tokens, tokens) + unembed + block(8, 17, 12) + pixels
    counted = step_flops(
        model, lambda module, x, noise: {"loss": module(x, noise)["loss"]}, (torch.ones(batch, 3, 32, 32), torch.rand(batch, 16))
    )
    assert batch * (3 * forward - embed) * 0.99 <= counted <= batch * (3 * forward - embed) * 1.01


def test_counting_changes_neither_model_nor_random_stream():
    model = classifier().train()
    before = torch.get_rng_state()
    step_flops(model, loss_of, inputs_of(torch.arange(4), torch.Generator()))
    assert torch.equal(before, torch.get_rng_state()) and model.training and all(p.grad is None for p in model.parameters())


def test_own_tensors_in_the_loss_are_not_counted_rather_than_wrong():
    def with_own(module, x):
        return {"loss": (module(x) * torch.ones(5)).sum()}

    assert step_flops(nn.Linear(3, 5), with_own, (torch.ones(7, 3),)) is None


def test_sums_over_legs():
    facts = {
        "batch": 10, "processes": 2, "flops_per_step": 1e9, "peak_flops_per_second": 1e10,
        "legs": [
            {"steps": 30, "seconds": 10.0, "peak_memory_mb": 5, "energy_joule": 1.0},
            {"steps": 10, "seconds": 10.0, "peak_memory_mb": 7, "energy_joule": 2.0},
        ],
    }  # fmt: skip
    assert summary(facts) == {"seconds": 20.0, "images_per_second": 20.0, "mfu": 0.1, "peak_memory_mb": 7, "energy_joule": 3.0}


def test_energy_of_a_counter_that_wraps_around(tmp_path):
    def counter(name, energy):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("10000000\n")

    counter("intel-rapl:0", 9_000_000)
    counter("intel-rapl:0:0", 5)  # a part of package 0, which counts already
    counter("intel-rapl:1", 1_000_000)
    meter = EnergyMeter(tmp_path)
    counter("intel-rapl:0", 2_000_000)
    counter("intel-rapl:1", 1_500_000)
    assert meter.read() == 3.5
    counter("intel-rapl:1", 2_500_000)
    assert meter.read() == 4.5
    assert EnergyMeter(tmp_path / "none").read() is None


def test_the_measured_rate_is_a_rate():
    assert 1e7 < measured_matmul_rate(CPU, "fp32", size=128, repeats=2) < 1e15


def test_results_that_a_run_replaces_are_no_local_changes(tmp_path):
    """DVC deletes a stage's committed tables before it runs: that says nothing of the code, and the record must not say so."""
    for name in ("src", "conf", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as committed")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    shutil.rmtree(tmp_path / "reports")
    dirty = []
    for name in ("clean", "changed"):
        record_in(Place(tmp_path, name, load(["scale=smoke"], ROOT)))
        classify(tmp_path / "checkpoints" / name, steps=3)
        dirty += [json.loads(path.read_text())["dirty"] for path in (tmp_path / "data" / "logs" / "runs" / name).glob("*/run.json")]
        (tmp_path / "src" / "file").write_text("changed")
        record._commit.cache_clear()
    record_in(None)
    assert dirty == [False, True]

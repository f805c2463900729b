"""A batch in parts, on one process or two, trains as the whole batch; where memory is short, the parts are halved and nothing else
changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import IMAGES, classifier, classify, inputs_of, loss_of, recipe, results

from loupe.errors import LoupeError
from loupe.models.agreement import DinoAgreement
from loupe.models.micron_bert import MicronBert
from loupe.models.vit import Encoder
from loupe.training.checkpoint import latest_checkpoint
from loupe.training.loop import fit
from loupe.training.parts import BatchDrop, Part, draw_drops_for_whole_batch

HERE = Path(__file__).parent
STEPS = 12


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return folder, results(folder)


@pytest.mark.parametrize("sharded", [False, True], ids=["DDP", "FSDP"])
def test_two_processes_reproduce_one(one, sharded, tmp_path):
    """With gloo on the CPU, through torchrun; weights whole in both or half of them in each. And each continues what the other was stopped
    in."""
    folder, alone = one
    shutil.copytree(folder / "stopped", tmp_path / "stopped-alone")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "runs.py",
        str(tmp_path),
        str(tmp_path / "stopped-alone"),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1] / "src"),
        "OMP_NUM_THREADS": "1",
        "LOUPE_QUIET": "1",
        "LOUPE_SHARD": str(int(sharded)),
    }
    done = subprocess.run(
        command, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    together = json.loads((tmp_path / "results.json").read_text())
    assert together["said"] == alone["said"]
    assert together["held"] < 0.6 if sharded else together["held"] == 1
    for name in ("mae", "dino", "classifier"):
        assert len(alone[name]) >= 8
        assert_same_history(alone[name], together[name])
    assert_same_history(alone["classifier"], together["continued"])
    assert latest_checkpoint(tmp_path / "stopped").name == "step-5"
    assert_same_history(alone["classifier"], classify(tmp_path / "stopped")[0])


def assert_same_history(one, other):
    for alone, together in zip(one, other, strict=True):
        for term in set(alone) - {"ct_std"}:  # a deviation over the batch is not the mean of its parts' deviations
            assert together[term] == pytest.approx(alone[term], abs=1e-5), (term, alone["step"])


def out_of_memory_above(limit, seen):
    def loss(module, truth, *views):
        seen.append(len(truth))
        if len(truth) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loss_of(module, truth, *views)

    return loss


def test_out_of_memory_halves_the_parts_and_keeps_the_effective_batch(tmp_path, capfd):
    history, whole = classify(tmp_path / "whole")
    model, seen = classifier(), []
    halved = fit(model, inputs_of, out_of_memory_above(3, seen), len(IMAGES), recipe(STEPS), tmp_path / "parts")
    assert seen == [8, 4, *[2] * 4 * STEPS]
    said = capfd.readouterr().err
    assert "in parts of 4" in said and "batches of 8 go through in parts of 2. The effective batch stays." in said
    for a, b in zip(history, halved, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
    with (
        torch.inference_mode()
    ):  # not the weights: AdamW blows up the rounding of gradients that ought to be 0, such as those of key biases
        torch.testing.assert_close(model.eval()(IMAGES, IMAGES), whole(IMAGES, IMAGES), atol=1e-4, rtol=1e-3)


def test_where_not_even_one_sample_fits_the_way_out_is_named(tmp_path):
    with pytest.raises(LoupeError, match="1 samples a process do not fit .* smaller batch"):
        fit(classifier(), inputs_of, out_of_memory_above(0, []), len(IMAGES), recipe(STEPS), tmp_path)


def test_outputs_with_a_row_a_sample_reach_the_teacher_whole(tmp_path):
    """`dino`: the centre must follow the teacher's logits of all parts, not of the last one."""

    def train(limit, folder):
        torch.manual_seed(0)
        encoder = Encoder(image_size=16, patch_size=8, width=16, depth=1, heads=2)
        model = MicronBert(encoder, decoder_depth=1, decoder_heads=2, agreement=DinoAgreement(hidden=16, bottleneck=8, out=6))

        def batch(rows, generator):
            return IMAGES[rows], IMAGES[rows] * 0.9, IMAGES[rows] * 1.1, model.draw_swaps(len(rows), generator)

        def loss(module, frame_t, *rest):
            if len(frame_t) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            out = module(frame_t, *rest)
            return {"loss": out["loss"], "teacher": out["teacher"]}

        fit(
            model,
            batch,
            loss,
            len(IMAGES),
            recipe(6),
            folder,
            after_step=lambda m, step, out: m.update_teacher(out["teacher"], 0.9),
        )
        return model.centre

    torch.testing.assert_close(train(3, tmp_path / "parts"), train(8, tmp_path / "whole"), atol=1e-5, rtol=1e-5)


def test_stochastic_depth_of_parts_is_that_of_the_batch_and_keeps_the_expected_share():
    part = Part(batch=4000, rows=slice(0, 4000))
    layer = BatchDrop(0.3, part).train()
    x = torch.ones(8000, 2, 5)  # two views of 4000 samples, one behind the other
    torch.manual_seed(3)
    whole = layer(x)
    kept = whole[:, 0, 0] > 0
    assert abs(float(kept.float().mean()) - 0.7) < 0.02
    assert torch.equal(whole, torch.where(kept[:, None, None], 1 / 0.7, 0.0).expand_as(whole))
    part.rows = slice(1000, 3000)
    torch.manual_seed(3)
    cut = layer(x[:4000])
    assert torch.equal(cut, torch.cat([whole[1000:3000], whole[5000:7000]]))
    assert torch.equal(layer.eval()(x), x)


def test_dropout_of_parts_is_that_of_the_batch_and_drops_single_values():
    part = Part(batch=400, rows=slice(0, 400))
    layer = BatchDrop(0.2, part, single=True).train()
    x = torch.ones(400, 50)
    torch.manual_seed(3)
    whole = layer(x)
    kept = whole > 0
    assert abs(float(kept.float().mean()) - 0.8) < 0.01 and kept.any(1).all() and not kept.all(1).any()
    assert torch.equal(whole, torch.where(kept, 1 / 0.8, 0.0))
    part.rows = slice(100, 300)
    torch.manual_seed(3)
    assert torch.equal(layer(x[:200]), whole[100:300])


def test_every_drop_of_a_classifier_is_drawn_for_the_whole_batch():
    model = classifier()
    for _ in range(2):  # a second training of the same model
        draw_drops_for_whole_batch(model, Part())
    drops = [module for module in model.modules() if isinstance(module, BatchDrop)]
    assert [(drop.drop_prob, drop.single) for drop in drops] == [(0.3, False)] * 2 + [(0.2, True)]

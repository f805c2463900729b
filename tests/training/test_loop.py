"""The loop: a run that dies and resumes ends where the undisturbed one ends, bit for bit; layer decay applies; bad losses stop with a
sentence."""

import math
import os
import re
import signal

import numpy as np
import pytest
import torch
from torch.nn import functional

import loupe.models  # noqa: F401  (makes timm importable)
from loupe.errors import LoupeError
from loupe.models.dual_view import DualViewClassifier
from loupe.models.vit import Encoder
from loupe.training.device import resolve_device
from loupe.training.loop import Recipe, fit, parameter_groups
from loupe.training.parts import Losses
from loupe.training.schedules import batch_order, scaled_lr, warmup_cosine

CPU = torch.device("cpu")


def recipe(steps, **changes):
    settings = dict(
        lr=warmup_cosine(steps, 2, 1e-2), batch=4, betas=(0.9, 0.95), weight_decay=0.05, clip=1.0, seed=7, device=CPU, precision="fp32",
        checkpoint_seconds=0.0, layer_decay=0.8,
    )  # fmt: skip
    return Recipe(**{**settings, **changes})


def classifier():
    torch.manual_seed(0)
    encoder = Encoder(image_size=16, patch_size=8, width=16, depth=2, heads=2, drop_path=0.3)
    return DualViewClassifier(encoder, classes=3, variant="concat", fuse_at=1, head="grid")  # with dropout


IMAGES = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(10) % 3


def inputs_of(rows, generator):
    noise = torch.randn(len(rows), 3, 16, 16, generator=generator) * 0.1
    return LABELS[rows], IMAGES[rows] + noise, IMAGES[rows]


def loss_of(module, truth, *views):
    return {"loss": functional.cross_entropy(module(*views), truth)}


class Killed(Exception):
    pass


def test_killed_and_resumed_equals_undisturbed(tmp_path):
    undisturbed = classifier()
    history = fit(undisturbed, inputs_of, loss_of, 10, recipe(12), tmp_path / "a")

    calls = 0

    def dying(rows, generator):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Killed
        return inputs_of(rows, generator)

    with pytest.raises(Killed):
        fit(classifier(), dying, loss_of, 10, recipe(12), tmp_path / "b")
    resumed = classifier()
    torch.manual_seed(999)  # a resumed process has another history of random draws
    resumed_history = fit(resumed, inputs_of, loss_of, 10, recipe(12), tmp_path / "b")
    assert resumed_history == history
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_shape_is_refused_by_name(tmp_path):
    fit(classifier(), inputs_of, loss_of, 10, recipe(6), tmp_path / "a")
    torch.manual_seed(0)
    wider = DualViewClassifier(Encoder(image_size=16, patch_size=8, width=32, depth=2, heads=2), classes=3, variant="concat", fuse_at=1)
    with pytest.raises(LoupeError, match="model.safetensors does not fit"):
        fit(wider, inputs_of, loss_of, 10, recipe(6), tmp_path / "a")


def test_truncated_checkpoint_is_refused_by_name(tmp_path):
    fit(classifier(), inputs_of, loss_of, 10, recipe(6), tmp_path / "a")
    path = next((tmp_path / "a").glob("step-*/model.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LoupeError, match="model.safetensors cannot be read"):
        fit(classifier(), inputs_of, loss_of, 10, recipe(6), tmp_path / "a")


def test_a_loss_that_is_not_finite_stops_at_once_with_step_rows_and_the_last_good_checkpoint(tmp_path):
    calls = 0

    def broken(module, *inputs):
        nonlocal calls
        calls += 1
        return {"loss": loss_of(module, *inputs)["loss"] * (math.inf if calls == 12 else 1.0)}

    rows = re.escape(str(batch_order(10, 4, 11, 7).tolist()))
    with pytest.raises(LoupeError, match=rf"the loss is inf at step 11 \(rows {rows}…\); the last good checkpoint is .*step-11"):
        fit(classifier(), inputs_of, broken, 10, recipe(600), tmp_path / "a")  # 600 steps: the history has every third
    assert calls == 12
    with pytest.raises(LoupeError, match="there is no checkpoint yet"):
        fit(classifier(), inputs_of, lambda *x: {"loss": loss_of(*x)["loss"] * math.nan}, 10, recipe(9), tmp_path / "b")


def test_the_device_is_read_every_25_steps_and_still_names_the_step(tmp_path, monkeypatch):
    """As on a GPU, where reading each loss would make the host wait."""
    import loupe.training.loop as loop

    reads = []
    read = Losses.read
    monkeypatch.setattr(Losses, "read", lambda self, *flags: reads.append(len(self.steps)) or read(self, *flags))
    monkeypatch.setattr(loop, "reading_interval", lambda device: 25)
    history = fit(classifier(), inputs_of, loss_of, 10, recipe(30, checkpoint_seconds=1e9), tmp_path / "a")
    assert reads == [25, 5] and [entry["step"] for entry in history] == list(range(30))
    monkeypatch.undo()
    assert history == fit(classifier(), inputs_of, loss_of, 10, recipe(30, checkpoint_seconds=1e9), tmp_path / "b")
    calls = 0

    def broken(module, *inputs):
        nonlocal calls
        calls += 1
        return {"loss": loss_of(module, *inputs)["loss"] * (math.nan if calls == 27 else 1.0)}

    monkeypatch.setattr(loop, "reading_interval", lambda device: 25)
    with pytest.raises(LoupeError, match="is nan at step 26 .*step-25"):
        fit(classifier(), inputs_of, broken, 10, recipe(30), tmp_path / "c")


def test_sigterm_saves_and_the_run_continues_as_if_nothing_had_been(tmp_path, capfd):
    undisturbed = classifier()
    history = fit(undisturbed, inputs_of, loss_of, 10, recipe(12), tmp_path / "a")

    def told_to_stop(rows, generator):
        if not os.path.exists(tmp_path / "b" / "told"):
            (tmp_path / "b").mkdir(exist_ok=True)
            (tmp_path / "b" / "told").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return inputs_of(rows, generator)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        fit(classifier(), told_to_stop, loss_of, 10, recipe(12, checkpoint_seconds=1e9), tmp_path / "b")
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    assert "SIGTERM after step 0" in capfd.readouterr().err
    resumed = classifier()
    assert fit(resumed, told_to_stop, loss_of, 10, recipe(12), tmp_path / "b") == history
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_layer_decay_reaches_every_parameter_once():
    model = classifier()
    groups = parameter_groups(model, 0.05, 0.5)
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(scale) == sum(1 for p in model.parameters() if p.requires_grad)
    named = dict(model.named_parameters())
    expected = {
        "encoder.patch_embed": 0.5**3,
        "encoder.blocks.0.": 0.5**2,
        "encoder.blocks.1.": 0.5,
        "encoder.norm.": 1.0,
        "fusion.": 1.0,
        "head.": 1.0,
    }
    for name, parameter in named.items():
        for prefix, value in expected.items():
            if name.startswith(prefix):
                assert scale[id(parameter)] == pytest.approx(value), name
    assert decay[id(named["head.bias"])] == 0 and decay[id(named["head.weight"])] == 0.05
    assert decay[id(named["encoder.cls_token"])] == 0


def test_schedule_reaches_peak_and_floor():
    table = warmup_cosine(100, 10, 0.5, 0.1)
    assert table[9] == 0.5 and table[10] == 0.5 and table[-1] == pytest.approx(0.1)
    assert (np.diff(table[:10]) > 0).all() and (np.diff(table[10:]) < 0).all()
    assert table[55] == pytest.approx(0.1 + 0.4 * 0.5 * (1 + math.cos(math.pi * 45 / 89)))
    assert scaled_lr(1e-3, 64) == 2.5e-4


def test_an_epoch_shows_every_sample_at_most_once_and_epochs_differ():
    first = np.concatenate([batch_order(10, 3, step, seed=0) for step in range(3)])
    second = np.concatenate([batch_order(10, 3, step, seed=0) for step in range(3, 6)])
    assert len(set(first)) == 9 and not np.array_equal(first, second)
    assert sorted(batch_order(2, 8, 5, seed=0)) == [0, 1]


def test_absent_device_is_a_sentence():
    if not torch.cuda.is_available():
        with pytest.raises(LoupeError, match="scale.device is cuda"):
            resolve_device("cuda")
    assert resolve_device("cpu") == CPU

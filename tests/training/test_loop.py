"""The loop: a run that dies and resumes ends where the undisturbed one ends, bit for bit; layer decay applies; bad losses stop with a sentence."""

import math

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
    return DualViewClassifier(encoder, classes=3, variant="concat", fuse_at=1)


IMAGES = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(10) % 3


def loss_of(module, rows, generator):
    noise = torch.randn(len(rows), 3, 16, 16, generator=generator) * 0.1
    return {"loss": functional.cross_entropy(module(IMAGES[rows] + noise, IMAGES[rows]), LABELS[rows])}


class Killed(Exception):
    pass


def test_killed_and_resumed_equals_undisturbed(tmp_path):
    undisturbed = classifier()
    history = fit(undisturbed, loss_of, 10, recipe(12), tmp_path / "a", "a")

    calls = 0

    def dying(module, rows, generator):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Killed
        return loss_of(module, rows, generator)

    with pytest.raises(Killed):
        fit(classifier(), dying, 10, recipe(12), tmp_path / "b", "b")
    resumed = classifier()
    torch.manual_seed(999)  # a resumed process has another history of random draws
    resumed_history = fit(resumed, loss_of, 10, recipe(12), tmp_path / "b", "b")
    assert resumed_history == history
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_shape_is_refused_by_name(tmp_path):
    fit(classifier(), loss_of, 10, recipe(6), tmp_path / "a", "a")
    torch.manual_seed(0)
    wider = DualViewClassifier(Encoder(image_size=16, patch_size=8, width=32, depth=2, heads=2), classes=3, variant="concat", fuse_at=1)
    with pytest.raises(LoupeError, match="model.safetensors does not fit"):
        fit(wider, loss_of, 10, recipe(6), tmp_path / "a", "a")


def test_truncated_checkpoint_is_refused_by_name(tmp_path):
    fit(classifier(), loss_of, 10, recipe(6), tmp_path / "a", "a")
    path = next((tmp_path / "a").glob("step-*/model.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LoupeError, match="model.safetensors cannot be read"):
        fit(classifier(), loss_of, 10, recipe(6), tmp_path / "a", "a")


def test_nan_loss_stops_with_step_and_rows(tmp_path):
    def broken(module, rows, generator):
        terms = loss_of(module, rows, generator)
        return {"loss": terms["loss"] * float("nan")}

    with pytest.raises(LoupeError, match=r"the loss is nan at step 0 \(rows \["):
        fit(classifier(), broken, 10, recipe(6), tmp_path / "a", "a")


def test_layer_decay_reaches_every_parameter_once():
    model = classifier()
    groups = parameter_groups(model, 0.05, 0.5)
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(scale) == sum(1 for p in model.parameters() if p.requires_grad)
    named = dict(model.named_parameters())
    expected = {"encoder.patch_embed": 0.5**3, "encoder.blocks.0.": 0.5**2, "encoder.blocks.1.": 0.5, "encoder.norm.": 1.0, "fusion.": 1.0, "head.": 1.0}
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

"""Foreign checkpoints: recognised, equal in features, refused when damaged or hostile; export then import is the identity."""

import argparse
import datetime
import json
import os
import pickle
import re
from functools import partial
from pathlib import PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

import loupe.models
from loupe.errors import LoupeError
from loupe.models.agreement import DinoAgreement
from loupe.models.dual_view import DualViewClassifier
from loupe.models.layouts import LAYOUTS, convolution_to_linear, linear_to_convolution
from loupe.models.mae import MaskedAutoencoder
from loupe.models.micron_bert import MicronBert, MicronSwitches
from loupe.models.patches import sincos_positions
from loupe.models.pretrained import IMAGENET, convert, load_into, load_pretrained, read_weights, save_pretrained
from loupe.models.vit import Encoder

Norm = partial(nn.LayerNorm, eps=1e-6)
RELEASED = MicronSwitches(layout="released", poi=False)
SMALL = dict(image=32, patch=8, width=128, depth=2, heads=2)


def test_the_loader_is_part_of_the_models_package():
    assert loupe.models.load_pretrained is load_pretrained
    with pytest.raises(AttributeError, match="load_pretrainde"):
        loupe.models.load_pretrainde  # noqa: B018


class Backbone(nn.Module):
    """A ViT as MAE and Micron-BERT write it down (their names of parameters), computed the plain way with a convolution."""

    def __init__(self, image, patch, width, depth, heads, pooled=False):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (image // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, norm_layer=Norm) for _ in range(depth))
        setattr(self, "fc_norm" if pooled else "norm", Norm(width))

    def forward(self, images):
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for part in self.blocks:
            x = part(x)
        return self.norm(x) if hasattr(self, "norm") else self.fc_norm(x[:, 1:].mean(1))


def randomise(module):
    """Move every weight off its neutral start: an exchanged norm or a lost bias must show."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return module.eval()


def decoder_tensors(width, patches, patch, small=64, depth=1, mask_token=True):
    blocks = nn.ModuleList(Block(small, 2, qkv_bias=True, norm_layer=Norm) for _ in range(depth))
    state = {f"decoder_blocks.{name}": t for name, t in blocks.state_dict().items()}
    state |= {"decoder_pos_embed": torch.randn(1, 1 + patches, small)}
    for name, (rows, columns) in {"embed": (small, width), "pred": (3 * patch * patch, small)}.items():
        state |= {f"decoder_{name}.weight": torch.randn(rows, columns), f"decoder_{name}.bias": torch.randn(rows)}
    state |= {"decoder_norm.weight": torch.ones(small), "decoder_norm.bias": torch.zeros(small)}
    return state | ({"mask_token": torch.randn(1, 1, small)} if mask_token else {})


def released_micron_bert(backbone, width, patches, patch, *, hidden=16, out=5, bottleneck=6):
    """State dict in the released layout, DINO parts included."""
    state = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    state |= {
        f"att.{n}.{s}": torch.randn((width, width) if s == "weight" else (width,))
        for n in ("to_q", "to_k", "to_v", "proj")
        for s in ("weight", "bias")
    }
    state |= decoder_tensors(width, patches, patch, small=width, mask_token=False)
    state |= {f"student.{k}": v for k, v in state.items() if k.startswith("backbone.")}
    state |= {f"teacher.backbone.{k}": torch.randn_like(v) for k, v in backbone.state_dict().items()}
    for side in ("student", "teacher"):
        sizes = {"0": (hidden, width), "2": (hidden, hidden), "4": (bottleneck, hidden)}
        for index, (rows, columns) in sizes.items():
            state |= {f"{side}.head.mlp.{index}.weight": torch.randn(rows, columns), f"{side}.head.mlp.{index}.bias": torch.randn(rows)}
        state |= {f"{side}.head.last_layer.weight_g": torch.ones(out, 1), f"{side}.head.last_layer.weight_v": torch.randn(out, bottleneck)}
    return state | {"dino_loss_fn.center": torch.randn(1, out)}


def write(tmp_path, case, size, heads=None):
    """A random network in one of the layouts: (path, network, recognised as, names that are expected to be left out)."""
    image, patch, width = size["image"], size["patch"], size["width"]
    patches, path = (image // patch) ** 2, tmp_path / f"{case}.pth"
    left_out = set()
    if case.startswith("timm"):
        pool = "avg" if case == "timm-pooled" else "token"
        network = randomise(VisionTransformer(img_size=image, patch_size=patch, embed_dim=width, depth=size["depth"],
                                              num_heads=size["heads"], num_classes=7, global_pool=pool, norm_layer=Norm))  # fmt: skip
        if case == "timm-safetensors":  # as on the Hugging Face hub
            path = path.with_suffix(".safetensors")
            save_file(network.state_dict(), path)
        else:
            torch.save({("module." if case == "timm-module" else "") + k: v for k, v in network.state_dict().items()}, path)
        return path, network, "timm", {"head.weight", "head.bias"}
    network = randomise(Backbone(image, patch, width, size["depth"], size["heads"], pooled=case == "mae-face-pooled"))
    state = dict(network.state_dict())
    args = argparse.Namespace(model="mae_vit", lr=1e-3, betas=[0.9, 0.95], resume="", nested={"a": None})
    layout = (
        "micron-bert" if case.startswith("micron-bert") else "mae-face" if case.startswith("mae-face") or case == "mae-encoder" else "mae"
    )
    if layout == "mae":
        state |= decoder_tensors(width, patches, patch)
    if case == "mae-face-pooled":
        state |= {"head.weight": torch.randn(7, width), "head.bias": torch.randn(7)}
        left_out = {"head.weight", "head.bias"}
    if layout == "micron-bert":
        state = released_micron_bert(network, width, patches, patch)
        left_out = {k for k in state if k.startswith("student.backbone") or k.endswith("weight_g")}
    if case.endswith("-module"):
        state = {f"module.{k}": v for k, v in state.items()}
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 799, "args": args}, path)
    return path, network, layout, left_out


CASES = ["timm", "timm-pooled", "timm-safetensors", "timm-module", "mae", "mae-encoder", "mae-module", "mae-face", "mae-face-pooled",
         "micron-bert", "micron-bert-module"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_foreign_layouts_load_with_equal_features(tmp_path, case, images):
    path, network, layout, left_out = write(tmp_path, case, SMALL)
    weights = read_weights(path)
    assert weights.layout == layout and set(weights.dropped) == left_out and all(weights.dropped.values())
    encoder = load_pretrained(path).eval()
    with torch.no_grad():
        if case == "timm-pooled":
            expected = network.fc_norm(network.forward_features(images())[:, 1:].mean(1))
        else:
            expected = network.forward_features(images()) if case.startswith("timm") else network(images())
        got = encoder.pooled(images()) if "pooled" in case else encoder.forward_features(images())
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_full_vit_b_16_loads_from_every_layout(tmp_path):
    """The published size, once through each family; half precision on disk is a case of its own. Every tensor is another window of one
    random tape, which a file holds once: the files stay small, yet no two tensors are alike. Norms scale by about 1, so that attention
    is far from even and depends on which rows are queries and on the number of heads.
    """
    with torch.device("meta"):
        network = VisionTransformer(img_size=224, patch_size=16, num_classes=0, norm_layer=Norm)
    network = network.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    tape = (0.12 * torch.rand(3_000_000, generator=generator) - 0.06).half()
    state = {name: tape[997 * i :][: t.numel()].view(t.shape) for i, (name, t) in enumerate(network.state_dict().items())}
    state |= {name: 1 + t for name, t in state.items() if re.search(r"norm\d?\.weight$", name)}
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    halved = lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}
    attention = {f"att.{n}.{s}": tape[: 768 * 768].view(768, 768) if s == "weight" else tape[:768] for n in ("to_q", "to_k", "to_v", "proj")
                 for s in ("weight", "bias")}  # fmt: skip
    micron = (
        {f"backbone.{name}": tensor for name, tensor in state.items()} | attention | halved(decoder_tensors(768, 196, 16, mask_token=False))
    )
    files = {
        "timm": state,
        "mae-face": {"model": state},
        "mae": {"model": state | halved(decoder_tensors(768, 196, 16)), "args": argparse.Namespace(epochs=1)},
        "micron-bert": {"model": {f"module.{name}": tensor for name, tensor in micron.items()}},
    }
    first = None
    for layout, content in files.items():
        path = tmp_path / f"{layout}.pth"
        torch.save(content, path)
        weights = read_weights(path)
        assert weights.layout == layout and weights.dropped == {} and len(weights.tensors) == len(content.get("model", content))
        encoder = load_pretrained(path).eval()
        path.unlink()
        assert (encoder.width, encoder.depth, encoder.heads, encoder.patch_size, encoder.image_size) == (768, 12, 12, 16, 224)
        if first is None:
            first, image = encoder, torch.randn(1, 3, 224, 224, generator=generator)
        else:
            assert all(torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), first.state_dict().values(), strict=True))
    with torch.no_grad():
        expected = network.forward_features(image)
        torch.testing.assert_close(first.forward_features(image), expected, rtol=1e-5, atol=1e-5)
        # What the comparison must see: one block that splits its heads otherwise, or takes queries for keys.
        attention = first.blocks[5].attn
        attention.num_heads, attention.head_dim, attention.scale = 16, 48, 48**-0.5
        assert (first.forward_features(image) - expected).abs().max() > 0.01
        attention.num_heads, attention.head_dim, attention.scale = 12, 64, 64**-0.5
        for part in (attention.qkv.weight, attention.qkv.bias):
            part.copy_(part.unflatten(0, (3, 768))[[1, 0, 2]].flatten(0, 1))
        assert (first.forward_features(image) - expected).abs().max() > 0.01


def models(nano):
    options = dict(width=64, heads=2)
    dino = dict(decoder_depth=1, decoder_heads=2, agreement=DinoAgreement(hidden=8, bottleneck=4, out=5))
    yield "encoder", nano(**options)
    yield "mae", MaskedAutoencoder(nano(**options), decoder_width=16, decoder_depth=1, decoder_heads=2)
    yield "micron-bert", MicronBert(nano(**options), **dino, switches=RELEASED)
    yield "micron-bert-paper", MicronBert(nano(**options), **dino)
    yield "dual-view", DualViewClassifier(nano(**options), classes=3, fuse_at=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", range(5))
def test_export_then_import_is_the_identity(nano, tmp_path, layout, which):
    name, model = list(models(nano))[which]
    path = tmp_path / ("out.safetensors" if layout == "loupe" else "out.pth")
    dropped = save_pretrained(randomise(model), path, layout)
    back = read_weights(path)
    ours = {("encoder." if name == "encoder" else "") + k: v for k, v in model.state_dict().items()}
    assert back.tensors.keys() | dropped.keys() == ours.keys() and not back.tensors.keys() & dropped.keys()
    for key, tensor in back.tensors.items():
        assert torch.equal(tensor, ours[key]), key
    whole = layout == "loupe" or name == "encoder" or name == layout
    scheduled = {"teacher_temp"} & dropped.keys()  # not a weight, and constant in the released code
    assert bool(dropped.keys() - scheduled) != whole and all(dropped.values())
    assert not scheduled or layout != "loupe"
    encoder = load_pretrained(path, heads=2)
    torch.testing.assert_close(encoder.state_dict(), (model if name == "encoder" else model.encoder).state_dict(), rtol=0, atol=0)


def test_released_micron_bert_loads_whole_into_ours(tmp_path, images):
    path, network, _, left_out = write(tmp_path, "micron-bert", SMALL)
    dino = DinoAgreement(hidden=16, bottleneck=6, out=5)
    model = MicronBert(load_pretrained(path), decoder_depth=1, decoder_heads=2, switches=RELEASED, agreement=dino)
    assert set(load_into(model, path)) == left_out
    state = torch.load(path, weights_only=False)["model"]
    assert torch.equal(model.head.last, state["student.head.last_layer.weight_v"])
    assert torch.equal(model.teacher_encoder.pos_embed, state["teacher.backbone.pos_embed"])
    with torch.no_grad():
        torch.testing.assert_close(model.features_single(images())[:, :128], network(images())[:, 1:].mean(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", ["timm", "mae", "mae-face", "micron-bert"])
@pytest.mark.parametrize("second", LAYOUTS)
def test_convert_any_layout_into_any_other(tmp_path, images, first, second):
    path, network, _, _ = write(tmp_path, first, SMALL)
    target = tmp_path / ("new.safetensors" if second == "loupe" else "new.pth")
    report = convert(path, target, None if second == "loupe" else second)
    assert (report.source, report.target) == (first, second)
    # A mae file without its decoder *is* a mae-face file: nothing else tells them apart.
    expected = "mae-face" if second == "mae" and first != "mae" else second
    assert read_weights(target).layout == expected
    a, b = load_pretrained(path, heads=2), load_pretrained(target, heads=2)
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)
    kept = read_weights(target).tensors
    assert report.written == len(kept)
    if first == second or second == "loupe":
        whole = read_weights(path).tensors
        assert kept.keys() == whole.keys() and all(torch.equal(kept[k], whole[k]) for k in kept)


def test_convert_needs_to_know_the_layout(tmp_path):
    path, *_ = write(tmp_path, "timm", SMALL)
    with pytest.raises(LoupeError, match=r"new\.pth.*mae-face"):
        convert(path, tmp_path / "new.pth")
    with pytest.raises(LoupeError, match="vissl.*micron-bert"):
        convert(path, tmp_path / "new.pth", "vissl")
    assert not (tmp_path / "new.pth").exists()


def test_convolution_and_linear_are_each_others_inverse():
    weight = torch.randn(5, 3, 4, 4)
    assert torch.equal(linear_to_convolution(convolution_to_linear(weight)), weight)


@pytest.mark.parametrize("size", [16, 48])
def test_other_resolutions_resample_positions_bicubically(tmp_path, size):
    path, network, _, _ = write(tmp_path, "mae-face", SMALL)
    encoder = load_pretrained(path, image_size=size)
    side = size // 8
    table = network.pos_embed[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(table, (side, side), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.pos_embed[:, 1:], expected)
    assert torch.equal(encoder.pos_embed[:, :1], network.pos_embed[:, :1])
    assert encoder(torch.randn(1, 3, size, size)).shape == (1, 1 + side * side, 128)


def test_resampling_smooth_positions_stays_near_the_fresh_table(nano, tmp_path):
    """Sine-cosine positions of a 4 x 4 grid stretched to 8 x 8 follow the slow waves of the table, at half the pace."""
    save_pretrained(nano(width=64), tmp_path / "e.safetensors")
    stretched = load_pretrained(tmp_path / "e.safetensors", image_size=64).pos_embed[0, 1:].reshape(8, 8, 64)
    fresh = sincos_positions(64, (4, 4))[0, 1:].reshape(4, 4, 64)
    pairs = stretched.reshape(4, 2, 4, 2, 64).mean((1, 3))
    assert (pairs - fresh)[1:3, 1:3].abs().max() < 0.1


def test_normalisation_is_folded_exactly(tmp_path):
    path, network, _, _ = write(tmp_path, "mae-face", SMALL)
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    with torch.no_grad():
        expected = network((pixels - mean) / deviation)
        got = load_pretrained(path, trained_with=IMAGENET).eval()((pixels - 0.5) / 0.25)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_heads_come_from_header_then_size_then_convention(nano, tmp_path):
    save_pretrained(nano(width=32, heads=4), tmp_path / "header.safetensors")
    assert load_pretrained(tmp_path / "header.safetensors").heads == 4
    plain = {k: v.contiguous() for k, v in nano(width=128, depth=6, heads=4).state_dict().items()}
    save_file(plain, tmp_path / "plain.safetensors")  # as the training checkpoints are
    assert load_pretrained(tmp_path / "plain.safetensors").heads == 4
    for odd in (dict(width=32), dict(width=128, depth=4, heads=4)):  # no named size: 64 channels a head would be wrong in silence
        save_file({k: v.contiguous() for k, v in nano(**odd).state_dict().items()}, tmp_path / "odd.safetensors")
        with pytest.raises(LoupeError, match=r"odd\.safetensors.*heads="):
            load_pretrained(tmp_path / "odd.safetensors")
        assert load_pretrained(tmp_path / "odd.safetensors", heads=2).heads == 2


# ---- damaged and hostile files


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def rewrite(path, drop, **stated):
    """A safetensors file without the tensors whose name starts with `drop`; its header as it was, but for `stated`."""
    with safe_open(path, framework="pt") as file:
        settings, tensors = json.loads(file.metadata()["loupe"]), {k: file.get_tensor(k) for k in file.keys() if not k.startswith(drop)}
    save_file(tensors, path, metadata={"loupe": json.dumps(settings | stated)})


def damaged(tmp_path, how):
    path, *_ = write(tmp_path, "mae-face", SMALL)
    whole = path.read_bytes()
    content = torch.load(path, weights_only=False)
    if how == "absent":
        path = tmp_path / "nowhere.pth"
    elif how == "folder":
        path = tmp_path
    elif how == "empty":
        path.write_bytes(b"")
    elif how.startswith("truncated"):
        path.write_bytes(whole[: {"truncated-start": 5, "truncated-half": len(whole) // 2, "truncated-end": len(whole) - 30}[how]])
    elif how == "text":
        path.write_text("404: not found")
    elif how == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif how == "flipped":
        path.write_bytes(whole.replace(b"data.pkl", b"dbta.pkl"))
    elif how == "missing":
        del content["model"]["blocks.1.mlp.fc2.weight"]
    elif how == "no-positions":
        del content["model"]["pos_embed"]
    elif how == "misshapen":
        content["model"]["blocks.1.mlp.fc2.weight"] = torch.zeros(3, 3)
    elif how == "odd-patch":
        content["model"]["patch_embed.proj.weight"] = torch.zeros(128, 3, 8, 4)
    elif how == "no-square":
        content["model"]["pos_embed"] = torch.zeros(1, 12, 128)
    elif how == "unexpected":
        content["model"]["blocks.0.ls1.gamma"] = torch.zeros(128)
    elif how == "other-network":
        content = {"model": {"layer1.0.conv1.weight": torch.zeros(3)}}
    elif how == "no-tensors":
        content = {"model": {"a": 1}}
    elif how == "list":
        content = [torch.zeros(3)]
    elif how == "safetensors":
        path = tmp_path / "cut.safetensors"
        save_file({"patch_embed.weight": torch.zeros(8, 8)}, path)
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "header":
        path = tmp_path / "bad.safetensors"
        path.write_bytes((20).to_bytes(8, "little") + b"{" + bytes(30))
    elif how.startswith("stated") or how in ("last-block", "last-decoder-block", "no-decoder"):
        path = tmp_path / "ours.safetensors"
        encoder = Encoder(image_size=16, patch_size=8, width=64, depth=2, heads=2)
        save_pretrained(MaskedAutoencoder(encoder, decoder_width=32, decoder_depth=2, decoder_heads=2), path)
        drop = {"last-block": "encoder.blocks.1.", "last-decoder-block": "decoder.blocks.1.", "no-decoder": ("decoder.", "mask_token")}.get(
            how, "-"
        )
        rewrite(path, drop, **{"stated-image": {"image_size": 32}, "stated-heads": {"heads": 3}, "stated-word": {"depth": "2"},
                               "stated-endless": {"depth": 10**9}}.get(how, {}))  # fmt: skip
    elif how == "named-network":
        content["args"].model = "mae_vit_base_patch16"  # which has 12 blocks
        torch.save(content, path)
    elif how == "named-decoder":
        path, *_ = write(tmp_path, "mae", SMALL)
        content = torch.load(path, weights_only=False)
        for index in range(2, 12):
            content["model"] |= {
                k.replace("blocks.1.", f"blocks.{index}."): v for k, v in content["model"].items() if k.startswith("blocks.1.")
            }
        content["args"].model = "mae_vit_base_patch16_dec64d2b"
        torch.save(content, path)
    if how in ("missing", "no-positions", "misshapen", "odd-patch", "no-square", "unexpected", "other-network", "no-tensors", "list"):
        torch.save(content, path)
    return path


DAMAGES = ["absent", "folder", "empty", "truncated-start", "truncated-half", "truncated-end", "text", "picture", "flipped", "missing",
           "no-positions", "misshapen", "odd-patch", "no-square", "unexpected", "other-network", "no-tensors", "list", "safetensors",
           "header", "last-block", "last-decoder-block", "no-decoder", "stated-image", "stated-heads", "stated-word", "stated-endless",
           "named-network", "named-decoder"]  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_files_are_named_in_one_sentence(tmp_path, how):
    path = damaged(tmp_path, how)
    for act in (load_pretrained, lambda p: convert(p, tmp_path / "new.safetensors")):
        with pytest.raises(LoupeError) as caught:
            act(path)
        message = str(caught.value)
        assert str(path) in message and "\n" not in message and len(message) < 400 + len(str(path))
    named = {"missing": "blocks.1.mlp.fc2.weight", "misshapen": "(3, 3)", "unexpected": "ls1.gamma", "no-positions": "pos_embed",
             "last-block": "lacks blocks.1.", "last-decoder-block": "lacks decoder.blocks.1.", "no-decoder": "lacks decoder.",
             "stated-image": "pos_embed", "stated-heads": "heads", "stated-word": "depth", "stated-endless": "blocks",
             "named-network": "lacks blocks.10.", "named-decoder": "lacks decoder_blocks.1."}  # fmt: skip
    assert named.get(how, "") in message
    assert not (tmp_path / "new.safetensors").exists()


TINY = dict(image=16, patch=8, width=64, depth=1, heads=1)


@pytest.mark.parametrize("damage", ["missing", "misshapen", "scalar"])
@pytest.mark.parametrize("layout", ["mae", "micron-bert"])
def test_every_tensor_of_every_part_is_checked(tmp_path, layout, damage):
    """Encoder, decoder, attention, heads, teacher: whichever tensor is damaged is named by the name it has in the file."""
    path, _, _, left_out = write(tmp_path, layout, TINY)
    whole = torch.load(path, weights_only=False)["model"]
    for index, name in enumerate(sorted(whole.keys() - left_out)):
        state = dict(whole)
        if damage == "missing":
            del state[name]
        else:
            *rest, last = whole[name].shape
            state[name] = torch.zeros(()) if damage == "scalar" else torch.zeros(*rest, last + 1)
        torch.save({"model": state}, path)
        with pytest.raises(LoupeError, match=rf"{re.escape(str(path))}.*\b{re.escape(name)}\b"):
            load_pretrained(path) if index % 2 else convert(path, tmp_path / "new.safetensors")  # they share the check
    assert not (tmp_path / "new.safetensors").exists()


def test_a_deeper_network_is_not_cut_to_fit(nano, tmp_path):
    save_pretrained(nano(depth=3), tmp_path / "deep.safetensors")
    with pytest.raises(LoupeError, match=r"deep\.safetensors has an unexpected blocks\.2\."):
        load_into(nano(depth=2), tmp_path / "deep.safetensors")


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle", "args", "protocol-4"])
def test_a_file_that_pickles_code_is_refused_unexecuted(tmp_path, form):
    marker, path = tmp_path / "executed", tmp_path / "bomb.pth"
    bomb = Bomb(str(marker))
    if form == "pickle":
        path.write_bytes(pickle.dumps(bomb, protocol=2))
    elif form == "protocol-4":
        path.write_bytes(pickle.dumps({"model": bomb}, protocol=4))
    else:
        content = {"model": {"cls_token": torch.zeros(1)}, "args": bomb} if form == "args" else {"model": bomb}
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(LoupeError) as caught:
        load_pretrained(path)
    assert not marker.exists()
    assert "bomb.pth" in str(caught.value) and "\n" not in str(caught.value)
    assert "mkdir" in str(caught.value) or form == "protocol-4"  # torch's reader stops there before it reaches the name
    # The bomb is live: the same bytes do run where somebody loads them carelessly.
    if form == "torch":
        torch.load(path, weights_only=False)
        assert marker.exists()


@pytest.mark.parametrize("inside", [datetime.date(2026, 1, 1), np.array([object()])], ids=["date", "object-array"])
def test_a_namespace_that_carries_something_else_inside_is_refused_too(tmp_path, inside):
    path = tmp_path / "inside.pth"
    torch.save({"model": {"cls_token": torch.zeros(1)}, "args": argparse.Namespace(started=inside)}, path)
    with pytest.raises(LoupeError, match=r"inside\.pth pickles (datetime|numpy)\S+, not only tensors.*saves it again as torch\.save"):
        load_pretrained(path)


def test_numbers_of_numpy_and_paths_beside_the_weights_are_no_programs(tmp_path):
    path, network, *_ = write(tmp_path, "mae-face", SMALL)
    content = torch.load(path, weights_only=False)
    content |= {"best": [np.float64(0.5), np.float32(1), np.int64(3), np.bool_(True)], "output": [tmp_path, PureWindowsPath("C:/runs")]}
    torch.save(content, path)
    assert torch.equal(load_pretrained(path).cls_token, network.cls_token)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.model.module.", "encoder."])
@pytest.mark.parametrize("case", ["timm", "mae", "micron-bert"])
def test_what_wrappers_put_into_the_names_is_taken_off(tmp_path, case, prefix):
    path, *_ = write(tmp_path, case, SMALL)
    plain, content = read_weights(path), torch.load(path, weights_only=False)
    state = {prefix + name: tensor for name, tensor in content.get("model", content).items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 1e-3}}, path)
    wrapped = read_weights(path)
    assert wrapped.dropped == plain.dropped and wrapped.tensors.keys() == plain.tensors.keys()
    assert all(torch.equal(tensor, plain.tensors[name]) for name, tensor in wrapped.tensors.items())


def test_blocks_compiled_one_by_one_and_our_own_files_under_a_prefix(nano, tmp_path):
    tensors = {f"model.{name}".replace("mlp.", "_orig_mod.mlp."): tensor for name, tensor in nano().state_dict().items()}
    save_file(tensors, tmp_path / "ours.safetensors")
    assert read_weights(tmp_path / "ours.safetensors").only_encoder().keys() == nano().state_dict().keys()


def test_two_networks_side_by_side_are_not_taken_for_one(tmp_path):
    path, network, *_ = write(tmp_path, "timm", SMALL)
    state = network.state_dict()
    torch.save({f"{side}.{name}": tensor for side in ("left", "right") for name, tensor in state.items()}, path)
    with pytest.raises(LoupeError, match="no layout"):
        load_pretrained(path)


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_gain_of_the_dino_head_concerns_only_who_asks_for_the_head(tmp_path, images, side):
    path, network, *_ = write(tmp_path, "micron-bert", SMALL)
    content = torch.load(path, weights_only=False)
    content["model"][f"{side}.head.last_layer.weight_g"] *= 1.5
    torch.save(content, path)
    with pytest.warns(UserWarning, match=r"micron-bert\.pth: left out student\.head.*is not 1"), torch.no_grad():
        torch.testing.assert_close(load_pretrained(path).eval()(images()), network(images()), rtol=1e-5, atol=1e-5)
    report = convert(path, tmp_path / "new.safetensors")
    assert sum("is not 1" in reason for reason in report.dropped.values()) == 1
    assert "attention.proj.bias" in read_weights(tmp_path / "new.safetensors").tensors
    part = dict(decoder_depth=1, decoder_heads=2, switches=RELEASED)
    with pytest.warns(UserWarning):
        load_into(MicronBert(load_pretrained(path), **part), path)
    model = MicronBert(load_pretrained(tmp_path / "new.safetensors"), **part, agreement=DinoAgreement(hidden=16, bottleneck=6, out=5))
    with pytest.raises(LoupeError, match=r"micron-bert\.pth.*DINO head.*is not 1"):
        load_into(model, path)


def test_allow_list_does_not_leak(tmp_path):
    path, *_ = write(tmp_path, "mae", SMALL)
    load_pretrained(path)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_header_of_our_own_files_is_readable_json(nano, tmp_path):
    save_pretrained(nano(), tmp_path / "e.safetensors")
    blob = (tmp_path / "e.safetensors").read_bytes()
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    assert json.loads(header["__metadata__"]["loupe"])["heads"] == 2


def test_the_decoders_size_is_in_the_header_of_written_and_converted_files(nano, tmp_path):
    save_pretrained(MaskedAutoencoder(nano(), decoder_width=16, decoder_depth=3, decoder_heads=2), tmp_path / "mae.safetensors")
    convert(tmp_path / "mae.safetensors", tmp_path / "mae.pth", "mae")
    convert(tmp_path / "mae.pth", tmp_path / "back.safetensors", heads=2)
    for name in ("mae", "back"):
        settings = read_weights(tmp_path / f"{name}.safetensors").settings
        assert (settings["depth"], settings["decoder_depth"], settings["decoder_width"]) == (2, 3, 16)

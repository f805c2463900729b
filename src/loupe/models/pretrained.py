"""Networks out of checkpoints, checked, and back: our own, MAE's, MAE-Face's, timm's, Micron-BERT's (`loupe.models.layouts`)."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.agreement import DinoHead
from loupe.models.layouts import DINO_PARTS, Weights, name_in, recognise, to_loupe, unwrap
from loupe.models.micro_attention import MicroAttention
from loupe.models.vit import CHANNELS, SIZES, Decoder, Encoder
from loupe.models.weight_files import ENCODER, read_tensors, write_weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LOUPE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def load_pretrained(
    path: str | os.PathLike,
    *,
    image_size: int | None = None,
    heads: int | None = None,
    drop_path: float = 0.0,
    trained_with: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Encoder:
    """The encoder in a checkpoint of any known layout, in float32, on the CPU: `forward_features(images) -> (B, 1 + L, D)`.

    image_size: another resolution than the file's; positions are resampled bicubically (anti-aliased where the grid shrinks). heads:
    only where the file does not tell (see `_heads`). trained_with: (mean, deviation) of the pixels in 0..1 that the network was trained
    with, `IMAGENET` for MAE, MAE-Face and Micron-BERT: the difference to Loupe's own (x - .5) / .25 is folded into the patch embedding,
    exactly. None: the network as stored, to be fed as its makers fed it.
    Raises LoupeError naming the file: absent, empty, truncated, no known layout, a tensor missing or misshapen (of the decoder, attention
    and DINO's heads, too, where the file has them). A file that does not state its depth and lacks whole blocks at the end is a shallower
    network: nothing tells the two apart.
    """
    weights = read_weights(path)
    if DINO_PARTS in weights.dropped:
        warnings.warn(f"{path}: left out {DINO_PARTS} ({weights.dropped[DINO_PARTS]})", stacklevel=2)
    settings = check_parts(weights, heads, str(path))
    settings = {name: settings[name] for name in ENCODER}
    state = {name: tensor.float() for name, tensor in weights.only_encoder().items()}
    if image_size is not None and image_size != settings["image_size"]:
        settings["image_size"] = image_size
        side = image_size // settings["patch_size"]
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [side, side], num_prefix_tokens=1)
    with torch.device("meta"):  # no time spent on drawing weights that are replaced at once
        encoder = Encoder(**settings, drop_path=drop_path)
    encoder.load_state_dict(state, assign=True)
    if trained_with is not None:
        fold_normalisation(encoder, *trained_with)
    return encoder


def load_into(model: nn.Module, path: str | os.PathLike) -> dict[str, str]:
    """Fill an existing model of Loupe (MaskedAutoencoder, MicronBert, ...) from a checkpoint of any layout that holds all its tensors.

    Returns the tensors of the file that were left out, with the reason. Raises LoupeError as `load_pretrained` does.
    """
    weights = read_weights(path)
    prefix = "encoder." if isinstance(model, Encoder) else ""
    expected = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    if DINO_PARTS in weights.dropped and "head.last" in expected:
        raise LoupeError(
            f"{path} does not give this model its DINO head ({weights.dropped[DINO_PARTS]}): load it without, or take another file."
        )
    # A block more than the model has is no part of its own: the file holds a deeper network, and `check` says so.
    blocks = tuple(f"{part}.blocks." for part in ("encoder", "decoder", "teacher_encoder") if f"{part}.norm.weight" in expected)
    state = {name: tensor for name, tensor in weights.tensors.items() if name in expected or name.startswith(blocks)}
    spare = {name: "no such part in this model" for name in weights.tensors.keys() - state.keys()}
    if "teacher_temp" in expected and weights.layout == "micron-bert":
        state["teacher_temp"] = expected["teacher_temp"]  # constant in the released code, hence not in its files
    check(state, expected, str(path), weights.layout)
    model.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return weights.dropped | spare


def read_weights(path: str | os.PathLike) -> Weights:
    """A checkpoint under Loupe's names. Raises LoupeError naming the file."""
    state, wrapped, settings = read_tensors(Path(path))
    state = unwrap(state)
    weights = to_loupe(state, recognise(state, wrapped, str(path)), str(path))
    weights.settings = settings
    return weights


def check_parts(weights: Weights, heads: int | None, where: str) -> dict[str, float]:
    """The settings of the network in a checkpoint (`weight_files.STATED`; those of the decoder where there is one), worked out from what it
    states, then from its shapes.

    Raises LoupeError naming the file `where` and the tensor unless every part that the file holds is whole and fits the others: encoder,
    decoder, DMA's attention, DINO's heads and teacher. Of our own files, Fusion Attention and classifiers are left to `load_into`, which
    knows the model.
    """
    settings = _encoder_settings(weights, heads, where)
    tensors = weights.tensors
    try:
        with torch.device("meta"):
            encoder = Encoder(**settings)
            expected = _named("encoder.", encoder)
            promised = weights.layout == "loupe" and "decoder_depth" in weights.settings  # MAE's arguments stand in encoder-only files, too
            if promised or any(name.startswith(("decoder.", "mask_token")) for name in tensors):
                decoder = _decoder_settings(weights, where)
                settings |= {f"decoder_{name}": value for name, value in decoder.items()}
                expected |= _named("decoder.", Decoder(encoder, **decoder, heads=1))  # heads: no tensor depends on them
                if weights.layout == "mae" or "mask_token" in tensors:
                    expected["mask_token"] = torch.empty(1, 1, decoder["width"])
            if any(name.startswith("attention.") for name in tensors):
                released = weights.layout == "micron-bert" or any(name.startswith("attention.proj.") for name in tensors)
                kind = dict(layout="released", poi=False) if released else {}
                expected |= _named("attention.", MicroAttention(encoder.width, **kind))
            if any(name.startswith(_DINO) for name in tensors):
                head = DinoHead(encoder.width, **_head_settings(weights, where))
                expected |= _named("head.", head) | _named("teacher_head.", head) | _named("teacher_encoder.", encoder)
                expected["centre"] = torch.empty(len(head.last))
    except LoupeError as error:
        if where in str(error):
            raise
        raise LoupeError(f"{where} states or holds no possible network: {error}") from error
    parts = ("encoder.", "decoder.", "attention.", "mask_token", *_DINO)
    check({name: tensor for name, tensor in tensors.items() if name.startswith(parts)}, expected, where, weights.layout)
    return settings


_DINO = ("head.mlp.", "head.last", "teacher_head.", "teacher_encoder.", "centre")


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def save_pretrained(model: nn.Module, path: str | os.PathLike, layout: str = "loupe") -> dict[str, str]:
    """Write a model of Loupe in any layout; returns what the layout could not hold, with the reason.

    `loupe` is safetensors with the sizes of encoder and decoder in its header; the others are torch files.
    """
    encoder = model if isinstance(model, Encoder) else model.encoder
    prefix = "encoder." if model is encoder else ""
    tensors = {prefix + name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    settings = {name: getattr(encoder, name) for name in ENCODER}
    if isinstance(decoder := getattr(model, "decoder", None), Decoder):
        settings |= {"decoder_width": decoder.width, "decoder_depth": len(decoder.blocks)}
    return write_weights(Weights("loupe", tensors, settings=settings), Path(path), layout)


@dataclass(frozen=True)
class Conversion:
    """What `convert` did: layouts, number of tensors written, and what was left out with the reason."""

    source: str
    target: str
    written: int
    dropped: dict[str, str]


def convert(source: str | os.PathLike, target: str | os.PathLike, layout: str | None = None, heads: int | None = None) -> Conversion:
    """Rewrite the checkpoint `source` as `target` in `layout` (default: loupe for *.safetensors; else it must be given).

    Raises LoupeError naming the file; `target` is written whole or not at all.
    """
    target = Path(target)
    if layout is None:
        if target.suffix != ".safetensors":
            raise LoupeError(
                f"{target} does not tell its layout: name it *.safetensors for Loupe's own, "
                "or give one of mae, mae-face, timm, micron-bert."
            )
        layout = "loupe"
    weights = read_weights(source)
    weights.settings = check_parts(weights, heads, str(source))
    lost = write_weights(weights, target, layout)
    return Conversion(weights.layout, layout, len(weights.tensors) - len(lost), weights.dropped | lost)


@torch.no_grad()
def fold_normalisation(encoder: Encoder, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
    """Make an encoder trained on (x - mean) / deviation, x in 0..1, give the same tokens on Loupe's (x - .5) / .25; in place, exact.

    With y = (x - .5) / .25 its input is (.25 y + .5 - mean) / deviation, channel by channel: a scale on the weights, a shift on the bias.
    """
    kind = dict(dtype=encoder.patch_embed.weight.dtype, device=encoder.patch_embed.weight.device)
    mean, deviation = torch.tensor(mean, **kind), torch.tensor(deviation, **kind)
    centre, spread = torch.tensor(LOUPE[0], **kind), torch.tensor(LOUPE[1], **kind)
    weight = encoder.patch_embed.weight.unflatten(1, (-1, CHANNELS))  # (D, P*P, C)
    encoder.patch_embed.bias += (weight * ((centre - mean) / deviation)).sum(dim=(1, 2))
    encoder.patch_embed.weight.copy_((weight * (spread / deviation)).flatten(1))


def check(state: dict[str, Tensor], expected: dict[str, Tensor], where: str, layout: str) -> None:
    """Raise LoupeError naming `where` and the tensor, as `layout` calls it, unless `state` has exactly the names and shapes of
    `expected`."""
    missing, spare = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or spare:
        what = f"lacks {name_in(missing[0], layout)}" if missing else f"has an unexpected {name_in(spare[0], layout)}"
        more = len(missing or spare) - 1
        raise LoupeError(f"{where} {what}{f' and {more} more' if more else ''}: it is incomplete or of another network; take another file.")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            found, needed = tuple(state[name].shape), tuple(tensor.shape)
            raise LoupeError(
                f"{where}: {name_in(name, layout)} has shape {found} where {needed} is needed; take a file that fits this network."
            )


def _encoder_settings(weights: Weights, heads: int | None, where: str) -> dict[str, float]:
    """Arguments of `Encoder`: what the file states, else what its shapes tell; raises LoupeError where a tensor that tells is missing or
    odd."""
    stated, size = weights.settings, lambda *places: _size(weights, where, *((f"encoder.{name}", axis) for name, axis in places))
    width = size(("cls_token", -1), ("pos_embed", -1), ("patch_embed.bias", 0), ("norm.weight", 0), ("norm.bias", 0))
    hidden = size(*((f"blocks.0.mlp.{name}", axis) for name, axis in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1))))
    patch = max(math.isqrt(size(("patch_embed.weight", 1)) // CHANNELS), 1)
    rows = size(("pos_embed", 1))
    side = math.isqrt(max(rows - 1, 0))
    if side < 1 or side * side != rows - 1:
        where_it_is = name_in("encoder.pos_embed", weights.layout)
        raise LoupeError(f"{where}: {where_it_is} has {rows} rows, not 1 + a square; only square images with class token fit.")
    settings = dict(image_size=side * patch, patch_size=patch, width=width, mlp_ratio=hidden / width)
    settings["depth"] = _depth(weights, r"(?:teacher_)?encoder\.blocks\.(\d+)\.|student\.backbone\.blocks\.(\d+)\.")
    settings |= {name: stated[name] for name in ENCODER if name in stated}
    _credible(settings["depth"], weights, where)
    settings["heads"] = heads or settings.get("heads") or _heads(weights.layout, settings["width"], settings["depth"], where)
    return settings


def _decoder_settings(weights: Weights, where: str) -> dict[str, int]:
    """Width and depth of the decoder: what the file states, else what its shapes tell."""
    places = (("decoder.embed.weight", 0), ("decoder.embed.bias", 0), ("decoder.pos_embed", -1), ("decoder.norm.weight", 0),
              ("decoder.norm.bias", 0), ("decoder.pred.weight", 1))  # fmt: skip
    width, depth = weights.settings.get("decoder_width"), weights.settings.get("decoder_depth")
    depth = _credible(depth or _depth(weights, r"decoder\.blocks\.(\d+)\."), weights, where)
    return {"width": width or _size(weights, where, *places), "depth": depth}


def _head_settings(weights: Weights, where: str) -> dict[str, int]:
    """Sizes of DINO's head, from student's and teacher's."""
    size = lambda *places: _size(weights, where, *((side + name, axis) for side in ("head.", "teacher_head.") for name, axis in places))
    return {
        "hidden": size(("mlp.0.weight", 0), ("mlp.0.bias", 0), ("mlp.2.bias", 0)),
        "bottleneck": size(("mlp.4.weight", 0), ("mlp.4.bias", 0), ("last", 1)),
        "out": size(("last", 0)),
    }


def _size(weights: Weights, where: str, *places: tuple[str, int]) -> int:
    """The size that most of these (tensor, axis) agree on: so a misshapen tensor is told from the others, not the others from it."""
    tensors = weights.tensors
    found = [tensors[name].shape[axis] for name, axis in places if name in tensors and -tensors[name].ndim <= axis < tensors[name].ndim]
    if not found or not (best := Counter(found).most_common(1)[0][0]):
        raise LoupeError(f"{where} lacks {name_in(places[0][0], weights.layout)}, or it is empty: it is incomplete; take another file.")
    return best


def _depth(weights: Weights, pattern: str) -> int:
    """1 + the highest number of a block, at least 1; a gap below it shows as a missing tensor."""
    matches = (re.match(pattern, name) for name in (*weights.tensors, *weights.dropped))
    return 1 + max((int(match[match.lastindex]) for match in matches if match), default=0)


def _credible(depth: int, weights: Weights, where: str) -> int:
    """A number of blocks that the file can hold; a stranger's number must not build a network without end."""
    if depth > len(weights.tensors):
        raise LoupeError(f"{where} holds {len(weights.tensors)} tensors, too few for {depth} blocks: it is incomplete; take another file.")
    return depth


def _heads(layout: str, width: int, depth: int, where: str) -> int:
    """The number of heads, which no tensor's shape tells: Micron-BERT's 4, Loupe's named sizes; in foreign files 64 channels a head, as all
    published ViTs have. A file of ours without header is of any size: nothing is guessed.
    """
    if layout == "micron-bert" and width == 512:
        return 4
    if layout == "loupe":
        for size in SIZES.values():
            if (size.width, size.depth) == (width, depth):
                return size.heads
        raise LoupeError(
            f"{where} ({width} wide, {depth} blocks) does not tell its number of attention heads; give it as heads=, if it is whole."
        )
    if width % 64:
        raise LoupeError(f"{where} does not tell its number of attention heads (width {width}); give it as heads=.")
    return width // 64

"""Read, check, convert and write checkpoints: our own, MAE's, MAE-Face's, timm's, Micron-BERT's (`loupe.models.layouts`).

Strangers' files are data, never programs: safetensors, or torch files through `weights_only=True` with `argparse.Namespace` (plain
attributes; MAE and Micron-BERT store their arguments so) as the one addition. A file that pickles anything else is refused unexecuted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from loupe.errors import LoupeError
from loupe.models.layouts import WRAPPED, Weights, from_loupe, recognise, to_loupe
from loupe.models.vit import SIZES, Encoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LOUPE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def load_pretrained(
    path: str | os.PathLike,
    *,
    image_size: int | None = None,
    heads: int | None = None,
    drop_path: float = 0.0,
    checkpoint_blocks: bool = False,
    trained_with: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Encoder:
    """The encoder in a checkpoint of any known layout, in float32, on the CPU: `forward_features(images) -> (B, 1 + L, D)`.

    image_size: another resolution than the file's; positions are resampled bicubically (anti-aliased where the grid shrinks). heads:
    only where the file does not tell (see `_heads`). trained_with: (mean, deviation) of the pixels in 0..1 that the network was trained
    with, `IMAGENET` for MAE, MAE-Face and Micron-BERT: the difference to Loupe's own (x - .5) / .25 is folded into the patch embedding,
    exactly. None: the network as stored, to be fed as its makers fed it.
    Raises LoupeError naming the file: absent, empty, truncated, no known layout, a tensor missing or misshapen.
    """
    weights = read_weights(path)
    state = {name: tensor.float() for name, tensor in weights.only_encoder().items()}
    settings = _settings(weights, state, heads, str(path))
    with torch.device("meta"):
        expected = Encoder(**settings).state_dict()
    check(state, expected, str(path))
    if image_size is not None and image_size != settings["image_size"]:
        settings["image_size"] = image_size
        side = image_size // settings["patch_size"]
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [side, side], num_prefix_tokens=1)
    with torch.device("meta"):  # no time spent on drawing weights that are replaced at once
        encoder = Encoder(**settings, drop_path=drop_path, checkpoint_blocks=checkpoint_blocks)
    encoder.load_state_dict(state, assign=True)
    if trained_with is not None:
        fold_normalisation(encoder, *trained_with)
    return encoder


def load_into(model: nn.Module, path: str | os.PathLike) -> dict[str, str]:
    """Fill an existing model of Loupe (MaskedAutoencoder, MicronBert, ...) from a checkpoint of any layout that holds all its tensors.

    Returns the tensors of the file that were left out, with the reason. Raises LoupeError as `load_pretrained` does.
    """
    weights = read_weights(path)
    bare = isinstance(model, Encoder)
    state = weights.only_encoder() if bare else weights.tensors
    expected = model.state_dict()
    spare = {name: "no such part in this model" for name in weights.tensors if name.removeprefix("encoder." * bare) not in expected}
    state = {name: tensor for name, tensor in state.items() if name in expected}
    if "teacher_temp" in expected and weights.layout == "micron-bert":
        state["teacher_temp"] = expected["teacher_temp"]  # constant in the released code, hence not in its files
    check(state, expected, str(path))
    model.load_state_dict(state)
    return weights.dropped | spare


def read_weights(path: str | os.PathLike) -> Weights:
    """A checkpoint under Loupe's names. Raises LoupeError naming the file."""
    state, wrapped, settings = _read(Path(path))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    weights = to_loupe(state, recognise(state, wrapped, str(path)), str(path))
    weights.settings = settings
    return weights


def save_pretrained(model: nn.Module, path: str | os.PathLike, layout: str = "loupe") -> dict[str, str]:
    """Write a model of Loupe in any layout; returns what the layout could not hold, with the reason.

    `loupe` is safetensors with the encoder's settings in its header; the others are torch files.
    """
    encoder = model if isinstance(model, Encoder) else model.encoder
    prefix = "encoder." if model is encoder else ""
    tensors = {prefix + name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    names = ("image_size", "patch_size", "width", "depth", "heads", "mlp_ratio", "in_chans")
    return _write(Weights("loupe", tensors, settings={name: getattr(encoder, name) for name in names}), Path(path), layout)


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
            raise LoupeError(f"{target} does not tell its layout: name it *.safetensors for Loupe's own, or give one of mae, mae-face, timm, micron-bert.")
        layout = "loupe"
    weights = read_weights(source)
    state = weights.only_encoder()
    weights.settings = _settings(weights, state, heads, str(source))
    with torch.device("meta"):
        check(state, Encoder(**weights.settings).state_dict(), str(source))
    lost = _write(weights, target, layout)
    return Conversion(weights.layout, layout, len(weights.tensors) - len(lost), weights.dropped | lost)


@torch.no_grad()
def fold_normalisation(encoder: Encoder, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
    """Make an encoder trained on (x - mean) / deviation, x in 0..1, give the same tokens on Loupe's (x - .5) / .25; in place, exact.

    With y = (x - .5) / .25 its input is (.25 y + .5 - mean) / deviation, channel by channel: a scale on the weights, a shift on the bias.
    """
    kind = dict(dtype=encoder.patch_embed.weight.dtype, device=encoder.patch_embed.weight.device)
    mean, deviation = torch.tensor(mean, **kind), torch.tensor(deviation, **kind)
    centre, spread = torch.tensor(LOUPE[0], **kind), torch.tensor(LOUPE[1], **kind)
    weight = encoder.patch_embed.weight.unflatten(1, (-1, encoder.in_chans))  # (D, P*P, C)
    encoder.patch_embed.bias += (weight * ((centre - mean) / deviation)).sum(dim=(1, 2))
    encoder.patch_embed.weight.copy_((weight * (spread / deviation)).flatten(1))


def check(state: dict[str, Tensor], expected: dict[str, Tensor], where: str) -> None:
    """Raise LoupeError naming `where` unless `state` has exactly the names and shapes of `expected`."""
    missing, spare = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or spare:
        what = f"lacks {missing[0]}" if missing else f"has an unexpected {spare[0]}"
        more = len(missing or spare) - 1
        raise LoupeError(f"{where} {what}{f' and {more} more' if more else ''}: it is incomplete or of another network; take another file.")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            found = tuple(state[name].shape)
            raise LoupeError(f"{where}: {name} has shape {found} where {tuple(tensor.shape)} is needed; take a file that fits this network.")


def _settings(weights: Weights, state: dict[str, Tensor], heads: int | None, where: str) -> dict:
    """Arguments of `Encoder` worked out from the shapes; raises LoupeError where a tensor that tells is missing or odd."""
    try:
        width = state["cls_token"].shape[-1]
        side = math.isqrt(state["pos_embed"].shape[1] - 1)
        channels = int(weights.settings.get("in_chans", 3))
        patch = math.isqrt(state["patch_embed.weight"].shape[1] // channels)
        depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
        ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
    except (KeyError, IndexError, ValueError) as error:
        raise LoupeError(f"{where} lacks a tensor of the encoder ({error}): it is incomplete or of another network; take another file.") from error
    if side < 1 or side * side != state["pos_embed"].shape[1] - 1:
        raise LoupeError(f"{where}: pos_embed has {state['pos_embed'].shape[1]} rows, not 1 + a square; only square images with class token fit.")
    heads = heads or int(weights.settings.get("heads", 0)) or _heads(weights.layout, width, depth, where)
    return dict(image_size=side * patch, patch_size=patch, width=width, depth=depth, heads=heads, mlp_ratio=ratio, in_chans=channels)


def _heads(layout: str, width: int, depth: int, where: str) -> int:
    """The number of heads, which no tensor's shape tells: Micron-BERT's 4, Loupe's sizes, else 64 channels a head as all published ViTs."""
    if layout == "micron-bert" and width == 512:
        return 4
    if layout == "loupe":
        for size in SIZES.values():
            if (size.width, size.depth) == (width, depth):
                return size.heads
    if width % 64:
        raise LoupeError(f"{where} does not tell its number of attention heads (width {width}); give it as heads=.")
    return width // 64


def _read(path: Path) -> tuple[dict[str, Tensor], bool, dict]:
    """Tensors of a file, whether they were wrapped in a dict, and the settings in a safetensors header."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise LoupeError(f"{path} cannot be opened ({error.strerror}): check the path of the checkpoint.") from error
    if not start:
        raise LoupeError(f"{path} is empty: fetch the checkpoint again.")
    if start[8:] == b"{":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], bool, dict]:
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("loupe", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, False, settings
    except (SafetensorError, OSError, ValueError) as error:
        raise LoupeError(f"{path} is a damaged safetensors file ({error}): fetch or write it again.") from error


def _read_torch(path: Path) -> tuple[dict[str, Tensor], bool, dict]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's bytes can make the reader fail in any way: all of them end in one sentence
        if stranger := re.search(r"GLOBAL (\S+)", str(error)):
            raise LoupeError(
                f"{path} pickles {stranger[1]}, not only tensors: Loupe runs nothing out of a checkpoint; "
                "ask its makers for safetensors or a plain state dict."
            ) from error
        raise LoupeError(f"{path} is truncated, or no checkpoint that can be read as plain tensors ({type(error).__name__}): fetch it again.") from error
    wrapped = False
    for name in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded, wrapped = loaded[name], True
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise LoupeError(f"{path} holds no dict of tensors, bare or under 'model': it is not a checkpoint of a network Loupe can read.")
    return loaded, wrapped, {}


def _write(weights: Weights, path: Path, layout: str) -> dict[str, str]:
    """Write whole or not at all; returns what `layout` could not hold."""
    state, dropped = from_loupe(weights, layout)
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}  # safetensors wants no shared memory
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    if layout == "loupe":
        save_file(state, temporary, metadata={"loupe": json.dumps(weights.settings)})
    else:
        torch.save({"model": state} if layout in WRAPPED else state, temporary)
    os.replace(temporary, path)
    return dropped

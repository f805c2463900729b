"""Files of checkpoints, read and written: safetensors, or torch files that hold nothing but tensors.

Strangers' files are data, never programs: safetensors, or torch files through `weights_only=True` and the few plain values of `PLAIN` that
training scripts store beside the weights. A file that pickles anything else is refused unexecuted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from loupe.errors import LoupeError
from loupe.models.layouts import WRAPPED, Weights, from_loupe

ENCODER = ("image_size", "patch_size", "width", "depth", "heads", "mlp_ratio")  # arguments of `Encoder`, as in our headers
STATED = {*ENCODER, "decoder_width", "decoder_depth"}
MAE_DEPTHS = {"base": 12, "large": 24, "huge": 32}  # of the networks that MAE's and MAE-Face's `args.model` name
MAE_DECODER = (512, 8)  # width and depth of "dec512d8b", which a name without a decoder means, too
WRAPPERS = ("model", "state_dict", "model_state_dict", "module")  # keys that hold the tensors; "state_dict" is Lightning's
_PATHS = {"PosixPath": PurePosixPath, "PurePosixPath": PurePosixPath, "WindowsPath": PureWindowsPath, "PureWindowsPath": PureWindowsPath}
PLAIN = [
    argparse.Namespace,  # attributes: MAE and Micron-BERT store their arguments so
    *((kind, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name, kind in _PATHS.items()),  # which touch no file
    *((np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # a best score
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"},
]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], bool, dict]:
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
            if not isinstance(settings, dict):
                raise ValueError("its header states no settings")
            for name in STATED & settings.keys():
                if type(settings[name]) not in ((int, float) if name == "mlp_ratio" else (int,)) or settings[name] <= 0:
                    raise ValueError(f"its header states {name} = {settings[name]!r}")
            return {name: file.get_tensor(name) for name in file.keys()}, False, settings
    except (SafetensorError, OSError, ValueError) as error:
        raise LoupeError(f"{path} is a damaged safetensors file ({error}): fetch or write it again.") from error


def _read_torch(path: Path) -> tuple[dict[str, Tensor], bool, dict]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(PLAIN):
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's bytes can make the reader fail in any way: all of them end in one sentence
        if stranger := re.search(r"GLOBAL (\S+)", str(error)):
            raise LoupeError(
                f"{path} pickles {stranger[1]}, not only tensors: Loupe runs nothing out of a checkpoint; "
                "who can load it where it was made saves it again as torch.save(network.state_dict(), 'new.pth')."
            ) from error
        raise LoupeError(
            f"{path} is truncated, or no checkpoint that can be read as plain tensors ({type(error).__name__}): fetch it again."
        ) from error
    wrapped, settings = False, _stated_by(loaded.get("args")) if isinstance(loaded, dict) else {}
    while isinstance(loaded, dict) and (inner := [loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)]):
        loaded, wrapped = inner[0], True
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise LoupeError(f"{path} holds no dict of tensors, bare or under 'model': it is not a checkpoint of a network Loupe can read.")
    return loaded, wrapped, settings


def _stated_by(args: object) -> dict[str, int]:
    """Depths in the name of the network among MAE's stored arguments: `mae_vit_base_patch16`, `vit_large_patch16`, `..._dec512d8b`."""
    name = str(args.get("model") if isinstance(args, dict) else getattr(args, "model", ""))
    match = re.fullmatch(r"(?:mae_)?vit_(base|large|huge)_patch\d+(?:_dec(\d+)d(\d+)b)?", name)
    if not match:
        return {}
    width, depth = (int(match[2]), int(match[3])) if match[2] else MAE_DECODER
    return {"depth": MAE_DEPTHS[match[1]], "decoder_width": width, "decoder_depth": depth}


def write_weights(weights: Weights, path: Path, layout: str) -> dict[str, str]:
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

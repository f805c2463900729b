"""Checkpoints that are whole or absent: weights in safetensors, optimiser in a weights-only file, the rest in readable JSON."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from loupe.errors import LoupeError


def save_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, history: list[dict[str, float]]) -> None:
    """Write `folder/step-<step>` and then point `folder/latest` at it; the checkpoint before stays until the new one is whole."""
    target = folder / f"step-{step}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_weights(target / "model.safetensors", model)
    torch.save(optimizer.state_dict(), target / "optimizer.pt")
    (target / "meta.json").write_text(json.dumps({"step": step, "history": history}), encoding="utf-8")
    pointer = folder / "latest.tmp"
    pointer.write_text(target.name, encoding="utf-8")
    os.replace(pointer, folder / "latest")
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict[str, float]]] | None:
    """Restore the latest checkpoint into `model` and `optimizer`; returns (next step, history), or None where there is none."""
    pointer = folder / "latest"
    if not pointer.exists():
        return None
    target = folder / pointer.read_text(encoding="utf-8")
    load_weights(target / "model.safetensors", model)
    try:
        state = torch.load(target / "optimizer.pt", weights_only=True, map_location="cpu")
        meta = json.loads((target / "meta.json").read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise LoupeError(f"{target} is damaged ({error}): delete {folder} and run the same command again.") from error
    optimizer.load_state_dict(state)
    return meta["step"], meta["history"]


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the model's state atomically as safetensors (CPU tensors, parameter names as keys)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}, temporary)
    os.replace(temporary, path)


def load_weights(path: Path, model: nn.Module) -> None:
    """Load what `save_weights` wrote. Raises LoupeError naming the file if it is absent, truncated or of another shape."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LoupeError(f"{path} cannot be read as safetensors ({error}): delete it and run the stage that makes it again.") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LoupeError(f"{path} does not fit this model ({str(error).splitlines()[-1].strip()}): run the stage that makes it again.") from error

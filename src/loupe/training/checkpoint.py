"""Checkpoints that are whole or absent: weights in safetensors, optimiser in a weights-only file, the rest in readable JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from loupe.errors import LoupeError, unreadable


def save_checkpoint(folder: Path, model: nn.Module, state: dict[str, Any], step: int, history: list[dict[str, float]]) -> None:
    """Write `folder/step-<step>`, `state` being the optimiser's, and then point `folder/latest` at it; the checkpoint before stays until
    the new one is whole."""
    target = folder / f"step-{step}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_weights(target / "model.safetensors", model)
    torch.save(state, target / "optimizer.pt")
    (target / "meta.json").write_text(json.dumps({"step": step, "history": history}), encoding="utf-8")
    pointer = folder / "latest.tmp"
    pointer.write_text(target.name, encoding="utf-8")
    os.replace(pointer, folder / "latest")
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: nn.Module) -> tuple[int, list[dict[str, float]], dict[str, Any]] | None:
    """Restore the latest checkpoint into `model`; returns (next step, history, the optimiser's state), or None where there is none."""
    target = latest_checkpoint(folder)
    if target is None:
        return None
    load_weights(target / "model.safetensors", model)
    try:
        state = torch.load(target / "optimizer.pt", weights_only=True, map_location="cpu")
        meta = json.loads((target / "meta.json").read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise unreadable(target / "optimizer.pt", error, f"delete {folder} and run the same command again.") from error
    return meta["step"], meta["history"], state


def latest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint that a run in `folder` would continue from."""
    pointer = folder / "latest"
    return folder / pointer.read_text(encoding="utf-8") if pointer.exists() else None


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that SIGTERM sets (Slurm, a cloud machine called back, `kill`), so that the step under way ends and its checkpoint is
    written.

    Only the main thread can listen; elsewhere the event stays clear and SIGTERM does what it did. A request that came too late to be looked
    at ends the process when the block is left.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked.is_set():
        raise SystemExit(128 + signal.SIGTERM)


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
        raise unreadable(path, error, "delete it and run the stage that makes it again.") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LoupeError(
            f"{path} does not fit this model ({str(error).splitlines()[-1].strip()}): run the stage that makes it again."
        ) from error

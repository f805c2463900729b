"""The one training loop. Everything random in a step is a function of (seed, step), so a resumed run repeats the undisturbed one bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from loupe.config import Config
from loupe.errors import LoupeError
from loupe.progress import track
from loupe.settings import DualView, FinetuneSchedule, MaeFace, MaeSchedule, MicronBertSettings, MicronSchedule
from loupe.training.checkpoint import load_checkpoint, save_checkpoint
from loupe.training.device import resolve_device
from loupe.training.schedules import batch_order

Optimisation = MaeFace | DualView | MicronBertSettings
Schedule = MaeSchedule | FinetuneSchedule | MicronSchedule


@dataclass(frozen=True)
class Recipe:
    """How to train. `lr` is the table of learning rates, one a step; `betas`, `weight_decay`: AdamW; `clip`: gradient norm."""

    lr: np.ndarray
    batch: int
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    seed: int
    device: torch.device
    precision: str
    checkpoint_seconds: float
    layer_decay: float = 1.0

    @classmethod
    def of(cls, config: Config, settings: Optimisation, schedule: Schedule, *, lr: np.ndarray, batch: int, seed: int, layer_decay: float = 1.0) -> Recipe:
        """The recipe of one model's settings (how to optimise) and one scale's schedule (how long); `lr` is the table of learning rates."""
        return cls(
            lr=lr,
            batch=batch,
            betas=tuple(settings.betas),
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            seed=seed,
            device=resolve_device(config.scale.device),
            precision=config.scale.precision,
            checkpoint_seconds=schedule.checkpoint_seconds,
            layer_decay=layer_decay,
        )


LossFunction = Callable[[nn.Module, torch.Tensor, torch.Generator], dict[str, torch.Tensor]]


def step_generator(seed: int, step: int) -> torch.Generator:
    """CPU generator of one step."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1))


def fit(
    model: nn.Module,
    loss_of: LossFunction,
    count: int,
    recipe: Recipe,
    checkpoints: Path,
    label: str,
    after_step: Callable[[nn.Module, int], None] | None = None,
) -> list[dict[str, float]]:
    """Train `model` for len(recipe.lr) steps on `count` samples; continue from `checkpoints` if a run died there.

    `loss_of(model, rows, generator)` gets the row numbers of the batch and the step's generator and returns named scalars with "loss" among
    them. Returns the history: [{"step", name: value, ...}], about 200 entries. Raises LoupeError on a loss that is not finite, naming step,
    rows and the last good checkpoint.
    """
    model.to(recipe.device).train()
    groups = parameter_groups(model, recipe.weight_decay, recipe.layer_decay)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=True)
    history: list[dict[str, float]] = []
    steps, first = len(recipe.lr), 0
    found = load_checkpoint(checkpoints, model, optimizer)
    if found is not None:
        first, history = found
    every = max(1, steps // 200)
    autocast = torch.autocast(recipe.device.type, torch.bfloat16) if recipe.precision == "bf16" else nullcontext()
    saved = time.monotonic()
    for step in track(range(first, steps), label, total=steps - first):
        for group in optimizer.param_groups:
            group["lr"] = float(recipe.lr[step]) * group["lr_scale"]
        rows = torch.from_numpy(batch_order(count, recipe.batch, step, recipe.seed))
        generator = step_generator(recipe.seed, step)
        # Dropout and stochastic depth draw from torch's own stream, so that stream, too, is a function of the step.
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        with autocast:
            terms = loss_of(model, rows, generator)
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after_step is not None:
            after_step(model, step)
        if step % every == 0 or step == steps - 1:
            values = {name: float(value.detach()) for name, value in terms.items()}
            if not np.isfinite(values["loss"]):
                raise LoupeError(
                    f"{label}: the loss is {values['loss']} at step {step} (rows {rows[:8].tolist()}…); the last good checkpoint is in "
                    f"{checkpoints}. Lower the learning rate in conf/scale or look at those rows."
                )
            history.append({"step": step, **values})
            # The last step is always saved: what comes after training (scores, figures) may be killed, too.
            if step == steps - 1 or time.monotonic() - saved > recipe.checkpoint_seconds:
                save_checkpoint(checkpoints, model, optimizer, step + 1, history)
                saved = time.monotonic()
    return history


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict]:
    """AdamW groups with `lr_scale` (layer-wise decay, applied by the loop) and no weight decay on biases, norms and what the model names.

    The layer of a parameter comes from `model.group_matcher` through timm: the stem is layer 0, then one a block; what stands outside the
    encoder gets the full rate.
    """
    skip = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()
    layer_of: dict[str, int] = {}
    last = 0
    if layer_decay != 1.0:
        from timm.models._manipulate import group_parameters

        layer_of = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        last = max(layer_of.values())
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim <= 1 or name in skip else weight_decay
        scale = layer_decay ** (last - layer_of.get(name, last))
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return list(groups.values())

"""The one training loop, on Hugging Face accelerate: one process or several, CPU or GPU, whole batches or parts of one.

Everything random in a step is a function of (seed, step) and is drawn for the whole batch; a process or a part takes its rows of what was
drawn. So a resumed run repeats the undisturbed one bit for bit, and a batch in parts or on several processes trains as the whole batch
does.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from loupe.config import Config
from loupe.errors import LoupeError
from loupe.progress import track
from loupe.recording.record import RunRecord
from loupe.settings import DualView, FinetuneSchedule, MaeFace, MaeSchedule, MicronBertSettings, MicronSchedule
from loupe.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint, stop_requests
from loupe.training.device import open_accelerator, resolve_device, shared_path
from loupe.training.parts import Losses, Part, accumulate, draw_drops_for_whole_batch
from loupe.training.schedules import batch_order
from loupe.training.sharding import gather, restore, sharded_copy, whole

Optimisation = MaeFace | DualView | MicronBertSettings
Schedule = MaeSchedule | FinetuneSchedule | MicronSchedule


@dataclass(frozen=True)
class Recipe:
    """How to train. `lr` is the table of learning rates, one a step; `batch`: the effective batch, over all processes and parts (what the
    lr rule counts); `betas`, `weight_decay`: AdamW; `clip`: gradient norm."""

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
    def of(
        cls, config: Config, settings: Optimisation, schedule: Schedule, *, lr: np.ndarray, batch: int, seed: int, layer_decay: float = 1.0
    ) -> Recipe:
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


# (rows, generator) -> tensors whose first dimension is the batch; (model, *those tensors) -> named terms, see `fit`
InputFunction = Callable[[torch.Tensor, torch.Generator], tuple[torch.Tensor, ...]]
LossFunction = Callable[..., dict[str, torch.Tensor]]
History = list[dict[str, float]]


def step_generator(seed: int, step: int) -> torch.Generator:
    """CPU generator of one step."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1))


def reading_interval(device: torch.device) -> int:
    """Steps between two readings of the losses: reading makes the host wait for the device, but on the CPU there is nothing to wait for."""
    return 1 if device.type == "cpu" else 25


def fit(
    model: nn.Module,
    inputs_of: InputFunction,
    loss_of: LossFunction,
    count: int,
    recipe: Recipe,
    checkpoints: Path,
    after_step: Callable[[nn.Module, int, dict[str, torch.Tensor]], None] | None = None,
) -> History:
    """Train `model` for len(recipe.lr) steps on `count` samples; continue from `checkpoints`, whose name is what the run is called,
    if a run died there.

    `inputs_of(rows, generator)` makes the tensors of the whole batch, augmented, from row numbers (B,) and the step's generator; all
    randomness of the data belongs there. `loss_of(model, *tensors)` gets all or some rows of them and returns named scalars that are means
    over its rows, "loss" among them, and, where `after_step` wants it, tensors with a row a sample. `after_step(model, step, outputs)`
    follows the optimiser's step with those tensors, the rows of this process together.

    Returns the history: [{"step", name: value, ...}], about 200 entries. A checkpoint is written every `recipe.checkpoint_seconds`, at the
    end, and on SIGTERM, which ends the process with status 143. Where CUDA has too little memory, the batch goes through in parts of half
    the size.
    Raises LoupeError on a loss or gradient that is not finite, naming step, rows and the last good checkpoint.
    """
    label = checkpoints.name
    training = _Training(model, recipe, checkpoints, label)
    last, read_every = len(recipe.lr) - 1, reading_interval(training.accelerator.device)
    with stop_requests() as stop, training.record:
        for step in track(range(training.first, last + 1), label, total=last + 1 - training.first):
            rows = torch.from_numpy(batch_order(count, recipe.batch, step, recipe.seed))
            generator = step_generator(recipe.seed, step)
            outputs = training.step(step, loss_of, inputs_of(rows, generator), generator)
            if after_step is not None:
                after_step(training.module, step, outputs)
            if step < last and (step + 1) % read_every:
                continue
            asked = training.read_and_save(step, count, stop.is_set())
            if asked:
                print(
                    f"{label}: SIGTERM after step {step}; saved in {checkpoints}, the same command continues.", file=sys.stderr, flush=True
                )
                raise SystemExit(128 + signal.SIGTERM)
    training.accelerator.unwrap_model(training.wrapped, keep_fp32_wrapper=False)
    model.to(training.accelerator.device)
    return training.history


class _Training:
    """What one process holds while it trains, restored from `checkpoints` where a run died there: the module and its optimiser, the losses
    not yet read, the history, the record."""

    def __init__(self, model: nn.Module, recipe: Recipe, checkpoints: Path, label: str):
        accelerator = open_accelerator(recipe.device, recipe.precision)
        if recipe.batch % accelerator.num_processes:
            raise LoupeError(
                f"{label}: a batch of {recipe.batch} does not divide over {accelerator.num_processes} processes; choose one that does."
            )
        self.model, self.recipe, self.label, self.accelerator = model, recipe, label, accelerator
        self.checkpoints = shared_path(accelerator, checkpoints)
        self.first, self.history, state = load_checkpoint(self.checkpoints, model) or (0, [], None)
        self.module = sharded_copy(model, accelerator).train()
        self.part = Part()
        draw_drops_for_whole_batch(self.module, self.part)
        groups = parameter_groups(self.module, recipe.weight_decay, recipe.layer_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=True)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if state is not None:
            restore(self.module, self.optimizer, model, state)
        recorded = accelerator.is_main_process and self.first < len(recipe.lr)
        self.record = RunRecord.open(self.checkpoints, label, recipe, self.first, accelerator) if recorded else RunRecord.none()
        # Shares average their gradients themselves.
        self.wrapped = accelerator.prepare_model(self.module, evaluation_mode=self.module is not model)
        self.losses = Losses(accelerator)
        self.saved = time.monotonic()

    def step(
        self, step: int, loss_of: LossFunction, inputs: tuple[torch.Tensor, ...], generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """One step of the optimiser; returns the terms with a row a sample."""
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.recipe.lr[step]) * group["lr_scale"]
        self.part.seed = int(torch.randint(2**62, (1,), generator=generator))
        terms, outputs = accumulate(self.accelerator, self.wrapped, loss_of, inputs, self.part, self.label)
        terms["grad_norm"] = whole(self.accelerator.clip_grad_norm_(self.trained, self.recipe.clip))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.add(step, terms)
        return outputs

    def read_and_save(self, step: int, count: int, stop: bool) -> bool:
        """Read the losses up to `step`, and save where it is time, at the end and where any process was asked to stop, which is
        returned."""
        steps = len(self.recipe.lr)
        # The last step is always saved: what comes after training (scores, figures) may be killed, too.
        late = step == steps - 1 or time.monotonic() - self.saved > self.recipe.checkpoint_seconds
        entries, (asked, due) = self.losses.read(stop, late)
        for entry in entries:
            if not np.isfinite([entry["loss"], entry["grad_norm"]]).all():
                raise self._not_finite(entry, count)
            if entry["step"] % max(1, steps // 200) == 0 or entry["step"] == steps - 1:
                self.history.append({name: value for name, value in entry.items() if name != "grad_norm"})
        self.record.add(entries)
        if due or asked:
            state = gather(self.module, self.optimizer, self.model)
            if self.accelerator.is_main_process:
                save_checkpoint(self.checkpoints, self.model, state, step + 1, self.history)
                self.record.write()
            self.saved = time.monotonic()
        return asked

    def _not_finite(self, entry: dict[str, float], count: int) -> LoupeError:
        """What to say when training went wrong at `entry`; the rows of that step are a function of its number."""
        what, value = ("loss", entry["loss"]) if not np.isfinite(entry["loss"]) else ("gradient's norm", entry["grad_norm"])
        step = int(entry["step"])
        rows = batch_order(count, self.recipe.batch, step, self.recipe.seed)
        last = latest_checkpoint(self.checkpoints)
        kept = f"the last good checkpoint is {last}" if last else f"there is no checkpoint yet in {self.checkpoints}"
        return LoupeError(
            f"{self.label}: the {what} is {value} at step {step} (rows {rows[:8].tolist()}…); {kept}. "
            "Lower the learning rate in conf/scale or look at those rows."
        )


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict]:
    """AdamW groups with `lr_scale` (layer-wise decay, applied by the loop) and no weight decay on biases, norms and what the model names.

    The layer of a parameter comes from `model.group_matcher` through timm: the stem is layer 0, then one a block; what stands outside the
    encoder gets the full rate.
    """
    skip = model.no_weight_decay()
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

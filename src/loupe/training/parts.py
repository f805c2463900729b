"""A batch in parts: the share of each process, and micro-batches where memory is short. Parts together train as the whole batch does.

Every process makes the inputs of the whole batch from the step's generator and takes its rows of them, and stochastic depth and dropout are
drawn for the whole batch, too; gradients and losses are means over all rows. What differs from one process with the whole batch is the
order of sums.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from loupe.errors import LoupeError

if TYPE_CHECKING:
    from accelerate import Accelerator

Terms = dict[str, Tensor]


@dataclass
class Part:
    """The rows of the batch that are under way. `micro`: most rows at a time, None = no limit; `seed` of torch's own stream in this
    step."""

    batch: int = 0
    rows: slice = field(default_factory=lambda: slice(0, 0))
    micro: int | None = None
    seed: int = 0


class BatchDrop(nn.Module):
    """Stochastic depth (arXiv 1603.09382) as timm's DropPath, or with `single` dropout of single values, drawn for the whole batch and cut
    to the part under way.

    x (k b, ...): b rows of the part, k times where views are stacked along the batch. Draws come from torch's own stream on the CPU, which
    the loop seeds before each part; activation checkpointing restores that stream before it runs a block again.
    """

    def __init__(self, drop_prob: float, part: Part, single: bool = False):
        super().__init__()
        self.drop_prob, self.part, self.single = drop_prob, part, single

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1 - self.drop_prob
        views = len(x) // (self.part.rows.stop - self.part.rows.start)
        drawn = x.shape[1:] if self.single else [1] * (x.ndim - 1)
        kept = torch.rand(views, self.part.batch, *drawn)[:, self.part.rows].flatten(0, 1) < keep
        return x * (kept.to(x.dtype) / keep).to(x.device, non_blocking=True)


def draw_drops_for_whole_batch(model: nn.Module, part: Part) -> None:
    """Exchange each DropPath and Dropout that drops in `model` for a BatchDrop that looks at `part`. There are no weights in either."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, DropPath | BatchDrop) and child.drop_prob:
                setattr(module, name, BatchDrop(child.drop_prob, part, getattr(child, "single", False)).train(child.training))
            elif isinstance(child, nn.Dropout) and child.p:
                setattr(module, name, BatchDrop(child.p, part, single=True).train(child.training))


def accumulate(
    accelerator: Accelerator, model: nn.Module, loss_of: Callable[..., Terms], inputs: tuple[Tensor, ...], part: Part, label: str
) -> tuple[Terms, Terms]:
    """Add the gradients of the mean loss over this process's rows of `inputs`, which hold the whole batch.

    Returns (means of the scalar terms over these rows, the other terms with these rows joined), all without gradients. Where CUDA runs out
    of memory, `part.micro` is halved, once and for all later steps, and the rows go through again; the effective batch stays.
    """
    part.batch = len(inputs[0])
    share = part.batch // accelerator.num_processes
    first = share * accelerator.process_index
    part.micro = min(part.micro or share, share)
    while True:
        try:
            return _forward_backward(accelerator, model, loss_of, inputs, part, first, first + share)
        except torch.OutOfMemoryError as error:
            if part.micro == 1 or accelerator.num_processes > 1:  # another process may already be waiting for these gradients
                raise LoupeError(
                    f"{label}: {part.micro} samples a process do not fit into the device's memory ({str(error).splitlines()[0]}) "
                    "Use a smaller batch or model in conf/scale, or more processes."
                ) from error
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        part.micro = (part.micro + 1) // 2
        print(
            f"{label}: out of memory; from here on batches of {part.batch} go through in parts of {part.micro}. The effective batch stays.",
            file=sys.stderr,
            flush=True,
        )


def _forward_backward(
    accelerator: Accelerator, model: nn.Module, loss_of: Callable[..., Terms], inputs: tuple[Tensor, ...], part: Part, first: int, stop: int
) -> tuple[Terms, Terms]:
    means: Terms = {}
    outputs: dict[str, list[Tensor]] = defaultdict(list)
    for start in range(first, stop, part.micro):
        part.rows = slice(start, min(start + part.micro, stop))
        torch.manual_seed(part.seed)
        weight = (part.rows.stop - start) / (stop - first)
        with nullcontext() if part.rows.stop == stop else accelerator.no_sync(model):
            with accelerator.autocast():
                terms = loss_of(model, *(tensor[part.rows] for tensor in inputs))
            accelerator.backward(terms["loss"] * weight)
        for name, value in terms.items():
            if value.ndim:
                outputs[name].append(value.detach())
            else:
                means[name] = means.get(name, 0) + value.detach().float() * weight
    return means, {name: torch.cat(values) for name, values in outputs.items()}


class Losses:
    """The terms of steps that the host has not yet read; reading them is the one place where it waits for the device."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.names: list[str] = []
        self.steps: list[int] = []
        self.terms: list[Tensor] = []

    def add(self, step: int, terms: Terms) -> None:
        self.names = list(terms)
        self.steps.append(step)
        self.terms.append(torch.stack([value.float() for value in terms.values()]))

    def read(self, *flags: bool) -> tuple[list[dict[str, float]], list[bool]]:
        """What was added since the last reading, means over all processes, and which of `flags` are set in any of them."""
        table, found = torch.stack(self.terms), list(flags)
        if self.accelerator.num_processes > 1:
            rows = torch.tensor(flags, dtype=table.dtype, device=table.device)[:, None].expand(-1, table.shape[1])
            table = self.accelerator.reduce(torch.cat([table, rows]), reduction="mean")
            table, found = table[: len(self.terms)], (table[len(self.terms) :, 0] > 0).tolist()
        entries = [
            {"step": step, **dict(zip(self.names, values, strict=True))} for step, values in zip(self.steps, table.tolist(), strict=True)
        ]
        self.steps, self.terms = [], []
        return entries, found

"""Weights, gradients and the optimiser's state spread over the processes (FSDP2: Zhao et al., arXiv 2304.11277, as torch's `fully_shard`).

What is trained is then a copy of the model whose parameters are `DTensor`s, a share a process. The caller's model stays whole, on the host,
and is brought up to date where somebody looks at it: at a checkpoint and the end. So checkpoints are those of one process, and a run goes
on with another number of processes, sharded or not. Without sharding the copy is the model itself, and nothing here does anything.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from loupe.models.vit import Block

if TYPE_CHECKING:
    from accelerate import Accelerator


def sharded_copy(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """A copy of `model` (on the CPU) with each transformer block, and the rest together, spread over all processes on their devices.

    `model` itself where nobody asked for sharding or there is one process. Collective: every process calls it, with equal weights.
    """
    # A fact of the launch, as WORLD_SIZE is, on which no result depends (docs/several-gpus.md).
    if os.environ.get("LOUPE_SHARD") != "1" or accelerator.num_processes == 1:
        return model.to(accelerator.device)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    module = copy.deepcopy(model)
    for part in (*(part for part in module.modules() if isinstance(part, Block)), module):
        fully_shard(part, mesh=mesh)
    return module


def whole(value: Any) -> Any:
    """A spread tensor gathered from all processes, which must all ask; anything else as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # a DTensor; its class takes half a second to import


def gather(module: nn.Module, optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Bring the caller's `model` up to date with `module`, and return the optimiser's state as one process has it. Collective."""
    if module is model:
        return optimizer.state_dict()
    _gather_weights(module, model)
    state = optimizer.state_dict()
    kept = {number: {key: _on_host(value) for key, value in entry.items()} for number, entry in state["state"].items()}
    return {**state, "state": kept}


def restore(module: nn.Module, optimizer: torch.optim.Optimizer, model: nn.Module, state: dict[str, Any]) -> None:
    """Give `optimizer` the state that `gather` returned, spread as its parameters are. Collective."""
    if module is not model:
        from torch.distributed.tensor import distribute_tensor

        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        spread = {
            number: {
                key: distribute_tensor(value.to(parameters[number].device), parameters[number].device_mesh, parameters[number].placements)
                if value.ndim  # the moments; the count of steps is one number
                else value
                for key, value in entry.items()
            }
            for number, entry in state["state"].items()
        }
        state = {**state, "state": spread}
    optimizer.load_state_dict(state)


@torch.no_grad()
def _gather_weights(module: nn.Module, model: nn.Module) -> None:
    state: dict[str, Tensor] = model.state_dict()
    for name, tensor in module.state_dict().items():
        state[name].copy_(whole(tensor))


def _on_host(value: Any) -> Any:
    found = whole(value)
    return found.cpu() if torch.is_tensor(found) else found

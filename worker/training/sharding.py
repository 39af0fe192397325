"""Models whose weights, gradients and optimizer numbers are dealt out over several processes: torch's FSDP2.

Each process holds a part of every weight. A layer's parts come together while it computes, its gradients are added up
over the processes when it has. The sum is right, not the mean: every loss here is divided by what all processes count
together. Without other processes a model stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from worker.training import processes, recomputing


def put_in_force(*modules: nn.Module) -> None:
    """Deals out the weights of modules that are called as such, layer by layer, before an optimizer is told of them."""
    if processes.count() == 1:
        return
    mesh = init_device_mesh(next(modules[0].parameters()).device.type, (processes.count(),))
    for module in modules:
        for part in (*recomputing.layers(module), module):
            fully_shard(part, mesh=mesh)
            assert isinstance(part, FSDPModule), "it was made one"
            part.set_gradient_divide_factor(1.0)
            # Else the division, though by 1, asks for an operation that only NCCL has.
            part.set_force_sum_reduction_for_comms(True)


@contextmanager
def together(model: Any) -> Iterator[None]:
    """Within it every process keeps the whole model after its first pass, and goes through it as often as it likes."""
    parts = [] if processes.count() == 1 else [each for each in model.modules() if isinstance(each, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def whole(part: Tensor) -> Tensor:
    """A tensor that was dealt out, together again and in the machine's memory; any other as it is.

    All processes put it together and the first one keeps it, which writes: the others get an empty one, because a whole
    state in the memory of each would be many times the model.
    """
    if not isinstance(part, DTensor):
        return part
    held = part.full_tensor()
    return held.cpu() if processes.first() else torch.empty(0, dtype=held.dtype)


def like(held: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor, dealt out as a weight of its shape is; no process asks another for it."""
    if not isinstance(weight, DTensor):
        return held
    return distribute_tensor(held.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


@torch.no_grad()
def weights(model: Any) -> dict[str, Tensor] | None:
    """All weights of a model that was dealt out, together again, by name; None for one that was not.

    A weight that the model uses twice is one tensor under two names.
    """
    held: dict[str, Tensor] = model.state_dict(keep_vars=True)
    if not any(isinstance(each, DTensor) for each in held.values()):
        return None
    found = {id(each): whole(each).detach() for each in {id(each): each for each in held.values()}.values()}
    return {name: found[id(each)] for name, each in held.items()}

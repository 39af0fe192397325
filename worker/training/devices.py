"""Which device computes, and in which precision.

bf16 means fp32 weights with matrix products in bfloat16 by autocast, on CPU as on a GPU; optimizer states, losses,
log-probabilities and scalar heads stay in fp32.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from app.domain.recipes import Precision
from worker.training import recomputing
from worker.training.metrics import Sink

CPU: Final = torch.device("cpu")
_NAMES: Final[dict[torch.dtype, Precision]] = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def best() -> torch.device:
    """The first GPU if torch sees one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context a forward pass runs in. One context around many passes casts each weight once."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def backward(loss: Tensor) -> None:
    """Adds up gradients, in the precision of each forward operation.

    Also inside `autocast`, whose rules are for forward passes: it is off meanwhile, and its cast weights stay.
    """
    with torch.autocast(loss.device.type, enabled=False):
        torch.autograd.backward(loss)


def note(model: Any, sink: Sink, *learning: nn.Module) -> None:
    """Notes what is in force: the threads now, the precision as the first matrix product of `model` comes out, and
    whether the models that learn, if any do, keep their activations."""
    sink.note("threads", str(torch.get_num_threads()))
    if learning:
        sink.note("checkpointing", recomputing.in_force(*learning))
    layers = (each for each in model.base_model.modules() if not isinstance(each, nn.Embedding))
    first = next(each for each in layers if isinstance(getattr(each, "weight", None), Tensor) and each.weight.ndim == 2)

    def seen(layer: nn.Module, inputs: object, output: Tensor) -> None:
        handle.remove()
        sink.note("precision", _NAMES.get(output.dtype, str(output.dtype)))
        weights = next(layer.parameters()).dtype
        sink.note("weights", _NAMES.get(weights, str(weights)))

    handle = first.register_forward_hook(seen)

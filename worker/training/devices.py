"""Which device computes, and in which precision.

Knows what the device has instructions for. bf16 means fp32 weights with matrix products in bfloat16 by autocast, on CPU
as on a GPU; optimizer states, losses, log-probabilities and scalar heads stay in fp32.
"""

import functools
import platform
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from app.domain.recipes import Precision
from worker.training import processes, recomputing
from worker.training.metrics import Sink

CPU: Final = torch.device("cpu")
_NAMES: Final[dict[torch.dtype, Precision]] = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def best() -> torch.device:
    """The first GPU if torch sees one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


def applied(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """What is computed in where this is asked for: `auto` is bf16 where the device has it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if _has_bf16(device.type) else "fp32"


@functools.cache
def _has_bf16(device_type: str) -> bool:
    """Whether there are instructions for it. Without them one product took 85 times as long as in fp32 (AVX2)."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):
        # oneDNN's own answer is yes also where it only emulates.
        return bool(torch.cpu._is_avx512_bf16_supported())
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device, precision: Precision, *, learning: bool = True) -> torch.autocast:
    """The context a forward pass runs in. One context around many passes casts each weight once.

    Where weights are dealt out and `learning`, each pass casts them anew: a gradient that goes through the cast of an
    earlier pass comes after the layer's gradients were added up, and would be lost.
    """
    once = processes.count() == 1 or not learning
    bf16 = applied(precision, device) == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16, cache_enabled=once)


def without_gradients() -> torch.inference_mode | torch.no_grad:
    """The context of passes that nothing is learned from.

    Weights that are dealt out keep the tensors they come together in, and those of inference mode could never learn.
    """
    return torch.inference_mode() if processes.count() == 1 else torch.no_grad()


def backward(loss: Tensor) -> None:
    """Adds up gradients, in the precision of each forward operation.

    Also inside `autocast`, whose rules are for forward passes: it is off meanwhile, and its cast weights stay.
    """
    with torch.autocast(loss.device.type, enabled=False):
        torch.autograd.backward(loss)


def note(model: Any, sink: Sink, *learning: nn.Module) -> None:
    """Notes what is in force: the processes and the threads of each now, the precision as the first matrix product of
    `model` comes out, and whether the models that learn, if any do, keep their activations."""
    sink.note("processes", str(processes.count()))
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

"""The optimizer and the learning rates that all three trainings share.

Adam without weight decay (AdamW with decay 0, for its fused kernel), betas 0.9 and 0.999, no warm-up, no clipping: the
paper reports none of them.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from app.domain.recipes import Schedule
from worker.training.errors import CannotTrain


class Diverged(CannotTrain):
    """A loss became infinite or not a number; going on would only save a broken model."""


def adam(parameters: Iterable[nn.Parameter], learning_rate: float, eps: float) -> torch.optim.Optimizer:
    """One optimizer over all parameters that learn."""
    learning = [each for each in parameters if each.requires_grad]
    return torch.optim.AdamW(learning, lr=learning_rate, betas=(0.9, 0.999), eps=eps, weight_decay=0.0, fused=True)


def share(schedule: Schedule, step: int, steps: int) -> float:
    """The part of the initial learning rate in force at `step` of `steps`, counted from 0: 1 at first, towards 0."""
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return 1.0 - step / steps if schedule == "linear" else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Puts one learning rate in force for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value


def finite(loss: Tensor, words: str) -> float:
    """The loss as a number. Raises Diverged, saying where, when it is not finite."""
    value = float(loss)
    if not math.isfinite(value):
        raise Diverged(f"{words}: the loss is {value}; a lower learning rate or precision fp32 may help")
    return value

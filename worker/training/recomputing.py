"""Activation checkpointing: of every layer only the input is kept, the rest is computed again for its gradients.

Knows layers, nothing of losses. The model's own switch is not used: it works in training mode only, where dropout would
come back, and takes the cache away from sampling. This one works wherever gradients are asked for, and nowhere else.
"""

import contextvars
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from worker.training.errors import CannotTrain


class NoLayers(CannotTrain, ValueError):
    """Activation checkpointing was asked of a model that marks no layers."""


class _Recomputed:
    """What a layer computes, and computes again when gradients go back through it."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*inputs, **named)
        # Computed again when its caller is gone: what the caller said of the pass must hold then too.
        said = contextvars.copy_context()
        # Without dropout nothing in a layer is random, so there is no random state to bring back.
        return checkpoint(said.run, self._forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)


def layers(model: nn.Module) -> list[Any]:
    """The layers that a model marks as such; none for a model that marks none."""
    return [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]


def put_in_force(model: nn.Module) -> None:
    """From now on every layer of the model is computed again for its gradients. Raises NoLayers."""
    marked = layers(model)
    if not marked:
        raise NoLayers(f"{type(model).__name__} does not say what its layers are: switch checkpointing off")
    for layer in marked:
        layer.forward = _Recomputed(layer.forward)


def in_force(*learning: nn.Module) -> str:
    """Read off the layers of all models that learn: `on`, `off`, or for how many it is on."""
    marked = [layer for model in learning for layer in layers(model)]
    on = sum(isinstance(layer.forward, _Recomputed) for layer in marked)
    if 0 < on < len(marked):
        return f"on for {on} of {len(marked)} layers"
    return "on" if on else "off"

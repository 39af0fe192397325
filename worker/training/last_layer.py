"""The last layer of a transformer, worked out only for the columns that are read.

Of what a layer gives, each column depends on the others by their keys and values alone. Behind the last layer nobody
looks at a document's columns, so there its queries, its attention and all that follows would be work for nobody: of the
columns of a TL;DR post with its summary, five in six. Columns that are read come out as they do without.

Knows layers, and which of their parts look at one token at a time. Knows nothing of what is read, or why.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor, nn

from worker.training import recomputing

TOKEN_BY_TOKEN: Final = ("self_attn.q_proj", "self_attn.o_proj", "attn.c_proj", "mlp")
"""Parts of a layer that turn each token's vector into another without looking at other tokens, by their usual names."""

TOLERANCE: Final = 1e-4
"""Largest difference, in what is read, between a last layer worked out in part and as a whole, in fp32."""

_asked: ContextVar[int | None] = ContextVar("asked", default=None)
_inside: ContextVar[int | None] = ContextVar("inside", default=None)


@contextmanager
def read(columns: int) -> Iterator[None]:
    """Within it only so many columns at the end of what a transformer gives are good to read; the others are not."""
    before = _asked.set(columns)
    try:
        yield
    finally:
        _asked.reset(before)


def wanted(length: int) -> int:
    """How many of so many columns, at the end, are to be worked out here: all of them but in a last layer."""
    return min(_inside.get() or length, length)


class _InPart:
    """What a part of a last layer computes, on the wanted columns; zeros on those before, which keep their place."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward

    def __call__(self, states: Tensor) -> Tensor:
        length = states.shape[-2]
        columns = wanted(length)
        if columns == length:
            return self._forward(states)
        # In one piece: some architectures take views that a slice does not allow.
        found = self._forward(states[..., -columns:, :].contiguous())
        return nn.functional.pad(found, (0, 0, length - columns, 0))


class _Last:
    """What a last layer computes, where its parts may know that they are in it."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        before = _inside.set(_asked.get())
        try:
            return self._forward(*inputs, **named)
        finally:
            _inside.reset(before)


Look = Callable[[int, dict[str, Tensor]], Tensor]
"""Calls a model with these inputs, as it is going to be called: (2, C, ...), the last C columns of what is read."""


def put_in_force(model: Any, look: Look) -> None:
    """From now on the model heeds `read`, if it can; else it stays as it is, which is right too, and slower.

    Whether an architecture can is seen by trying it on a few tokens, without autocast, not by its name.
    """
    layers = recomputing.layers(model)
    as_whole = _tried(model, look)
    if not layers or as_whole is None:
        return
    last = layers[-1]
    named = dict(last.named_modules())
    changed = [named[name] for name in TOKEN_BY_TOKEN if name in named]
    for part in changed:
        part.forward = _InPart(part.forward)
    last.forward = _Last(last.forward)
    in_part = _tried(model, look)
    if in_part is None or not torch.allclose(in_part, as_whole, rtol=0, atol=TOLERANCE):
        for module in (last, *changed):
            del module.forward


_TRIED: Final = (7, 3)
"""Columns of the trial, and how many of them are read."""


def _tried(model: Any, look: Look) -> Tensor | None:
    """What is read of a model that was given a row without and one with padding; None where it does not take them."""
    length, columns = _TRIED
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.arange(2 * length, device=model.device).view(2, length) % vocabulary
    real = torch.ones_like(ids)
    real[1, :2] = 0
    with torch.no_grad(), torch.autocast(model.device.type, enabled=False), read(columns):
        try:
            return look(columns, {"input_ids": ids, "attention_mask": real})
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return None

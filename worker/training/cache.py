"""Keys and values of what was read, with room behind them for what is going to be written.

Knows the cache layers of transformers. Knows nothing of models or sampling.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer that was filled by reading, and takes `room` more tokens in the place it has.

    The stock layer grows by concatenation: it copies the prompt again at every step.
    """

    def __init__(self, read: DynamicLayer, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        assert read.keys is not None and read.values is not None, "a layer that was read into"
        self.lazy_initialization(read.keys, read.values)
        self._whole = tuple(_widened(each, room) for each in (read.keys, read.values))
        self._show(read.keys.shape[-2])

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        keys, values = (whole[:, :, :length] for whole in self._whole)
        self.keys, self.values = keys, values
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """(R, G, C, D) of the next C tokens -> (R, G, T + C, D) keys and values of all so far."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for whole, new in zip(self._whole, (key_states, value_states), strict=True):
            whole[:, :, start:end] = new
        return self._show(end)


def _widened(states: Tensor, room: int) -> Tensor:
    rows, groups, length, width = states.shape
    whole = states.new_empty(rows, groups, length + room, width)
    whole[:, :, :length] = states
    return whole


def make_room(cache: Any, tokens: int) -> None:
    """Gives the plain layers of a cache that a prompt was read into room for so many tokens.

    What forgets behind a window, or is a state and no cache of tokens, stays as it is.
    """
    layers = getattr(cache, "layers", [])
    for index, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            layers[index] = RoomyLayer(layer, tokens)

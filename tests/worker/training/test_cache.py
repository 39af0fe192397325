from typing import Any

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from worker.training import cache


def states(tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, tokens, 4, generator=drawn), torch.randn(2, 3, tokens, 4, generator=drawn)


@pytest.mark.parametrize("each", [1, 3])
def test_a_layer_with_room_holds_what_a_growing_one_holds(each: int) -> None:
    growing, roomy = DynamicCache(), DynamicCache()
    for filled in (growing, roomy):
        for layer in range(2):
            filled.update(*states(7, layer), layer)
    cache.make_room(roomy, 4 * each)
    places = []
    for step in range(4):
        for layer in range(2):
            new = states(each, 10 * step + layer)
            expected, found = growing.update(*new, layer), roomy.update(*new, layer)
            assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
            places.append(found[0].data_ptr())
        assert roomy.get_seq_length() == growing.get_seq_length() == 7 + (step + 1) * each
    assert len({*places}) == 2, "written where there is room, not copied"


def test_only_plain_layers_get_room() -> None:
    window = DynamicSlidingWindowLayer(sliding_window=4)
    layer_class: Any = DynamicLayer
    plain = layer_class()
    mixed = Cache(layers=[plain, window])
    for layer in range(2):
        mixed.update(*states(3, layer), layer)
    cache.make_room(mixed, 5)
    assert type(mixed.layers[0]) is cache.RoomyLayer
    assert mixed.layers[1] is window


def test_what_has_no_layers_stays() -> None:
    cache.make_room(None, 5)

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.training import attention
from worker.training.models import load_policy as load_policy  # importing it puts the attention in place

HEADS, GROUPS, READ, WIDTH = 6, 2, 9, 8


def drawn(asking: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value, and a mask in which every token sees something."""
    made = torch.Generator().manual_seed(asking)
    query = torch.randn(3, HEADS, asking, WIDTH, generator=made)
    key, value = (torch.randn(3, GROUPS, READ, WIDTH, generator=made) for _ in range(2))
    mask = torch.rand(3, 1, asking, READ, generator=made) > 0.4
    mask[..., 0] = True
    return query.to(dtype).requires_grad_(), key.to(dtype).requires_grad_(), value.to(dtype).requires_grad_(), mask


class Layer(nn.Module):
    num_key_value_groups = HEADS // GROUPS
    is_causal = True


def by_hand(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    key, value = (each.repeat_interleave(HEADS // GROUPS, 1) for each in (key, value))
    seen = (query @ key.transpose(2, 3) * scale).masked_fill(~mask, float("-inf")).softmax(-1)
    return (seen @ value).transpose(1, 2)


@pytest.mark.parametrize("asking", [1, 4, READ])
def test_outputs_and_gradients_are_those_of_the_formula(asking: int) -> None:
    query, key, value, mask = drawn(asking)
    weights = torch.randn(3, asking, HEADS, WIDTH, generator=torch.Generator().manual_seed(9))
    found, _ = attention.attend(Layer(), query, key, value, mask, scaling=0.3)
    expected = by_hand(query, key, value, mask, 0.3)
    assert torch.allclose(found, expected, atol=1e-6)
    ours, theirs = (torch.autograd.grad((each * weights).sum(), (query, key, value)) for each in (found, expected))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def test_bf16_moves_it_no_more_than_bf16_does() -> None:
    exact = by_hand(*drawn(4), 0.3)
    found, _ = attention.attend(Layer(), *drawn(4, torch.bfloat16), scaling=0.3)
    stock, _ = sdpa_attention_forward(Layer(), *drawn(4, torch.bfloat16), scaling=0.3)
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().max() <= 2 * (stock - exact).abs().max()


def test_models_read_in_place_where_they_can_and_ask_transformers_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool]] = []

    def stock(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **others: Any) -> Any:
        asked.append((query.shape[2], mask is not None))
        return sdpa_attention_forward(module, query, key, value, mask, **others)

    monkeypatch.setattr(attention, "sdpa_attention_forward", stock)
    shape = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 30}
    config_class: Any = LlamaConfig
    causal: Any = LlamaForCausalLM
    config = config_class(**shape, num_attention_heads=HEADS, num_key_value_heads=GROUPS, attn_implementation="sdpa")
    model = causal(config).eval()
    ids = torch.arange(8).view(2, 4)
    padded = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=padded, use_cache=True)
        assert asked == []
        longer = torch.cat([padded, torch.ones(2, 1, dtype=torch.long)], 1)
        model(input_ids=ids[:, :1], past_key_values=out.past_key_values, attention_mask=longer)
        model(input_ids=ids)
    assert asked == [(1, True), (4, False)], "one token, and no mask"

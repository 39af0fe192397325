"""What a pass over a model costs, beside what torch counts."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.flops import Shape

LAYERS, WIDTH, VOCABULARY, TOKENS = 3, 32, 50, 20


@pytest.fixture
def model() -> Any:
    config: Any = LlamaConfig
    causal: Any = LlamaForCausalLM
    return causal(
        config(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            attn_implementation="eager",  # torch counts no products within a fused kernel
        )
    ).eval()


def test_a_forward_pass_costs_what_torch_counts(model: Any) -> None:
    shape = Shape.of(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros(1, TOKENS, dtype=torch.long), use_cache=False)
    attention = 4 * LAYERS * WIDTH
    whole = 2 * shape.weights * TOKENS + attention * TOKENS**2 + 2 * shape.projection * TOKENS
    assert counter.get_total_flops() == whole
    # That counts what a causal mask leaves out, too.
    seen = TOKENS * (TOKENS + 1) / 2
    assert shape.forward(TOKENS, 0, 0) == 2 * shape.weights * TOKENS + attention * seen


def test_summaries_share_their_document(model: Any) -> None:
    shape = Shape.of(model)
    document, one, three = (shape.forward(10, 4, samples) for samples in (0, 1, 3))
    assert one == pytest.approx(shape.forward(14, 0, 0))
    assert three - document == pytest.approx(3 * (one - document))


def test_an_update_reads_with_policies_and_scalars(model: Any) -> None:
    shape = Shape.of(model)
    read = shape.forward(10, 4, 2) + shape.forward(7, 4, 2)
    # Write, score by four models, and two epochs of forward and backward through policy and value network.
    passes = 1 + 4 + 2 * 2 * 3
    vocabulary = (1 + 2 + 2 * 3) * 2 * VOCABULARY * WIDTH * 2 * 2 * 4
    assert shape.ppo([10, 7], 4, 2, 2) == pytest.approx(passes * read + vocabulary)

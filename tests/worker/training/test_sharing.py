"""Several summaries behind one reading of their document: what is computed stays what it was."""

import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MptConfig,
    PretrainedConfig,
)

from app.domain.recipes import SamplingRecipe
from worker.training import devices, generation, logprobs, sharing
from worker.training.batches import Batch, collate
from worker.training.devices import CPU
from worker.training.metrics import NullSink
from worker.training.models import ScalarModel
from worker.training.reward_loss import pairwise_loss
from worker.training.tokens import Codec, QueryTokens, SummaryTokens

VOCABULARY, WIDTH = 60, 32
# Large weights: attention is sharp, so that a wrong mask or position shows.
SHAPE: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "initializer_range": 0.3}
LAYERS: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}

ABLE: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SHAPE, **LAYERS, num_key_value_heads=2),
    "neox": lambda: GPTNeoXConfig(**SHAPE, **LAYERS),
    "gpt2": lambda: GPT2Config(
        **SHAPE, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=64, embd_pdrop=0, attn_pdrop=0, resid_pdrop=0
    ),
}
UNABLE: dict[str, Callable[[], PretrainedConfig]] = {
    "alibi": lambda: BloomConfig(**SHAPE, hidden_size=WIDTH, n_layer=2, n_head=4),
    "alibi without positions": lambda: MptConfig(**SHAPE, d_model=WIDTH, n_layers=2, n_heads=4, max_seq_len=64),
    "a state": lambda: MambaConfig(**SHAPE, hidden_size=WIDTH, num_hidden_layers=2, state_size=4),
}


def scalar(config: PretrainedConfig, seed: int = 0) -> ScalarModel:
    torch.manual_seed(seed)
    config.num_labels = 1
    auto: Any = AutoModelForSequenceClassification
    return ScalarModel(auto.from_config(config).eval())


def policy(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    return auto.from_config(config).eval()


def drawn(seed: int, documents: int = 3) -> tuple[list[QueryTokens], list[SummaryTokens], list[int]]:
    """Prompts, repeated, and summaries of random tokens and lengths, and how many there are of each document."""
    draw = random.Random(seed)
    prompts, summaries, together = [], [], []
    for _ in range(documents):
        count = draw.randint(1, 4)
        prompt = QueryTokens(tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 25))))
        for _ in range(count):
            prompts.append(prompt)
            summaries.append(SummaryTokens(tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 9)))))
        together.append(count)
    return prompts, summaries, together


@pytest.fixture(params=ABLE)
def able(request: pytest.FixtureRequest) -> Callable[[], PretrainedConfig]:
    return ABLE[request.param]


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_scores_are_those_of_each_sequence_alone(able: Callable[[], PretrainedConfig], seed: int) -> None:
    model = scalar(able())
    prompts, summaries, together = drawn(seed)
    batch = collate(prompts, summaries, 0, CPU, together)
    assert len(batch.ids) == len(together)
    scores, values = model.scores(batch), model.values(batch)
    for index, (prompt, summary) in enumerate(zip(prompts, summaries, strict=True)):
        states = model.stock.base_model(input_ids=torch.tensor([[*prompt, *summary]])).last_hidden_state
        read = model.stock.score(states)[0, :, 0]
        assert scores[index].item() == pytest.approx(read[-1].item(), abs=1e-5)
        assert torch.allclose(values[index, : len(summary)], read[len(prompt) - 1 : -1], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_logprobs_are_those_of_each_sequence_alone(able: Callable[[], PretrainedConfig], seed: int) -> None:
    model = policy(able())
    prompts, summaries, together = drawn(seed)
    found = logprobs.of_summaries(model, collate(prompts, summaries, 0, CPU, together), 0.7)
    for index, (prompt, summary) in enumerate(zip(prompts, summaries, strict=True)):
        table = (model(input_ids=torch.tensor([[*prompt, *summary]])).logits[0] / (0.7 + 1e-7)).log_softmax(-1)
        expected = table[len(prompt) - 1 : -1].gather(1, torch.tensor(summary).unsqueeze(1)).squeeze(1)
        assert torch.allclose(found[index, : len(summary)], expected, atol=1e-5)
        assert found[index, len(summary) :].abs().sum() == 0


def gradients(parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters)])


def test_gradients_of_the_reward_loss_are_those_of_separate_sequences(able: Callable[[], PretrainedConfig]) -> None:
    model = scalar(able())
    parameters = list(model.parameters())
    draw = random.Random(1)
    prompts = [QueryTokens(tuple(draw.randrange(VOCABULARY) for _ in range(count))) for count in (20, 3, 11)]
    pairs = [SummaryTokens(tuple(draw.randrange(VOCABULARY) for _ in range(count))) for count in (5, 9, 1, 4, 7, 7)]
    shared = model.scores(collate([prompts[i // 2] for i in range(6)], pairs, 0, CPU, together=[2, 2, 2]))
    plain = torch.cat(
        [
            model.stock.score(
                model.stock.base_model(input_ids=torch.tensor([[*prompts[i // 2], *pairs[i]]])).last_hidden_state[:, -1]
            )[:, 0]
            for i in range(6)
        ]
    )
    ours, theirs = (
        gradients(parameters, pairwise_loss(*scores.view(-1, 2).unbind(1)).mean()) for scores in (shared, plain)
    )
    assert theirs.abs().max() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, theirs.abs().max().item())


def test_gradients_of_logprobs_are_those_of_separate_sequences(able: Callable[[], PretrainedConfig]) -> None:
    model = policy(able())
    parameters = list(model.parameters())
    prompts, summaries, together = drawn(5)
    weights = torch.randn(len(summaries), 9, generator=torch.Generator().manual_seed(1))
    found = []
    for rows in (together, None):
        logs = logprobs.of_summaries(model, collate(prompts, summaries, 0, CPU, rows), 0.7)
        found.append(gradients(parameters, (logs * weights[:, : logs.shape[1]]).mean()))
    assert found[1].abs().max() > 0.01
    assert (found[0] - found[1]).abs().max() <= 1e-5 * max(1.0, found[1].abs().max().item())


@torch.no_grad()
def test_bf16_moves_scores_no_more_than_bf16_does(able: Callable[[], PretrainedConfig]) -> None:
    model = scalar(able())
    prompts, summaries, together = drawn(2)
    exact = model.scores(collate(prompts, summaries, 0, CPU))
    with devices.autocast(CPU, "bf16"):
        shared = model.scores(collate(prompts, summaries, 0, CPU, together))
        separate = model.scores(collate(prompts, summaries, 0, CPU))
    assert shared.dtype == torch.float32 and bool(shared.isfinite().all())
    assert (shared - exact).abs().max() <= 2 * (separate - exact).abs().max() + 1e-3


@pytest.mark.parametrize("counts", [(3, 3, 3), (4, 1, 2), (1, 1, 1)])
def test_what_is_written_is_what_would_be_written_alone(
    able: Callable[[], PretrainedConfig], counts: tuple[int, ...]
) -> None:
    model, codec = policy(able()), Codec(None, eos=1, pad=0, prefix=())
    recipe = SamplingRecipe(max_summary_tokens=7, temperature=1.0)
    draw = random.Random(3)
    prompts = [QueryTokens(tuple(draw.randrange(VOCABULARY) for _ in range(length))) for length in (9, 4, 1)]
    seeds = [[10 * row + column for column in range(count)] for row, count in enumerate(counts)]
    together = generation.continue_prompts(model, prompts, seeds, codec, recipe, "fp32", NullSink())
    alone = [
        generation.continue_prompts(model, [prompt], [[seed]], codec, recipe, "fp32", NullSink())[0]
        for prompt, row in zip(prompts, seeds, strict=True)
        for seed in row
    ]
    assert len({*together}) == len(together)
    assert [codec.cut(each) for each in together] == [codec.cut(each) for each in alone]


def test_who_goes_by_positions_and_mask_may_share(able: Callable[[], PretrainedConfig]) -> None:
    assert scalar(able()).reach == sys.maxsize
    assert logprobs.reach(policy(able())) == sys.maxsize


@pytest.mark.parametrize("kind", UNABLE)
def test_who_does_not_may_not(kind: str) -> None:
    assert logprobs.reach(policy(UNABLE[kind]())) == 0


def test_a_mask_that_is_ignored_is_noticed() -> None:
    model = scalar(ABLE["llama"]())

    def deaf(batch: Batch) -> Tensor:
        states = model.stock.base_model(input_ids=batch.ids, position_ids=batch.positions).last_hidden_state
        return batch.take(model.stock.score(states).squeeze(-1), batch.columns)

    assert sharing.reach(deaf, model.stock.config, CPU) == 0


def test_a_window_of_attention_is_the_limit() -> None:
    config = MistralConfig(**SHAPE, **LAYERS, num_key_value_heads=2, sliding_window=16)
    assert scalar(config).reach == 16


def test_trying_touches_no_randomness_and_no_gradient() -> None:
    model = scalar(ABLE["llama"]())
    before = torch.get_rng_state()
    assert sharing.reach(model.scores, model.stock.config, CPU) > 0
    assert torch.equal(before, torch.get_rng_state())
    assert all(each.grad is None for each in model.parameters())

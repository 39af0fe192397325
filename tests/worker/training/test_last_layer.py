"""A last layer worked out only where it is read: what is read stays what it was, and less is computed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    MambaConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen3Config,
)

from app.domain.recipes import SamplingRecipe
from tests.worker.training.test_sharing import ABLE, LAYERS, SHAPE, drawn
from worker.training import generation, last_layer, logprobs, models, recomputing
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.metrics import NullSink
from worker.training.tokens import Codec

HEEDING: dict[str, Callable[[], PretrainedConfig]] = ABLE | {
    "qwen3": lambda: Qwen3Config(**SHAPE, **LAYERS, num_key_value_heads=2, head_dim=8)
}


def built(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    return auto.from_config(config).eval()


def put_in_force(model: Any) -> None:
    last_layer.put_in_force(model, lambda last, given: model(**given, use_cache=False, logits_to_keep=last).logits)


def as_whole(columns: int) -> AbstractContextManager[None]:
    return nullcontext()


def computed(model: Any, together: bool) -> tuple[Tensor, list[Tensor], int]:
    """Log-probabilities, gradients of their sum, and the operations in the products of both passes."""
    prompts, summaries, counts = drawn(3)
    batch = collate(prompts, summaries, 0, CPU, counts if together else None)
    weights = [each for each in model.parameters() if each.requires_grad]
    with FlopCounterMode(display=False) as counted:
        found = logprobs.of_summaries(model, batch, 0.7)
        gradients = torch.autograd.grad(found.sum(), weights)
    return found.detach(), [*gradients], counted.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", HEEDING)
def test_what_is_read_and_its_gradients_stay(
    name: str, together: bool, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(HEEDING[name]())
    put_in_force(model)
    if checkpointing:
        recomputing.put_in_force(model)
    found, gradients, operations = computed(model, together)
    monkeypatch.setattr(last_layer, "read", as_whole)
    expected, whole, all_operations = computed(model, together)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert all(
        torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5) for ours, theirs in zip(gradients, whole, strict=True)
    )
    assert operations < 0.95 * all_operations


def test_only_the_columns_that_are_read_are_worked_out_and_only_in_the_last_layer() -> None:
    model = built(HEEDING["llama"]())
    put_in_force(model)
    seen: list[int] = []
    for layer in model.model.layers:
        for part in (layer.mlp.up_proj, layer.self_attn.q_proj, layer.self_attn.k_proj):
            part.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad(), last_layer.read(3):
        read = model(input_ids=ids).logits[:, -3:]
    assert seen == [12, 12, 12, 12, 12, 3], "queries are asked in part by the attention, keys are needed of all"
    with torch.no_grad():
        assert torch.allclose(read, model(input_ids=ids).logits[:, -3:], atol=1e-5)
    assert seen[6:] == [12] * 6, "nobody said what is read"


class Mixing(nn.Module):
    """Under a name that stands for one token at a time: a part that looks at all of them."""

    def forward(self, states: Tensor) -> Tensor:
        return states.mean(1, keepdim=True).expand_as(states)


def test_a_part_that_looks_at_other_tokens_is_found_out() -> None:
    model = built(HEEDING["llama"]())
    model.model.layers[-1].mlp = Mixing()
    put_in_force(model)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        expected = model(input_ids=ids).logits[:, -3:]
        with last_layer.read(3):
            assert torch.equal(model(input_ids=ids).logits[:, -3:], expected)


@pytest.mark.parametrize(
    "config",
    [
        lambda: BloomConfig(**SHAPE, hidden_size=32, n_layer=2, n_head=4),
        lambda: MambaConfig(**SHAPE, hidden_size=32, num_hidden_layers=2, state_size=4),
    ],
)
def test_other_architectures_give_the_same_with_and_without(config: Callable[[], PretrainedConfig]) -> None:
    model = built(config())
    put_in_force(model)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        expected = model(input_ids=ids).logits[:, -3:]
        with last_layer.read(3):
            assert torch.allclose(model(input_ids=ids).logits[:, -3:], expected, atol=1e-5)


def test_a_model_that_counts_on_all_columns_stays_whole() -> None:
    """Its loss over the routers of its experts needs a row for every token that is real."""
    config = MixtralConfig(**SHAPE, **LAYERS, num_key_value_heads=2, num_local_experts=4, output_router_logits=True)
    model = built(config)
    put_in_force(model)
    prompts, summaries, _ = drawn(3)
    assert torch.isfinite(logprobs.of_summaries(model, collate(prompts, summaries, 0, CPU), 1.0)).all()


def test_a_model_that_cannot_be_tried_is_left_alone() -> None:
    model = built(HEEDING["llama"]())

    def broken(last: int, given: dict[str, Tensor]) -> Tensor:
        raise AttributeError("it has no such output")

    last_layer.put_in_force(model, broken)
    assert "forward" not in vars(model.model.layers[-1])


def test_policies_and_reward_models_heed_it(base_dir: Path, codec: Codec) -> None:
    policy, scalar = models.load_policy(base_dir, CPU), models.new_reward(base_dir, 1, CPU)
    seen: list[int] = []
    for model in (policy.model, scalar.stock.model):
        model.layers[-1].mlp.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
        model.layers[-1].mlp.up_proj.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    prompts, summaries, _ = drawn(3)
    batch = collate(prompts, summaries, codec.pad, CPU)
    with torch.no_grad():
        logprobs.of_summaries(policy, batch, 1.0)
        scalar.scores(batch)
    assert batch.kept < batch.ids.shape[1] and seen == [batch.kept, batch.ids.shape[1]] * 2
    del seen[:]
    recipe = SamplingRecipe(max_query_tokens=64, max_summary_tokens=2, batch=8)
    generation.continue_prompts(policy, prompts[:2], [[1], [2]], codec, recipe, "fp32", NullSink())
    assert min(seen) == 1

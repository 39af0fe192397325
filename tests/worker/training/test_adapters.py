"""Adapters: what learns, what stays, what is shared, and what a checkpoint of them is."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.domain.recipes import PpoRecipe, RewardRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING, longer_is_better
from worker.training import adapters, checkpoints, generation, logprobs, metrics, models, ppo, reward, sft, tokens
from worker.training.adapters import Adapted
from worker.training.batches import Batch, collate
from worker.training.devices import CPU
from worker.training.metrics import NullSink
from worker.training.rollouts import Models
from worker.training.tokens import QueryTokens

QUERIES = [tiny_models.query(seed) for seed in range(7)]
PPO = PpoRecipe(
    episodes=16, batch=8, micro_batch=4, epochs=2, learning_rate=1e-2, lora_rank=4, value_lora_rank=2, lora_alpha=8
)
REWARD = RewardRecipe(batch=4, micro_batch=4, learning_rate=1e-2, max_summary_tokens=24, lora_rank=4)


def run_ppo(sft_dir: Path, reward_dir: Path, out: Path, recipe: PpoRecipe, **named: Any) -> ppo.PpoResult:
    return ppo.train(
        sft_dir,
        reward_dir,
        QUERIES,
        recipe,
        sampling=SAMPLING,
        precision=named.pop("precision", "fp32"),
        seed=5,
        out_dir=out,
        sink=named.pop("sink", NullSink()),
        **named,
    )


def some(codec: tokens.Codec) -> Batch:
    prompts = [QueryTokens(tuple(codec.ids(tiny_models.words(length, length)))) for length in (12, 5)]
    return collate(prompts, [codec.summary(tiny_models.words(4, 4 + row), 12) for row in range(2)], codec.pad, CPU)


def moved(adapted: Adapted) -> None:
    """As if it had learned: an adapter begins as nothing."""
    for name, weight in adapted.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))


def adapt(model_dir: Path, targets: Any = "linear") -> Adapted:
    return Adapted(models.load_policy(model_dir, CPU), model_dir, rank=4, alpha=8, targets=targets, seed=1)


@pytest.mark.parametrize(("targets", "layers"), [("attention", 2), ("linear", 7)])
def test_only_the_adapter_learns_and_off_it_is_the_base_model_to_the_bit(
    base_dir: Path, policy: Any, codec: tokens.Codec, targets: str, layers: int
) -> None:
    adapted, batch = adapt(base_dir, targets), some(codec)
    learning = [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]
    assert len(learning) == 4 * layers * 2 and all("lora" in name for name in learning)
    with torch.inference_mode():
        base = logprobs.of_summaries(policy, batch, 0.7)
        assert torch.equal(logprobs.of_summaries(adapted.model, batch, 0.7), base), "it begins as nothing"
    moved(adapted)
    with torch.inference_mode():
        on = logprobs.of_summaries(adapted.model, batch, 0.7)
        assert (on - base).abs().max() > 1e-2
        assert torch.equal(logprobs.of_summaries(adapters.Unadapted(adapted), batch, 0.7), base)
        assert torch.equal(logprobs.of_summaries(adapted.model, batch, 0.7), on), "switched on again"
    assert learning == [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]


def test_the_same_seed_begins_with_the_same_adapter_and_touches_no_other_draw(base_dir: Path) -> None:
    torch.manual_seed(3)
    undisturbed = torch.rand(2)
    torch.manual_seed(3)
    one, first = adapt(base_dir), torch.rand(1)
    same, second = adapt(base_dir), torch.rand(1)
    assert torch.equal(torch.cat([first, second]), undisturbed)
    named = zip(one.model.named_parameters(), same.model.named_parameters(), strict=True)
    drawn = [torch.equal(value, other) for (name, value), (_, other) in named if "lora_A" in name]
    assert drawn and all(drawn)


@pytest.mark.parametrize("merge", [True, False])
def test_a_saved_adapter_gives_the_same_logits(
    base_dir: Path, codec: tokens.Codec, tmp_path: Path, merge: bool
) -> None:
    adapted, batch = adapt(base_dir), some(codec)
    moved(adapted)
    with torch.inference_mode():
        trained = logprobs.summary_logits(adapted.model, batch)
    saved = adapted.save(codec.tokenizer, tmp_path / "saved", merge=merge)
    with torch.inference_mode():
        again = logprobs.summary_logits(models.load_policy(saved, CPU), batch)
    assert (again - trained).abs().max() <= 1e-5
    assert tokens.load(saved).ids("the old house") == codec.ids("the old house")
    assert {path.suffix for path in saved.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".jinja"}
    plain, weights = load_file(base_dir / "model.safetensors"), saved if merge else saved / "base"
    held = load_file(weights / "model.safetensors")
    assert held.keys() == plain.keys()
    assert all(torch.equal(held[name], plain[name]) for name in plain) == (not merge)


PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1] + "/base")
print(PeftModel.from_pretrained(model, sys.argv[1])(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().item())
"""


def test_an_adapter_saved_apart_needs_nothing_outside_its_directory_nor_this_project(
    base_dir: Path, codec: tokens.Codec, tmp_path: Path
) -> None:
    base = checkpoints.linked(base_dir, tmp_path / "base")
    adapted = adapt(base)
    moved(adapted)
    with torch.inference_mode():
        expected = adapted.model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().item()
    saved = adapted.save(codec.tokenizer, tmp_path / "saved", merge=False)
    assert not any(str(tmp_path) in path.read_text() for path in saved.rglob("*.json"))
    for path in base.iterdir():
        path.unlink()
    elsewhere = saved.rename(tmp_path / "elsewhere")
    done = subprocess.run([sys.executable, "-c", PEFT, str(elsewhere)], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(expected, abs=1e-3)


def test_an_adapter_on_an_adapter_that_was_saved_apart_takes_it_along(
    base_dir: Path, codec: tokens.Codec, tmp_path: Path
) -> None:
    first = adapt(base_dir)
    moved(first)
    apart = first.save(codec.tokenizer, tmp_path / "first", merge=False)
    second, batch = adapt(apart), some(codec)
    moved(second)
    with torch.inference_mode():
        trained = logprobs.summary_logits(second.model, batch)
    saved = second.save(codec.tokenizer, tmp_path / "second", merge=False)
    with torch.inference_mode():
        assert (logprobs.summary_logits(models.load_policy(saved, CPU), batch) - trained).abs().max() <= 1e-5


def test_weights_that_are_not_safetensors_are_not_read(base_dir: Path, codec: tokens.Codec, tmp_path: Path) -> None:
    saved = adapt(base_dir).save(codec.tokenizer, tmp_path / "saved", merge=False)
    (saved / "adapter_model.safetensors").rename(saved / "adapter_model.bin")
    with pytest.raises(adapters.CannotAdapt, match="safetensors only"):
        models.load_policy(saved, CPU)


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights that are read from now on, by the name of their directory."""
    read: list[str] = []

    def watched(name: str) -> Callable[[Path, torch.device], Any]:
        real = getattr(models, name)

        def load(model_dir: Path, device: torch.device) -> Any:
            read.append(name)
            return real(model_dir, device)

        return load

    for name in ("load_policy", "load_reward"):
        monkeypatch.setattr(models, name, watched(name))
    return read


def test_policy_and_reference_are_one_model_and_so_are_value_and_reward(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_dir, judge_dir = sft_run.directory, reward_run.directory
    read = loads(monkeypatch)
    shared = Models.load(policy_dir, policy_dir, judge_dir, PPO, CPU, 1)
    assert read == ["load_policy", "load_reward"], "two models in memory, not four"
    assert shared.value is not None and shared.reward.stock is shared.value.stock
    apart = Models.load(policy_dir, policy_dir, judge_dir, replace(PPO, lora_rank=0, value_lora_rank=0), CPU, 1)
    for each in shared.adapted.values():
        moved(each)
    with torch.no_grad():
        shared.value.stock.score.modules_to_save["default"].weight.add_(1.0)
    codec = tokens.load(policy_dir)
    batch = some(codec)
    with torch.inference_mode():
        ours, theirs = (logprobs.of_summaries(each.reference, batch, 0.7) for each in (shared, apart))
        assert torch.equal(ours, theirs)
        assert torch.equal(shared.reward.scores(batch), apart.reward.scores(batch))
        assert apart.value is not None
        assert (shared.value.values(batch) - apart.value.values(batch)).abs().max() > 1e-2
        assert (logprobs.of_summaries(shared.policy, batch, 0.7) - ours).abs().max() > 1e-2


def test_a_policy_that_starts_elsewhere_has_a_reference_of_its_own(
    base_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult
) -> None:
    found = Models.load(base_dir, sft_run.directory, reward_run.directory, PPO, CPU, 1)
    batch = some(tokens.load(sft_run.directory))
    with torch.inference_mode():
        sft_policy = logprobs.of_summaries(models.load_policy(sft_run.directory, CPU), batch, 0.7)
        assert torch.equal(logprobs.of_summaries(found.reference, batch, 0.7), sft_policy)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("merge", [True, False])
def test_ppo_learns_by_adapters_and_leaves_checkpoints_that_any_stage_reads(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path, merge: bool, precision: Any
) -> None:
    recipe = replace(PPO, lora_merge=merge)
    result = run_ppo(sft_run.directory, reward_run.directory, tmp_path, recipe, precision=precision)
    assert result.history[0].kl == 0 and result.history[1].kl != 0
    assert result.value_dir is not None and adapters.is_apart(result.policy_dir) == (not merge)
    policy, before = (models.load_policy(each, CPU) for each in (result.policy_dir, sft_run.directory))
    changed = {
        name
        for (name, new), old in zip(policy.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(new, old)
    }
    assert changed and all("_proj" in name for name in changed)
    value = models.load_reward(result.value_dir, CPU)
    assert value.offset == pytest.approx(reward_run.offset)
    assert not torch.equal(value.stock.score.weight, models.load_reward(reward_run.directory, CPU).stock.score.weight)
    written = generation.sample(result.policy_dir, QUERIES[:2], SAMPLING, [1, 2], NullSink())
    assert all(each.token_count for each in written)
    if merge:
        stock: list[tuple[Any, Path]] = [
            (AutoModelForCausalLM, result.policy_dir),
            (AutoModelForSequenceClassification, result.value_dir),
        ]
        for auto, directory in stock:
            _, told = auto.from_pretrained(str(directory), output_loading_info=True)
            assert not told["unexpected_keys"] and not told["missing_keys"]


@pytest.mark.parametrize("merge", [True, False])
def test_a_reward_model_learns_by_an_adapter_and_a_whole_head(
    sft_run: sft.SftResult, tmp_path: Path, merge: bool
) -> None:
    pairs, held_out = longer_is_better(range(16)), longer_is_better(range(100, 108))
    references = [tiny_models.demonstration(seed) for seed in range(6)]
    result = reward.train(
        sft_run.directory,
        pairs,
        held_out,
        references,
        replace(REWARD, lora_merge=merge, seeds=2, epochs=2),
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
        out_dir=tmp_path / "reward",
        sink=NullSink(),
    )
    assert adapters.is_apart(result.directory) == (not merge)
    scores = reward.score(result.directory, [(pair.query, pair.preferred_text) for pair in held_out])
    assert scores == pytest.approx([each.preferred_score for each in result.held_out], abs=1e-4)
    rows = [(each.query, each.summary_text) for each in references]
    assert sum(reward.score(result.directory, rows)) == pytest.approx(0, abs=1e-4)
    judge, before = models.load_reward(result.directory, CPU), models.load_policy(sft_run.directory, CPU)
    assert torch.equal(judge.stock.model.embed_tokens.weight, before.model.embed_tokens.weight)
    assert not torch.equal(judge.stock.model.layers[0].mlp.up_proj.weight, before.model.layers[0].mlp.up_proj.weight)


def test_checkpointing_and_adapters_go_together(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    digests = []
    for on in (False, True):
        sink = metrics.ListSink()
        recipe = replace(PPO, checkpointing=on)
        run_ppo(sft_run.directory, reward_run.directory, tmp_path / str(on), recipe, sink=sink)
        assert sink.conditions["checkpointing"] == ("on" if on else "off")
        digests.append(checkpoints.digest_directory(tmp_path / str(on)))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("merge", [True, False])
def test_a_cancelled_training_by_adapters_leaves_models_and_goes_on(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path, merge: bool
) -> None:
    recipe, dirs = replace(PPO, lora_merge=merge), (sft_run.directory, reward_run.directory)
    run_ppo(*dirs, tmp_path / "whole", recipe)
    killed, states = tmp_path / "cancelled", tmp_path / "states"
    with pytest.raises(metrics.Cancelled) as stop:
        run_ppo(*dirs, killed, recipe, sink=metrics.ListSink(cancel_at=18), state_dir=states)
    assert stop.value.left is not None
    models.load_policy(stop.value.left / "policy", CPU)
    models.load_reward(stop.value.left / "value", CPU)
    sink = metrics.ListSink()
    run_ppo(*dirs, killed, recipe, sink=sink, state_dir=states)
    assert sink.conditions["start"].startswith("resumed from step ")
    assert checkpoints.digest_directory(killed) == checkpoints.digest_directory(tmp_path / "whole")

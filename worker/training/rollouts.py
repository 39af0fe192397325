"""Rollouts: the policy writes summaries, and every model looks at each of them once.

Knows policy, reference, reward model, and the value network if there is one. Knows nothing of optimizers. P 5.3:
reward_t = -beta * (log pi - log pi_sft) on every token, plus the score on the end token; a summary without an end
token scores a fixed number instead. Log-probabilities of policy and reference come from the same function on the same
batch, so their difference is 0 as long as their weights are equal.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from app.domain.recipes import PpoRecipe, Precision
from worker.training import checkpoints, devices, logprobs, metrics, models, processes, sharding, tokens
from worker.training.adapters import Adapted, Unadapted
from worker.training.batches import Batch, micro_batches
from worker.training.models import ScalarModel
from worker.training.tokens import QueryTokens, SummaryTokens


@dataclass(frozen=True)
class Models:
    """The models of PPO. Policy and value learn, where there is a value network; reference and reward do not.

    `adapted` has those of `policy` and `value` that learn by an adapter. `reach` is the longest sequence that may share
    its document with others in all models (sharing.reach).
    """

    policy: Any
    value: ScalarModel | None
    reference: Any
    reward: ScalarModel
    adapted: Mapping[str, Adapted] = field(default_factory=dict)
    reach: int = field(init=False)

    def __post_init__(self) -> None:
        policies = (logprobs.reach(each) for each in (self.policy, self.reference))
        scalars = (each.reach for each in (self.value, self.reward) if each is not None)
        object.__setattr__(self, "reach", min(*scalars, *policies))

    @classmethod
    def load(
        cls, start_dir: Path, sft_dir: Path, reward_dir: Path, recipe: PpoRecipe, device: torch.device, seed: int
    ) -> Self:
        """Policy from `start_dir`, reference from `sft_dir`, value network, if any, and reward model from `reward_dir`.

        A policy with an adapter that starts from the SFT model is its own reference, a value network with one its own
        reward model: the adapter is switched off.
        """
        policy, adapted = models.load_policy(start_dir, device), dict[str, Adapted]()
        lora = functools.partial(Adapted, alpha=recipe.lora_alpha, targets=recipe.lora_targets, seed=seed)
        if recipe.lora_rank:
            adapted["policy"] = lora(policy, start_dir, rank=recipe.lora_rank)
        shared = recipe.lora_rank and start_dir.resolve() == sft_dir.resolve()
        reference = Unadapted(adapted["policy"]) if shared else models.load_policy(sft_dir, device)
        reward, value = models.load_reward(reward_dir, device), None
        if recipe.value_lora_rank:
            adapted["value"] = lora(reward.stock, reward_dir, rank=recipe.value_lora_rank, head=True)
            value, reward = reward, ScalarModel(reward.stock, adapted["value"].off)
        elif recipe.learns_values:
            value = models.load_reward(reward_dir, device)
        return cls(policy, value, reference, reward, adapted)

    def deal_out(self) -> None:
        """From now on each process holds a part of every model (worker.training.sharding)."""
        for policy in (self.policy, self.reference):
            sharding.put_in_force(policy)
        for each in (self.value, self.reward):
            if each is not None:
                sharding.put_in_force(each.stock.base_model, each.stock.score)

    def learning(self) -> dict[str, nn.Module]:
        """The models that learn, by name."""
        learning = {"policy": self.policy}
        return learning if self.value is None else learning | {"value": self.value.stock}

    def save(self, tokenizer: Any, place: Path, *, merge: bool) -> dict[str, Path]:
        """Writes the models that learn into directories by name, the last thing that is done with them."""
        return {
            name: self.adapted[name].save(tokenizer, place / name, merge=merge)
            if name in self.adapted
            else checkpoints.save(model, tokenizer, place / name)
            for name, model in self.learning().items()
        }


@dataclass(frozen=True)
class Rollout:
    """N summaries of at most S tokens. Tensors are float32 and 0 on padding; `mask` (N, S) is true on real tokens.

    logprobs, reference_logprobs, values: (N, S); values are None without a value network. scores: (N,), the fixed score
    for a missing end token included. finished: (N,) bool. The summaries of one document stand together.
    """

    prompts: tuple[QueryTokens, ...]
    summaries: tuple[SummaryTokens, ...]
    mask: Tensor
    logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor | None
    scores: Tensor
    finished: Tensor

    def micro_batches(self, rows: Sequence[int], size: int, pad: int, reach: int) -> Iterator[tuple[list[int], Batch]]:
        """Some of the summaries as model input (batches.micro_batches), and which of them."""
        prompts, summaries = [self.prompts[row] for row in rows], [self.summaries[row] for row in rows]
        for places, batch in micro_batches(prompts, summaries, size, pad, self.mask.device, reach=reach):
            yield [rows[place] for place in places], batch

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors by name, to be kept: rows of tokens as `name.ids` (int64) and `name.lengths` (N,)."""
        found: dict[str, Tensor] = {}
        for name, value in ((each.name, getattr(self, each.name)) for each in fields(self)):
            if isinstance(value, Tensor):
                found[name] = value
            elif value is not None:
                found[f"{name}.ids"] = torch.tensor([*chain.from_iterable(value)])
                found[f"{name}.lengths"] = torch.tensor([len(row) for row in value])
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The rollout that `to_tensors` took apart."""
        values: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            if f"{name}.ids" not in tensors:
                values[name] = tensors.get(name)
            else:
                rows = torch.split(tensors[f"{name}.ids"], tensors[f"{name}.lengths"].tolist())
                values[name] = tuple(tuple(row.tolist()) for row in rows)
        return cls(**values)

    def kl(self) -> Tensor:
        """(N,): summed log-ratio of policy to reference; its mean estimates KL(policy || SFT) in nats."""
        return (self.logprobs - self.reference_logprobs).sum(1)

    def rewards(self, kl_coefficient: float) -> Tensor:
        """(N, S): the KL penalty on every real token, the score added on the last."""
        rewards = -kl_coefficient * (self.logprobs - self.reference_logprobs)
        last = self.mask.sum(1, keepdim=True) - 1
        return rewards.scatter_add(1, last, self.scores.unsqueeze(1))


def look(
    trained: Models,
    codec: tokens.Codec,
    prompts: Sequence[QueryTokens],
    summaries: Sequence[SummaryTokens],
    recipe: PpoRecipe,
    precision: Precision,
    sink: metrics.Sink,
) -> Rollout:
    """Log-probabilities, values and scores of the summaries, in length-sorted micro-batches.

    Under bf16 the weights of every model are cast once for the whole pass, where one process makes it.
    """
    device = trained.policy.device
    count, width = len(summaries), max(map(len, summaries))
    lengths = torch.tensor([len(each) for each in summaries], device=device)
    mask = torch.arange(width, device=device) < lengths.unsqueeze(1)
    new, old = (torch.zeros(count, width, device=device) for _ in range(2))
    values = None if trained.value is None else torch.zeros(count, width, device=device)
    scores = torch.zeros(count, device=device)
    size = processes.at_once(recipe.micro_batch, count)
    with devices.without_gradients(), devices.autocast(device, precision):
        groups = micro_batches(prompts, summaries, size, codec.pad, device, reach=trained.reach)
        for (rows, batch), weight in processes.dealt(groups):
            sink.check()
            new[rows, : batch.width] += weight * logprobs.of_summaries(trained.policy, batch, recipe.temperature)
            old[rows, : batch.width] += weight * logprobs.of_summaries(trained.reference, batch, recipe.temperature)
            if trained.value is not None and values is not None:
                values[rows, : batch.width] += weight * trained.value.values(batch)
            scores[rows] += weight * trained.reward.scores(batch)
    for each in (new, old, values, scores):
        if each is not None:
            processes.summed(each)
    finished = _finished(codec, summaries, device)
    scores = torch.where(finished, scores, recipe.missing_eos_score)
    return Rollout(tuple(prompts), tuple(summaries), mask, new, old, values, scores, finished)


def judge(
    reward: ScalarModel,
    codec: tokens.Codec,
    prompts: Sequence[QueryTokens],
    summaries: Sequence[SummaryTokens],
    recipe: PpoRecipe,
    precision: Precision,
    sink: metrics.Sink,
) -> Tensor:
    """(N,) float32: the scores that `look` gives, without looking at anything else."""
    device = reward.stock.device
    scores = torch.zeros(len(summaries), device=device)
    size = processes.at_once(recipe.micro_batch, len(summaries))
    with devices.without_gradients(), devices.autocast(device, precision):
        groups = micro_batches(prompts, summaries, size, codec.pad, device, reach=reward.reach)
        for (rows, batch), weight in processes.dealt(groups):
            sink.check()
            scores[rows] += weight * reward.scores(batch)
    return torch.where(_finished(codec, summaries, device), processes.summed(scores), recipe.missing_eos_score)


def _finished(codec: tokens.Codec, summaries: Sequence[SummaryTokens], device: torch.device) -> Tensor:
    """(N,) bool"""
    return torch.tensor([codec.finished(summary) for summary in summaries], device=device)

"""Rollouts: the policy writes summaries, and four models look at each of them once.

Knows policy, reference, value and reward model. Knows nothing of optimizers. P 5.3: reward_t = -beta * (log pi -
log pi_sft) on every token, plus the score on the end token; a summary without an end token scores a fixed number
instead. Log-probabilities of policy and reference come from the same function on the same batch, so their difference
is 0 as long as their weights are equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor

from app.domain.recipes import PpoRecipe, Precision
from worker.training import devices, logprobs, metrics, tokens
from worker.training.batches import Batch, micro_batches
from worker.training.models import ScalarModel
from worker.training.tokens import QueryTokens, SummaryTokens


@dataclass(frozen=True)
class Models:
    """The four models of PPO. Policy and value learn; reference and reward do not.

    `reach` is the longest sequence that may share its document with others in all four of them (sharing.reach).
    """

    policy: Any
    value: ScalarModel
    reference: Any
    reward: ScalarModel
    reach: int = field(init=False)

    def __post_init__(self) -> None:
        policies = (logprobs.reach(each) for each in (self.policy, self.reference))
        object.__setattr__(self, "reach", min(self.value.reach, self.reward.reach, *policies))


@dataclass(frozen=True)
class Rollout:
    """N summaries of at most S tokens. Tensors are float32 and 0 on padding; `mask` (N, S) is true on real tokens.

    logprobs, reference_logprobs, values: (N, S). scores: (N,), the fixed score for a missing end token included.
    finished: (N,) bool.
    """

    prompts: tuple[QueryTokens, ...]
    summaries: tuple[SummaryTokens, ...]
    mask: Tensor
    logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor
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
            else:
                found[f"{name}.ids"] = torch.tensor([*chain.from_iterable(value)])
                found[f"{name}.lengths"] = torch.tensor([len(row) for row in value])
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The rollout that `to_tensors` took apart."""
        values: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            if name in tensors:
                values[name] = tensors[name]
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


@torch.inference_mode()
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

    Under bf16 all four models' weights are cast once for the whole pass.
    """
    device = trained.policy.device
    count, width = len(summaries), max(map(len, summaries))
    mask = torch.zeros(count, width, dtype=torch.bool, device=device)
    new, old, values = (torch.zeros(count, width, device=device) for _ in range(3))
    scores = torch.zeros(count, device=device)
    with devices.autocast(device, precision):
        for rows, batch in micro_batches(
            prompts, summaries, recipe.micro_batch, codec.pad, device, reach=trained.reach
        ):
            sink.check()
            mask[rows, : batch.width] = batch.summary_mask
            new[rows, : batch.width] = logprobs.of_summaries(trained.policy, batch, recipe.temperature)
            old[rows, : batch.width] = logprobs.of_summaries(trained.reference, batch, recipe.temperature)
            values[rows, : batch.width] = trained.value.values(batch)
            scores[rows] = trained.reward.scores(batch)
    finished = torch.tensor([codec.finished(summary) for summary in summaries], device=device)
    scores = torch.where(finished, scores, recipe.missing_eos_score)
    return Rollout(tuple(prompts), tuple(summaries), mask, new, old, values, scores, finished)

"""Rollouts: the policy writes summaries, and four models look at each of them once.

Knows policy, reference, value and reward model. Knows nothing of optimizers. P 5.3: reward_t = -beta * (log pi -
log pi_sft) on every token, plus the score on the end token; a summary without an end token scores a fixed number
instead. Log-probabilities of policy and reference come from the same function on the same batch, so their difference
is 0 as long as their weights are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.domain.recipes import PpoRecipe, Precision
from worker.training import devices, logprobs, metrics, tokens
from worker.training.batches import Batch, collate, length_sorted
from worker.training.models import ScalarModel
from worker.training.tokens import QueryTokens, SummaryTokens


@dataclass(frozen=True)
class Models:
    """The four models of PPO. Policy and value learn; reference and reward do not."""

    policy: Any
    value: ScalarModel
    reference: Any
    reward: ScalarModel


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

    def batch(self, rows: Sequence[int], pad: int) -> Batch:
        """Some of the summaries as model input, trimmed to the longest among them."""
        return collate([self.prompts[i] for i in rows], [self.summaries[i] for i in rows], pad, self.mask.device)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and summary together."""
        return [len(prompt) + len(summary) for prompt, summary in zip(self.prompts, self.summaries, strict=True)]

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
    """Log-probabilities, values and scores of the summaries, in length-sorted micro-batches."""
    device = trained.policy.device
    count, width = len(summaries), max(map(len, summaries))
    mask = torch.zeros(count, width, dtype=torch.bool, device=device)
    new, old, values = (torch.zeros(count, width, device=device) for _ in range(3))
    scores = torch.zeros(count, device=device)
    lengths = [len(prompt) + len(summary) for prompt, summary in zip(prompts, summaries, strict=True)]
    for group in length_sorted(lengths, recipe.micro_batch):
        sink.check()
        batch = collate([prompts[i] for i in group], [summaries[i] for i in group], codec.pad, device)
        with devices.autocast(device, precision):
            mask[group, : batch.width] = batch.summary_mask
            new[group, : batch.width] = logprobs.of_summaries(trained.policy, batch, recipe.temperature)
            old[group, : batch.width] = logprobs.of_summaries(trained.reference, batch, recipe.temperature)
            values[group, : batch.width] = trained.value.values(batch)
            scores[group] = trained.reward.scores(batch)
    finished = torch.tensor([codec.finished(summary) for summary in summaries], device=device)
    scores = torch.where(finished, scores, recipe.missing_eos_score)
    return Rollout(tuple(prompts), tuple(summaries), mask, new, old, values, scores, finished)

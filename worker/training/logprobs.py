"""Log-probabilities of summary tokens under a policy.

The logits are divided by (T + 1e-7) in every log-probability of this project, as LMHP and N+ 26 do, so that sampling,
rollout, update and reference speak of the same distribution.
"""

from typing import Any

import torch
from torch import Tensor

from worker.training.batches import Batch

TEMPERATURE_GUARD = 1e-7
"""Keeps a temperature of 0 from dividing by 0."""


def gather(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """(B, S, V) logits and (B, S) ids -> (B, S) float32, the entries of log_softmax(logits / T) at ids.

    Gather minus logsumexp: no second tensor of the size of the logits is kept.
    """
    scaled = logits.float() / (temperature + TEMPERATURE_GUARD)
    return scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)


def summary_logits(model: Any, batch: Batch) -> Tensor:
    """(B, S, V): the logits that predict each summary token. The logits of token t are read one position before it."""
    made = model(
        input_ids=batch.ids,
        attention_mask=batch.attention,
        position_ids=batch.positions,
        use_cache=False,
        logits_to_keep=batch.width + 1,
    )
    logits: Tensor = made.logits
    return logits[:, :-1]


def of_summaries(model: Any, batch: Batch, temperature: float) -> Tensor:
    """(B, S) float32 <= 0: log-probability of each summary token given all before it; 0 on padding."""
    found = gather(summary_logits(model, batch), batch.summary_ids, temperature)
    return torch.where(batch.summary_mask, found, 0.0)


def of_sequences(model: Any, batch: Batch) -> Tensor:
    """(B, Q+S-1) float32 <= 0: log-probability at temperature 1 of every token but the first; 0 on padding."""
    logits = model(
        input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
    ).logits
    found = gather(logits[:, :-1], batch.ids[:, 1:], 1.0)
    predicted = batch.attention[:, 1:].bool() & batch.attention[:, :-1].bool()
    return torch.where(predicted, found, 0.0)

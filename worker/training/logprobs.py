"""Log-probabilities of summary tokens under a policy.

The logits are divided by (T + 1e-7) in every log-probability of this project, as LMHP and N+ 26 do, so that sampling,
rollout, update and reference speak of the same distribution.
"""

from typing import Any

import torch
from torch import Tensor

from worker.training import last_layer, sharing
from worker.training.batches import Batch, Places

TEMPERATURE_GUARD = 1e-7
"""Keeps a temperature of 0 from dividing by 0."""


def gather(logits: Tensor, ids: Tensor, temperature: float, places: Places | None = None) -> Tensor:
    """(B, S, V) logits and (B, S) ids -> (B, S) float32, the entries of log_softmax(logits / T) at ids.

    With `places`, (R, K, V) logits and (N, S) ids: the first two indices of the logits that each of the ids is read at.
    Gather minus logsumexp: no second tensor of the size of the logits is kept.
    """
    scaled = logits.float() / (temperature + TEMPERATURE_GUARD)
    if places is None:
        return scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)
    return scaled[(*places, ids)] - scaled.logsumexp(-1)[places]


def kept_logits(model: Any, batch: Batch) -> Tensor:
    """(R, K, V): the logits of the last K columns, which predict all summary tokens of the batch; K is `batch.kept`."""
    with last_layer.read(batch.kept):
        logits: Tensor = model(
            input_ids=batch.ids,
            attention_mask=batch.attention,
            position_ids=batch.positions,
            use_cache=False,
            logits_to_keep=batch.kept,
        ).logits
    return logits


def reach(model: Any) -> int:
    """The longest sequence that may share its document with others (`sharing.reach`)."""
    return sharing.reach(lambda batch: of_summaries(model, batch, 1.0), model.config, model.device)


def summary_logits(model: Any, batch: Batch) -> Tensor:
    """(N, S, V): the logits that predict each summary token. The logits of token t are read one position before it."""
    return batch.take(kept_logits(model, batch), batch.columns[:, :-1])


def of_summaries(model: Any, batch: Batch, temperature: float) -> Tensor:
    """(N, S) float32 <= 0: log-probability of each summary token given its document and summary; 0 on padding."""
    logits = kept_logits(model, batch)
    found = gather(logits, batch.summary_ids, temperature, batch.places(batch.columns[:, :-1], logits.shape[1]))
    return torch.where(batch.summary_mask, found, 0.0)


def of_sequences(model: Any, batch: Batch) -> Tensor:
    """(B, Q+S-1) float32 <= 0: log-probability at temperature 1 of every token but the first; 0 on padding."""
    logits = model(
        input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
    ).logits
    found = gather(logits[:, :-1], batch.ids[:, 1:], 1.0)
    predicted = batch.attention[:, 1:].bool() & batch.attention[:, :-1].bool()
    return torch.where(predicted, found, 0.0)

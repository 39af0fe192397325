"""Prompts and summaries as padded tensors, in one layout for every model and stage.

Prompts are padded on the left and summaries on the right, each to the longest of the batch, so that summary tokens
stand in the same columns. Attention masks, positions and summary lengths are explicit: nothing is ever read off by
comparing with the padding id.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.training.tokens import QueryTokens, SummaryTokens


@dataclass(frozen=True)
class Batch:
    """B sequences, Q prompt columns, S summary columns.

    ids: (B, Q+S) int64. attention: (B, Q+S) int64, 1 on real tokens. positions: (B, Q+S) int64, from 0 at the first
    real token. summary_mask: (B, S) bool, true on real summary tokens. lengths: (B,) int64, real summary tokens, >= 1.
    """

    ids: Tensor
    attention: Tensor
    positions: Tensor
    summary_mask: Tensor
    lengths: Tensor

    @property
    def width(self) -> int:
        """S, the columns of summaries."""
        return self.summary_mask.shape[1]

    @property
    def summary_ids(self) -> Tensor:
        """(B, S) int64."""
        return self.ids[:, -self.width :]

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return int(self.attention.sum())


def collate(
    prompts: Sequence[QueryTokens], summaries: Sequence[SummaryTokens], pad: int, device: torch.device
) -> Batch:
    """A batch of prompts with their summaries. Raises ValueError on an empty prompt or summary."""
    if not prompts or not all(prompts) or not all(summaries):
        raise ValueError("a batch needs at least one row, and every prompt and summary at least one token")
    left, right = max(map(len, prompts)), max(map(len, summaries))
    rows, live = [], []
    for prompt, summary in zip(prompts, summaries, strict=True):
        before, after = left - len(prompt), right - len(summary)
        rows.append([pad] * before + [*prompt, *summary] + [pad] * after)
        live.append([0] * before + [1] * (len(prompt) + len(summary)) + [0] * after)
    attention = torch.tensor(live, device=device)
    return Batch(
        ids=torch.tensor(rows, device=device),
        attention=attention,
        positions=positions(attention),
        summary_mask=attention[:, left:].bool(),
        lengths=attention[:, left:].sum(1),
    )


def positions(attention: Tensor) -> Tensor:
    """(B, T) int64 -> (B, T) int64: 0, 1, 2 ... over the real tokens; 0 on padding before them."""
    return (attention.cumsum(1) - 1).clamp(min=0)


def length_sorted(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The indices of `lengths` in groups of at most `size` with like lengths: longest first, so that a lack of memory
    shows at once; equal lengths in the order given."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + size] for start in range(0, len(order), size)]

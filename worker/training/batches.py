"""Documents and summaries as padded tensors, in one layout for every model and stage.

A row is a document followed by one summary of it, or by several: then each summary looks back at the document and at
itself, never at the summaries before it, and its positions go on from the document's end. What a transformer computes
for such a summary is what it computes for the document with this summary alone; the document is only read once.

Rows are padded on the left, to the longest of the batch. Which tokens are real, their positions and the places of
summaries are explicit: nothing is ever read off by comparing with the padding id.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from worker.training.tokens import QueryTokens, SummaryTokens

SHARED_AT_MOST = 8
"""Summaries in one row. The document's share of a summary is small by then, and attention grows with the row."""

Places = tuple[Tensor, Tensor]
"""The first two indices of a (R, K, ...) tensor, int64, shaped to go together."""

_PADDING, _DOCUMENT = -1, 0


@dataclass(frozen=True)
class Batch:
    """N summaries of at most S tokens in R <= N rows of T tokens.

    By row: ids (R, T) int64. positions: (R, T) int64, from 0 at the first real token, and for each summary from where
    the document ended. parts: (R, T) int64, -1 on padding, 0 on the document, 1 on its first summary, 2 on its second.

    By summary, in the order given to `collate`: rows (N,) int64. columns: (N, S+1) int64, the column of the document's
    last token, then of each summary token; on padding the last one again. summary_ids: (N, S) int64. summary_mask:
    (N, S) bool, true on real summary tokens. lengths: (N,) int64, real summary tokens, >= 1.

    `kept`: so many columns at the end hold all summary tokens and the ones before them.
    """

    ids: Tensor
    positions: Tensor
    parts: Tensor
    rows: Tensor
    columns: Tensor
    summary_ids: Tensor
    summary_mask: Tensor
    lengths: Tensor
    kept: int

    @property
    def width(self) -> int:
        """S, the tokens of the longest summary."""
        return self.summary_mask.shape[1]

    @property
    def tokens(self) -> int:
        """Real tokens in the batch; those of a shared document count once."""
        return int((self.parts != _PADDING).sum())

    @cached_property
    def attention(self) -> Tensor:
        """What a transformers model takes as its attention mask.

        (R, T) int64, 1 on real tokens, where every row has one summary: the model's own causal mask does the rest.
        (R, 1, T, T) bool where rows share documents: true where the token of the third index sees that of the fourth.
        """
        if len(self.rows) == len(self.ids):
            return (self.parts != _PADDING).long()
        seeing, seen = self.parts.unsqueeze(2), self.parts.unsqueeze(1)
        # Padding sees padding, so that no token sees nothing: its softmax would be no number, and no number spreads.
        allowed = (seen == _DOCUMENT) | (seen == seeing)
        return allowed.tril().unsqueeze(1)

    def places(self, columns: Tensor, kept: int) -> Places:
        """(N, C) columns -> rows (N, 1) and columns (N, C), where of all columns only so many at the end were kept."""
        return self.rows.unsqueeze(1), columns - (self.ids.shape[1] - kept)

    def take(self, kept: Tensor, columns: Tensor) -> Tensor:
        """(R, K, ...) of the last K columns and (N, C) columns -> (N, C, ...)."""
        return kept[self.places(columns, kept.shape[1])]


def collate(
    prompts: Sequence[QueryTokens],
    summaries: Sequence[SummaryTokens],
    pad: int,
    device: torch.device,
    together: Sequence[int] | None = None,
) -> Batch:
    """A batch of prompts with their summaries.

    `together` says how many summaries each row holds, in the order given, all of one prompt; without it every summary
    has a row of its own. Raises ValueError on an empty prompt or summary, or on two prompts for one row.
    """
    if not prompts or not all(prompts) or not all(summaries):
        raise ValueError("a batch needs at least one row, and every prompt and summary at least one token")
    counts = [1] * len(prompts) if together is None else together
    starts = [0, *accumulate(counts)]
    spans = [range(start, end) for start, end in pairwise(starts)]
    if starts[-1] != len(summaries) or any(prompts[i] != prompts[span[0]] for span in spans for i in span):
        raise ValueError("the summaries of a row are those of one prompt, and each has its row")
    used = [sum(len(summaries[i]) for i in span) for span in spans]
    total = max(len(prompts[span[0]]) + taken for span, taken in zip(spans, used, strict=True))
    width = max(map(len, summaries))
    ids, places, parts, rows, columns = [], [], [], [], []
    for row, (span, taken) in enumerate(zip(spans, used, strict=True)):
        prompt = prompts[span[0]]
        end, left = len(prompt), total - len(prompt) - taken
        ids.append([pad] * left + [*prompt])
        places.append([0] * left + [*range(end)])
        parts.append([_PADDING] * left + [_DOCUMENT] * end)
        for part, summary in enumerate((summaries[i] for i in span), start=1):
            first = len(ids[row])
            last = first + len(summary) - 1
            rows.append(row)
            columns.append([left + end - 1, *(min(first + place, last) for place in range(width))])
            ids[row] += summary
            places[row] += range(end, end + len(summary))
            parts[row] += [part] * len(summary)
    lengths = torch.tensor([len(each) for each in summaries], device=device)
    return Batch(
        ids=torch.tensor(ids, device=device),
        positions=torch.tensor(places, device=device),
        parts=torch.tensor(parts, device=device),
        rows=torch.tensor(rows, device=device),
        columns=torch.tensor(columns, device=device),
        summary_ids=torch.tensor([[*each, *[pad] * (width - len(each))] for each in summaries], device=device),
        summary_mask=torch.arange(width, device=device) < lengths.unsqueeze(1),
        lengths=lengths,
        kept=max(used) + 1,
    )


def positions(attention: Tensor) -> Tensor:
    """(B, T) int64 -> (B, T) int64: 0, 1, 2 ... over the real tokens; 0 on padding before them."""
    return (attention.cumsum(1) - 1).clamp(min=0)


def micro_batches(
    prompts: Sequence[QueryTokens],
    summaries: Sequence[SummaryTokens],
    size: int,
    pad: int,
    device: torch.device,
    *,
    reach: int,
) -> Iterator[tuple[list[int], Batch]]:
    """All summaries with their prompts, at most `size` at once, rows of like length together, longest first.

    Gives indices and their batch. Summaries of one prompt share a row, if no longer together with it than `reach`
    tokens (sharing.reach).
    """
    sequences = [len(prompt) + len(summary) for prompt, summary in zip(prompts, summaries, strict=True)]
    rows = shared(prompts, [length <= reach for length in sequences], size)
    rows.sort(key=lambda row: -len(prompts[row[0]]) - sum(len(summaries[index]) for index in row))
    for group in filled(rows, size):
        chosen = [index for row in group for index in row]
        together = [len(row) for row in group]
        yield chosen, collate([prompts[i] for i in chosen], [summaries[i] for i in chosen], pad, device, together)


def shared(prompts: Sequence[QueryTokens], may: Sequence[bool], most: int) -> list[list[int]]:
    """The indices of prompts in rows: equal ones that `may` share together, at most `most` and SHARED_AT_MOST."""
    rows: list[list[int]] = []
    begun: dict[QueryTokens, list[int]] = {}
    for index, (prompt, shares) in enumerate(zip(prompts, may, strict=True)):
        row = begun.get(prompt) if shares else None
        if row is None or len(row) == min(most, SHARED_AT_MOST):
            row = []
            rows.append(row)
            if shares:
                begun[prompt] = row
        row.append(index)
    return rows


def filled(rows: Iterable[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Rows in the order given, as many at a time as hold at most `size` indices."""
    group: list[list[int]] = []
    for row in rows:
        if group and sum(map(len, group)) + len(row) > size:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def length_sorted(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The indices of `lengths` in groups of at most `size` with like lengths: longest first, so that a lack of memory
    shows at once; equal lengths in the order given."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + size] for start in range(0, len(order), size)]

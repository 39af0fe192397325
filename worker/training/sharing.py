"""Whether a transformer can read several summaries behind one reading of their document.

It can when it goes by the positions and the attention mask that it is given: rotary embeddings and learned positions
do. It cannot when it reckons positions by itself (ALiBi), carries a state from token to token, or ignores the mask.
Which of these an architecture is, is seen by trying, not by its name. Knows batches; the model is a function of one.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from worker.training import seeding
from worker.training.batches import Batch, collate
from worker.training.tokens import QueryTokens, SummaryTokens

TOLERANCE = 1e-4
"""Largest difference, in what is read, between shared and separate, in fp32."""

PROMPTS, SUMMARIES = (11, 6), ((5, 3, 4), (2, 7))


def reach(read: Callable[[Batch], Tensor], config: Any, device: torch.device) -> int:
    """The longest sequence, in tokens, that may share its document: 0 for a model that cannot at all.

    `read` gives (N, ...) of a batch: what the work will read off the model. A few random tokens are read shared and
    separately, without autocast. Layers that see only a window of tokens set the limit: the shared mask has none.
    """
    vocabulary = config.get_text_config().vocab_size
    drawn = seeding.generator(0, "sharing")

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=drawn).tolist())

    prompts, summaries, together = [], [], []
    for length, others in zip(PROMPTS, SUMMARIES, strict=True):
        prompt = QueryTokens(some(length))
        prompts += [prompt] * len(others)
        summaries += [SummaryTokens(some(each)) for each in others]
        together.append(len(others))
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        try:
            shared = read(collate(prompts, summaries, 0, device, together))
            alone = read(collate(prompts, summaries, 0, device))
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, NotImplementedError):
            return 0  # It does not take such a mask, or no positions.
    return _window(config) if torch.allclose(shared, alone, rtol=0, atol=TOLERANCE) else 0


def _window(config: Any) -> int:
    text = config.get_text_config()
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(each) for each in windows if each), default=sys.maxsize)

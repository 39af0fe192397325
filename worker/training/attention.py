"""Attention with nothing done for nobody: in a last layer only the queries that are wanted are asked, and on a CPU keys
and values that several heads share are read in place.

transformers repeats them in memory for every head of a group, in each layer and pass, wherever several tokens ask
behind a mask: in learning, and when the summaries of a document are written side by side. torch's CPU kernel needs no
such copies. All computing else is transformers' own. Knows nothing of models.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.training import last_layer

ELSEWHERE = ("position_bias", "softcap", "cache")
"""What only transformers' own function takes or refuses."""


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """(R, H, Q, D) query, (R, G, T, D) key and value with H a multiple of G -> (R, Q, H, D), and no weights.

    A single token per row is left to transformers, which reads in place there too, and faster in bfloat16. In a last
    layer only the queries that are wanted are asked; the others, which nobody reads, get zeros.
    """
    length = columns = query.shape[2]
    if attention_mask is not None:
        columns = last_layer.wanted(length)
        query, attention_mask = query[:, :, -columns:], attention_mask[:, :, -columns:]
    in_place = key.shape[1] < query.shape[1] and columns > 1 and attention_mask is not None
    if not in_place or query.device.type != "cpu" or any(others.get(name) is not None for name in ELSEWHERE):
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    else:
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=True
        ).transpose(1, 2)
    if columns < length:
        return torch.nn.functional.pad(output, (0, 0, 0, 0, length - columns, 0)), None
    return output.contiguous(), None


def install() -> None:
    """Puts `attend` in the place of transformers' `sdpa`, for all models of this process."""
    AttentionInterface.register("sdpa", attend)

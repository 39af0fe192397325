"""Which device computes, and in which precision.

bf16 means fp32 weights with matrix products in bfloat16 by autocast, on CPU as on a GPU; optimizer states, losses,
log-probabilities and scalar heads stay in fp32.
"""

from typing import Final

import torch

from app.domain.recipes import Precision

CPU: Final = torch.device("cpu")


def best() -> torch.device:
    """The first GPU if torch sees one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context a forward pass runs in. One context around many passes casts each weight once."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

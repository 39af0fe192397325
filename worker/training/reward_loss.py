"""The reward model's loss, pure: what labelers prefer should score higher."""

from torch import Tensor
from torch.nn import functional as F


def pairwise_loss(preferred: Tensor, other: Tensor) -> Tensor:
    """(B,) and (B,) float32 scores -> (B,) float32 > 0: -log sigmoid(preferred - other) (P 3.4).

    Only the difference counts: a constant on both sides changes nothing. Confidence is not used (P C.2).
    """
    return -F.logsigmoid(preferred - other)

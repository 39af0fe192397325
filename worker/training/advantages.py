"""Generalised advantage estimation, the leave-one-out estimate and whitening, pure.

Every mean and variance is over real tokens only: padding holds zeros and must not count.
"""

import torch
from torch import Tensor

VARIANCE_GUARD = 1e-8


def estimate(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """(B, S) float32 rewards and values, (B, S) bool mask -> (B, S) advantages and returns, 0 on padding.

    delta_t = r_t + gamma * V_{t+1} - V_t, A_t = delta_t + gamma * lambda * A_{t+1}; V and A are 0 after the last real
    token, where the episode ends. returns = advantages + values. (Schulman et al. 2016; LMHP)
    """
    real = mask.to(rewards.dtype)
    advantages = torch.zeros_like(rewards)
    carried = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        carried = (delta + gamma * gae_lambda * carried) * real[:, t]
        next_value = values[:, t] * real[:, t]
        advantages[:, t] = carried
    return advantages, (advantages + values) * real


def leave_one_out(rewards: Tensor, mask: Tensor, each: int) -> Tensor:
    """(B, S) float32 rewards, (B, S) bool mask -> (B, S) advantages, 0 on padding.

    `each` >= 2 rows one after the other are of one document, and B is a multiple of it. With R the sum of a row's
    rewards, A = R_i - mean of R_j over the other rows j of the document, on every real token of row i. The others are
    drawn independently of it, so the baseline does not bias the gradient. (Ahmadian et al. 2024)
    """
    earned = torch.where(mask, rewards, 0.0).sum(1).view(-1, each)
    others = (earned.sum(1, keepdim=True) - earned) / (each - 1)
    return torch.where(mask, (earned - others).view(-1, 1), 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B, S) -> (): mean where the mask is true."""
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """(B, S) -> (B, S): (v - mean) / sqrt(var + 1e-8) over real tokens, 0 on padding; biased variance, as in LMHP.

    With `shift_mean=False` the mean is added back: the form used for rewards.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + VARIANCE_GUARD)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)

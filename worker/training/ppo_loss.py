"""The clipped losses of PPO, token by token, pure. Callers take the mean over real tokens (LMHP; N+ 20)."""

import torch
from torch import Tensor


def policy_losses(new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """(B, S) float32 each -> (B, S): max(-A * ratio, -A * clamp(ratio, 1 - clip, 1 + clip)), ratio = exp(new - old)."""
    ratio = (new_logprobs - old_logprobs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def value_losses(new_values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """(B, S) float32 each -> (B, S): 0.5 * max((V - R)^2, (clamp(V, V_old - clip, V_old + clip) - R)^2)."""
    held = torch.clamp(new_values, old_values - clip, old_values + clip)
    return 0.5 * torch.maximum((new_values - returns) ** 2, (held - returns) ** 2)


def policy_clipped(new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """(B, S) bool: where the clipped ratio gave the larger loss, so that the token has no gradient."""
    ratio = (new_logprobs - old_logprobs).exp()
    return -advantages * ratio.clamp(1 - clip, 1 + clip) > -advantages * ratio


def value_clipped(new_values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """(B, S) bool: where the clipped value gave the larger loss."""
    held = torch.clamp(new_values, old_values - clip, old_values + clip)
    return (held - returns) ** 2 > (new_values - returns) ** 2


def step_kl(new_logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """(B, S) >= 0: ratio - 1 - log ratio with ratio = new / old, the k3 estimate of KL(old || new) on old samples."""
    difference = new_logprobs - old_logprobs
    return difference.exp() - 1 - difference

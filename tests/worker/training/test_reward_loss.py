import math

import pytest
import torch

from worker.training.reward_loss import pairwise_loss


def test_loss_and_gradient_by_the_definition() -> None:
    preferred = torch.tensor([0.3, -2.0, 5.0], requires_grad=True)
    other = torch.tensor([0.1, 1.0, -5.0], requires_grad=True)
    losses = pairwise_loss(preferred, other)
    torch.autograd.backward(losses.sum())
    for index in range(3):
        difference = float(preferred[index].detach() - other[index].detach())
        chance = 1 / (1 + math.exp(-difference))
        assert losses[index].item() == pytest.approx(-math.log(chance), rel=1e-4, abs=1e-6)
        assert preferred.grad is not None and other.grad is not None
        assert preferred.grad[index].item() == pytest.approx(chance - 1, rel=1e-4, abs=1e-6)
        assert other.grad[index].item() == pytest.approx(1 - chance, rel=1e-4, abs=1e-6)


def test_a_constant_changes_nothing_and_far_scores_stay_finite() -> None:
    scores = torch.tensor([1.0, 2.0]), torch.tensor([2.0, -1.0])
    assert torch.allclose(pairwise_loss(*scores), pairwise_loss(scores[0] + 3, scores[1] + 3))
    assert pairwise_loss(torch.tensor([-1000.0]), torch.tensor([1000.0])).item() == pytest.approx(2000)

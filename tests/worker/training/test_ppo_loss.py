import math

import pytest
import torch

from worker.training import ppo_loss


@pytest.mark.parametrize("gain", [2.0, -1.5])
@pytest.mark.parametrize("difference", [-0.5, -0.1, 0.0, 0.1, 0.5])
def test_policy_loss_by_its_definition(gain: float, difference: float) -> None:
    ratio = math.exp(difference)
    expected = max(-gain * ratio, -gain * min(max(ratio, 0.8), 1.2))
    new, old, gains = torch.tensor([[difference - 1]]), torch.tensor([[-1.0]]), torch.tensor([[gain]])
    assert ppo_loss.policy_losses(new, old, gains, 0.2).item() == pytest.approx(expected, rel=1e-5)
    assert ppo_loss.policy_clipped(new, old, gains, 0.2).item() is (expected > -gain * ratio + 1e-6)


def test_policy_gradient_at_the_rollout_is_minus_the_advantage() -> None:
    new = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    gains = torch.tensor([[0.5, -3.0]])
    torch.autograd.backward(ppo_loss.policy_losses(new, new.detach(), gains, 0.2).sum())
    assert new.grad is not None and torch.allclose(new.grad, -gains)


def test_a_clipped_token_has_no_gradient() -> None:
    new = torch.tensor([[0.0]], requires_grad=True)
    torch.autograd.backward(ppo_loss.policy_losses(new, torch.tensor([[-1.0]]), torch.tensor([[1.0]]), 0.2).sum())
    assert new.grad is not None and new.grad.item() == 0


@pytest.mark.parametrize(
    ("value", "before", "goal"), [(1.0, 0.0, 2.0), (0.1, 0.0, 2.0), (-1.0, 0.0, 2.0), (3.0, 0.0, 0.1)]
)
def test_value_loss_by_its_definition(value: float, before: float, goal: float) -> None:
    held = min(max(value, before - 0.2), before + 0.2)
    expected = 0.5 * max((value - goal) ** 2, (held - goal) ** 2)
    arguments = torch.tensor([[value]]), torch.tensor([[before]]), torch.tensor([[goal]])
    assert ppo_loss.value_losses(*arguments, 0.2).item() == pytest.approx(expected)
    assert ppo_loss.value_clipped(*arguments, 0.2).item() is ((held - goal) ** 2 > (value - goal) ** 2)


def test_step_kl_is_zero_only_where_nothing_moved() -> None:
    new, old = torch.tensor([[-1.0, -0.5, -2.0]]), torch.tensor([[-1.0, -1.0, -1.0]])
    found = ppo_loss.step_kl(new, old)
    assert found[0, 0] == 0 and (found[0, 1:] > 0).all()
    assert found[0, 1].item() == pytest.approx(math.exp(0.5) - 1 - 0.5, rel=1e-5)

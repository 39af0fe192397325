import math

import pytest
import torch

from worker.training import advantages


def by_hand(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition: A_t = sum over k of (gamma * lambda)^k * delta_{t+k}."""
    padded = [*values, 0.0]
    deltas = [rewards[t] + gamma * padded[t + 1] - values[t] for t in range(len(rewards))]
    return [sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(rewards))]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (1.0, 1.0)])
def test_estimate_is_the_sum_of_discounted_errors(gamma: float, lam: float) -> None:
    lengths, width = [5, 1, 3], 5
    draw = torch.Generator().manual_seed(1)
    mask = torch.tensor([[t < length for t in range(width)] for length in lengths])
    rewards, values = (torch.randn(3, width, generator=draw) * mask for _ in range(2))
    found, returns = advantages.estimate(rewards, values, mask, gamma, lam)
    for row, length in enumerate(lengths):
        expected = by_hand(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert found[row, :length].tolist() == pytest.approx(expected, abs=1e-5)
        assert found[row, length:].abs().sum() == 0 and returns[row, length:].abs().sum() == 0
        assert torch.allclose(returns[row, :length], found[row, :length] + values[row, :length])


def test_padding_does_not_leak_into_advantages() -> None:
    mask = torch.tensor([[True, True, False]])
    clean = advantages.estimate(torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3), mask, 1.0, 0.95)
    dirty = advantages.estimate(torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[0.0, 0.0, 9.0]]), mask, 1.0, 0.95)
    assert torch.equal(clean[0], dirty[0]) and torch.equal(clean[1], dirty[1])


def test_leave_one_out_compares_a_summary_with_the_others_of_its_document() -> None:
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True], [True, False], [True, True]])
    rewards = torch.tensor([[1.0, 2.0], [5.0, 9.0], [0.0, 1.0], [-1.0, 0.0], [-3.0, 9.0], [2.0, 2.0]])
    found = advantages.leave_one_out(rewards, mask, 3)
    # The documents' summaries earned 3, 5, 1 and -1, -3, 4.
    expected = [
        3 - (5 + 1) / 2,
        5 - (3 + 1) / 2,
        1 - (3 + 5) / 2,
        -1 - (-3 + 4) / 2,
        -3 - (-1 + 4) / 2,
        4 - (-1 - 3) / 2,
    ]
    for row, gain in enumerate(expected):
        assert found[row][mask[row]].tolist() == [gain] * int(mask[row].sum())
    assert found[~mask].abs().sum() == 0


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whiten_uses_the_biased_variance_of_real_tokens(shift_mean: bool) -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.tensor([[1.0, 4.0, 100.0], [7.0, 100.0, 100.0]])
    real = [1.0, 4.0, 7.0]
    mean = sum(real) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in real) / 3 + 1e-8)
    expected = [(value - mean) / deviation + (0.0 if shift_mean else mean) for value in real]
    whitened = advantages.whiten(values, mask, shift_mean)
    assert whitened[mask].tolist() == pytest.approx(expected, abs=1e-5)
    assert whitened[~mask].abs().sum() == 0

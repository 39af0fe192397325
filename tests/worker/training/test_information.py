"""What an answer would tell: against formulas written out, an ensemble that is drawn, and a real reward model."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.support import tiny_models
from worker.training import information, reward
from worker.training.devices import CPU
from worker.training.information import Compared, TwoTexts
from worker.training.metrics import NullSink
from worker.training.reward import RewardResult

WIDTH = 4


def vectors(count: int, seed: int) -> Tensor:
    """(count, WIDTH) differences."""
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def judged(count: int, seed: int = 1) -> Compared:
    """Pairs as a head sees them that was drawn once."""
    differences = vectors(count, seed)
    return Compared(differences, differences @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64))


def test_nothing_judged_leaves_the_heads_as_new_ones_are_drawn() -> None:
    candidates = vectors(5, 2)
    nothing = Compared(torch.zeros(0, WIDTH, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    found = information.spread(nothing, candidates)
    assert torch.allclose(found, candidates.norm(dim=1) / math.sqrt(WIDTH + 1))


def test_the_spread_is_that_of_the_curvature() -> None:
    known, candidates = judged(30), vectors(6, 2)
    chance = 1 / (1 + torch.exp(-known.odds))
    curvature = (WIDTH + 1) * torch.eye(WIDTH, dtype=torch.float64)
    for row, p in zip(known.difference, chance, strict=True):
        curvature += p * (1 - p) * torch.outer(row, row)
    wanted = torch.stack([(row @ torch.linalg.inv(curvature) @ row).sqrt() for row in candidates])
    assert torch.allclose(information.spread(known, candidates), wanted)
    twice = Compared(known.difference.repeat(2, 1), known.odds.repeat(2))
    assert torch.allclose(information.spread(known, candidates, stand_for=2.0), information.spread(twice, candidates))


def test_the_gain_is_what_an_ensemble_of_drawn_heads_disagrees() -> None:
    known, candidates = judged(20), vectors(8, 3)
    odds = candidates @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    spread = information.spread(known, candidates)
    drawn = odds + spread * torch.randn(200_000, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    chance = drawn.sigmoid()

    def entropy(p: Tensor) -> Tensor:
        return -(p * p.log() + (1 - p) * (1 - p).log())

    wanted = entropy(chance.mean(0)) - entropy(chance).mean(0)
    assert torch.allclose(information.gain(odds, spread), wanted, atol=2e-3)


@pytest.mark.parametrize("odds", [-800.0, -3.0, 0.0, 3.0, 800.0])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1.0, 10.0, 500.0])
def test_a_gain_is_never_less_than_nothing_nor_more_than_an_answer(odds: float, spread: float) -> None:
    [found] = information.gain(
        torch.tensor([odds], dtype=torch.float64), torch.tensor([spread], dtype=torch.float64)
    ).tolist()
    assert 0 <= found <= math.log(2)


def test_where_all_heads_agree_an_answer_tells_nothing_even_of_a_close_pair() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    known, unsure, surer = information.gain(zeros, torch.tensor([0.0, 2.0, 0.5], dtype=torch.float64)).tolist()
    assert known == pytest.approx(0, abs=1e-12) and unsure > surer > 0
    # For a small spread s at even odds the gain is s^2 / 8 nats.
    assert information.gain(zeros[:1], torch.full((1,), 0.01, dtype=torch.float64)).item() == pytest.approx(
        0.01**2 / 8, rel=1e-3
    )


@pytest.fixture
def pairs() -> list[TwoTexts]:
    return [
        TwoTexts(tiny_models.query(seed), tiny_models.words(4, seed), tiny_models.words(9, seed + 50))
        for seed in range(10)
    ]


def test_pairs_are_seen_as_the_reward_model_scores_them(reward_run: RewardResult, pairs: list[TwoTexts]) -> None:
    scorer = reward.load(reward_run.directory, "fp32", CPU)
    seen = information.compare(scorer, pairs, NullSink())
    first = reward.score(reward_run.directory, [(pair.query, pair.first) for pair in pairs])
    second = reward.score(reward_run.directory, [(pair.query, pair.second) for pair in pairs])
    wanted = torch.tensor(first, dtype=torch.float64) - torch.tensor(second, dtype=torch.float64)
    assert torch.allclose(seen.odds, wanted, atol=1e-4)
    assert seen.difference.shape == (10, 64)


def test_a_pair_that_was_judged_tells_less_than_before(reward_run: RewardResult, pairs: list[TwoTexts]) -> None:
    scorer = reward.load(reward_run.directory, "fp32", CPU)
    before = information.gains(scorer, [], pairs, NullSink(), stand_for=0)
    after = information.gains(scorer, pairs[:5], pairs, NullSink(), stand_for=5)
    many = information.gains(scorer, pairs[:5], pairs, NullSink(), stand_for=500)
    assert all(late < early for early, late in zip(before, after, strict=True))
    assert all(later < late for late, later in zip(after, many, strict=True))
    turned = [replace(pair, first=pair.second, second=pair.first) for pair in pairs]
    assert information.gains(scorer, pairs[:5], turned, NullSink(), stand_for=5) == pytest.approx(after, abs=1e-6)

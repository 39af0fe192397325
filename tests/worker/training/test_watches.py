import math

import pytest
import torch

from app.domain.recipes import PpoRecipe
from worker.training import metrics, watches
from worker.training.rollouts import Rollout
from worker.training.tokens import SummaryTokens

RECIPE = PpoRecipe(episodes=16, batch=4, micro_batch=4)


def rollout(lengths: list[int], scores: list[float], finished: list[bool]) -> Rollout:
    """Summaries of so many tokens, all different, by a policy that stands one nat from the SFT policy with each."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return Rollout(
        (),
        tuple(SummaryTokens(tuple(range(length))) for length in lengths),
        mask,
        logprobs=torch.where(mask, -0.5, 0.0),
        reference_logprobs=torch.where(mask, -1.5, 0.0),
        values=None,
        scores=torch.tensor(scores),
        finished=torch.tensor(finished),
    )


@pytest.mark.parametrize(
    ("summary", "share"),
    [
        ((1, 2, 3, 4, 5, 6), 0),
        ((1, 2, 3), 0),
        ((), 0),
        ((1, 2, 3, 4, 1, 2, 3, 4), 1 / 5),
        ((7,) * 8, 4 / 5),
    ],
)
def test_repetition_is_the_share_of_four_tokens_that_came_before(summary: tuple[int, ...], share: float) -> None:
    assert watches.repetition(summary) == pytest.approx(share)


def test_score_on_length_is_the_least_squares_line() -> None:
    logs = torch.tensor([2.0, 8.0, 16.0, 32.0]).log()
    noise = torch.tensor([0.3, -0.1, 0.2, -0.4])
    slope, correlation = watches.on_length(1 + 2 * logs + noise, logs)
    x, y = logs.double() - logs.double().mean(), (2 * logs + noise).double()
    y = y - y.mean()
    assert slope == pytest.approx(float((x * y).sum() / (x * x).sum()), abs=1e-6)
    assert correlation == pytest.approx(float((x * y).sum() / (x.norm() * y.norm())), abs=1e-6)
    assert watches.on_length(3 - 2 * logs, logs) == pytest.approx((-2, -1))
    assert watches.on_length(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])) == (0, 0)
    assert watches.on_length(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])) == (0, 0)


def test_a_score_that_rises_with_length_alone_stays_at_the_first_length() -> None:
    sink = metrics.ListSink()
    history: list[watches.RolloutSummary] = []
    for lengths in ([2, 4, 8, 3], [16, 4, 8, 5], [32, 16, 64, 6]):
        scores = [math.log(length) for length in lengths[:3]]
        made = rollout(lengths, [*scores, -1.0], [True, True, True, False])
        history.append(watches.describe(made, RECIPE, history, sink))
    assert sink.series(metrics.PPO_SCORE)[2] > sink.series(metrics.PPO_SCORE)[0] + 1
    assert sink.series(metrics.PPO_SCORE_AT_FIRST_LENGTH) == pytest.approx([math.log(4)] * 3, abs=1e-5)
    assert sink.series(metrics.PPO_SCORE_LENGTH_CORRELATION) == pytest.approx([1] * 3, abs=1e-5)
    better = rollout([2, 4, 8, 3], [5 + math.log(length) for length in (2, 4, 8)] + [-1.0], [True, True, True, False])
    watches.describe(better, RECIPE, history, sink)
    assert sink.series(metrics.PPO_SCORE_AT_FIRST_LENGTH)[3] == pytest.approx(5 + math.log(4), abs=1e-5)


def test_a_rollout_in_numbers() -> None:
    sink = metrics.ListSink()
    found = watches.describe(rollout([2, 4, 6, 8], [1.0, 2.0, 3.0, -1.0], [True, True, True, False]), RECIPE, [], sink)
    assert (found.score, found.kl, found.length, found.without_eos) == (1.25, 5, 5, 0.25)
    assert found.reward == pytest.approx(1.25 - 0.05 * 5) and found.repetition == 0
    assert found.log_length == pytest.approx(math.log(2 * 4 * 6) / 3)
    assert sink.series(metrics.PPO_ENTROPY) == [0.5]


def test_a_rollout_without_an_end_says_nothing_of_length() -> None:
    sink = metrics.ListSink()
    found = watches.describe(rollout([2, 4], [-1.0, -1.0], [False, False]), RECIPE, [], sink)
    assert found.log_length is None and found.without_eos == 1
    assert not sink.series(metrics.PPO_SCORE_AT_FIRST_LENGTH)
    ended = watches.describe(rollout([2, 4], [1.0, 3.0], [True, True]), RECIPE, [found], sink)
    assert ended.log_length is not None and sink.series(metrics.PPO_SCORE_AT_FIRST_LENGTH) == [2]


def test_explained_variance_is_one_for_a_network_that_foresees_everything_but_a_constant() -> None:
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert watches.explained_variance(returns, returns + 3) == pytest.approx(1)
    assert watches.explained_variance(returns, torch.zeros(3)) == pytest.approx(0)
    assert watches.explained_variance(torch.ones(3), returns) == 0


def test_a_preference_stops_only_when_it_is_far_below_its_best() -> None:
    recipe = PpoRecipe(episodes=16, batch=4, micro_batch=4, stop_preference_drop=0.1, preference_every=4)
    assert watches.fallen([0.5], recipe) is None
    assert watches.fallen([0.5, 0.7, 0.61, 0.8, 0.75], recipe) is None
    assert watches.fallen([0.5, 0.7, 0.59], recipe) == (
        "stopped before rollout 9, because the estimated preference over the SFT policy on held-out documents fell "
        "from 0.700 (before rollout 5) to 0.590, by more than ppo.stop_preference_drop (0.1)"
    )

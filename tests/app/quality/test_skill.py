"""The noisy Bradley-Terry fit finds again what was planted."""

import numpy as np
import pytest

from app.quality import skill
from app.quality.skill import LEAST_SHARED, Fit
from benchmarks.planted import Planted, planted


def _fit(answers: Planted, labelers: int = 20) -> Fit:
    return skill.fit(answers.items, answers.labelers, answers.swapped, answers.first_shown, labelers)


def _off(answers: Planted) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """How far skill and bias of each labeler are from what was planted."""
    found = np.array([(one.skill.value, one.bias.value) for one in _fit(answers).labelers], dtype=np.float64)
    return found - np.stack([answers.skill, answers.bias], axis=1)


def test_skill_and_bias_are_found_again_at_300_answers() -> None:
    """Means over 20 labelers and four simulations, ten opinions for each comparison.

    The mean error of both is within 0.05, and so is the mean absolute error of bias; that of skill is just above, where
    0.04 would be the least even if the log-odds of every comparison were known. benchmarks/quality.py has the figures
    for fewer opinions and closer pairs.
    """
    off = np.concatenate([_off(planted(np.random.default_rng(seed), opinions=10)) for seed in range(4)])
    assert np.abs(off.mean(axis=0)).max() < 0.05
    skill_error, bias_error = np.abs(off).mean(axis=0)
    assert skill_error < 0.06
    assert bias_error < 0.05


@pytest.mark.parametrize("opinions", [2, 5])
def test_bias_is_found_again_with_few_opinions_and_skill_on_average(opinions: int) -> None:
    off = np.concatenate([_off(planted(np.random.default_rng(seed), opinions=opinions)) for seed in range(4)])
    assert np.abs(off.mean(axis=0)).max() < 0.05
    assert np.abs(off[:, 1]).mean() < 0.05


def test_the_intervals_hold_what_was_planted() -> None:
    inside = []
    for seed in range(4):
        answers = planted(np.random.default_rng(seed))
        for row, one in enumerate(_fit(answers).labelers):
            for found, true in ((one.skill, answers.skill[row]), (one.bias, answers.bias[row])):
                assert found.low is not None and found.high is not None
                inside.append(found.low <= true <= found.high)
    assert np.mean(inside) > 0.9


def test_who_presses_the_first_whatever_is_there() -> None:
    answers = planted(np.random.default_rng(1))
    always = answers.labelers == 0
    answers.first_shown[always] = True
    found = _fit(answers).labelers
    assert found[0].bias.value is not None and found[0].bias.value > 0.8
    assert found[0].skill.value is not None and found[0].skill.value < 0.2
    assert all(one.skill.value is not None and one.skill.value > 0.4 for one in found[1:])


def test_which_summary_is_called_first_changes_nothing() -> None:
    answers = planted(np.random.default_rng(2))
    turn = np.random.default_rng(3).random(answers.items.max() + 1) < 0.5
    turned = Planted(
        answers.items,
        answers.labelers,
        answers.swapped ^ turn[answers.items],
        answers.first_shown,
        answers.skill,
        answers.bias,
    )
    for one, other in zip(_fit(answers).labelers, _fit(turned).labelers, strict=True):
        assert one.skill.value == pytest.approx(other.skill.value, abs=0.03)
        assert one.bias.value == pytest.approx(other.bias.value, abs=0.03)


def test_answers_that_nobody_else_gave_tell_of_bias_and_not_of_skill() -> None:
    rng = np.random.default_rng(4)
    pressed = rng.random(300) < 0.75
    found = skill.fit(np.arange(300), np.zeros(300, dtype=np.int64), rng.random(300) < 0.5, pressed, 1).labelers[0]
    assert (found.skill.value, found.skill.n) == (None, 0)
    assert found.bias.n == 300 and found.bias.low is not None and found.bias.low > 0.2


def test_skill_needs_enough_answers_that_others_gave_too() -> None:
    few = planted(np.random.default_rng(5), labelers=2, answers=LEAST_SHARED - 1, opinions=2)
    assert all(one.skill.value is None and one.skill.n == LEAST_SHARED - 1 for one in _fit(few, 2).labelers)
    enough = planted(np.random.default_rng(5), labelers=2, answers=LEAST_SHARED, opinions=2)
    assert all(one.skill.value is not None for one in _fit(enough, 2).labelers)


def test_the_newest_shared_answers_are_fitted_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skill, "MOST_SHARED", 1000)
    answers = planted(np.random.default_rng(6))
    found = _fit(answers).labelers
    assert sum(one.skill.n for one in found) == 1000
    newest = answers.items >= answers.items.max() + 1 - 200
    answered = np.bincount(answers.labelers[newest], minlength=20)
    assert [one.skill.n for one in found] == answered.tolist()


def test_a_handful_of_answers_that_agree_do_not_run_away() -> None:
    items, labelers = np.repeat(np.arange(5), 3), np.tile(np.arange(3), 5)
    found = skill.fit(items, labelers, np.zeros(15, dtype=bool), np.ones(15, dtype=bool), 3)
    assert found.spread < 5 and abs(found.mean) < 5
    assert skill.fit(items[:1], labelers[:1], np.zeros(1, dtype=bool), np.ones(1, dtype=bool), 1).spread < 3


def test_mean_and_spread_are_at_the_top_of_the_likelihood() -> None:
    """Where nearly everybody prefers the first summary, the mean is far from that of the comparisons that stand in.

    The function to climb is written down once more: the answers' chances, integrated over normal log-odds, and the
    expected logarithm of the normal density for ten comparisons of mean 0 and spread 2.5.
    """
    rng = np.random.default_rng(8)
    items, swapped = np.repeat(np.arange(400), 5), rng.random(2000) < 0.5
    labelers = np.tile(np.arange(5), 400)
    odds = rng.normal(4.0, 1.5, 400)[items]
    prefers_first = rng.random(2000) < np.where(rng.random(2000) < 0.9, 1 / (1 + np.exp(-odds)), 0.5)
    found = skill.fit(items, labelers, swapped, prefers_first != swapped, 5)
    looked = np.array([one.skill.value for one in found.labelers], dtype=np.float64)[labelers]
    bias = np.array([one.bias.value for one in found.labelers], dtype=np.float64)[labelers]
    pressed = (1 - looked + np.where(prefers_first != swapped, bias, -bias)) / 2
    nodes = np.linspace(-4, 4, 17)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()

    def height(mean: float, spread: float) -> float:
        chance = 1 / (1 + np.exp(-(mean + spread * nodes)))[:, None]
        logs = np.log(pressed + looked * np.where(prefers_first, chance, 1 - chance))
        together = np.exp(np.stack([np.bincount(items, row) for row in logs]))
        stand_ins = -np.log(spread) - (2.5**2 + mean**2) / (2 * spread**2)
        return float(np.log(weights @ together).sum() + 10 * stand_ins)

    top = height(found.mean, found.spread)
    for mean, spread in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05)):
        assert height(found.mean + mean, found.spread + spread) < top


def test_nothing_to_fit() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    found = skill.fit(nothing, nothing, nothing.astype(bool), nothing.astype(bool), 2)
    assert [(one.skill.value, one.bias.n) for one in found.labelers] == [(None, 0), (None, 0)]

import itertools
import math
import random
from typing import Any

import pytest

from app.domain.recipes import SamplingRecipe
from tests.support import tiny_models
from worker.training import best_of_n, generation, reward, sft
from worker.training.metrics import ListSink, NullSink

RECIPE = SamplingRecipe(max_query_tokens=64, max_summary_tokens=12, batch=8)
QUERIES = [tiny_models.query(seed) for seed in range(3)]


def by_all_choices(n: int, scores: list[float], values: list[float]) -> float:
    """What the best of n is worth, by choosing n of the summaries in every possible way."""
    groups = list(itertools.combinations(range(len(scores)), n))
    return sum(values[max(group, key=scores.__getitem__)] for group in groups) / len(groups)


@pytest.mark.parametrize("ties", [False, True])
def test_the_estimate_is_the_mean_over_all_choices(ties: bool) -> None:
    draw = random.Random(5)
    scores = [float(draw.randrange(3)) if ties else draw.gauss(0, 1) for _ in range(7)]
    gold = [draw.gauss(0, 1) for _ in range(7)]
    for n in range(1, 8):
        assert best_of_n.expected(n, scores) == pytest.approx(by_all_choices(n, scores, scores))
        assert best_of_n.expected(n, scores, gold) == pytest.approx(by_all_choices(n, scores, gold))
    assert best_of_n.expected(1, scores, gold) == pytest.approx(sum(gold) / 7)
    assert best_of_n.expected(7, scores) == max(scores)


def test_the_estimate_holds_for_thousands() -> None:
    scores = [float(place) for place in range(2048)]
    # The highest of n out of 0 .. N - 1 without repetition is n (N + 1) / (n + 1) - 1 on average.
    assert best_of_n.expected(1024, scores) == pytest.approx(1024 * 2049 / 1025 - 1)


@pytest.mark.parametrize("n", [0, 8])
def test_no_estimate_of_more_than_there_are(n: int) -> None:
    with pytest.raises(ValueError, match="allowed is 1 to 7"):
        best_of_n.expected(n, [0.0] * 7)


def test_divergences_are_the_studys() -> None:
    found = [round(best_of_n.divergence(n), 1) for n in (8, 63, 64, 128, 256, 512)]
    assert found == [1.2, 3.2, 3.2, 3.9, 4.5, 5.2]
    assert best_of_n.divergence(1) == 0


def test_divergence_by_the_definition_bounds_the_truth() -> None:
    draw = random.Random(2)
    weights = [draw.random() for _ in range(400)]
    chances = sorted((weight / sum(weights) for weight in weights), reverse=True)
    for n in (2, 5):
        below, exact = 0.0, 0.0
        for chance in chances:
            best = (below + chance) ** n - below**n
            exact += best * math.log(best / chance)
            below += chance
        assert 0 < exact <= best_of_n.divergence(n)
        assert exact == pytest.approx(best_of_n.divergence(n), rel=0.05)


def written(sft_run: sft.SftResult, reward_run: reward.RewardResult, n: int, **named: Any) -> Any:
    return best_of_n.write(
        sft_run.directory, reward_run.directory, QUERIES, n, RECIPE, named.pop("sink", NullSink()), seed=4, **named
    )


def test_the_best_of_what_was_written_is_taken(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = generation.continue_prompts

    def counted(model: Any, prompts: Any, *others: Any) -> Any:
        read.append(len(prompts))
        return plain(model, prompts, *others)

    monkeypatch.setattr(generation, "continue_prompts", counted)
    found = written(sft_run, reward_run, 4)
    assert sum(read) == 3, "each document is read once"
    for query, each in zip(QUERIES, found, strict=True):
        assert len({sample.text for sample in each.samples}) > 1
        assert all(query.title in sample.prompt for sample in each.samples)
        finished = [place for place, sample in enumerate(each.samples) if sample.finished]
        texts = [(query, each.samples[place].text) for place in finished]
        alone = reward.score(reward_run.directory, texts)
        # Byte-pair tokens of a text may differ from those a model wrote; for these words they do not.
        assert [each.scores[place] for place in finished] == pytest.approx(alone, abs=1e-3)
        assert each.scores[each.best] == max(each.scores)
    assert any(sample.finished for each in found for sample in each.samples)


def test_the_first_of_many_are_those_of_fewer(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    many, fewer = written(sft_run, reward_run, 5), written(sft_run, reward_run, 2)
    assert [each.samples[:2] for each in many] == [each.samples for each in fewer]


def test_of_equal_ones_the_first_is_taken(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    sample = written(sft_run, reward_run, 1)[0].samples[0]
    assert best_of_n.Candidates((sample,) * 3, (0.5, 1.5, 1.5)).best == 1


def test_at_temperature_0_there_is_nothing_to_choose(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    greedy = SamplingRecipe(max_query_tokens=64, max_summary_tokens=12, batch=8, temperature=0)
    with pytest.raises(ValueError, match="best of 2 at temperature 0"):
        best_of_n.write(sft_run.directory, reward_run.directory, QUERIES, 2, greedy, ListSink(), seed=4)

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.domain.prompts import TLDR
from app.domain.recipes import RewardRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING, longer_is_better
from worker.training import devices, evaluation, metrics, models, reward, sft, sharing, tokens
from worker.training.devices import CPU
from worker.training.examples import Pair
from worker.training.reward_loss import pairwise_loss

RECIPE = RewardRecipe(batch=4, micro_batch=2, learning_rate=1e-3, max_summary_tokens=24)
REFERENCES = [tiny_models.demonstration(seed) for seed in range(6)]


def run(
    sft_dir: Path, pairs: list[Pair], held_out: list[Pair], recipe: RewardRecipe, out_dir: Path, sink: metrics.Sink
) -> reward.RewardResult:
    return reward.train(
        sft_dir,
        pairs,
        held_out,
        REFERENCES,
        recipe,
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
        out_dir=out_dir,
        sink=sink,
    )


def test_it_learns_what_labelers_prefer_on_documents_never_seen(reward_run: reward.RewardResult) -> None:
    assert reward_run.accuracy.n == 24 and reward_run.accuracy.rate > 0.85
    assert reward_run.validation_loss is not None and reward_run.validation_loss < 0.6
    assert reward_run.accuracy_by_policies.keys() == {"ref / sft", "sft / sft"}
    assert sum(each.n for each in reward_run.accuracy_by_confidence.values()) == 24


def test_references_score_zero_on_average(reward_run: reward.RewardResult) -> None:
    rows = [(each.query, each.summary_text) for each in (tiny_models.demonstration(seed) for seed in range(20))]
    scores = reward.score(reward_run.directory, rows)
    assert sum(scores) / 20 == pytest.approx(0, abs=1e-5)
    assert max(scores) - min(scores) > 1e-4
    assert models.load_reward(reward_run.directory, CPU).offset == pytest.approx(reward_run.offset)


def test_scores_come_in_the_order_asked_and_do_not_depend_on_the_company(reward_run: reward.RewardResult) -> None:
    rows = [(tiny_models.query(seed, 5 + seed), tiny_models.words(1 + seed % 7, seed)) for seed in range(20)]
    together = reward.score(reward_run.directory, rows)
    alone = [reward.score(reward_run.directory, [row])[0] for row in rows[:3]]
    assert together[:3] == pytest.approx(alone, abs=1e-4)
    held_out = longer_is_better(range(500, 524))
    scored = evaluation.score_pairs(reward_run.directory, held_out, metrics.NullSink(), precision="fp32")
    assert [each.preferred_score for each in scored] == pytest.approx(
        [each.preferred_score for each in reward_run.held_out], abs=1e-4
    )


def test_pairs_without_a_preference_are_counted_and_left_out(sft_run: sft.SftResult, tmp_path: Path) -> None:
    pairs = longer_is_better(range(6))
    tied = replace(pairs[0], value=5)
    sink = metrics.ListSink()
    result = run(sft_run.directory, [*pairs, tied, tied], [tied], RECIPE, tmp_path / "a", sink)
    assert (result.pairs, result.ties, result.steps, result.references) == (6, 2, 2, 6)
    assert result.accuracy.n == 0 and result.validation_loss is None and len(result.held_out) == 1
    assert len(sink.series(metrics.REWARD_LOSS)) == 2 and not sink.series(metrics.REWARD_VALIDATION_ACCURACY)
    with pytest.raises(ValueError, match="no judged pair with a preference"):
        run(sft_run.directory, [tied], [], RECIPE, tmp_path / "b", sink)


def test_micro_batches_change_memory_only(sft_run: sft.SftResult, tmp_path: Path) -> None:
    pairs = longer_is_better(range(6))
    whole = run(sft_run.directory, pairs, pairs, replace(RECIPE, micro_batch=4), tmp_path / "a", metrics.NullSink())
    parts = run(sft_run.directory, pairs, pairs, replace(RECIPE, micro_batch=1), tmp_path / "b", metrics.NullSink())
    for one, other in zip(whole.held_out, parts.held_out, strict=True):
        assert one.preferred_score == pytest.approx(other.preferred_score, abs=2e-3)


def test_sharing_a_reading_changes_memory_and_time_only(
    sft_run: sft.SftResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = longer_is_better(range(6))
    sinks = metrics.ListSink(), metrics.ListSink()
    shared = run(sft_run.directory, pairs, pairs, RECIPE, tmp_path / "a", sinks[0])
    monkeypatch.setattr(sharing, "reach", lambda *_: 0)
    plain = run(sft_run.directory, pairs, pairs, RECIPE, tmp_path / "b", sinks[1])
    first, same = (sink.series(metrics.REWARD_LOSS)[0] for sink in sinks)
    assert first == pytest.approx(same, abs=1e-5)
    for one, other in zip(shared.held_out, plain.held_out, strict=True):
        assert one.preferred_score == pytest.approx(other.preferred_score, abs=2e-3)


def test_one_autocast_around_an_update_gives_the_gradients_of_one_around_each_pass(sft_run: sft.SftResult) -> None:
    model, codec = models.new_reward(sft_run.directory, 1, CPU), tokens.load(sft_run.directory)
    scorer = reward.Scorer(model, tokens.Reader(codec, TLDR, 64, 24), CPU, "bf16")
    rows = [
        reward.Example(scorer.prompt(pair.query), scorer.summary(pair.preferred_text), scorer.summary(pair.other_text))
        for pair in longer_is_better(range(4))
    ]
    rows.sort(key=lambda row: -row.tokens)
    reward._backward(scorer, rows, metrics.NullSink(), 2)
    found = [parameter.grad for parameter in model.parameters()]
    model.stock.zero_grad(set_to_none=True)
    for part in (rows[:2], rows[2:]):
        with devices.autocast(CPU, "bf16"):
            loss = pairwise_loss(*scorer.pairs(part)).sum() / 4
        torch.autograd.backward(loss)
    for ours, parameter in zip(found, model.parameters(), strict=True):
        assert ours is not None and parameter.grad is not None and torch.equal(ours, parameter.grad)


def test_a_pair_with_a_summary_over_the_limit_is_trained_on_all_the_same(
    sft_run: sft.SftResult, tmp_path: Path
) -> None:
    long = Pair(tiny_models.query(1, 300), tiny_models.words(200, 1), "short", 9, ("ref", "sft"))
    assert run(sft_run.directory, [long], [long], RECIPE, tmp_path / "a", metrics.NullSink()).pairs == 1


def test_the_best_of_several_seeds_is_kept(sft_run: sft.SftResult, tmp_path: Path) -> None:
    pairs, held_out = longer_is_better(range(4)), longer_is_better(range(100, 110))
    recipe = replace(RECIPE, seeds=3, learning_rate=1e-4)
    sink = metrics.ListSink()
    best = run(sft_run.directory, pairs, held_out, recipe, tmp_path / "many", sink)
    first = run(sft_run.directory, pairs, held_out, replace(recipe, seeds=1), tmp_path / "one", metrics.NullSink())
    assert best.accuracy.rate >= first.accuracy.rate
    assert len(sink.series(metrics.REWARD_LOSS)) == 3
    scores = reward.score(best.directory, [(pair.query, pair.preferred_text) for pair in held_out])
    assert scores == pytest.approx([each.preferred_score for each in best.held_out], abs=1e-4)


def test_a_cancelled_run_leaves_nothing_behind(sft_run: sft.SftResult, tmp_path: Path) -> None:
    with pytest.raises(metrics.Cancelled):
        run(sft_run.directory, longer_is_better(range(4)), [], RECIPE, tmp_path / "a", metrics.ListSink(cancel_at=2))
    assert list(tmp_path.iterdir()) == []


def test_values_off_the_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed is 1 to 9"):
        Pair(tiny_models.query(1), "a", "b", 10, ("x", "y"))
    assert torch.is_grad_enabled(), "inference_mode of scoring must not leak"

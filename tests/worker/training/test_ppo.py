import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.recipes import PpoRecipe, SamplingRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING
from tests.worker.training.test_rollouts import learning, rolled
from worker.training import (
    advantages,
    generation,
    logprobs,
    metrics,
    models,
    optimization,
    ppo,
    reward,
    sft,
    sharing,
    watches,
)
from worker.training.devices import CPU
from worker.training.examples import Query
from worker.training.tokens import Prompt, QueryTokens

QUERIES = [tiny_models.query(seed) for seed in range(7)]
RECIPE = PpoRecipe(episodes=16, batch=8, micro_batch=4, epochs=2, learning_rate=1e-4)


def run(
    sft_run: sft.SftResult,
    reward_run: reward.RewardResult,
    out_dir: Path,
    recipe: PpoRecipe = RECIPE,
    sink: metrics.Sink | None = None,
    start_dir: Path | None = None,
    sampling: SamplingRecipe = SAMPLING,
    held_out: Sequence[Query] = (),
) -> ppo.PpoResult:
    return ppo.train(
        sft_run.directory,
        reward_run.directory,
        QUERIES,
        recipe,
        sampling=sampling,
        precision="fp32",
        seed=5,
        out_dir=out_dir,
        sink=sink or metrics.NullSink(),
        start_dir=start_dir,
        held_out=held_out,
    )


def weights(directory: Path) -> list[torch.Tensor]:
    return [each.detach() for each in models.load_policy(directory, CPU).parameters()]


def test_two_rollouts_give_two_loadable_models_and_every_metric(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    sink = metrics.ListSink()
    result = run(sft_run, reward_run, tmp_path, sink=sink)
    assert (result.episodes, result.steps, len(result.history)) == (16, 4, 2)
    assert result.policy_dir == tmp_path / "policy" and result.value_dir == tmp_path / "value"
    assert result.history[0].kl == 0 and result.history[1].kl != 0
    assert models.load_reward(result.value_dir, CPU).offset == pytest.approx(reward_run.offset)
    for name in metrics.DOCS:
        if name.startswith("ppo/") and name != metrics.PPO_PREFERENCE:
            assert len(sink.series(name)) == 2, name
    assert sink.series(metrics.PPO_LEARNING_RATE) == pytest.approx([1e-4, 0.5e-4])
    assert sink.steps[-1][:2] == (8, 8) and [step[0] for step in sink.steps] == list(range(1, 9))
    again = run(sft_run, reward_run, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(weights(result.policy_dir), weights(again.policy_dir), strict=True))
    resumed = run(sft_run, reward_run, tmp_path / "more", replace(RECIPE, episodes=8), start_dir=result.policy_dir)
    assert resumed.history[0].kl != 0, "the penalty is measured from the SFT policy, wherever the policy starts"


def test_ppo_raises_the_score(sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path) -> None:
    recipe = PpoRecipe(episodes=112, batch=16, micro_batch=16, learning_rate=1e-3, kl_coefficient=0.01)
    history = run(sft_run, reward_run, tmp_path, recipe, sampling=replace(SAMPLING, batch=16)).history
    assert sum(each.score for each in history[-2:]) / 2 > history[0].score + 0.5
    assert history[-1].length > history[0].length, "its labelers like long summaries"
    assert history[-1].kl > 0


def test_without_a_value_network_none_is_loaded_trained_or_saved(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    real = models.load_reward

    def watched(model_dir: Path, device: torch.device) -> models.ScalarModel:
        loaded.append(model_dir)
        return real(model_dir, device)

    monkeypatch.setattr(models, "load_reward", watched)
    sink = metrics.ListSink()
    recipe = replace(RECIPE, advantage="rloo", samples_per_query=4)
    result = run(sft_run, reward_run, tmp_path, recipe, sink)
    assert loaded == [reward_run.directory], "the judge, and no network that would learn"
    assert result.value_dir is None and [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert (result.episodes, result.steps, result.history[0].kl) == (16, 4, 0)
    told = {name for name, _, _ in sink.points}
    assert not any("value" in name or "explained" in name for name in told)
    assert {metrics.PPO_POLICY_LOSS, metrics.PPO_CLIP_FRACTION, metrics.PPO_SCORE} <= told
    trained, before = weights(result.policy_dir), weights(sft_run.directory)
    assert not all(torch.equal(new, old) for new, old in zip(trained, before, strict=True))


def test_leaving_one_out_raises_the_score_too(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    recipe = PpoRecipe(
        episodes=112,
        batch=16,
        micro_batch=16,
        learning_rate=1e-3,
        kl_coefficient=0.01,
        advantage="rloo",
        samples_per_query=4,
    )
    history = run(sft_run, reward_run, tmp_path, recipe, sampling=replace(SAMPLING, batch=16)).history
    assert sum(each.score for each in history[-2:]) / 2 > history[0].score + 0.5


def test_targets_of_leaving_one_out_are_whole_summaries_against_each_other(
    sft_run: sft.SftResult, reward_run: reward.RewardResult
) -> None:
    recipe = replace(RECIPE, episodes=6, batch=6, micro_batch=2, advantage="rloo", samples_per_query=3)
    rollout, _, _ = rolled(sft_run.directory, reward_run.directory, each=3, recipe=recipe)
    assert rollout.values is None
    gains, returns = ppo.targets(rollout, replace(recipe, whiten_advantages=False))
    earned = (rollout.scores - recipe.kl_coefficient * rollout.kl()).tolist()
    for row in range(6):
        others = [earned[other] for other in range(row // 3 * 3, row // 3 * 3 + 3) if other != row]
        gain = earned[row] - sum(others) / 2
        assert gains[row][rollout.mask[row]].tolist() == pytest.approx([gain] * len(rollout.summaries[row]), abs=1e-5)
    assert returns is None
    assert torch.allclose(ppo.targets(rollout, recipe)[0], advantages.whiten(gains, rollout.mask))


def test_targets_whiten_advantages_and_leave_returns(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    rollout, _, _ = rolled(sft_run.directory, reward_run.directory)
    gains, returns = ppo.targets(rollout, RECIPE)
    assert rollout.values is not None and returns is not None
    plain, same = advantages.estimate(rollout.rewards(0.05), rollout.values, rollout.mask, 1.0, 0.95)
    assert torch.equal(returns, same)
    assert torch.allclose(gains, advantages.whiten(plain, rollout.mask))
    assert torch.equal(ppo.targets(rollout, replace(RECIPE, whiten_advantages=False))[0], plain)
    whitened = advantages.whiten(rollout.rewards(0.05), rollout.mask, shift_mean=False)
    expected = advantages.estimate(whitened, rollout.values, rollout.mask, 1.0, 0.95)[1]
    goals = ppo.targets(rollout, replace(RECIPE, whiten_rewards=True))[1]
    assert goals is not None and torch.equal(goals, expected)


def test_a_step_at_the_rollout_has_ratio_one_and_trains_policy_and_value(
    sft_run: sft.SftResult, reward_run: reward.RewardResult
) -> None:
    rollout, codec, trained = rolled(sft_run.directory, reward_run.directory)
    gains, returns = ppo.targets(rollout, RECIPE)
    assert trained.value is not None and rollout.values is not None and returns is not None
    before = [each.clone() for each in (next(iter(trained.policy.parameters())), trained.value.stock.score.weight)]
    optimizer = optimization.adam(learning(trained), 1e-3, 1e-5)
    loop = ppo.Loop(trained, optimizer, codec, RECIPE, SAMPLING, "fp32", 1, metrics.NullSink())
    sums = loop.step(rollout, gains, returns, range(6))
    assert sums[metrics.PPO_CLIP_FRACTION] == 0
    assert sums[metrics.PPO_STEP_KL] == pytest.approx(0, abs=1e-4)
    assert sums[metrics.PPO_POLICY_LOSS] == pytest.approx(-float(gains.sum()), abs=1e-2)
    expected = 0.5 * float(((rollout.values - returns) ** 2)[rollout.mask].sum())
    assert sums[metrics.PPO_VALUE_LOSS] == pytest.approx(expected, rel=1e-3)
    after = (next(iter(trained.policy.parameters())), trained.value.stock.score.weight)
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_micro_batches_change_memory_only(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    moved = []
    for micro_batch in (6, 1):
        rollout, codec, trained = rolled(sft_run.directory, reward_run.directory)
        assert trained.value is not None
        gains, returns = ppo.targets(rollout, RECIPE)
        recipe = replace(RECIPE, episodes=6, batch=6, micro_batch=micro_batch)
        optimizer = torch.optim.SGD(learning(trained), lr=0.1)
        loop = ppo.Loop(trained, optimizer, codec, recipe, SAMPLING, "fp32", 1, metrics.NullSink())
        loop.step(rollout, gains, returns, range(6))
        with torch.inference_mode():
            ((_, batch),) = rollout.micro_batches(range(6), 6, codec.pad, trained.reach)
            moved.append((logprobs.of_summaries(trained.policy, batch, 0.7), trained.value.values(batch)))
    assert torch.allclose(moved[0][0], moved[1][0], atol=1e-3) and torch.allclose(moved[0][1], moved[1][1], atol=1e-3)


def test_the_first_step_on_a_rollout_sees_the_probabilities_it_was_scored_with(
    sft_run: sft.SftResult, reward_run: reward.RewardResult
) -> None:
    rollout, codec, trained = rolled(sft_run.directory, reward_run.directory)
    optimizer = optimization.adam(learning(trained), 1e-3, 1e-5)
    recipe = replace(RECIPE, episodes=6, batch=6, micro_batch=2)
    loop = ppo.Loop(trained, optimizer, codec, recipe, SAMPLING, "fp32", 1, metrics.NullSink())
    sums = loop.step(rollout, *ppo.targets(rollout, recipe), range(6))
    assert sums[metrics.PPO_STEP_KL] == 0, "the same micro-batches give the same bits: every ratio is exactly 1"


@pytest.mark.parametrize("size", [6, 2, 1])
def test_sharing_a_reading_changes_no_step(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    moved = []
    for reach in (sys.maxsize, 0):
        monkeypatch.setattr(sharing, "reach", lambda *_, reach=reach: reach)
        rollout, codec, trained = rolled(sft_run.directory, reward_run.directory, each=3)
        parameters = learning(trained)
        before = [each.detach().clone() for each in parameters]
        recipe = replace(RECIPE, episodes=6, batch=6, micro_batch=size, samples_per_query=3)
        loop = ppo.Loop(
            trained, torch.optim.SGD(parameters, lr=1.0), codec, recipe, SAMPLING, "fp32", 1, metrics.NullSink()
        )
        loop.step(rollout, *ppo.targets(rollout, recipe), [3, 4, 5, 0, 1, 2])
        moved.append(
            torch.cat([(after - each).detach().flatten() for each, after in zip(before, parameters, strict=True)])
        )
    assert moved[0].abs().max() > 1e-2
    assert (moved[0] - moved[1]).abs().max() <= 1e-5 * max(1.0, moved[1].abs().max().item())


def test_several_summaries_of_each_query_stay_together(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, samples_per_query=4, minibatches=2, micro_batch=2)
    steps: list[QueryTokens] = []
    plain = ppo.Loop.step

    def watched(loop: ppo.Loop, rollout: Any, gains: Any, returns: Any, rows: Any) -> Any:
        assert [rollout.prompts[row] for row in rows] == [rollout.prompts[rows[0]]] * 4
        assert len({rollout.summaries[row] for row in rows}) > 1, "each has a seed of its own"
        steps.append(rollout.prompts[rows[0]])
        return plain(loop, rollout, gains, returns, rows)

    monkeypatch.setattr(ppo.Loop, "step", watched)
    result = run(sft_run, reward_run, tmp_path, recipe)
    assert result.episodes == 16 and len(steps) == 8 and len({*steps}) == 4
    assert result.history[0].kl == 0


def test_a_kl_above_the_limit_stops_before_it_is_learned_from(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, episodes=40, learning_rate=1e-2)
    free = run(sft_run, reward_run, tmp_path / "free", recipe)
    assert free.stopped is None and len(free.history) == 5
    limit = (free.history[1].kl + free.history[0].kl) / 2
    assert limit > 0.1, "two rollouts later the policy would be far away"
    sink = metrics.ListSink()
    result = run(sft_run, reward_run, tmp_path / "stopped", replace(recipe, stop_kl=limit), sink)
    assert result.stopped == (
        f"stopped before learning from rollout 2, because its KL is {free.history[1].kl:.2f} nats, "
        f"above ppo.stop_kl ({limit:g})"
    )
    assert (result.episodes, result.steps, result.history) == (8, 2, free.history[:2])
    assert sink.series(metrics.PPO_KL) == [0, free.history[1].kl] and len(sink.series(metrics.PPO_POLICY_LOSS)) == 1
    short = run(sft_run, reward_run, tmp_path / "short", replace(recipe, learning_rate=1e-2, episodes=8))
    assert all(torch.equal(a, b) for a, b in zip(weights(result.policy_dir), weights(short.policy_dir), strict=True))
    assert result.value_dir is not None and models.load_reward(result.value_dir, CPU).offset


def test_a_falling_preference_on_held_out_documents_stops(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fall = {0: 0.5, 2: 0.9, 4: 0.75, 6: 0.6, 8: 0.9}
    monkeypatch.setattr(watches.HeldOut, "preference", lambda self, index: fall[index])
    recipe = replace(RECIPE, episodes=80, epochs=1, stop_preference_drop=0.2, preference_every=2)
    result = run(sft_run, reward_run, tmp_path / "stopped", recipe, held_out=QUERIES[:1])
    assert result.stopped == (
        "stopped before rollout 7, because the estimated preference over the SFT policy on held-out documents fell "
        "from 0.900 (before rollout 3) to 0.600, by more than ppo.stop_preference_drop (0.2)"
    )
    assert (result.episodes, result.steps, len(result.history)) == (48, 6, 6)
    assert all(bool(each.isfinite().all()) for each in weights(result.policy_dir))
    with pytest.raises(ValueError, match="no held-out document"):
        run(sft_run, reward_run, tmp_path / "none", recipe)


def test_the_preference_over_the_sft_policy_is_the_reward_models_sigmoid(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, base_dir: Path, tmp_path: Path
) -> None:
    sink = metrics.ListSink()
    recipe = replace(RECIPE, episodes=8, stop_preference_drop=1, preference_documents=4)
    held_out = [tiny_models.query(seed) for seed in range(900, 904)]
    run(sft_run, reward_run, tmp_path / "same", recipe, sink, held_out=held_out)
    run(sft_run, reward_run, tmp_path / "other", recipe, sink, base_dir, held_out=held_out)
    same, other = sink.series(metrics.PPO_PREFERENCE)
    assert same == 0.5, "before anything is learned, both policies are one"
    judge, greedy = reward.load(reward_run.directory, "fp32", CPU), replace(SAMPLING, temperature=0)
    scores = []
    for policy_dir in (base_dir, sft_run.directory):
        written = generation.sample(policy_dir, held_out, greedy, [0] * 4, metrics.NullSink())
        raw = judge.score([judge.prompt(each) for each in held_out], [each.tokens for each in written], sink)
        scores.append([score if each.finished else -1.0 for score, each in zip(raw, written, strict=True)])
    expected = sum(1 / (1 + math.exp(theirs - ours)) for ours, theirs in zip(*scores, strict=True)) / 4
    assert other == pytest.approx(expected, abs=1e-4) and other != pytest.approx(0.5, abs=0.05)


def test_queries_are_gone_through_evenly() -> None:
    prompts = [Prompt(str(number), QueryTokens((number,))) for number in range(5)]
    stream = ppo.endless(prompts, 3)
    drawn = Counter(next(stream).text for _ in range(15))
    assert set(drawn.values()) == {3}


def test_a_cancelled_run_leaves_nothing_behind(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    with pytest.raises(metrics.Cancelled):
        run(sft_run, reward_run, tmp_path, sink=metrics.ListSink(cancel_at=20))
    assert list(tmp_path.iterdir()) == []


def test_a_reward_model_of_another_vocabulary_is_refused(
    sft_run: sft.SftResult, reward_run: reward.RewardResult, tmp_path: Path
) -> None:
    strange = tiny_models.build(tmp_path / "strange", vocabulary=300)
    with pytest.raises(ValueError, match="different vocabularies"):
        ppo.train(
            strange,
            reward_run.directory,
            QUERIES,
            RECIPE,
            sampling=SAMPLING,
            precision="fp32",
            seed=1,
            out_dir=tmp_path,
            sink=metrics.NullSink(),
        )

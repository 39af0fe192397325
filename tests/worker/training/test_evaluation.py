import math
from pathlib import Path

import pytest
import torch

from app.domain.prompts import TLDR
from app.domain.recipes import EvaluationRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING
from worker.training import evaluation, metrics, models, reward, sft, tokens
from worker.training.batches import collate
from worker.training.devices import CPU

DEMONSTRATIONS = [tiny_models.demonstration(seed) for seed in range(700, 706)]


def run(
    policy_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult, sink: metrics.Sink
) -> evaluation.EvaluationResult:
    return evaluation.evaluate(
        policy_dir,
        sft_run.directory,
        reward_run.directory,
        DEMONSTRATIONS,
        EvaluationRecipe(documents=5, batch=4),
        sink,
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
    )


def test_the_sft_policy_has_no_distance_from_itself(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    sink = metrics.ListSink()
    result = run(sft_run.directory, sft_run, reward_run, sink)
    assert len(result.rows) == 5
    assert result.means[metrics.EVALUATION_KL] == pytest.approx(0, abs=1e-6)
    for name in metrics.DOCS:
        if name.startswith("evaluation/"):
            assert sink.series(name) == [result.means[name]]
    for row, demonstration in zip(result.rows, DEMONSTRATIONS, strict=False):
        assert demonstration.query.title in row.sample.prompt
        expected = reward.score(reward_run.directory, [(demonstration.query, demonstration.summary_text)])[0]
        assert row.reference_score == pytest.approx(expected, abs=1e-4)
    scores = [row.score for row in result.rows]
    mean = sum(scores) / 5
    error = math.sqrt(sum((score - mean) ** 2 for score in scores) / 4 / 5)
    assert result.means[metrics.EVALUATION_SCORE] == pytest.approx(mean)
    assert result.standard_error(metrics.EVALUATION_SCORE) == pytest.approx(error, rel=1e-4, abs=1e-9)


def test_another_policy_has_a_distance(base_dir: Path, sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    assert run(base_dir, sft_run, reward_run, metrics.NullSink()).means[metrics.EVALUATION_KL] > 0.1


@torch.inference_mode()
def test_divergence_by_the_definition(base_dir: Path, sft_run: sft.SftResult) -> None:
    policy, reference = models.load_policy(base_dir, CPU), models.load_policy(sft_run.directory, CPU)
    codec = tokens.load(base_dir)
    prompt, summary = codec.prompt(tiny_models.query(1), TLDR, 64).tokens, codec.summary("we found a key", 12)
    found = evaluation.divergences(policy, reference, collate([prompt], [summary], codec.pad, CPU), 0.7)[0]
    ids = torch.tensor([[*prompt, *summary]])
    for place in range(len(summary)):
        ours, theirs = (
            (each(input_ids=ids).logits[0, len(prompt) - 1 + place] / 0.7).softmax(-1) for each in (policy, reference)
        )
        expected = sum(float(p) * math.log(float(p) / float(q)) for p, q in zip(ours, theirs, strict=True))
        assert found[place].item() == pytest.approx(expected, abs=1e-4)


def test_nothing_to_evaluate_on_is_said(sft_run: sft.SftResult, reward_run: reward.RewardResult) -> None:
    with pytest.raises(ValueError, match="no validation document"):
        evaluation.evaluate(
            sft_run.directory, sft_run.directory, reward_run.directory, [], EvaluationRecipe(), metrics.NullSink(),
            sampling=SAMPLING, precision="fp32", seed=1,
        )  # fmt: skip


def test_without_an_sft_policy_all_but_the_divergence_is_measured(
    base_dir: Path, reward_run: reward.RewardResult, sft_run: sft.SftResult
) -> None:
    result = evaluation.evaluate(
        base_dir, None, reward_run.directory, DEMONSTRATIONS, EvaluationRecipe(documents=5, batch=4),
        sink := metrics.ListSink(), sampling=SAMPLING, precision="fp32", seed=1,
    )  # fmt: skip
    both = run(base_dir, sft_run, reward_run, metrics.NullSink())
    assert math.isnan(result.rows[0].kl) and both.means.pop(metrics.EVALUATION_KL) > 0
    assert result.means == both.means and not sink.series(metrics.EVALUATION_KL)

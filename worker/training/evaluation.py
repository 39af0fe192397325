"""How good a policy is on documents it never learned from, and how often a reward model agrees with labelers.

Knows policy, SFT policy, reward model and references. Decides nothing: it gives every summary with its measurements,
so that whoever reads them can count with the n and the interval they deserve.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import EvaluationRecipe, Precision, SamplingRecipe
from worker.training import devices, generation, logprobs, metrics, models, overlap, resuming, reward, seeding, tokens
from worker.training.accuracy import ScoredPair
from worker.training.batches import Batch, collate, length_sorted
from worker.training.examples import Demonstration, Pair
from worker.training.generation import Sample
from worker.training.overlap import Rouge


@dataclass(frozen=True, slots=True)
class Measurement:
    """One summary of one document and what was measured on it.

    `score` is the reward model's at the last token the policy wrote, `reference_score` the reference summary's. `kl`
    is the sum over the summary's tokens of the KL divergence, over the whole vocabulary, of the policy's next-token
    distribution from the SFT policy's, in nats; not a number where there was no SFT policy to compare with.
    """

    sample: Sample
    score: float
    reference_score: float
    kl: float
    rouge: Rouge
    copying: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Measurements in the order of the documents, and the means of what was measured by metric name."""

    rows: tuple[Measurement, ...]
    means: dict[str, float]

    def values(self, name: str) -> list[float]:
        """What a mean is of, in the order of the documents."""
        return _MEASURED[name](self.rows)

    def standard_error(self, name: str) -> float:
        """Of a mean, from the deviation between documents; not a number for a single document."""
        values = self.values(name)
        if len(values) < 2:
            return math.nan
        return float(torch.tensor(values, dtype=torch.float64).std()) / math.sqrt(len(values))


_MEASURED: dict[str, Callable[[Sequence[Measurement]], list[float]]] = {
    metrics.EVALUATION_SCORE: lambda rows: [row.score for row in rows],
    metrics.EVALUATION_REFERENCE_SCORE: lambda rows: [row.reference_score for row in rows],
    metrics.EVALUATION_KL: lambda rows: [row.kl for row in rows],
    metrics.EVALUATION_LENGTH: lambda rows: [float(row.sample.token_count) for row in rows],
    metrics.EVALUATION_ROUGE_1: lambda rows: [row.rouge.rouge_1 for row in rows],
    metrics.EVALUATION_ROUGE_2: lambda rows: [row.rouge.rouge_2 for row in rows],
    metrics.EVALUATION_ROUGE_L: lambda rows: [row.rouge.rouge_l for row in rows],
    metrics.EVALUATION_WITHOUT_EOS: lambda rows: [float(not row.sample.finished) for row in rows],
    metrics.EVALUATION_COPYING: lambda rows: [row.copying for row in rows],
}


def evaluate(
    policy_dir: Path,
    sft_dir: Path | None,
    reward_dir: Path,
    demonstrations: Sequence[Demonstration],
    recipe: EvaluationRecipe,
    sink: metrics.Sink,
    *,
    sampling: SamplingRecipe,
    precision: Precision,
    seed: int,
    template: PromptTemplate = TLDR,
    state_dir: Path | None = None,
) -> EvaluationResult:
    """Summarizes the first `recipe.documents` documents and measures each summary.

    `sampling` gives the limits, and its temperature is the one the KL is measured at (1 where it is 0), so that it is
    comparable with PPO's. Along greedy summaries the KL is that of the greedy path, not an estimate of the mean over
    samples. Without an `sft_dir` no KL is measured. With a `state_dir` it goes on after a kill: batches that were
    written are not written twice, nor are divergences measured twice; scoring is done anew. Raises ValueError without
    documents, and what `generation.sample` raises.
    """
    chosen = demonstrations[: recipe.documents]
    if not chosen:
        raise ValueError("there is no validation document with a reference summary to evaluate on")
    device = devices.best()
    codec = tokens.load(policy_dir).stopping_at(template.stop)
    codec.require_same(tokens.load(reward_dir))
    policy = models.load_policy(policy_dir, device)
    reader = tokens.Reader(codec, template, sampling.max_query_tokens)
    prompts = [reader.prompt(each.query) for each in chosen]
    reader.note_documents(sink)
    decoding = replace(sampling, temperature=recipe.temperature, top_p=1.0, batch=recipe.batch)
    seeds = [seeding.derive(seed, "evaluation", index) for index in range(len(chosen))]
    about = {
        "recipe": [recipe.decisive(), sampling.decisive(), precision, template],
        "data": list(chosen),
        "seed": seed,
        "policy": policy_dir,
        "SFT model": sft_dir,
    }
    states = resuming.States(state_dir, about, recipe.memory(), sink)
    devices.note(policy, sink)
    state = states.newest()
    written = {} if state is None else generation.read(state.tensors(devices.CPU), codec, prompts, seeds)
    kept = functools.partial(generation.kept, written)
    for group in generation.write(policy, codec, prompts, decoding, seeds, precision, sink, written):
        # As `generation.sample` does.
        written.update(group | written)
        words = f"{len(written)} of {len(chosen)} summaries"
        sink.progress(len(written), 2 * len(chosen), f"wrote {words}")
        states.reached(len(written), words, {"divergences": None}, tensors=kept)
    samples = [written[index] for index in range(len(chosen))]
    measured = None if state is None else state.facts["divergences"]
    compared = "not compared" if sft_dir is None else "compared with the SFT policy"
    divergences = (
        [math.nan] * len(chosen)
        if sft_dir is None
        else measured
        or _divergences(
            policy,
            models.load_policy(sft_dir, device),
            codec,
            [prompt.tokens for prompt in prompts],
            [each.tokens for each in samples],
            recipe.batch,
            sampling.temperature or 1.0,
            precision,
            sink,
        )
    )
    del policy
    words = f"{len(chosen)} of {len(chosen)} summaries, all {compared}"
    states.reached(len(chosen) + 1, words, {"divergences": divergences}, tensors=kept)
    sink.progress(3 * len(chosen) // 2, 2 * len(chosen), compared)
    scorer = reward.load(reward_dir, precision, device)
    asked = [scorer.prompt(each.query) for each in chosen]
    scores = scorer.score(asked, [each.tokens for each in samples], sink)
    reference_scores = scorer.score(asked, [scorer.summary(each.summary_text) for each in chosen], sink)
    scorer.reader.note_summaries(sink)
    judge = overlap.rouge_scorer()
    rows = tuple(
        Measurement(
            sample=each,
            score=scores[index],
            reference_score=reference_scores[index],
            kl=divergences[index],
            rouge=overlap.rouge(judge, chosen[index].summary_text, each.text),
            copying=overlap.copying(chosen[index].query.post, each.text),
        )
        for index, each in enumerate(samples)
    )
    means = {
        name: sum(values(rows)) / len(rows)
        for name, values in _MEASURED.items()
        if name != metrics.EVALUATION_KL or sft_dir is not None
    }
    for name, mean in means.items():
        sink.metric(name, 0, mean)
    sink.progress(2 * len(chosen), 2 * len(chosen), f"measured {len(chosen)} summaries")
    return EvaluationResult(rows, means)


def score_pairs(
    reward_dir: Path, pairs: Sequence[Pair], sink: metrics.Sink, *, precision: Precision
) -> list[ScoredPair]:
    """Both scores of each judged pair, in the order given; `accuracy` counts them."""
    return reward.load(reward_dir, precision, devices.best()).score_pairs(pairs, sink)


@torch.inference_mode()
def _divergences(
    policy: Any,
    reference: Any,
    codec: tokens.Codec,
    prompts: Sequence[tokens.QueryTokens],
    summaries: Sequence[tokens.SummaryTokens],
    size: int,
    temperature: float,
    precision: Precision,
    sink: metrics.Sink,
) -> list[float]:
    found = [0.0] * len(prompts)
    lengths = [len(prompt) + len(summary) for prompt, summary in zip(prompts, summaries, strict=True)]
    for group in length_sorted(lengths, size):
        sink.check()
        batch = collate([prompts[i] for i in group], [summaries[i] for i in group], codec.pad, policy.device)
        with devices.autocast(policy.device, precision):
            divergence = divergences(policy, reference, batch, temperature).sum(1)
        for index, value in zip(group, divergence.tolist(), strict=True):
            found[index] = value
    return found


def divergences(policy: Any, reference: Any, batch: Batch, temperature: float) -> Tensor:
    """(B, S) float32 >= 0: KL(policy || reference) over the vocabulary at each summary token, in nats; 0 on padding."""
    ours, theirs = (
        (logprobs.summary_logits(model, batch).float() / (temperature + logprobs.TEMPERATURE_GUARD)).log_softmax(-1)
        for model in (policy, reference)
    )
    return torch.where(batch.summary_mask, (ours.exp() * (ours - theirs)).sum(-1), 0.0)

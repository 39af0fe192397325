"""The reward model: trained on judged pairs, normalised on references, and asked for scores.

P 3.4, B.1: the SFT transformer with a new scalar head, one epoch, cosine decay; the score is read at the end token.
Afterwards a constant is subtracted so that reference summaries of training documents score 0 on average. Every pair
with a preference is trained on: a post that is too long is cut, a pair is never dropped.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import Precision, RewardRecipe, SamplingRecipe
from worker.training import checkpoints, devices, metrics, models, optimization, seeding, tokens
from worker.training.accuracy import Accuracy, ScoredPair, accuracy, by_confidence, by_policies
from worker.training.batches import collate, length_sorted
from worker.training.examples import Demonstration, Pair, Query
from worker.training.models import ScalarModel
from worker.training.reward_loss import pairwise_loss
from worker.training.tokens import QueryTokens, SummaryTokens

SCORING_BATCH = 16


@dataclass(frozen=True, slots=True)
class RewardResult:
    """What reward training did. `pairs` were learned from, `ties` left out because the labeler preferred neither.

    `held_out` has the held-out pairs in the order given, with their normalised scores; the accuracies count those with
    a preference. `offset` is the mean raw score of `references` reference summaries. `chosen_seed` gave the best model.
    """

    directory: Path
    pairs: int
    ties: int
    steps: int
    training_loss: float
    held_out: tuple[ScoredPair, ...]
    accuracy: Accuracy
    accuracy_by_policies: dict[str, Accuracy]
    accuracy_by_confidence: dict[str, Accuracy]
    validation_loss: float | None
    offset: float
    references: int
    chosen_seed: int


@dataclass(frozen=True, slots=True)
class _Example:
    prompt: QueryTokens
    preferred: SummaryTokens
    other: SummaryTokens

    def __len__(self) -> int:
        return len(self.prompt) + max(len(self.preferred), len(self.other))

    @property
    def tokens(self) -> int:
        return 2 * len(self.prompt) + len(self.preferred) + len(self.other)


@dataclass(frozen=True)
class Scorer:
    """A reward model with the prompts and limits it was trained with, which are saved beside its weights."""

    model: ScalarModel
    codec: tokens.Codec
    template: PromptTemplate
    max_query_tokens: int
    max_summary_tokens: int
    device: torch.device
    precision: Precision

    def prompt(self, query: Query) -> QueryTokens:
        """The document as this reward model reads it."""
        return self.codec.prompt(query, self.template, self.max_query_tokens).tokens

    def summary(self, text: str) -> SummaryTokens:
        """A text as this reward model reads it, end token included."""
        return self.codec.summary(text, self.max_summary_tokens)

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[QueryTokens], summaries: Sequence[SummaryTokens], sink: metrics.Sink
    ) -> list[float]:
        """The normalised score of each summary, read at its last token, in the order given."""
        lengths = [len(prompt) + len(summary) for prompt, summary in zip(prompts, summaries, strict=True)]
        models.check_length(self.model.stock, max(lengths, default=0))
        found = [0.0] * len(lengths)
        for group in length_sorted(lengths, SCORING_BATCH):
            sink.check()
            batch = collate([prompts[i] for i in group], [summaries[i] for i in group], self.codec.pad, self.device)
            with devices.autocast(self.device, self.precision):
                scores = self.model.scores(batch)
            for index, value in zip(group, scores.tolist(), strict=True):
                found[index] = value
        return found

    def score_pairs(self, pairs: Sequence[Pair], sink: metrics.Sink) -> list[ScoredPair]:
        """Both scores of each pair, in the order given."""
        prompts = [self.prompt(pair.query) for pair in pairs]
        texts = [pair.preferred_text for pair in pairs] + [pair.other_text for pair in pairs]
        scores = self.score(prompts * 2, [self.summary(text) for text in texts], sink)
        return [
            ScoredPair(pair, preferred, other)
            for pair, preferred, other in zip(pairs, scores[: len(pairs)], scores[len(pairs) :], strict=True)
        ]


def load(reward_dir: Path, precision: Precision, device: torch.device) -> Scorer:
    """The scorer of a reward checkpoint."""
    model = models.load_reward(reward_dir, device)
    saved = model.stock.config.hone_prompt
    return Scorer(
        model,
        tokens.load(reward_dir),
        PromptTemplate(saved["template"]),
        int(saved["max_query_tokens"]),
        int(saved["max_summary_tokens"]),
        device,
        precision,
    )


def score(
    reward_dir: Path,
    rows: Sequence[tuple[Query, str]],
    sink: metrics.Sink | None = None,
    *,
    precision: Precision = "fp32",
) -> list[float]:
    """The normalised score of each text as a summary of its document, end token added, in the order given."""
    scorer = load(reward_dir, precision, devices.best())
    prompts = [scorer.prompt(query) for query, _ in rows]
    return scorer.score(prompts, [scorer.summary(text) for _, text in rows], sink or metrics.NullSink())


def train(
    sft_dir: Path,
    pairs: Sequence[Pair],
    held_out_pairs: Sequence[Pair],
    references: Sequence[Demonstration],
    recipe: RewardRecipe,
    *,
    sampling: SamplingRecipe,
    precision: Precision,
    seed: int,
    out_dir: Path,
    sink: metrics.Sink,
    template: PromptTemplate = TLDR,
) -> RewardResult:
    """Trains `recipe.seeds` models on the pairs, keeps the best on the held-out pairs, normalises it, writes it.

    `references` are demonstrations of training documents, the first `recipe.references` of them are used. Best is the
    highest held-out accuracy, then the lowest held-out loss, then the lowest training loss. Raises ValueError without
    a pair that has a preference or without references, and what `sft.train` raises.
    """
    learned = [pair for pair in pairs if not pair.tied]
    if not learned:
        raise ValueError("there is no judged pair with a preference to learn from")
    if not references:
        raise ValueError("there is no reference summary of a training document to normalise the scores on")
    steps = recipe.epochs * -(-len(learned) // recipe.batch)
    best: tuple[tuple[float, float, float], RewardResult] | None = None
    for attempt in range(recipe.seeds):
        attempt_seed = seeding.derive(seed, "reward", attempt) if attempt else seed
        scorer = _scorer(sft_dir, attempt_seed, recipe, sampling, template, precision)
        loss = _fit(scorer, learned, recipe, attempt_seed, attempt * steps, recipe.seeds * steps, sink)
        offset = _normalise(scorer, references[: recipe.references], sink)
        scored = scorer.score_pairs(held_out_pairs, sink)
        right, held_out_loss = accuracy(scored), _loss(scored)
        rank = (-right.rate if right.n else 0.0, held_out_loss or 0.0, loss)
        if best is not None and rank >= best[0]:
            continue
        sink.check()
        checkpoints.save(scorer.model.stock, scorer.codec.tokenizer, out_dir)
        result = RewardResult(
            directory=out_dir,
            pairs=len(learned),
            ties=len(pairs) - len(learned),
            steps=steps,
            training_loss=loss,
            held_out=tuple(scored),
            accuracy=right,
            accuracy_by_policies=by_policies(scored),
            accuracy_by_confidence=by_confidence(scored),
            validation_loss=held_out_loss,
            offset=offset,
            references=len(references[: recipe.references]),
            chosen_seed=attempt_seed,
        )
        best = (rank, result)
    assert best is not None, "a recipe has at least one seed"
    _report(best[1], recipe.seeds * steps, sink)
    return best[1]


def _scorer(
    sft_dir: Path,
    seed: int,
    recipe: RewardRecipe,
    sampling: SamplingRecipe,
    template: PromptTemplate,
    precision: Precision,
) -> Scorer:
    device = devices.best()
    model = models.new_reward(sft_dir, seed, device)
    model.stock.config.hone_prompt = {
        "template": template.text,
        "max_query_tokens": sampling.max_query_tokens,
        "max_summary_tokens": recipe.max_summary_tokens,
    }
    codec = tokens.load(sft_dir)
    return Scorer(model, codec, template, sampling.max_query_tokens, recipe.max_summary_tokens, device, precision)


def _fit(
    scorer: Scorer,
    pairs: Sequence[Pair],
    recipe: RewardRecipe,
    seed: int,
    done: int,
    total: int,
    sink: metrics.Sink,
) -> float:
    """Trains in place; gives the last step's loss."""
    rows = [
        _Example(scorer.prompt(pair.query), scorer.summary(pair.preferred_text), scorer.summary(pair.other_text))
        for pair in pairs
    ]
    models.check_length(scorer.model.stock, max(map(len, rows)))
    optimizer = optimization.adam(scorer.model.parameters(), recipe.learning_rate, recipe.adam_eps)
    batches = [
        [rows[index] for index in order[start : start + recipe.batch]]
        for epoch in range(recipe.epochs)
        for order in [seeding.shuffled(len(rows), seed, "reward", epoch)]
        for start in range(0, len(rows), recipe.batch)
    ]
    loss = 0.0
    for step, batch in enumerate(batches):
        started = time.perf_counter()
        rate = recipe.learning_rate * optimization.share(recipe.schedule, step, len(batches))
        optimization.set_learning_rate(optimizer, rate)
        preferred, other = _backward(scorer, batch, recipe.micro_batch, sink)
        loss = optimization.finite(pairwise_loss(preferred, other).mean(), f"reward step {step + 1}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        right = (preferred > other).float() + 0.5 * (preferred == other).float()
        sink.metric(metrics.REWARD_LOSS, done + step, loss)
        sink.metric(metrics.REWARD_ACCURACY, done + step, float(right.mean()))
        sink.metric(metrics.REWARD_MARGIN, done + step, float((preferred - other).mean()))
        sink.metric(metrics.REWARD_LEARNING_RATE, done + step, rate)
        sink.metric(metrics.REWARD_TOKENS_PER_SECOND, done + step, sum(row.tokens for row in batch) / seconds)
        sink.progress(done + step + 1, total, f"learned from judged pairs, step {done + step + 1} of {total}")
    return loss


def _backward(scorer: Scorer, batch: Sequence[_Example], micro_batch: int, sink: metrics.Sink) -> tuple[Tensor, Tensor]:
    """Adds up the gradients of the mean loss; gives both scores of each pair, detached, in one order."""
    preferred, other = [], []
    for group in length_sorted([len(row) for row in batch], micro_batch):
        sink.check()
        rows = [batch[index] for index in group]
        both = collate(
            [row.prompt for row in rows] * 2,
            [row.preferred for row in rows] + [row.other for row in rows],
            scorer.codec.pad,
            scorer.device,
        )
        with devices.autocast(scorer.device, scorer.precision):
            better, worse = scorer.model.scores(both).chunk(2)
        loss = pairwise_loss(better, worse).sum() / len(batch)
        torch.autograd.backward(loss)
        preferred.append(better.detach())
        other.append(worse.detach())
    return torch.cat(preferred), torch.cat(other)


def _normalise(scorer: Scorer, references: Sequence[Demonstration], sink: metrics.Sink) -> float:
    """Sets the offset to the mean raw score of the references, and gives it (P 3.4)."""
    scorer.model.set_offset(0.0)
    prompts = [scorer.prompt(each.query) for each in references]
    raw = scorer.score(prompts, [scorer.summary(each.summary_text) for each in references], sink)
    offset = sum(raw) / len(raw)
    scorer.model.set_offset(offset)
    return offset


def _loss(scored: Sequence[ScoredPair]) -> float | None:
    counted = [each for each in scored if not each.pair.tied]
    if not counted:
        return None
    preferred = torch.tensor([each.preferred_score for each in counted])
    other = torch.tensor([each.other_score for each in counted])
    return float(pairwise_loss(preferred, other).mean())


def _report(result: RewardResult, step: int, sink: metrics.Sink) -> None:
    sink.metric(metrics.REWARD_OFFSET, step, result.offset)
    if result.validation_loss is not None:
        sink.metric(metrics.REWARD_VALIDATION_LOSS, step, result.validation_loss)
        sink.metric(metrics.REWARD_VALIDATION_ACCURACY, step, result.accuracy.rate)

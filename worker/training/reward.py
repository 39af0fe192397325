"""The reward model: trained on judged pairs, normalised on references, and asked for scores.

P 3.4, B.1: the SFT transformer with a new scalar head, one epoch, cosine decay; the score is read at the end token.
Afterwards a constant is subtracted so that reference summaries of training documents score 0 on average. Every pair
with a preference is trained on: a post that is too long is cut, a pair is never dropped.
"""

import functools
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import Precision, RewardRecipe, SamplingRecipe
from worker.training import (
    checkpoints,
    devices,
    metrics,
    models,
    optimization,
    processes,
    recomputing,
    resuming,
    seeding,
    sharding,
    tokens,
)
from worker.training.accuracy import Accuracy, ScoredPair, accuracy, by_confidence, by_policies
from worker.training.adapters import Adapted
from worker.training.batches import collate, length_sorted, micro_batches
from worker.training.examples import Demonstration, Pair, Query
from worker.training.memory import MicroBatch
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
class Example:
    """A judged pair as the model reads it."""

    prompt: QueryTokens
    preferred: SummaryTokens
    other: SummaryTokens

    def __len__(self) -> int:
        """Tokens of the document with the longer summary: what the model must have positions for."""
        return len(self.prompt) + max(len(self.preferred), len(self.other))

    @property
    def tokens(self) -> int:
        """Of the document and both summaries."""
        return len(self.prompt) + len(self.preferred) + len(self.other)


@dataclass(frozen=True)
class Scorer:
    """A reward model with the prompts and limits it was trained with, which are saved beside its weights.

    `adapted` is its adapter while it learns by one.
    """

    model: ScalarModel
    reader: tokens.Reader
    device: torch.device
    precision: Precision
    adapted: Adapted | None = None

    @property
    def codec(self) -> tokens.Codec:
        """Its tokenizer."""
        return self.reader.codec

    def prompt(self, query: Query) -> QueryTokens:
        """The document as this reward model reads it."""
        return self.reader.prompt(query).tokens

    def summary(self, text: str) -> SummaryTokens:
        """A text as this reward model reads it, end token included."""
        return self.reader.summary(text)

    def save(self, out_dir: Path, *, merge: bool) -> Path:
        """Writes the model, the last thing that is done with it."""
        if self.adapted is None:
            return checkpoints.save(self.model.stock, self.codec.tokenizer, out_dir)
        return self.adapted.save(self.codec.tokenizer, out_dir, merge=merge)

    def score(
        self, prompts: Sequence[QueryTokens], summaries: Sequence[SummaryTokens], sink: metrics.Sink
    ) -> list[float]:
        """The normalised score of each summary, read at its last token, in the order given."""
        found = torch.zeros(len(summaries), dtype=torch.float64, device=self.device)
        models.check_length(
            self.model.stock,
            max((len(prompt) + len(summary) for prompt, summary in zip(prompts, summaries, strict=True)), default=0),
        )
        groups = micro_batches(prompts, summaries, SCORING_BATCH, self.codec.pad, self.device, reach=self.model.reach)
        with devices.without_gradients(), devices.autocast(self.device, self.precision):
            for (indices, batch), weight in processes.dealt(groups):
                sink.check()
                found[indices] += weight * self.model.scores(batch).double()
        values: list[float] = processes.summed(found).tolist()
        return values

    def pairs(self, rows: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """(B,) scores of the preferred and of the other summaries, with their graph.

        Both share one reading of their document, where the transformer can.
        """
        batch = collate(
            [row.prompt for row in rows for _ in range(2)],
            [summary for row in rows for summary in (row.preferred, row.other)],
            self.codec.pad,
            self.device,
            together=[2] * len(rows) if max(map(len, rows)) <= self.model.reach else None,
        )
        preferred, other = self.model.scores(batch).view(-1, 2).unbind(1)
        return preferred, other

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
    limits = int(saved["max_query_tokens"]), int(saved["max_summary_tokens"])
    reader = tokens.Reader(tokens.load(reward_dir), PromptTemplate(saved["template"]), *limits)
    return Scorer(model, reader, device, precision)


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
    state_dir: Path | None = None,
) -> RewardResult:
    """Trains `recipe.seeds` models on the pairs, keeps the best on the held-out pairs, normalises it, writes it.

    `references` are demonstrations of training documents, the first `recipe.references` of them are used. Best is the
    highest held-out accuracy, then the lowest held-out loss, then the lowest training loss. With a `state_dir` it goes
    on after a kill, and leaves a model when it is cancelled (the first one not normalised), as `sft.train` does;
    scoring is done anew. Raises ValueError without a pair that has a preference or without references, and what
    `sft.train` raises.
    """
    learned = [pair for pair in pairs if not pair.tied]
    if not learned:
        raise ValueError("there is no judged pair with a preference to learn from")
    if not references:
        raise ValueError("there is no reference summary of a training document to normalise the scores on")
    shown = references[: recipe.references]
    steps = recipe.epochs * -(-len(learned) // recipe.batch)
    about = {
        "recipe": [recipe.decisive(), sampling.decisive(), precision, template.text],
        "data": [len(learned), *learned, len(held_out_pairs), *held_out_pairs, *shown],
        "seed": seed,
        "SFT model": sft_dir,
    }
    states = resuming.States(state_dir, about, recipe.memory(), sink, out_dir)
    reader = tokens.Reader(tokens.load(sft_dir), template, sampling.max_query_tokens, recipe.max_summary_tokens)
    read = [(pair.query, (pair.preferred_text, pair.other_text)) for pair in (*learned, *held_out_pairs)]
    for query, texts in (*read, *((each.query, (each.summary_text,)) for each in shown)):
        reader.prompt(query)
        for text in texts:
            reader.summary(text)
    reader.note_documents(sink)
    reader.note_summaries(sink)
    state = states.newest()
    best: _Attempt | None = None
    if state is not None and state.facts["best"] is not None:
        best = _Attempt.of(state.facts["best"], held_out_pairs)
        if processes.first():
            checkpoints.linked(state.place / "best", out_dir)
    for number in range(state.facts["attempt"] if state is not None else 0, recipe.seeds):
        attempt_seed = _seed(seed, number)
        scorer = _scorer(sft_dir, attempt_seed, recipe, reader, precision)
        with states.leaving(functools.partial(_leave, scorer, recipe, None if best is None else out_dir)):
            fit = _Fit(scorer, recipe, number, steps, best, out_dir, states, sink)
            loss = fit.train(learned, attempt_seed, state)
            offset = _normalise(scorer, shown, sink)
            attempt = _Attempt(number, loss, offset, tuple(scorer.score_pairs(held_out_pairs, sink)))
            if best is None or attempt.rank < best.rank:
                sink.check()
                scorer.save(out_dir, merge=recipe.lora_merge)
                best = attempt
        state = None
        words = f"attempt {number + 1} of {recipe.seeds}"
        facts = {"attempt": number + 1, "step": 0, "best": best.facts()}
        states.reached((number + 1) * (steps + 1), words, facts, beside={"best": out_dir})
    assert best is not None, "a recipe has at least one seed"
    right = accuracy(best.scored)
    result = RewardResult(
        directory=out_dir,
        pairs=len(learned),
        ties=len(pairs) - len(learned),
        steps=steps,
        training_loss=best.loss,
        held_out=best.scored,
        accuracy=right,
        accuracy_by_policies=by_policies(best.scored),
        accuracy_by_confidence=by_confidence(best.scored),
        validation_loss=_loss(best.scored),
        offset=best.offset,
        references=len(shown),
        chosen_seed=_seed(seed, best.number),
    )
    _report(result, recipe.seeds * steps, sink)
    return result


def _leave(scorer: Scorer, recipe: RewardRecipe, best_dir: Path | None, place: Path) -> Path:
    """The best model so far, or the one that is being trained where there is none."""
    if best_dir is not None:
        return checkpoints.linked(best_dir, place) if processes.first() else place
    return scorer.save(place, merge=recipe.lora_merge)


def _seed(seed: int, attempt: int) -> int:
    return seeding.derive(seed, "reward", attempt) if attempt else seed


@dataclass(frozen=True)
class _Attempt:
    """A model that was trained and measured: its last loss, its offset, the held-out pairs as it scores them."""

    number: int
    loss: float
    offset: float
    scored: tuple[ScoredPair, ...]

    @property
    def rank(self) -> tuple[float, float, float]:
        """Lower is better."""
        right = accuracy(self.scored)
        return (-right.rate if right.n else 0.0, _loss(self.scored) or 0.0, self.loss)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON but the pairs."""
        scores = [[each.preferred_score, each.other_score] for each in self.scored]
        return {"number": self.number, "loss": self.loss, "offset": self.offset, "scores": scores}

    @classmethod
    def of(cls, facts: Mapping[str, Any], pairs: Sequence[Pair]) -> Self:
        """What `facts` told of these pairs."""
        scored = tuple(ScoredPair(pair, *scores) for pair, scores in zip(pairs, facts["scores"], strict=True))
        return cls(facts["number"], facts["loss"], facts["offset"], scored)


def _scorer(
    sft_dir: Path,
    seed: int,
    recipe: RewardRecipe,
    reader: tokens.Reader,
    precision: Precision,
) -> Scorer:
    device = devices.best()
    model = models.new_reward(sft_dir, seed, device)
    model.stock.config.hone_prompt = {
        "template": reader.template.text,
        "max_query_tokens": reader.max_query_tokens,
        "max_summary_tokens": reader.max_summary_tokens,
    }
    adapted = None
    if recipe.lora_rank:
        adapted = Adapted(
            model.stock,
            sft_dir,
            rank=recipe.lora_rank,
            alpha=recipe.lora_alpha,
            targets=recipe.lora_targets,
            seed=seed,
            head=True,
        )
    if recipe.checkpointing:
        recomputing.put_in_force(model.stock)
    sharding.put_in_force(model.stock.base_model, model.stock.score)
    return Scorer(model, reader, device, precision, adapted)


@dataclass(frozen=True)
class _Fit:
    """One attempt at training, and how it resumes: `best` is the best attempt before it, its model is in `out_dir`."""

    scorer: Scorer
    recipe: RewardRecipe
    attempt: int
    steps: int
    best: _Attempt | None
    out_dir: Path
    states: resuming.States
    sink: metrics.Sink

    def train(self, pairs: Sequence[Pair], seed: int, state: resuming.State | None) -> float:
        """Trains the model in place, from the beginning or from a state of this attempt; gives the last step's loss."""
        scorer, recipe, sink = self.scorer, self.recipe, self.sink
        rows = [
            Example(scorer.prompt(pair.query), scorer.summary(pair.preferred_text), scorer.summary(pair.other_text))
            for pair in pairs
        ]
        models.check_length(scorer.model.stock, max(map(len, rows)))
        optimizer = optimization.adam(scorer.model.parameters(), recipe.learning_rate, recipe.adam_eps)
        micro, learning = (
            MicroBatch(recipe.micro_batch, sink),
            resuming.Learning.of(optimizer, reward=scorer.model.stock),
        )
        self.states.need_room(learning)
        devices.note(scorer.model.stock, sink, scorer.model.stock)
        batches = [
            [rows[index] for index in order[start : start + recipe.batch]]
            for epoch in range(recipe.epochs)
            for order in [seeding.shuffled(len(rows), seed, "reward", epoch)]
            for start in range(0, len(rows), recipe.batch)
        ]
        done, loss = 0, 0.0
        if state is not None and state.facts["step"]:
            state.load(learning)
            micro.resume(state.facts["micro_batch"])
            done, loss = state.facts["step"], state.facts["loss"]
        before, total = self.attempt * self.steps, recipe.seeds * self.steps
        for step, batch in itertools.islice(enumerate(batches), done, None):
            started = time.perf_counter()
            rate = recipe.learning_rate * optimization.share(recipe.schedule, step, len(batches))
            optimization.set_learning_rate(optimizer, rate)
            preferred, other = micro.fitted(optimizer, functools.partial(_backward, scorer, batch, sink))
            loss = optimization.finite(pairwise_loss(preferred, other).mean(), f"reward step {step + 1}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seconds = time.perf_counter() - started
            place = before + step
            right = (preferred > other).float() + 0.5 * (preferred == other).float()
            sink.metric(metrics.REWARD_LOSS, place, loss)
            sink.metric(metrics.REWARD_ACCURACY, place, float(right.mean()))
            sink.metric(metrics.REWARD_MARGIN, place, float((preferred - other).mean()))
            sink.metric(metrics.REWARD_LEARNING_RATE, place, rate)
            sink.metric(metrics.REWARD_TOKENS_PER_SECOND, place, sum(row.tokens for row in batch) / seconds)
            sink.progress(place + 1, total, f"learned from judged pairs, step {place + 1} of {total}")
            self._reached(step + 1, loss, micro, learning)
        return loss

    def _reached(self, step: int, loss: float, micro: MicroBatch, learning: resuming.Learning) -> None:
        facts = {"attempt": self.attempt, "step": step, "loss": loss, "micro_batch": micro.facts()}
        self.states.reached(
            self.attempt * (self.steps + 1) + step,
            f"step {self.attempt * self.steps + step} of {self.recipe.seeds * self.steps}",
            facts | {"best": None if self.best is None else self.best.facts()},
            learning=learning,
            beside={} if self.best is None else {"best": self.out_dir},
            due=step % self.recipe.save_every == 0 or step == self.steps,
        )


def _backward(scorer: Scorer, batch: Sequence[Example], sink: metrics.Sink, micro_batch: int) -> tuple[Tensor, Tensor]:
    """Adds up the gradients of the mean loss; gives both scores of each pair, detached, in the order of the batch."""
    found = torch.zeros(2, len(batch), device=scorer.device)
    groups = length_sorted([row.tokens for row in batch], processes.at_once(micro_batch, len(batch)))
    with devices.autocast(scorer.device, scorer.precision):
        for group, weight in processes.dealt(groups):
            sink.check()
            better, worse = scorer.pairs([batch[index] for index in group])
            devices.backward(weight * pairwise_loss(better, worse).sum() / len(batch))
            found[:, group] += weight * torch.stack([better, worse]).detach()
    preferred, other = processes.summed(found)
    return preferred, other


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

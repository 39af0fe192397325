"""Supervised fine-tuning: the base model learns to continue prompts with reference summaries.

P 3.4, B.1: one epoch, Adam, cosine decay to 0, targets with a leading space and an end token. The loss is the mean
over all target tokens of a step, so that micro-batches change memory and nothing else.
"""

import functools
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import LossOn, Precision, SamplingRecipe, SftRecipe
from worker.training import (
    checkpoints,
    devices,
    logprobs,
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
from worker.training.batches import Batch, collate, length_sorted
from worker.training.examples import Demonstration
from worker.training.memory import MicroBatch
from worker.training.tokens import QueryTokens, SummaryTokens


@dataclass(frozen=True, slots=True)
class SftResult:
    """What SFT did. Losses are nats per token; the validation losses are None without validation documents."""

    directory: Path
    documents: int
    steps: int
    training_loss: float
    validation_loss_before: float | None
    validation_loss: float | None


@dataclass(frozen=True, slots=True)
class _Example:
    prompt: QueryTokens
    summary: SummaryTokens

    def __len__(self) -> int:
        return len(self.prompt) + len(self.summary)


def train(
    base_dir: Path,
    examples: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    recipe: SftRecipe,
    *,
    sampling: SamplingRecipe,
    precision: Precision,
    seed: int,
    out_dir: Path,
    sink: metrics.Sink,
    template: PromptTemplate = TLDR,
    state_dir: Path | None = None,
) -> SftResult:
    """Trains on the first `recipe.documents` examples and writes a checkpoint to `out_dir`.

    `sampling` gives the prompt and summary limits. An incomplete last batch is trained on too. With a `state_dir`, a
    training that was killed goes on there when it is called again, with the same weights in the end, and one that is
    cancelled leaves its model in `out_dir`-unfinished; without one, nothing is written before the end. Raises
    ValueError without examples, PromptTooLong, ModelTooShort, Diverged, DiskFull, or the sink's Cancelled.
    """
    if not examples:
        raise ValueError("there is no document with a reference summary to learn from")
    device = devices.best()
    codec = tokens.load(base_dir)

    reader = tokens.Reader(codec, template, sampling.max_query_tokens, sampling.max_summary_tokens)
    rows, held_out = (
        [_Example(reader.prompt(each.query).tokens, reader.summary(each.summary_text)) for each in some]
        for some in (examples[: recipe.documents], validation)
    )
    reader.note_documents(sink)
    reader.note_summaries(sink)
    model = models.load_policy(base_dir, device)
    models.check_length(model, max(map(len, [*rows, *held_out])))
    if recipe.checkpointing:
        recomputing.put_in_force(model)
    sharding.put_in_force(model)

    def validate(step: int) -> float | None:
        if not held_out:
            return None
        loss = _validation_loss(model, held_out, recipe, codec.pad, device, precision, sink)
        sink.metric(metrics.SFT_VALIDATION_LOSS, step, loss)
        return loss

    optimizer = optimization.adam(model.parameters(), recipe.learning_rate, recipe.adam_eps)
    batches = [
        [rows[index] for index in order[start : start + recipe.batch]]
        for epoch in range(recipe.epochs)
        for order in [seeding.shuffled(len(rows), seed, "sft", epoch)]
        for start in range(0, len(rows), recipe.batch)
    ]
    micro, learning = MicroBatch(recipe.micro_batch, sink), resuming.Learning.of(optimizer, policy=model)
    about = {
        "recipe": [recipe.decisive(), sampling.decisive(), precision],
        "data": [len(rows), *rows, *held_out],
        "seed": seed,
        "base model": base_dir,
    }
    states = resuming.States(state_dir, about, recipe.memory(), sink, out_dir)
    states.need_room(learning)
    devices.note(model, sink, model)

    def gradients(batch: Sequence[_Example], size: int) -> Tensor:
        return _gradients(model, batch, recipe.loss_on, size, codec.pad, device, precision, sink)

    with states.leaving(lambda place: checkpoints.save(model, codec.tokenizer, place)):
        done, loss, before = 0, 0.0, None
        if (state := states.newest()) is None:
            before = validate(0)
        else:
            state.load(learning)
            micro.resume(state.facts["micro_batch"])
            done, loss, before = state.number, state.facts["loss"], state.facts["before"]
        for step, batch in itertools.islice(enumerate(batches), done, None):
            started = time.perf_counter()
            rate = recipe.learning_rate * optimization.share(recipe.schedule, step, len(batches))
            optimization.set_learning_rate(optimizer, rate)
            total = micro.fitted(optimizer, functools.partial(gradients, batch))
            loss = optimization.finite(total, f"SFT step {step + 1}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            sink.metric(metrics.SFT_LOSS, step, loss)
            sink.metric(metrics.SFT_LEARNING_RATE, step, rate)
            sink.metric(metrics.SFT_TOKENS_PER_SECOND, step, sum(map(len, batch)) / (time.perf_counter() - started))
            sink.progress(step + 1, len(batches), f"learned from references, step {step + 1} of {len(batches)}")
            states.reached(
                step + 1,
                f"step {step + 1} of {len(batches)}",
                {"loss": loss, "before": before, "micro_batch": micro.facts()},
                learning=learning,
                due=(step + 1) % recipe.save_every == 0 or step + 1 == len(batches),
            )
        after = validate(len(batches))
        sink.check()
    checkpoints.save(model, codec.tokenizer, out_dir)
    return SftResult(out_dir, len(rows), len(batches), loss, before, after)


def _gradients(
    model: Any,
    batch: Sequence[_Example],
    loss_on: LossOn,
    size: int,
    pad: int,
    device: torch.device,
    precision: Precision,
    sink: metrics.Sink,
) -> Tensor:
    """Adds up the gradients of the mean loss over all target tokens; gives that loss, () float32."""
    targets = sum(_targets(each, loss_on) for each in batch)
    total = torch.zeros((), device=device)
    with devices.autocast(device, precision):
        lengths = [len(each) for each in batch]
        for group, weight in processes.dealt(length_sorted(lengths, processes.at_once(size, len(batch)))):
            sink.check()
            loss = weight * negative_logprob(model, _batch(batch, group, pad, device), loss_on) / targets
            devices.backward(loss)
            total += loss.detach()
    return processes.summed(total)


def _validation_loss(
    model: Any,
    examples: Sequence[_Example],
    recipe: SftRecipe,
    pad: int,
    device: torch.device,
    precision: Precision,
    sink: metrics.Sink,
) -> float:
    total = torch.zeros((), device=device)
    groups = length_sorted([len(each) for each in examples], processes.at_once(recipe.micro_batch, len(examples)))
    with devices.without_gradients(), devices.autocast(device, precision):
        for group, weight in processes.dealt(groups):
            sink.check()
            total += weight * negative_logprob(model, _batch(examples, group, pad, device), recipe.loss_on)
    return float(processes.summed(total)) / sum(_targets(each, recipe.loss_on) for each in examples)


def _batch(examples: Sequence[_Example], group: Sequence[int], pad: int, device: torch.device) -> Batch:
    return collate([examples[i].prompt for i in group], [examples[i].summary for i in group], pad, device)


def _targets(example: _Example, loss_on: LossOn) -> int:
    return len(example.summary) if loss_on == "summary" else len(example) - 1


def negative_logprob(model: Any, batch: Batch, loss_on: LossOn) -> Tensor:
    """() float32: summed negative log-probability, at temperature 1, of the summary tokens with their end token, or of
    every token but the very first."""
    found = logprobs.of_summaries(model, batch, 1.0) if loss_on == "summary" else logprobs.of_sequences(model, batch)
    return -found.sum()

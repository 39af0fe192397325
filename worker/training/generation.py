"""Writing summaries: seeded sampling with a key-value cache, for many documents side by side.

Knows policies and prompts. Knows nothing of rewards.

How a summary is made again. Each summary has a seed of its own. `seeding.generator(seed)` gives one uniform number per
position, and the token at a position is the first, by token id, whose cumulative probability exceeds that number. The
numbers depend on the seed and the position alone: not on the batch, not on other documents, not on the device. So
(checkpoint, prompt, decoding, seed) decides the summary up to the rounding of the logits:

* the same call (same prompts in the same order, batch size, precision, thread count and machine) repeats bit for bit;
* in fp32 another batch moves the logits by about 1e-6, and a token changes only where its number falls that close to
  the edge between two tokens: in practice the text is the same;
* in bf16 another batch moves the logits by about 1e-2, and some texts will differ. To make one summary again from
  bf16, repeat the whole call.

An end token does not stop a summary; what follows the first one is cut off afterwards (P 1.4). Writing ends early only
when every summary of the batch has one, which no result can show.
"""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import Precision, SamplingRecipe
from worker.training import (
    devices,
    last_layer,
    logprobs,
    metrics,
    models,
    processes,
    resuming,
    seeding,
    sharding,
    tokens,
)
from worker.training.batches import SHARED_AT_MOST, filled, positions, shared
from worker.training.cache import make_room
from worker.training.examples import Query
from worker.training.logprobs import TEMPERATURE_GUARD
from worker.training.tokens import Prompt, QueryTokens, RawTokens, SummaryTokens


@dataclass(frozen=True, slots=True)
class Sample:
    """A summary as it was written. `text` is what people read, `tokens` what the model wrote up to the end token.

    `prompt` is the text it continues, after truncation. `finished`: it ended by itself.
    """

    text: str
    prompt: str
    token_count: int
    finished: bool
    seed: int
    tokens: SummaryTokens


def sample(
    model_dir: Path,
    queries: Sequence[Query],
    recipe: SamplingRecipe,
    seeds: Sequence[int],
    sink: metrics.Sink,
    *,
    template: PromptTemplate = TLDR,
    precision: Precision = "fp32",
    state_dir: Path | None = None,
) -> list[Sample]:
    """One summary per query and seed, in the order given; repeat a query to get several of it.

    With a `state_dir`, a call that was killed goes on there when it is made again: batches that were written are not
    written twice. Raises ValueError when queries and seeds differ in number, PromptTooLong, ModelTooShort, DiskFull,
    or the sink's Cancelled.
    """
    if len(queries) != len(seeds):
        raise ValueError(f"{len(queries)} queries and {len(seeds)} seeds: allowed is one seed per query")
    codec = tokens.load(model_dir).stopping_at(template.stop)
    model = models.load_policy(model_dir, devices.best())
    asked = {query: codec.prompt(query, template, recipe.max_query_tokens) for query in dict.fromkeys(queries)}
    prompts = [asked[query] for query in queries]
    about = {
        "recipe": [recipe.decisive(), precision, template.stop],
        "data": [prompt.tokens for prompt in prompts],
        "seed": list(seeds),
        "policy": model_dir,
    }
    states = resuming.States(state_dir, about, recipe.memory(), sink)
    devices.note(model, sink)
    state = states.newest()
    made = {} if state is None else read(state.tensors(devices.CPU), codec, prompts, seeds)
    tokens_before = sum(each.token_count for each in made.values())
    started = time.perf_counter()
    for group in write(model, codec, prompts, recipe, seeds, precision, sink, made):
        # In batches of another size than before, some are written anew: what there is stays.
        made.update(group | made)
        words = f"{len(made)} of {len(prompts)} summaries"
        sink.progress(len(made), len(prompts), f"wrote {words}")
        states.reached(len(made), words, {}, tensors=functools.partial(kept, made))
    written = sum(each.token_count for each in made.values()) - tokens_before
    if written:
        sink.metric(metrics.SAMPLE_TOKENS_PER_SECOND, 0, written / (time.perf_counter() - started))
    return [made[index] for index in range(len(prompts))]


def kept(samples: Mapping[int, Sample]) -> dict[str, Tensor]:
    """Samples by the index of their prompt, as tensors: `indices` (N,), `lengths` (N,), all tokens in a row; int64."""
    return {
        "indices": torch.tensor([*samples]),
        "lengths": torch.tensor([len(each.tokens) for each in samples.values()]),
        "ids": torch.tensor([token for each in samples.values() for token in each.tokens]),
    }


def read(
    tensors: Mapping[str, Tensor], codec: tokens.Codec, prompts: Sequence[Prompt], seeds: Sequence[int]
) -> dict[int, Sample]:
    """The samples that `kept` took apart."""
    rows = torch.split(tensors["ids"], tensors["lengths"].tolist())
    return {
        index: _sample(codec, prompts[index], SummaryTokens(tuple(row.tolist())), seeds[index])
        for index, row in zip(tensors["indices"].tolist(), rows, strict=True)
    }


def write(
    model: Any,
    codec: tokens.Codec,
    prompts: Sequence[Prompt],
    recipe: SamplingRecipe,
    seeds: Sequence[int],
    precision: Precision,
    sink: metrics.Sink,
    made: Mapping[int, Sample] | None = None,
) -> Iterator[dict[int, Sample]]:
    """Summaries by the index of their prompt, in batches of like length as they are written.

    Summaries of one prompt share one reading of it, where the model can. A batch whose summaries are all `made`
    already is left out; the others have the same company as without it.
    """
    asked = [prompt.tokens for prompt in prompts]
    steps = recipe.max_summary_tokens
    models.check_length(model, max(map(len, asked), default=0) + steps)
    reach = logprobs.reach(model) if len({*asked}) < len(asked) else 0
    rows = shared(asked, [len(each) + SHARED_AT_MOST * steps <= reach for each in asked], recipe.batch)
    rows.sort(key=lambda row: (-len(row), -len(asked[row[0]])))
    for group in filled(rows, recipe.batch):
        indices = [index for row in group for index in row]
        if made is not None and all(index in made for index in indices):
            continue
        chosen = [asked[row[0]] for row in group], [[seeds[index] for index in row] for row in group]
        raw = continue_prompts(model, *chosen, codec, recipe, precision, sink)
        yield {
            index: _sample(codec, prompts[index], codec.cut(each), seeds[index])
            for index, each in zip(indices, raw, strict=True)
        }


def write_all(
    model: Any,
    codec: tokens.Codec,
    prompts: Sequence[Prompt],
    recipe: SamplingRecipe,
    seeds: Sequence[int],
    precision: Precision,
    sink: metrics.Sink,
) -> list[Sample]:
    """Summaries in the order of the prompts. Several processes write a part each; every one gets all of them.

    The summaries of one prompt are written by one process, so that they share its reading. Processes do not end at the
    same time, so several are asked to stop only when all have written.
    """
    numbers = {prompt: place % processes.count() for place, prompt in enumerate(dict.fromkeys(prompts))}
    # A process without a prompt of its own writes one that nobody looks at: all go through the model at least once.
    mine = [place for place, prompt in enumerate(prompts) if numbers[prompt] == processes.rank()] or [0]
    chosen = [prompts[place] for place in mine], recipe, [seeds[place] for place in mine]
    found: dict[int, Sample] = {}
    with sharding.together(model):
        for group in write(model, codec, *chosen, precision, sink if processes.count() == 1 else metrics.NullSink()):
            found |= {mine[place]: each for place, each in group.items()}
    sink.check()
    every = {place: each for part in reversed(processes.gathered(found)) for place, each in part.items()}
    return [every[place] for place in range(len(prompts))]


def _sample(codec: tokens.Codec, prompt: Prompt, summary: SummaryTokens, seed: int) -> Sample:
    return Sample(codec.text(summary), prompt.text, len(summary), codec.finished(summary), seed, summary)


def continue_prompts(
    model: Any,
    prompts: Sequence[QueryTokens],
    seeds: Sequence[Sequence[int]],
    codec: tokens.Codec,
    recipe: SamplingRecipe,
    precision: Precision,
    sink: metrics.Sink,
) -> list[RawTokens]:
    """The next tokens of each prompt, once for each of its seeds, one batch: `max_summary_tokens` of them, fewer only
    once all have ended. In the order of the seeds.

    A prompt is read once, whatever the number K of its seeds. Each further step reads K tokens per row against the
    cache, one of each summary: they stand side by side at one position, and each sees the prompt and its own kind.
    """
    device, steps = model.device, recipe.max_summary_tokens
    left, across = max(map(len, prompts)), max(map(len, seeds))
    feed = torch.tensor([[codec.pad] * (left - len(each)) + list(each) for each in prompts], device=device)
    real = torch.tensor([[0] * (left - len(each)) + [1] * len(each) for each in prompts], device=device)
    places, kept = positions(real), 1
    wanted = torch.tensor([[column < len(each) for column in range(across)] for each in seeds], device=device)
    numbers = torch.zeros(len(prompts), across, steps, dtype=torch.float64, device=device)
    drawn = [torch.rand(steps, generator=seeding.generator(seed), dtype=torch.float64) for row in seeds for seed in row]
    numbers[wanted] = torch.stack(drawn).to(device)
    ended, ends = ~wanted, torch.tensor([codec.eos, *codec.stops], device=device)
    cache = None
    chosen: list[Tensor] = []
    with devices.without_gradients(), devices.autocast(device, precision, learning=False):
        for step in range(steps):
            sink.check()
            with last_layer.read(kept):
                out = model(
                    input_ids=feed,
                    attention_mask=real if step == 0 else _sight(real, across, step),
                    position_ids=places,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=kept,
                )
            if step == 0:
                make_room(out.past_key_values, across * (steps - 1))
            cache, kept = out.past_key_values, across
            logits = out.logits.expand(-1, across, -1).flatten(0, 1)
            feed = choose(logits, numbers[:, :, step].flatten(), recipe.temperature, recipe.top_p).view(-1, across)
            chosen.append(feed)
            ended |= torch.isin(feed, ends)
            if bool(ended.all()):
                break
            places = places[:, -1:].expand(-1, across) + 1
    return [RawTokens(tuple(row)) for row in torch.stack(chosen, -1)[wanted].tolist()]


def _sight(real: Tensor, across: int, steps: int) -> Tensor:
    """What the next tokens see of a cache with a prompt and `steps` tokens of each of its K summaries, they included.

    `real`: (R, Q), 1 on real prompt tokens. Gives (R, Q + steps) int64 for one summary each, else (R, 1, K, Q + K *
    steps) bool: the prompt, and every K-th token after it.
    """
    if across == 1:
        return torch.cat([real, real.new_ones(len(real), steps)], 1)
    own = torch.eye(across, dtype=torch.bool, device=real.device).repeat(1, steps)
    prompt = real.bool()[:, None, None].expand(-1, -1, across, -1)
    return torch.cat([prompt, own.expand(len(real), 1, -1, -1)], -1)


def choose(logits: Tensor, numbers: Tensor, temperature: float, top_p: float) -> Tensor:
    """(B, V) logits and (B,) uniform numbers in [0, 1) -> (B,) int64 tokens.

    Temperature 0 takes the likeliest token. Else: the inverse of the cumulative distribution of
    softmax(logits / (T + 1e-7)), in token id order and in float64; with top_p < 1 only the likeliest tokens that
    together reach top_p take part.
    """
    if temperature == 0:
        return logits.argmax(-1)
    chances = (logits.double() / (temperature + TEMPERATURE_GUARD)).softmax(-1)
    if top_p < 1:
        ranked, order = chances.sort(dim=-1, descending=True, stable=True)
        outside = ranked.cumsum(-1) - ranked >= top_p
        chances = chances.masked_fill(outside.gather(-1, order.argsort(-1)), 0.0)
    summed = chances.cumsum(-1)
    token = torch.searchsorted(summed, (numbers * summed[:, -1]).unsqueeze(1), right=True).squeeze(1)
    return token.clamp(max=logits.shape[-1] - 1)

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

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import Precision, SamplingRecipe
from worker.training import devices, metrics, models, seeding, tokens
from worker.training.batches import length_sorted, positions
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
) -> list[Sample]:
    """One summary per query and seed, in the order given; repeat a query to get several of it.

    Raises ValueError when queries and seeds differ in number, PromptTooLong, ModelTooShort, or the sink's Cancelled.
    """
    if len(queries) != len(seeds):
        raise ValueError(f"{len(queries)} queries and {len(seeds)} seeds: allowed is one seed per query")
    codec = tokens.load(model_dir)
    model = models.load_policy(model_dir, devices.best())
    prompts = [codec.prompt(query, template, recipe.max_query_tokens) for query in queries]
    made: dict[int, Sample] = {}
    started = time.perf_counter()
    for group in write(model, codec, prompts, recipe, seeds, precision, sink):
        made |= group
        sink.progress(len(made), len(prompts), f"wrote {len(made)} of {len(prompts)} summaries")
    if made:
        written = sum(each.token_count for each in made.values())
        sink.metric(metrics.SAMPLE_TOKENS_PER_SECOND, 0, written / (time.perf_counter() - started))
    return [made[index] for index in range(len(prompts))]


def write(
    model: Any,
    codec: tokens.Codec,
    prompts: Sequence[Prompt],
    recipe: SamplingRecipe,
    seeds: Sequence[int],
    precision: Precision,
    sink: metrics.Sink,
) -> Iterator[dict[int, Sample]]:
    """Summaries by the index of their prompt, in batches of like length as they are written."""
    lengths = [len(prompt.tokens) for prompt in prompts]
    models.check_length(model, max(lengths, default=0) + recipe.max_summary_tokens)
    for group in length_sorted(lengths, recipe.batch):
        chosen = [prompts[index].tokens for index in group]
        raw = continue_prompts(model, chosen, [seeds[index] for index in group], codec, recipe, precision, sink)
        yield {
            index: _sample(codec, prompts[index], codec.cut(each), seeds[index])
            for index, each in zip(group, raw, strict=True)
        }


def _sample(codec: tokens.Codec, prompt: Prompt, summary: SummaryTokens, seed: int) -> Sample:
    return Sample(codec.text(summary), prompt.text, len(summary), codec.finished(summary), seed, summary)


@torch.inference_mode()
def continue_prompts(
    model: Any,
    prompts: Sequence[QueryTokens],
    seeds: Sequence[int],
    codec: tokens.Codec,
    recipe: SamplingRecipe,
    precision: Precision,
    sink: metrics.Sink,
) -> list[RawTokens]:
    """The next tokens of each prompt, one batch: `max_summary_tokens` of them, fewer only once all rows have ended.

    The prompts are read once; each further step reads one token per row against the cache.
    """
    device = model.device
    left = max(map(len, prompts))
    feed = torch.tensor([[codec.pad] * (left - len(each)) + list(each) for each in prompts], device=device)
    attention = torch.tensor([[0] * (left - len(each)) + [1] * len(each) for each in prompts], device=device)
    places = positions(attention)
    steps = recipe.max_summary_tokens
    numbers = torch.stack([torch.rand(steps, generator=seeding.generator(seed), dtype=torch.float64) for seed in seeds])
    numbers = numbers.to(device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    cache = None
    chosen: list[Tensor] = []
    with devices.autocast(device, precision):
        for step in range(steps):
            sink.check()
            out = model(
                input_ids=feed,
                attention_mask=attention,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            token = choose(out.logits[:, -1], numbers[:, step], recipe.temperature, recipe.top_p)
            chosen.append(token)
            ended |= token == codec.eos
            if bool(ended.all()):
                break
            feed = token.unsqueeze(1)
            attention = torch.cat([attention, attention.new_ones(len(prompts), 1)], 1)
            places = places[:, -1:] + 1
    return [RawTokens(tuple(row)) for row in torch.stack(chosen, 1).tolist()]


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

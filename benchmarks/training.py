"""What the training engine is measured on: models, and comparisons or posts of real or like lengths.

Knows how to make or find them. Knows nothing of clocks or peers.
"""

import bisect
import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.lines import say
from worker.training import models, tokens
from worker.training.examples import Pair, Query
from worker.training.quiet import quiet

WORDS_OF_POSTS = (1, 144, 172, 195, 217, 244, 263, 291, 311, 345, 400)
WORDS_OF_TITLES = (1, 7, 9, 11, 13, 15, 17, 19, 21, 26, 51)
WORDS_OF_SUMMARIES = (12, 20, 22, 24, 26, 28, 30, 32, 34, 37, 44)
"""Deciles over the 1,321 comparisons of OpenAI's release that the benchmarks are run on, minimum and maximum at the
ends: made-up texts have these lengths."""

SYLLABLES = [
    "ka",
    "lo",
    "mi",
    "ter",
    "an",
    "ver",
    "so",
    "il",
    "per",
    "ta",
    "con",
    "de",
    "ing",
    "re",
    "ma",
    "ne",
    "st",
    "or",
    "ul",
    "ci",
]


def pairs(data: Path | None, count: int) -> list[Pair]:
    """So many comparisons: of a file in OpenAI's format (.jsonl or .jsonl.gz), or made up; the same every time."""
    if data is None:
        return list(_made_up(count))
    rows = _rows(data)
    if len(rows) < count:
        raise SystemExit(f"{data} has {len(rows)} comparisons, {count} are needed: fewer --steps or a smaller --batch")
    found = []
    for row in rows[:count]:
        texts = [each["text"].strip() for each in row["summaries"]]
        found.append(Pair(_query(row["info"]), texts[row["choice"]], texts[1 - row["choice"]], 9, ("one", "other")))
    return found


def queries(data: Path | None, count: int) -> list[Query]:
    """So many different posts, of the comparisons of such a file or made up; the same every time."""
    if data is None:
        return [pair.query for pair in _made_up(count)]
    found = list({row["info"]["id"]: _query(row["info"]) for row in _rows(data)}.values())
    if len(found) < count:
        raise SystemExit(f"{data} has {len(found)} posts, {count} are needed: fewer updates or a smaller --batch")
    return found[:count]


def _rows(data: Path) -> list[dict[str, Any]]:
    opened: Callable[[Path, str], Any] = gzip.open if data.suffix == ".gz" else open
    with opened(data, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(1).shuffle(rows)
    return rows


def _query(about: dict[str, Any]) -> Query:
    return Query(about["subreddit"], about["title"], about["post"])


def _made_up(count: int) -> Iterator[Pair]:
    draw = random.Random(1)
    # Few words are frequent and many rare, as in a language: then a tokenizer cuts them into as many pieces.
    lexicon = ["".join(draw.choices(SYLLABLES, k=1 + bisect.bisect(range(5, 3000, 600), rank))) for rank in range(4000)]
    shares = [1 / (rank + 3) for rank in range(len(lexicon))]

    def text(deciles: Sequence[int]) -> str:
        decile = draw.randrange(10)
        return " ".join(draw.choices(lexicon, shares, k=draw.randint(deciles[decile], deciles[decile + 1])))

    for _ in range(count):
        query = Query("stories", text(WORDS_OF_TITLES), text(WORDS_OF_POSTS))
        yield Pair(query, text(WORDS_OF_SUMMARIES), text(WORDS_OF_SUMMARIES), 9, ("one", "other"))


def model(name: str, texts: Sequence[str], place: Path) -> Path:
    """The directory of a causal LM: `6m` and `135m` are made under `place` once, anything else is a directory.

    `6m` is a Llama of 4 layers x 256 with random weights and 8,192 tokens learned from `texts`; `135m` is SmolLM2-135M.
    """
    if name == "135m":
        found = place / "smollm2-135m"
        if not found.is_dir():
            say("unpacking SmolLM2-135M, once")
            models.convert_smollm2(found)
        return found
    return _six_million(texts, place / "llama-6m") if name == "6m" else Path(name)


def _six_million(texts: Sequence[str], out_dir: Path) -> Path:
    models.build_tiny(out_dir, texts, seed=1, vocabulary=8192, width=256)
    codec = tokens.load(out_dir)
    config = LlamaConfig(
        vocab_size=8192,  # also where the texts gave fewer tokens
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=codec.eos,
        pad_token_id=codec.pad,
    )
    torch.manual_seed(1)
    with quiet():
        LlamaForCausalLM(config).save_pretrained(str(out_dir))
    return out_dir

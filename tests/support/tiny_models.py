"""Random-weight models and made-up posts for tests: everything a stage needs, in seconds, without a download."""

import random
from pathlib import Path

from worker.training import models
from worker.training.examples import Demonstration, Query

VOCABULARY = (
    "my friend and i went to the old house by the sea we found a key lost bread milk dog cat garden train winter job "
    "letter money told asked her him them left home again after years never knew why should wait talk move stay"
)
WORDS = VOCABULARY.split()


def words(count: int, seed: int) -> str:
    """So many words, the same for the same seed."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(count))


def query(seed: int, length: int = 30) -> Query:
    """A post of two paragraphs."""
    return Query("stories", words(4, seed), f"{words(length, seed + 1000)}\n{words(length // 2, seed + 2000)}")


def demonstration(seed: int, length: int = 30) -> Demonstration:
    """A post whose summary is its first five words."""
    made = query(seed, length)
    return Demonstration(made, " ".join(made.post.split()[:5]))


def build(out_dir: Path, *, vocabulary: int = 400, width: int = 64) -> Path:
    """A Llama of about 0.3 million weights that knows WORDS."""
    texts = [f"SUBREDDIT: r/stories TITLE: POST: TL;DR: {words(200, seed)}" for seed in range(20)]
    return models.build_tiny(out_dir, texts, seed=7, vocabulary=vocabulary, width=width)

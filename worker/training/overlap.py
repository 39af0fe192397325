"""How much a summary shares with its post and with its reference: copying and ROUGE."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rouge_score.rouge_scorer import RougeScorer


@dataclass(frozen=True, slots=True)
class Rouge:
    """F-measures in [0, 1] by the library rouge-score, with stemming."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


def rouge_scorer() -> Any:
    """The scorer for `rouge`; made once, because making it takes longer than using it."""
    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


def rouge(scorer: Any, reference: str, summary: str) -> Rouge:
    """ROUGE-1, ROUGE-2 and ROUGE-L of a summary against one reference."""
    found = scorer.score(reference, summary)
    return Rouge(*(float(found[name].fmeasure) for name in ("rouge1", "rouge2", "rougeL")))


def copying(post: str, summary: str) -> float:
    """Longest common subsequence of the bigrams of summary and post, over the bigrams of the summary (P fn 9).

    Words are lower-cased and separated by white space. 0 for a summary of fewer than two words.
    """
    ours = _bigrams(summary)
    return _common(ours, _bigrams(post)) / len(ours) if ours else 0.0


def _bigrams(text: str) -> list[tuple[str, str]]:
    words = text.lower().split()
    return list(itertools.pairwise(words))


def _common(first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> int:
    """Length of the longest common subsequence, one row of the table at a time."""
    above = [0] * (len(second) + 1)
    for each in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if each == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]

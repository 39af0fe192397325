"""What a reward model has to beat: rules that choose between two summaries and have learned nothing from people.

Knows texts, and pairs with two scores each (worker.training.accuracy), which a rule gives as a reward model does.
Knows no model. Pure. Which pairs a measure is right about is also told for as many as are equally long, because
where longer wins, a model that only counts words looks as if it had learned.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.domain.intervals import Estimate
from app.quality.resampling import RESAMPLES
from worker.training import overlap
from worker.training.accuracy import ScoredPair
from worker.training.examples import Pair, Query

MATCHED = 0.15
"""Two summaries are as long as each other when the shorter lacks at most this share of the longer one's characters."""

Rule = Callable[[Query, str], float]
"""A score of a text as a summary of a document; higher is better."""


def rules() -> dict[str, Rule]:
    """The rules that need no model: the longer text; more of the post's words (ROUGE-1); more of its bigrams (P fn 9).

    ROUGE is that of the summary with the post: most comparisons come without a reference.
    """
    judge = overlap.rouge_scorer()
    return {
        "length": lambda _query, text: float(len(text)),
        "rouge": lambda query, text: overlap.rouge(judge, query.post, text).rouge_1,
        "copying": lambda query, text: overlap.copying(query.post, text),
    }


def judged(pairs: Sequence[Pair], rule: Rule) -> list[ScoredPair]:
    """Every pair with the rule's score of both texts."""
    return [
        ScoredPair(each, rule(each.query, each.preferred_text), rule(each.query, each.other_text)) for each in pairs
    ]


def matched(pair: Pair) -> bool:
    """Whether its two texts are as long as each other, to MATCHED."""
    shorter, longer = sorted((len(pair.preferred_text), len(pair.other_text)))
    return longer - shorter <= MATCHED * longer


def groups(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Indices of pairs, ties left out: all, length-matched ones, those of each confidence and of each two policies.

    A group that no pair is in is left out.
    """
    counted = [index for index, pair in enumerate(pairs) if not pair.tied]
    found = {"all": counted, "length_matched": [index for index in counted if matched(pairs[index])]}
    for index in counted:
        pair = pairs[index]
        for name in (f"confidence_{pair.confidence}", " / ".join(sorted(pair.policies))):
            found.setdefault(name, []).append(index)
    return {name: found[name] for name in sorted(found, key=lambda name: ("/" in name, name)) if found[name]}


def balanced(scored: Sequence[ScoredPair]) -> float:
    """Mean of the share right where the longer text is preferred and where the shorter is; length alone has 0.5.

    Pairs of equal lengths are left out. Raises ZeroDivisionError where one of the two kinds does not occur.
    """
    longer: list[float] = []
    shorter: list[float] = []
    for each in scored:
        pair = each.pair
        if len(pair.preferred_text) != len(pair.other_text):
            (longer if len(pair.preferred_text) > len(pair.other_text) else shorter).append(each.right)
    return (sum(longer) / len(longer) + sum(shorter) / len(shorter)) / 2


def balanced_over_posts(
    posts: Sequence[str], scored: Sequence[ScoredPair], seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """`balanced` with its 95 % percentile interval over posts drawn anew with all their pairs (Efron 1979)."""
    # Of each post: how many of its longer texts, and of its shorter ones, are preferred, and how often that is seen.
    by_post: dict[str, list[float]] = {}
    for post, each in zip(posts, scored, strict=True):
        longer, other = len(each.pair.preferred_text), len(each.pair.other_text)
        if longer != other:
            held = by_post.setdefault(post, [0.0] * 4)
            held[2 * (longer < other)] += each.right
            held[2 * (longer < other) + 1] += 1
    sums = np.array([*by_post.values()])
    drawn = np.random.default_rng(seed).multinomial(len(sums), [1 / len(sums)] * len(sums), size=resamples) @ sums
    low, high = np.percentile((drawn[:, 0] / drawn[:, 1] + drawn[:, 2] / drawn[:, 3]) / 2, [2.5, 97.5])
    return Estimate(balanced(scored), int(sums[:, 1].sum() + sums[:, 3].sum()), float(low), float(high))


def over_posts(posts: Sequence[str], values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values` with its 95 % percentile interval over posts drawn anew with all their pairs (Efron 1979).

    Several pairs of one post are not independent, so that an interval over pairs would be too narrow.
    """
    by_post: Mapping[str, list[float]] = {post: [] for post in posts}
    for post, value in zip(posts, values, strict=True):
        by_post[post].append(value)
    sums = np.array([[sum(held), len(held)] for held in by_post.values()])
    drawn = np.random.default_rng(seed).multinomial(len(sums), [1 / len(sums)] * len(sums), size=resamples) @ sums
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return Estimate(float(sums[:, 0].sum() / sums[:, 1].sum()), len(values), float(low), float(high))

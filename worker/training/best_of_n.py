"""Best-of-N: the policy writes N summaries of a document, and the one that the reward model scores highest is taken.

Knows a policy and a reward model. Trains nothing: it is how far one gets against a reward model by writing more, and
the yardstick beside PPO (P 4.3, G.3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.prompts import TLDR, PromptTemplate
from app.domain.recipes import Precision, SamplingRecipe
from worker.training import devices, generation, metrics, reward, seeding, tokens
from worker.training.examples import Query
from worker.training.generation import Sample


@dataclass(frozen=True, slots=True)
class Candidates:
    """N summaries of one document in the order they were drawn, and the normalised score of each."""

    samples: tuple[Sample, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> int:
        """Which one is taken: the highest score, the first of equal ones."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)


def write(
    policy_dir: Path,
    reward_dir: Path,
    queries: Sequence[Query],
    n: int,
    recipe: SamplingRecipe,
    sink: metrics.Sink,
    *,
    seed: int,
    template: PromptTemplate = TLDR,
    precision: Precision = "fp32",
    state_dir: Path | None = None,
) -> list[Candidates]:
    """`n` summaries of each query, scored at the last token the policy wrote; in the order of the queries.

    The summaries of a document share one reading of it, in writing and in scoring, where the models can. The first of
    them are the same whatever `n`. With a `state_dir` it goes on after a kill; scoring is done anew. Raises ValueError
    for n < 1 and at temperature 0, where all summaries of a document would be equal, and what `generation.sample`
    raises.
    """
    if n < 1 or (recipe.temperature == 0 and n > 1):
        raise ValueError(f"best of {n} at temperature {recipe.temperature:g}: allowed is 1 at least, and more above 0")
    tokens.load(policy_dir).require_same(tokens.load(reward_dir))
    asked = [query for query in queries for _ in range(n)]
    seeds = [seeding.derive(seed, "sample", index, row) for index in range(len(queries)) for row in range(n)]
    samples = generation.sample(
        policy_dir, asked, recipe, seeds, sink, template=template, precision=precision, state_dir=state_dir
    )
    scorer = reward.load(reward_dir, precision, devices.best())
    prompts = [prompt for prompt in map(scorer.prompt, queries) for _ in range(n)]
    scores = scorer.score(prompts, [each.tokens for each in samples], sink)
    return [
        Candidates(tuple(samples[start : start + n]), tuple(scores[start : start + n]))
        for start in range(0, len(samples), n)
    ]


def divergence(n: int) -> float:
    """log n - (n - 1) / n: the KL divergence of best-of-n from the policy, in nats (P G.3, Table 10).

    An upper bound (Beirami et al. 2024, arXiv 2401.01879), and near the truth where hardly a summary is drawn twice.
    """
    return math.log(n) - (n - 1) / n


def expected(n: int, scores: Sequence[float], values: Sequence[float] | None = None) -> float:
    """The mean value of the best of n, over all ways to choose n of the N summaries; 1 <= n <= N.

    Best is the highest of `scores`, the first of equal ones; its value is taken from `values`, which are the scores
    themselves unless another measure of the same summaries is given (a gold reward). The i-th lowest of N, counted
    from 1, is the best in C(i - 1, n - 1) of the C(N, n) choices, so this is an unbiased estimate of best-of-n from N
    samples (Nakano et al. 2021, appendix I), with a smaller variance than N / n separate groups would give. Raises
    ValueError for another n.
    """
    count = len(scores)
    if not 1 <= n <= count:
        raise ValueError(f"best of {n} from {count} summaries: allowed is 1 to {count}")
    rising = sorted(range(count), key=lambda index: (scores[index], -index))
    measured = scores if values is None else values
    choices = math.comb(count, n)
    return sum(math.comb(place, n - 1) / choices * measured[index] for place, index in enumerate(rising))

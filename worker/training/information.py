"""How much an answer about a pair would tell about the reward model: how far all heads that are possible disagree.

Knows a reward model, judged pairs and candidates. Trains nothing. The model stands still but for its head: heads are
taken to be drawn as a new one is (P B.1: each weight N(0, 1/(d+1))) and weighed by the judged pairs, by Laplace's
approximation around the trained head (MacKay 1992; of the last layer alone, Daxberger et al. 2021). That is an ensemble
of all heads rather than of some, so nothing is drawn, and the same pairs give the same figures.

With z the difference of what the head reads of the two summaries, and p the chance that the first is preferred:
curvature H = (d+1) I + sum p (1-p) z z'; over the heads the difference of scores is normal around the model's own, with
variance z' H^-1 z. The gain is the mutual information between answer and head (Houlsby et al. 2011), in nats: the
entropy of the mean chance less the mean entropy. It is high where heads disagree, and low both where all agree and
where every one of them leaves it open. What only the transformer could still learn is not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.training import devices, metrics, models
from worker.training.batches import micro_batches
from worker.training.examples import Query
from worker.training.reward import SCORING_BATCH, Scorer

REACH, POINTS = 7.0, 257
"""The mean over the heads is a sum over a grid of so many points, up to so many deviations to both sides."""


@dataclass(frozen=True, slots=True)
class TwoTexts:
    """Two summaries of one document, whichever is better."""

    query: Query
    first: str
    second: str


@dataclass(frozen=True)
class Compared:
    """What a reward model sees in pairs: `difference` (N, d), what its head reads of the first less of the second, and
    `odds` (N,), the first's score less the second's; float64 on the CPU."""

    difference: Tensor
    odds: Tensor


def compare(scorer: Scorer, pairs: Sequence[TwoTexts], sink: metrics.Sink) -> Compared:
    """Both summaries of each pair as the reward model reads them, in the order given. Raises ModelTooShort."""
    prompts = [scorer.prompt(pair.query) for pair in pairs for _ in range(2)]
    texts = [scorer.summary(text) for pair in pairs for text in (pair.first, pair.second)]
    longest = max((len(prompt) + len(text) for prompt, text in zip(prompts, texts, strict=True)), default=0)
    models.check_length(scorer.model.stock, longest)
    head = scorer.model.stock.score.weight.detach().double().cpu()
    read = torch.zeros(len(texts), head.shape[1], dtype=torch.float64)
    groups = micro_batches(prompts, texts, SCORING_BATCH, scorer.codec.pad, scorer.device, reach=scorer.model.reach)
    with devices.without_gradients(), devices.autocast(scorer.device, scorer.precision, learning=False):
        for indices, batch in groups:
            sink.check()
            read[list(indices)] = scorer.model.states(batch).double().cpu()
    difference = read[0::2] - read[1::2]
    return Compared(difference, difference @ head[0])


def gains(
    scorer: Scorer,
    judged: Sequence[TwoTexts],
    candidates: Sequence[TwoTexts],
    sink: metrics.Sink,
    *,
    stand_for: int,
) -> list[float]:
    """What an answer to each candidate would tell, in nats, in the order given; `judged` stand for so many in all."""
    known, asked = compare(scorer, judged, sink), compare(scorer, candidates, sink)
    each = stand_for / len(judged) if judged else 1.0
    found: list[float] = gain(asked.odds, spread(known, asked.difference, stand_for=each)).tolist()
    return found


def spread(judged: Compared, candidates: Tensor, *, stand_for: float = 1.0) -> Tensor:
    """(N,) standard deviations of the scores' difference of the candidates (N, d), over the heads that are possible.

    `stand_for`: how many judged pairs each of `judged` stands for, where they are a sample.
    """
    chance = judged.odds.sigmoid()
    weighed = judged.difference * (stand_for * chance * (1 - chance)).unsqueeze(1)
    width = candidates.shape[1]
    curvature = (width + 1) * torch.eye(width, dtype=torch.float64) + weighed.T @ judged.difference
    lower = torch.linalg.cholesky(curvature)
    deviations: Tensor = torch.linalg.solve_triangular(lower, candidates.T, upper=False).norm(dim=0)
    return deviations


def gain(odds: Tensor, spread: Tensor) -> Tensor:
    """(N,) nats, 0 to log 2: what an answer tells about the head, with the difference of scores N(odds, spread^2)."""
    grid = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    shares = (-0.5 * grid**2).softmax(0)
    possible = odds.unsqueeze(1) + spread.unsqueeze(1) * grid
    mean = (possible.sigmoid() * shares).sum(1)
    return (_entropy(mean) - (_entropy(possible.sigmoid()) * shares).sum(1)).clamp(min=0.0)


def _entropy(chance: Tensor) -> Tensor:
    """Nats of an answer that prefers the first with this chance."""
    entropy: Tensor = torch.special.entr(chance) + torch.special.entr(1 - chance)
    return entropy

"""How many labels choosing pairs for information saves: `python -m benchmarks.pairing --data FILE`.

Prints a JSON object (benchmarks.lines): how many labels fewer the chosen arm needs for the held-out accuracy that the
random arm has after each of its batches from half of its labels on, beside the share that was aimed at. Each seed is
told as it is done. Choosing goes through the product's own functions (worker.training.information for the gain,
app.domain.choosing for the draw). Everything else is small and simulated:

* `--data` is a file of comparisons in OpenAI's format. Candidates are all pairs of texts on one of its posts: those
  that were compared, each of them cut in the middle, and the post's first and last sentence.
* The labeler is the product's simulated one (app.simulation.gold), with logistic noise of such a scale that it agrees
  with itself on 72 % of all candidates. A pair has one label, the same in both arms.
* The reward model is a head on fixed features of a text and its post (`features`), fitted anew after every batch with
  the prior of a new head: no transformer learns. The formula that the labeler likes is not linear in them.
* Accuracy is agreement with the labeler without its noise, on all candidates of a third of the posts, of which neither
  arm is offered any.
* A seed is another division of the posts; its curves are the means of RUNS labelers and orders of the candidates.
"""

import argparse
import gzip
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from zlib import crc32

import torch
from torch import Tensor

from app.domain.choosing import choose
from app.domain.recipes import PairingRecipe
from app.simulation import gold
from benchmarks.lines import Line, say
from worker.training import information
from worker.training.information import Compared

SELF_AGREEMENT = 0.72
AIMED_AT = 0.25
SEEDS, RUNS = 5, 16
BATCH, LABELS = 32, 512
CHOOSE_FROM, CONTROL_SHARE = 4, PairingRecipe().control_share
HASHED = 32
# As long as a policy may write: 48 tokens.
MOST_WORDS = 36
# Student's t with four degrees of freedom, 97.5 %.
T = 2.776

_WORD = re.compile(r"[a-z][a-z']*")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


@dataclass(frozen=True)
class Pool:
    """Pairs: `difference` (N, d) of features, `odds` (N,) log-odds of the labeler, `post` (N,) which post."""

    difference: Tensor
    odds: Tensor
    post: Tensor


def texts(post: str, compared: Iterable[str]) -> list[str]:
    """Candidates for summaries of a post, each once."""
    sentences = [" ".join(each.split()[:MOST_WORDS]) for each in _SENTENCE.findall(post) if each.strip()]
    written = list(compared)
    cut = [each[: len(each) // 2] for each in written]
    return list(dict.fromkeys([*written, *cut, *sentences[:1], *sentences[-1:]]))


def features(title: str, post: str, text: str) -> list[float]:
    """What a reader sees without understanding: lengths, copying, form; and a few sums over hashed words."""
    words, there, named = _WORD.findall(text.lower()), _WORD.findall(post.lower()), _WORD.findall(title.lower())
    count = max(1, len(words))
    vocabulary, pairs = Counter(there), set(pairwise(there))
    long = [word for word in words if len(word) > 3]
    known = [there.index(word) / len(there) for word in words if word in vocabulary]
    found = [
        len(words) / 30,
        (len(words) / 30) ** 2,
        len(text) / count / 5,
        sum(word in vocabulary for word in words) / count,
        sum(vocabulary[word] > 1 for word in long) / 10,
        sum(vocabulary[word] > 2 for word in set(long)) / 10,
        sum(pair in pairs for pair in pairwise(words)) / count,
        sum(word in named for word in set(long)) / max(1, len(named)),
        len(set(words)) / count,
        statistics.mean(known) if known else 0.5,
        float(text.rstrip().endswith((".", "!", "?"))),
        float(text.rstrip().endswith("?")),
        sum(each in ".!?" for each in text) / 3,
        sum(each == "," for each in text) / 3,
        sum(each.isdigit() for each in text) / 3,
        sum(each.isupper() for each in text) / max(1, len(text)) * 10,
        sum(word in ("i", "my", "me") for word in words) / count * 10,
    ]
    hashed = [0.0] * HASHED
    for word in words:
        key = crc32(word.encode())
        hashed[key % HASHED] += 1.0 if key & 0x10000 else -1.0
    return found + hashed


def read(file: Path) -> Pool:
    """All candidate pairs of the posts in a file of comparisons."""
    posts: dict[str, tuple[str, str, dict[str, None]]] = {}
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        for line in lines:
            record = json.loads(line)
            info = record["info"]
            _, _, compared = posts.setdefault(info["id"], (info["title"], info["post"], {}))
            compared |= {each["text"].strip(): None for each in record["summaries"]}
    rows: list[list[float]] = []
    scores: list[float] = []
    pairs: list[tuple[int, int]] = []
    post_of: list[int] = []
    for number, (title, post, compared) in enumerate(posts.values()):
        written = texts(post, compared)
        places = range(len(rows), len(rows) + len(written))
        rows += [features(title, post, text) for text in written]
        scores += [gold.score(f"{title}\n{post}", text) for text in written]
        for pair in combinations(places, 2):
            if scores[pair[0]] != scores[pair[1]]:
                pairs.append(pair)
                post_of.append(number)
    seen = torch.tensor(rows, dtype=torch.float64)
    seen = (seen - seen.mean(0)) / seen.std(0).clamp(min=1e-6)
    liked, index = torch.tensor(scores, dtype=torch.float64), torch.tensor(pairs)
    apart = liked[index[:, 0]] - liked[index[:, 1]]
    return Pool(seen[index[:, 0]] - seen[index[:, 1]], apart * sharpness(apart), torch.tensor(post_of))


def sharpness(apart: Tensor) -> float:
    """What differences of the labeler's scores are multiplied by, so that two answers to a pair agree in 72 %."""
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        chance = (apart * middle).sigmoid()
        low, high = (middle, high) if (chance**2 + (1 - chance) ** 2).mean() < SELF_AGREEMENT else (low, middle)
    return low


def fit(difference: Tensor, preferred: Tensor) -> Tensor:
    """(d,) the likeliest head by these answers (1.0: the first) and the prior of a new head, by Newton's method."""
    width = difference.shape[1]
    head, prior = torch.zeros(width, dtype=torch.float64), (width + 1) * torch.eye(width, dtype=torch.float64)
    for _ in range(30):
        chance = (difference @ head).sigmoid()
        curvature = prior + (difference * (chance * (1 - chance)).unsqueeze(1)).T @ difference
        step = torch.linalg.solve(curvature, difference.T @ (preferred - chance) - (width + 1) * head)
        head = head + step
        if float(step.abs().max()) < 1e-8:
            break
    return head


def curve(pool: Pool, train: Sequence[int], held_out: Tensor, seed: str, labels: int, times: int) -> list[float]:
    """Held-out accuracy after each batch of so many labels; `times`: from how many candidates each pair is chosen.

    The first batch is random: nothing is known by then.
    """
    noise, order = Random(f"labels {seed}"), Random(f"order {seed}")
    said = [float(noise.random() < chance) for chance in pool.odds.sigmoid().tolist()]
    left = order.sample(train, len(train))
    better = pool.odds[held_out] > 0
    judged: list[int] = []
    found = []
    head = torch.zeros(pool.difference.shape[1], dtype=torch.float64)
    while left and len(judged) < labels:
        number = BATCH * (times if judged else 1)
        offered, left = left[:number], left[number:]
        seen = Compared(pool.difference[judged], pool.difference[judged] @ head)
        asked = pool.difference[offered]
        gains = information.gain(asked @ head, information.spread(seen, asked)).tolist()
        judged += [offered[each.place] for each in choose(gains, BATCH, CONTROL_SHARE, order)]
        head = fit(pool.difference[judged], torch.tensor([said[place] for place in judged], dtype=torch.float64))
        right = ((pool.difference[held_out] @ head > 0) == better).double()
        found.append(float(right.mean()))
    return found


def mean_curve(pool: Pool, train: Sequence[int], held_out: Tensor, seed: int, labels: int, times: int) -> list[float]:
    """The mean of RUNS curves."""
    runs = [curve(pool, train, held_out, f"{seed}/{run}", labels, times) for run in range(RUNS)]
    return [statistics.mean(values) for values in zip(*runs, strict=True)]


def labels_for(accuracy: float, curve: Sequence[float]) -> float:
    """How many labels reach an accuracy, between batches on a straight line; the curve made to rise before."""
    best = 0.0
    for batch, reached in enumerate(curve, start=1):
        if reached >= accuracy:
            part = (accuracy - best) / (reached - best) if batch > 1 else 1.0
            return BATCH * (batch - 1 + part)
        best = max(best, reached)
    raise ValueError(f"{accuracy:.3f} is not reached with {BATCH * len(curve)} labels")


def main() -> None:
    """Run all seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="comparisons in OpenAI's format, .jsonl or .jsonl.gz")
    parser.add_argument("--choose-from", type=int, default=CHOOSE_FROM, help="candidates for each pair put up")
    parser.add_argument("--labels", type=int, default=LABELS, help="of the random arm, a multiple of 64")
    asked = parser.parse_args()
    labels = asked.labels
    torch.set_num_threads(1)
    pool = read(asked.data)
    posts = int(pool.post.max()) + 1
    saved, seeds = [], []
    for seed in range(1, SEEDS + 1):
        apart = torch.zeros(posts, dtype=torch.bool)
        apart[Random(seed).sample(range(posts), posts // 3)] = True
        held_out = apart[pool.post].nonzero().squeeze(1)
        train = (~apart[pool.post]).nonzero().squeeze(1).tolist()
        at_random = mean_curve(pool, train, held_out, seed, labels, 1)
        chosen = mean_curve(pool, train, held_out, seed, labels * 3 // 2, asked.choose_from)
        half = range(len(at_random) // 2, len(at_random))
        needed = sum(labels_for(at_random[place], chosen) for place in half)
        saved.append(1 - needed / sum(BATCH * (place + 1) for place in half))
        seeds.append(
            {
                "saved": round(saved[-1], 3),
                "random": _at(at_random, (labels // 2, labels)),
                "chosen": _at(chosen, (labels // 2, labels)),
                "pairs": {"to choose from": len(train), "held out": len(held_out)},
            }
        )
        say(f"seed {seed}: {json.dumps(seeds[-1])}")
    mean, error = statistics.mean(saved), statistics.stdev(saved) / SEEDS**0.5
    conditions = {
        "interval_95": [round(mean - T * error, 3), round(mean + T * error, 3)],
        "choose_from": asked.choose_from,
        "control_share": CONTROL_SHARE,
        "labels": labels,
        "runs_per_seed": RUNS,
        "seeds": seeds,
    }
    print(Line(f"pairing.saved.{asked.choose_from}", round(mean, 3), "share of labels", "aim", AIMED_AT, conditions))


def _at(curve: Sequence[float], labels: Iterable[int]) -> dict[int, float]:
    """The accuracy after so many labels."""
    return {number: round(curve[number // BATCH - 1], 3) for number in labels}


if __name__ == "__main__":
    main()

"""Does a reward model see more than length? `python -m benchmarks.learning.reward --data FILE --model SFT --out DIR`.

Trains a reward model from an SFT policy on people's comparisons of some posts and prints, one JSON object a line, how
often it agrees with people on comparisons of other posts: over all, among summaries of like length, by how sure they
were and by the two policies, each beside the rule that the longer text is better. In the conditions stand the other
rules (benchmarks.learning.baselines) and the policy's log-probability per token. `balanced` weighs the pairs whose
longer text is preferred and the others alike, where length alone has one half.

Posts are split by a hash of their id (--held-out). Intervals of `all` are over posts, those of groups are Wilson's.
Interrupted, the same command goes on.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.recipes import RewardRecipe, SamplingRecipe
from app.domain.records import read_comparison
from app.domain.splits import SALT, split_by_hash
from app.domain.words import Split
from benchmarks.learning import baselines, files, likelihood
from benchmarks.lines import Line
from worker.cli import calls
from worker.training import metrics, reward
from worker.training.accuracy import ScoredPair, accuracy
from worker.training.examples import Demonstration, Pair

LENGTH, MODEL = "length", "reward_model"


def main() -> None:
    """Train, score the held-out pairs by every measure, print."""
    parser = files.options(__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="an SFT policy")
    parser.add_argument("--held-out", type=float, default=0.25, help="share of the posts")
    parser.add_argument("--pairs", type=int, help="to learn from at most; default: all")
    parser.add_argument("--references", type=int, default=32, help="whose mean score becomes 0")
    parser.add_argument("--query-tokens", type=int, default=256, help="longest prompt")
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--batch", type=int, default=16, help="pairs per optimizer step")
    asked = parser.parse_args()
    out = files.begin(asked)
    learned, held_out, references = comparisons(asked.data, asked.held_out)
    recipe = RewardRecipe(
        batch=asked.batch,
        micro_batch=min(4, asked.batch),
        learning_rate=asked.learning_rate,
        references=asked.references,
    )
    sampling = replace(SamplingRecipe(), max_query_tokens=asked.query_tokens)
    scored = out / "scored.jsonl"
    pairs = [pair for _, pair in held_out]
    if not scored.exists():
        with files.telling(out / "reward") as sink:
            scores = _scores(
                asked, [pair for _, pair in learned][: asked.pairs], pairs, references, recipe, sampling, sink
            )
        files.write(scored, scores)
    found = _by_measure(pairs, files.read(scored))
    used = min(len(learned), asked.pairs or len(learned))
    for line in lines([post for post, _ in held_out], found, _conditions(asked, used, held_out)):
        print(line, flush=True)


def comparisons(
    data: Path, held_out: float
) -> tuple[list[tuple[str, Pair]], list[tuple[str, Pair]], list[Demonstration]]:
    """Pairs to learn from and held-out pairs, each with the id of its post, and references of the posts learned from.

    A post with all its pairs is on one side, by the same hash as in every project, in the order of the file.
    """
    sides: dict[bool, list[tuple[str, Pair]]] = {True: [], False: []}
    references: dict[str, Demonstration] = {}
    for number, row in enumerate(files.read(data), start=1):
        record = read_comparison(number, json.dumps(row))
        post = record.document.source_id
        learned = split_by_hash(SALT, post, held_out, 0.0) is Split.TRAIN
        sides[learned].append((post, calls.pair(record)))
        for side in calls.reference(record) if learned else ():
            references.setdefault(post, Demonstration(calls.query(record.document), side.text.strip()))
    return sides[True], sides[False], [*references.values()]


def _scores(
    asked: argparse.Namespace,
    learned: Sequence[Pair],
    pairs: Sequence[Pair],
    references: Sequence[Demonstration],
    recipe: RewardRecipe,
    sampling: SamplingRecipe,
    sink: metrics.Sink,
) -> list[dict[str, Any]]:
    """By pair, by measure: the score of the preferred text and of the other."""
    done = reward.train(
        asked.model,
        learned,
        pairs,
        references,
        recipe,
        sampling=sampling,
        precision=asked.dtype,
        seed=asked.seed,
        out_dir=asked.out / "reward" / "reward",
        sink=sink,
        state_dir=asked.out / "reward" / "states",
    )
    sink.flush()
    texts = [(pair.query, text) for pair in pairs for text in (pair.preferred_text, pair.other_text)]
    limit = recipe.max_summary_tokens
    read = likelihood.per_token(asked.model, texts, sampling, sink, precision=asked.dtype, max_summary_tokens=limit)
    likely = [total / count for total, count in read]
    rules = {name: baselines.judged(pairs, rule) for name, rule in baselines.rules().items()}
    return [
        {MODEL: [done.held_out[index].preferred_score, done.held_out[index].other_score]}
        | {"log_probability": likely[2 * index : 2 * index + 2]}
        | {name: [each[index].preferred_score, each[index].other_score] for name, each in rules.items()}
        for index in range(len(pairs))
    ]


def _by_measure(pairs: Sequence[Pair], rows: Sequence[dict[str, Any]]) -> dict[str, list[ScoredPair]]:
    return {name: [ScoredPair(pair, *row[name]) for pair, row in zip(pairs, rows, strict=True)] for name in rows[0]}


def lines(posts: Sequence[str], found: dict[str, list[ScoredPair]], conditions: dict[str, Any]) -> list[Line]:
    """One line for each group of pairs, and one for the balanced accuracy; `found` has every measure of every pair."""
    told = []
    for name, indices in baselines.groups([each.pair for each in found[MODEL]]).items():
        by_measure = {measure: [each[index] for index in indices] for measure, each in found.items()}
        counted = {measure: accuracy(each) for measure, each in by_measure.items()}
        gained = [ours.right - longer.right for ours, longer in zip(by_measure[MODEL], by_measure[LENGTH], strict=True)]
        those = [posts[index] for index in indices]
        over, peer_over = (
            baselines.over_posts(those, [each.right for each in measure], seed=1)
            if name == "all"
            else intervals.rate(sum(each.right for each in measure), len(measure))
            for measure in (by_measure[MODEL], by_measure[LENGTH])
        )
        told.append(
            Line(
                f"learning.reward.accuracy.{name}",
                round(counted[MODEL].rate, 4),
                "share of pairs",
                "the longer text",
                round(counted[LENGTH].rate, 4),
                {
                    "n": len(indices),
                    "posts": len({*those}),
                    "interval_95": files.shown(over),
                    "peer_interval_95": files.shown(peer_over),
                    "gain": round(sum(gained) / len(gained), 4),
                    "gain_interval_95": files.shown(baselines.over_posts(those, gained, seed=1)),
                }
                | {measure: round(each.rate, 4) for measure, each in counted.items() if measure not in (MODEL, LENGTH)}
                | (conditions if name == "all" else {}),
            )
        )
    told.append(
        Line(
            "learning.reward.accuracy.balanced",
            round(baselines.balanced(found[MODEL]), 4),
            "share of pairs",
            "the longer text",
            round(baselines.balanced(found[LENGTH]), 4),
            {
                "n": sum(len(each.pair.preferred_text) != len(each.pair.other_text) for each in found[MODEL]),
                "interval_95": files.shown(baselines.balanced_over_posts(posts, found[MODEL], seed=1)),
            }
            | {
                measure: round(baselines.balanced(each), 4)
                for measure, each in found.items()
                if measure not in (MODEL, LENGTH)
            },
        )
    )
    return told


def _conditions(asked: argparse.Namespace, used: int, held_out: Sequence[tuple[str, Pair]]) -> dict[str, Any]:
    return {
        "learned_from": used,
        "held_out_posts": len({post for post, _ in held_out}),
        "learning_rate": asked.learning_rate,
        "batch": asked.batch,
        "query_tokens": asked.query_tokens,
        "dtype": asked.dtype,
        "seed": asked.seed,
    }


if __name__ == "__main__":
    main()

"""What a reward model has to beat: `python -m benchmarks.learning.rules --data COMPARISONS`.

Prints, one JSON object a line, how often each rule that has learned nothing (benchmarks.learning.baselines) agrees with
people, over all comparisons of the file and by group, beside a coin. Seconds, and no model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.learning import baselines, files
from benchmarks.learning.reward import comparisons
from benchmarks.lines import Line
from worker.training.accuracy import ScoredPair, accuracy

COIN = 0.5


def main() -> None:
    """Judge by every rule, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="comparisons, .jsonl or .jsonl.gz")
    rows, _, _ = comparisons(parser.parse_args().data, held_out=0.0)
    pairs = [pair for _, pair in rows]
    for name, rule in baselines.rules().items():
        print(line(name, [post for post, _ in rows], baselines.judged(pairs, rule)), flush=True)


def line(name: str, posts: Sequence[str], scored: Sequence[ScoredPair]) -> Line:
    """One rule on all pairs; `posts` has the post of each."""
    groups = {
        group: [scored[index] for index in indices]
        for group, indices in baselines.groups([each.pair for each in scored]).items()
    }
    counted = [index for index, each in enumerate(scored) if not each.pair.tied]
    over = baselines.over_posts([posts[index] for index in counted], [scored[index].right for index in counted], seed=1)
    balance = baselines.balanced_over_posts(posts, scored, seed=1)
    return Line(
        f"learning.rules.{name}",
        round(over.value or 0.0, 4),
        "share of pairs",
        "a coin",
        COIN,
        {
            "n": over.n,
            "posts": len({*posts}),
            "interval_95": files.shown(over),
            "balanced": round(balance.value or 0.0, 4),
            "balanced_n": balance.n,
            "balanced_interval_95": files.shown(balance),
            "by_group": {
                group: [round(accuracy(each).rate, 4), len(each)] for group, each in groups.items() if group != "all"
            },
        },
    )


if __name__ == "__main__":
    main()

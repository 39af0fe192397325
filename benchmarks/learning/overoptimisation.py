"""What becomes of a reward PPO does not see? `python -m benchmarks.learning.overoptimisation --data POSTS --out DIR`.

The question of P 4.3 and Fig. 5 with a formula in place of people (benchmarks.learning.gold), as in Gao et al. 2022: a
policy is fine-tuned, its summaries are compared by the gold reward with noise, a reward model learns from that, and
PPO and best-of-N climb the reward model. Prints, one JSON object a line, the gold reward of held-out posts at each
distance from the fine-tuned policy, with the proxy (what the reward model says) in the conditions.

`tiny` and `6m` are Llamas of 1 and 6 million random weights, which some minutes of fine-tuning on posts and summaries
bring to words and not to meaning: the run shows what optimisation does to a proxy, not how well anything summarizes.

The KL of PPO's policies is the exact one per token along their own samples, that of best-of-N the formula
log n - (n - 1) / n, an upper bound. One seed is one run: intervals are over posts, and say nothing of other seeds.
Interrupted, the same command goes on.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.recipes import Recipe
from app.quality import overoptimisation
from benchmarks import training
from benchmarks.learning import files
from benchmarks.learning.gold import LONGEST, PER_WORD, gold, prefers_first
from benchmarks.lines import Line
from worker.cli.directories import TINY
from worker.cli.terminal import FileSink
from worker.training import best_of_n, evaluation, generation, metrics, models, overlap, ppo, seeding
from worker.training.examples import Demonstration, Query
from worker.training.metrics import Cancelled

POLICY = "fine-tuned policy"


def main() -> None:
    """Fine-tune, compare, learn the proxy, climb it in two ways, print."""
    parser = files.options(__doc__)
    parser.add_argument("--model", default="6m", help="tiny, 6m (default), 135m or a directory")
    parser.add_argument("--characters", type=int, default=700, help="of the longest post")
    parser.add_argument("--documents", type=int, help="to fine-tune on at most; default: all")
    parser.add_argument("--epochs", type=int, default=6, help="of fine-tuning")
    parser.add_argument("--sft-learning-rate", type=float, default=1e-3)
    parser.add_argument("--pairs", type=int, default=1000, help="that are compared; 85 % are learned from")
    parser.add_argument("--noise", type=float, default=0.3, help="of the comparisons, in units of the gold reward")
    parser.add_argument("--reward-learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=64, help="episodes per rollout")
    parser.add_argument("--rollouts", type=int, default=64)
    parser.add_argument("--points", type=int, nargs="*", default=[2, 4, 8, 16, 24, 32, 48], help="rollouts to look at")
    parser.add_argument("--ppo-epochs", type=int, default=4, help="passes over a rollout")
    parser.add_argument("--ppo-learning-rate", type=float, default=1e-4)
    parser.add_argument("--kl-coefficient", type=float, default=0.0)
    parser.add_argument("--measured", type=int, default=100, help="held-out posts")
    parser.add_argument("--best-of", type=int, default=32)
    asked = parser.parse_args()
    out, run = files.begin(asked), Run(asked)
    run.prepare(out)
    run.fine_tune(out)
    run.learn_proxy(out)
    run.climb(out)
    for line in [*run.ppo_lines(out), *run.best_of_lines(out)]:
        print(line, flush=True)


class Run:
    """The stages in their order; each leaves its files under --out, and the next reads them there."""

    def __init__(self, asked: argparse.Namespace) -> None:
        """`asked` are the options."""
        self.asked = asked
        self.judge = overlap.rouge_scorer()
        self.points = sorted({*(each for each in asked.points if each < asked.rollouts), asked.rollouts})
        self.told: dict[str, Any] = {
            "name": "learning",
            "precision": asked.dtype,
            "seed": asked.seed,
            "sampling": {"temperature": 0.7, "max_query_tokens": 256, "max_summary_tokens": 32, "batch": 64},
            "sft": {
                "documents": asked.documents,
                "epochs": asked.epochs,
                "batch": 16,
                "micro_batch": 16,
                "learning_rate": asked.sft_learning_rate,
                # Random weights have a language to learn first.
                "loss_on": "all",
            },
            "reward": {
                "batch": 32,
                "micro_batch": 16,
                "learning_rate": asked.reward_learning_rate,
                "max_summary_tokens": 48,
                "references": 200,
            },
            "ppo": {
                "episodes": asked.batch * asked.rollouts,
                "batch": asked.batch,
                "micro_batch": min(16, asked.batch),
                "samples_per_query": 4,
                "epochs": asked.ppo_epochs,
                "learning_rate": asked.ppo_learning_rate,
                "kl_coefficient": asked.kl_coefficient,
            },
            "evaluation": {"documents": asked.measured, "temperature": 0.7, "batch": 64},
        }
        self.recipe = Recipe.from_dict(self.told)

    def prepare(self, out: Path) -> None:
        """Posts that need not be cut, in an order of the seed; the model, where it is made here."""
        data = out / "documents.jsonl"
        if not data.exists():
            rows = [row for row in files.read(self.asked.data) if len(row["post"]) <= self.asked.characters]
            random.Random(self.asked.seed).shuffle(rows)
            files.write(data, rows)
        texts = [f"{row['title']} {row['post']} {row['summary']}" for row in self._rows(out, learned=True)]
        place = out / "model"
        if not place.exists():
            made = self._model(texts, out / ".model")
            made.rename(place) if made.is_relative_to(out) else place.symlink_to(made.absolute())

    def _model(self, texts: Sequence[str], place: Path) -> Path:
        if self.asked.model == TINY:
            return models.build_tiny(place / TINY, texts, seed=1)
        return training.model(self.asked.model, texts, place)

    def _rows(self, out: Path, *, learned: bool) -> list[dict[str, Any]]:
        """The posts that are learned from, or those to measure on."""
        rows = [row for row in files.read(out / "documents.jsonl") if (row["split"] == "train") is learned]
        return rows if learned else rows[: self.asked.measured]

    def fine_tune(self, out: Path) -> None:
        """The policy that everything is measured from."""
        files.stage("sft", out / "sft", self.told, data=out / "documents.jsonl", model=out / "model")

    def learn_proxy(self, out: Path) -> None:
        """Pairs of the policy's own summaries, compared by the gold reward with noise, and the model of them."""
        pairs, rows = out / "comparisons.jsonl", self._rows(out, learned=True)
        if not pairs.exists():
            seed = self.asked.seed
            # Several pairs of a post where there are fewer posts than pairs.
            chosen = [index % len(rows) for index in range(self.asked.pairs)]
            twice = [index for index in chosen for _ in range(2)]
            seeds = [seeding.derive(seed, "comparison", place) for place in range(len(twice))]
            with files.telling(out / "writing") as sink:
                written = generation.sample(
                    out / "sft" / "policy",
                    [_query(rows[index]) for index in twice],
                    self.recipe.sampling,
                    seeds,
                    sink,
                    precision=self.asked.dtype,
                    state_dir=out / "writing" / "states",
                )
            texts = [each.text for each in written]
            files.write(pairs, self._judged([rows[index] for index in chosen], texts[::2], texts[1::2]))
        files.stage(
            "reward",
            out / "reward",
            self.told,
            data=pairs,
            model=out / "sft" / "policy",
            documents=files.write(out / "references.jsonl", rows),
            splits="hash",
        )

    def _judged(
        self, rows: Sequence[dict[str, Any]], firsts: list[str], seconds: list[str]
    ) -> Iterator[dict[str, Any]]:
        draw = random.Random(self.asked.seed)
        for row, one, other in zip(rows, firsts, seconds, strict=True):
            golds = (gold(self.judge, row["post"], one), gold(self.judge, row["post"], other))
            first = prefers_first(*golds, self.asked.noise, draw)
            # Equal texts are no comparison; an empty one cannot be read back.
            if one.strip() != other.strip() and one.strip() and other.strip():
                yield {
                    "info": {name: row[name] for name in ("id", "subreddit", "title", "post")},
                    "summaries": [{"text": f" {text.strip()}", "policy": "sft"} for text in (one, other)],
                    "choice": int(not first),
                    "worker": "gold",
                    "batch": "gold",
                    "extra": {"confidence": 2 if first else 8, "gold": golds},
                }

    def climb(self, out: Path) -> None:
        """PPO from the fine-tuned policy, stopped at each of the points, where it leaves its policy as it is then.

        It goes on from there to the same weights as without the stop (worker.training.resuming).
        """
        for point in self.points:
            if self._climbed(out, point) is not None:
                continue
            with files.telling(out / "ppo") as sink, suppress(Cancelled):
                ppo.train(
                    out / "sft" / "policy",
                    out / "reward" / "reward",
                    [_query(row) for row in self._rows(out, learned=True)],
                    self.recipe.ppo,
                    sampling=self.recipe.sampling,
                    precision=self.asked.dtype,
                    seed=self.asked.seed,
                    out_dir=out / "points" / str(point),
                    sink=StopAfter(sink, point),
                    state_dir=out / "ppo" / "states",
                )

    def _climbed(self, out: Path, point: int) -> Path | None:
        """The policy after so many rollouts: the finished one, or what a stopped training left."""
        places = (out / "points" / name / "policy" for name in (str(point), f"{point}-unfinished"))
        return next((place for place in places if place.exists()), None)

    def ppo_lines(self, out: Path) -> list[Line]:
        """Gold and proxy reward of the fine-tuned policy and of PPO's at each point, on held-out posts."""
        at_point = {0: out / "sft" / "policy"} | {each: self._climbed(out, each) for each in self.points}
        found = {point: self._evaluated(out, point, policy) for point, policy in at_point.items() if policy is not None}
        monitor = self._monitor(out)
        start = self._golds(out, found[0])
        lines = []
        for point, rows in found.items():
            golds = self._golds(out, rows)
            mean, kl, proxy = (
                intervals.mean(values)
                for values in (golds, [row["kl"] for row in rows], [row["score"] for row in rows])
            )
            lines.append(
                Line(
                    "learning.overoptimisation.ppo",
                    round(mean.value or 0.0, 4),
                    "gold reward",
                    POLICY,
                    round(sum(start) / len(start), 4),
                    {
                        "rollouts": point,
                        "episodes": point * self.asked.batch,
                        "kl": round(kl.value or 0.0, 3),
                        "kl_interval_95": files.shown(kl),
                        "interval_95": files.shown(mean),
                        "gain_interval_95": files.shown(files.difference(golds, start)),
                        "proxy": round(proxy.value or 0.0, 4),
                        "proxy_interval_95": files.shown(proxy),
                        "tokens": round(sum(row["tokens"] for row in rows) / len(rows), 2),
                        "ended_by_itself": round(sum(row["finished"] for row in rows) / len(rows), 4),
                        "copying": round(sum(row["copying"] for row in rows) / len(rows), 4),
                        "n": len(rows),
                        "seed": self.asked.seed,
                    }
                    | (self._conditions(out) | {"monitor": monitor} if point == self.asked.rollouts else {}),
                )
            )
        return lines

    def _conditions(self, out: Path) -> dict[str, Any]:
        rows = files.read(out / "comparisons.jsonl")
        agreed = [
            (row["extra"]["gold"][0] > row["extra"]["gold"][1]) == (row["choice"] == 0)
            for row in rows
            if row["extra"]["gold"][0] != row["extra"]["gold"][1]
        ]
        proxy = files.result(out / "reward")
        return {
            "model": Path(self.asked.model).name,
            "gold": f"10 x ROUGE-1 F with the post - {PER_WORD} per word above {LONGEST}",
            "comparisons": len(rows),
            "learned_from": proxy["pairs"],
            "labels_that_follow_gold": round(sum(agreed) / len(agreed), 4),
            "proxy_accuracy": proxy["accuracy"],
            "kl_coefficient": self.asked.kl_coefficient,
            "learning_rate": self.asked.ppo_learning_rate,
            "dtype": self.asked.dtype,
        }

    def _evaluated(self, out: Path, point: int, policy: Path) -> list[dict[str, Any]]:
        """A line for each held-out post: the summary, its proxy reward (`score`), its KL and the like."""
        place = out / "evaluated" / f"{point}.jsonl"
        if not place.exists():
            rows = self._rows(out, learned=False)
            told = [Demonstration(_query(row), row["summary"]) for row in rows]
            with files.telling(place.parent) as sink:
                done = evaluation.evaluate(
                    policy,
                    out / "sft" / "policy",
                    out / "reward" / "reward",
                    told,
                    self.recipe.evaluation,
                    sink,
                    sampling=self.recipe.sampling,
                    precision=self.asked.dtype,
                    seed=self.asked.seed,
                )
            files.write(
                place,
                [
                    {"id": row["id"], "summary": each.sample.text, "score": each.score, "kl": each.kl}
                    | {"tokens": each.sample.token_count, "finished": each.sample.finished, "copying": each.copying}
                    for row, each in zip(rows, done.rows, strict=True)
                ],
            )
        return files.read(place)

    def _golds(self, out: Path, rows: Sequence[dict[str, Any]]) -> list[float]:
        posts = {row["id"]: row["post"] for row in self._rows(out, learned=False)}
        return [gold(self.judge, posts[row["id"]], row["summary"]) for row in rows]

    def _monitor(self, out: Path) -> list[str]:
        """What the product's over-optimisation monitor would have said, without people's answers."""
        series: dict[str, dict[int, float]] = {}
        for row in files.read(out / "ppo" / "metrics.jsonl"):
            if "step" in row:
                series.setdefault(row["name"], {})[row["step"]] = row["value"]

        def values(name: str) -> list[float]:
            return [value for _, value in sorted(series.get(name, {}).items())]

        said = (
            overoptimisation.too_far(values(metrics.PPO_KL), self.recipe.promotion.most_kl),
            overoptimisation.only_longer(
                *map(values, (metrics.PPO_SCORE, metrics.PPO_SCORE_AT_FIRST_LENGTH, metrics.PPO_LENGTH))
            ),
        )
        return [sentence for sentence in said if sentence is not None]

    def best_of_lines(self, out: Path) -> list[Line]:
        """Gold and proxy reward of the best of n of the fine-tuned policy's summaries by the proxy."""
        place = out / "best-of.jsonl"
        posts = self._rows(out, learned=False)
        if not place.exists():
            with files.telling(out / "best-of") as sink:
                found = best_of_n.write(
                    out / "sft" / "policy",
                    out / "reward" / "reward",
                    [_query(row) for row in posts],
                    self.asked.best_of,
                    self.recipe.sampling,
                    sink,
                    seed=self.asked.seed,
                    precision=self.asked.dtype,
                    state_dir=out / "best-of" / "states",
                )
            measured = [
                [gold(self.judge, row["post"], sample.text) for sample in each.samples]
                for row, each in zip(posts, found, strict=True)
            ]
            files.write(
                place, [{"scores": each.scores, "golds": held} for each, held in zip(found, measured, strict=True)]
            )
        rows = files.read(place)
        powers = [2**power for power in range(self.asked.best_of.bit_length())]
        by_n = {n: [best_of_n.expected(n, row["scores"], row["golds"]) for row in rows] for n in powers}
        lines = []
        for n, golds in by_n.items():
            mean, proxy = (
                intervals.mean(values) for values in (golds, [best_of_n.expected(n, row["scores"]) for row in rows])
            )
            lines.append(
                Line(
                    f"learning.overoptimisation.best_of_{n}",
                    round(mean.value or 0.0, 4),
                    "gold reward",
                    POLICY,
                    round(sum(by_n[1]) / len(rows), 4),
                    {
                        "kl_at_most": round(best_of_n.divergence(n), 3),
                        "interval_95": files.shown(mean),
                        "gain_interval_95": files.shown(files.difference(golds, by_n[1])),
                        "proxy": round(proxy.value or 0.0, 4),
                        "proxy_interval_95": files.shown(proxy),
                        # The most that n summaries held: what a proxy without error would have taken.
                        "best_by_gold": round(sum(best_of_n.expected(n, row["golds"]) for row in rows) / len(rows), 4),
                        "n": len(rows),
                        "seed": self.asked.seed,
                    },
                )
            )
        return lines


def _query(row: dict[str, Any]) -> Query:
    return Query(row["subreddit"], row["title"], row["post"])


class StopAfter(metrics.NullSink):
    """Tells on what it is told, and stops a training before it learns from the rollout after so many."""

    def __init__(self, sink: FileSink, rollouts: int) -> None:
        self._sink, self._rollouts, self._reached = sink, rollouts, False

    def metric(self, name: str, step: int, value: float) -> None:
        self._sink.metric(name, step, value)
        # Told of a rollout that is written and not learned from, also where a training goes on with one in hand.
        self._reached = self._reached or (name == metrics.PPO_SCORE and step >= self._rollouts)

    def progress(self, done: int, total: int, words: str) -> None:
        self._sink.progress(done, total, words)

    def note(self, name: str, value: str) -> None:
        self._sink.note(name, value)

    def flush(self) -> None:
        self._sink.flush()

    def check(self) -> None:
        if self._reached:
            raise Cancelled(f"{self._rollouts} rollouts are learned from.")


if __name__ == "__main__":
    main()

"""Does fine-tuning learn? `python -m benchmarks.learning.sft --data POSTS --out DIR [--model smollm2-135m|DIR]`.

Fine-tunes on posts with the authors' own summaries and prints, one JSON object a line: the loss on held-out references,
and ROUGE of the likeliest summaries of held-out posts against their authors' summaries, each beside the same model
before. Beside them stand the first words of the post, which any summarizer has to beat.

Posts are those of at most --characters, so that none has to be cut; which of them are learned from, is drawn by --seed.
Interrupted, the same command goes on.
"""

import argparse
import random
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.recipes import SamplingRecipe
from app.domain.splits import SPELLINGS
from app.domain.words import Split
from benchmarks.learning import files, likelihood
from benchmarks.lines import Line
from worker.cli.directories import SMOLLM2
from worker.training import overlap
from worker.training.examples import Query

LEAD_WORDS = 20
"""So many words an author's summary of such posts has on average."""

BEFORE, AFTER = "before", "after"


def main() -> None:
    """Fine-tune, measure before and after, print."""
    parser = files.options(__doc__)
    parser.add_argument("--model", default=SMOLLM2, help="a directory, a hub id, or smollm2-135m (default)")
    parser.add_argument("--characters", type=int, default=700, help="of the longest post")
    parser.add_argument("--documents", type=int, default=384, help="to learn from")
    parser.add_argument("--measured", type=int, default=64, help="held-out documents")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=16, help="documents per optimizer step")
    asked = parser.parse_args()
    out = files.begin(asked)
    data = out / "documents.jsonl"
    if not data.exists():
        rows = [row for row in files.read(asked.data) if len(row["post"]) <= asked.characters]
        random.Random(asked.seed).shuffle(rows)
        files.write(data, rows)
    recipe = _recipe(asked)
    trained = files.stage("sft", out / "trained", recipe, data=data, model=asked.model)
    base = out / "trained" / "base"
    before = base if base.exists() else Path(asked.model)
    policies = {BEFORE: before, AFTER: out / "trained" / "policy"}
    for line in _losses(asked, out, recipe, trained, policies):
        print(line, flush=True)
    for line in _rouge(asked, out, recipe, policies):
        print(line, flush=True)


def _recipe(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": "learning",
        "precision": asked.dtype,
        "seed": asked.seed,
        # The likeliest summary, as the study evaluates.
        "sampling": {"temperature": 0.0, "max_query_tokens": 256, "max_summary_tokens": 48, "batch": 32},
        "sft": {
            "documents": asked.documents,
            "batch": asked.batch,
            "micro_batch": min(8, asked.batch),
            "learning_rate": asked.learning_rate,
        },
    }


def _held_out(asked: argparse.Namespace, out: Path) -> list[dict[str, Any]]:
    firsts: dict[str, dict[str, Any]] = {}
    for row in files.read(out / "documents.jsonl"):
        firsts.setdefault(row["id"], row)
    rows = [row for row in firsts.values() if SPELLINGS.get(row["split"]) is Split.VALIDATION]
    return rows[: asked.measured]


def _losses(
    asked: argparse.Namespace, out: Path, recipe: dict[str, Any], trained: dict[str, Any], policies: dict[str, Path]
) -> list[Line]:
    rows = _held_out(asked, out)
    told = [(Query(row["subreddit"], row["title"], row["post"]), row["summary"]) for row in rows]
    sampling = SamplingRecipe.from_dict(recipe["sampling"])
    read = {}
    for name, policy in policies.items():
        place = out / f"losses-{name}.jsonl"
        if not place.exists():
            with files.telling(out / "reading") as sink:
                found = likelihood.per_token(
                    policy, told, sampling, sink, precision=asked.dtype, max_summary_tokens=sampling.max_summary_tokens
                )
            files.write(place, [{"nats": -total, "tokens": count} for total, count in found])
        read[name] = files.read(place)
    loss = {name: sum(row["nats"] for row in each) / sum(row["tokens"] for row in each) for name, each in read.items()}
    per_document = {name: [row["nats"] / row["tokens"] for row in each] for name, each in read.items()}
    fallen = files.difference(per_document[AFTER], per_document[BEFORE])
    return [
        Line(
            "learning.sft.validation_loss",
            round(loss[AFTER], 4),
            "nats/token",
            "before fine-tuning",
            round(loss[BEFORE], 4),
            _conditions(asked, trained)
            | {
                "validation_documents": len(rows),
                "mean_by_document": round(sum(per_document[AFTER]) / len(rows), 4),
                "difference_by_document": round(fallen.value or 0.0, 4),
                "interval_95": files.shown(fallen),
            },
        )
    ]


def _rouge(asked: argparse.Namespace, out: Path, recipe: dict[str, Any], policies: dict[str, Path]) -> list[Line]:
    written = {}
    for name, policy in policies.items():
        files.stage(
            "sample",
            out / name,
            recipe,
            data=out / "documents.jsonl",
            model=policy,
            split="validation",
            limit=asked.measured,
        )
        written[name] = files.read(out / name / "summaries.jsonl")
    posts = {row["id"]: row for row in _held_out(asked, out)}
    judge = overlap.rouge_scorer()

    def scores(texts: dict[str, str]) -> list[overlap.Rouge]:
        return [overlap.rouge(judge, posts[source_id]["summary"], text) for source_id, text in texts.items()]

    by_policy = {name: scores({row["id"]: row["summary"] for row in rows}) for name, rows in written.items()}
    lead = scores({row["id"]: " ".join(posts[row["id"]]["post"].split()[:LEAD_WORDS]) for row in written[AFTER]})
    copied = {
        name: sum(overlap.copying(posts[row["id"]]["post"], row["summary"]) for row in rows) / len(rows)
        for name, rows in written.items()
    }
    ended = {name: sum(row["finished"] for row in rows) / len(rows) for name, rows in written.items()}
    lines = []
    for measure in ("rouge_1", "rouge_2", "rouge_l"):
        values = {name: [getattr(each, measure) for each in rows] for name, rows in by_policy.items()}
        after, before = (intervals.mean(values[name]) for name in (AFTER, BEFORE))
        leading = [getattr(each, measure) for each in lead]
        lines.append(
            Line(
                f"learning.sft.{measure}",
                round(after.value or 0.0, 4),
                "F-measure",
                "before fine-tuning",
                round(before.value or 0.0, 4),
                {
                    "n": after.n,
                    "interval_95": files.shown(after),
                    "peer_interval_95": files.shown(before),
                    "difference_interval_95": files.shown(files.difference(values[AFTER], values[BEFORE])),
                    f"first_{LEAD_WORDS}_words_of_post": round(sum(leading) / len(leading), 4),
                    "difference_from_them_interval_95": files.shown(files.difference(values[AFTER], leading)),
                    "ended_by_itself": round(ended[AFTER], 4),
                    "peer_ended_by_itself": round(ended[BEFORE], 4),
                    "copying": round(copied[AFTER], 4),
                    "peer_copying": round(copied[BEFORE], 4),
                    "seed": asked.seed,
                },
            )
        )
    return lines


def _conditions(asked: argparse.Namespace, trained: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": Path(asked.model).name,
        "documents": trained["documents"],
        "steps": trained["steps"],
        "learning_rate": asked.learning_rate,
        "dtype": asked.dtype,
        "seed": asked.seed,
    }


if __name__ == "__main__":
    main()

"""How fast a reward model learns: `python -m benchmarks.reward [--model 6m|135m|DIR] [--dtype fp32|bf16]`.

Prints a JSON object for each model, one a line (benchmarks.lines): comparisons per second of `reward.train` beside
TRL's RewardTrainer on the same token ids, model, optimizer, micro-batches, threads and precision, one after the other
in processes of their own. The first step of each warms up and is not counted; loading, scoring and saving are not.

`--peer-python PYTHON` is an environment with the peer (benchmarks/peers/requirements-trl-1.16.txt); where there is
none it is said how to make it. `--data` is a file of comparisons in OpenAI's format; without it texts are made up, with
the lengths of theirs.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.domain.prompts import TLDR
from app.domain.recipes import RewardRecipe, SamplingRecipe
from benchmarks import beside, training
from benchmarks.beside import Case
from benchmarks.lines import Line, short
from benchmarks.machine import cores
from worker.training import seeding, tokens
from worker.training.examples import Demonstration, Pair, Query

REQUIREMENTS = "benchmarks/peers/requirements-trl-1.16.txt"
SEED = 1
SAMPLING = SamplingRecipe()
MAX_SUMMARY = 128


CASES = {"6m": Case(64, 8, 5), "135m": Case(32, 4, 3)}


def main() -> None:
    """Run the cases asked for."""
    parser = beside.options(__doc__)
    parser.add_argument("--batch", type=int, help="pairs per optimizer step")
    parser.add_argument("--micro-batch", type=int, help="pairs per forward pass")
    parser.add_argument("--steps", type=int, help="optimizer steps, the first of which is not counted")
    parser.add_argument("--peer-python", type=Path, help="the Python of an environment with TRL 1.16")
    asked = parser.parse_args()
    if asked.job is not None:
        print(json.dumps(ours(json.loads(asked.job.read_text()))))
        return
    peer = beside.required(asked.peer_python, REQUIREMENTS)
    for name in asked.model or list(CASES):
        usual = CASES.get(name, CASES["135m"])
        case = Case(asked.batch or usual.batch, asked.micro_batch or usual.micro_batch, asked.steps or usual.steps)
        print(compared(name, case, asked, peer), flush=True)


def compared(name: str, case: Case, asked: argparse.Namespace, peer_python: str) -> Line:
    """One model, ours and the peer, in this order."""
    pairs = training.pairs(asked.data, case.batch * case.steps)
    texts = [" ".join((each.query.title, each.query.post, each.preferred_text, each.other_text)) for each in pairs]
    place = training.model(name, texts, asked.work)
    codec = tokens.load(place)
    prompts = [codec.prompt(pair.query, TLDR, SAMPLING.max_query_tokens).tokens for pair in pairs]
    summaries = [
        [codec.summary(text, MAX_SUMMARY) for text in (pair.preferred_text, pair.other_text)] for pair in pairs
    ]
    order = seeding.shuffled(len(pairs), SEED, "reward", 0)
    job: dict[str, Any] = {
        "model": str(place),
        "dtype": asked.dtype,
        "threads": asked.threads,
        "batch": case.batch,
        "micro_batch": case.micro_batch,
        "learning_rate": RewardRecipe().learning_rate,
        "adam_eps": RewardRecipe().adam_eps,
    }
    own = {
        "pairs": [
            [each.query.subreddit, each.query.title, each.query.post, each.preferred_text, each.other_text]
            for each in pairs
        ]
    }
    theirs = {
        "chosen_ids": [[*prompts[i], *summaries[i][0]] for i in order],
        "rejected_ids": [[*prompts[i], *summaries[i][1]] for i in order],
    }
    words = f"{case.batch} pairs a step, {asked.dtype}"
    found = beside.run([sys.executable, "-m", "benchmarks.reward", "--job"], job | own, f"ours: {words}")
    peer = beside.run([peer_python, "-m", "benchmarks.peers.trl_reward"], job | theirs, f"TRL: {words}")
    rates = [case.batch * each["steps"] / each["seconds"] for each in (found, peer)]
    return Line(
        f"reward.{Path(name).name}",
        short(rates[0]),
        "comparisons/s",
        f"TRL {peer['versions']['trl']} RewardTrainer",
        short(rates[1]),
        {
            "dtype": asked.dtype,
            "threads": asked.threads,
            "cores": cores(),
            "pairs_per_step": case.batch,
            "pairs_per_pass": case.micro_batch,
            "steps": found["steps"],
            "texts": "made up, lengths of TL;DR comparisons" if asked.data is None else asked.data.name,
            "prompt_tokens": round(sum(map(len, prompts)) / len(prompts), 1),
            "summary_tokens": round(sum(len(each) for both in summaries for each in both) / (2 * len(pairs)), 1),
            **beside.told(found, peer),
            "peer_checkpointing": False,
        },
    )


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """`reward.train` on the pairs of texts; gives what was measured."""
    import torch

    from worker.training import reward

    torch.set_num_threads(job["threads"])
    pairs = [Pair(Query(*about), preferred, other, 9, ("a", "b")) for *about, preferred, other in job["pairs"]]
    clock = beside.Clock(1, len(pairs) // job["batch"])
    recipe = RewardRecipe(
        batch=job["batch"],
        micro_batch=job["micro_batch"],
        learning_rate=job["learning_rate"],
        adam_eps=job["adam_eps"],
        max_summary_tokens=MAX_SUMMARY,
    )
    with tempfile.TemporaryDirectory() as folder:
        reward.train(
            Path(job["model"]),
            pairs,
            [],
            [Demonstration(pairs[0].query, pairs[0].preferred_text)],
            recipe,
            sampling=SAMPLING,
            precision=job["dtype"],
            seed=SEED,
            out_dir=Path(folder, "reward"),
            sink=clock,
        )
    return clock.found() | {"steps": clock.last - 1}


if __name__ == "__main__":
    main()

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
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.domain.prompts import TLDR
from app.domain.recipes import RewardRecipe, SamplingRecipe
from benchmarks import training
from benchmarks.lines import Line, say, short
from benchmarks.machine import Shares, cores, shares
from worker.training import metrics, seeding, tokens
from worker.training.examples import Demonstration, Pair, Query

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = "benchmarks/peers/requirements-trl-1.16.txt"
SEED = 1
SAMPLING = SamplingRecipe()
MAX_SUMMARY = 128


@dataclass(frozen=True)
class Case:
    """A model with pairs per optimizer step, pairs per forward pass, and steps, the first of which is not counted."""

    batch: int
    micro_batch: int
    steps: int


CASES = {"6m": Case(64, 8, 5), "135m": Case(32, 4, 3)}


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="6m|135m|DIR", help="may be repeated; default: 6m and 135m")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--data", type=Path, help="comparisons, .jsonl or .jsonl.gz")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--batch", type=int, help="pairs per optimizer step")
    parser.add_argument("--micro-batch", type=int, help="pairs per forward pass")
    parser.add_argument("--steps", type=int, help="optimizer steps, the first of which is not counted")
    parser.add_argument("--peer-python", type=Path, help="the Python of an environment with TRL 1.16")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "hone-benchmarks"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job is not None:
        print(json.dumps(ours(json.loads(asked.job.read_text()))))
        return
    if asked.peer_python is None or not asked.peer_python.exists():
        raise SystemExit(
            "The peer stands in an environment of its own. Make it, then name its Python with --peer-python:\n"
            f"  python3 -m venv trl116 && trl116/bin/pip install -r {REQUIREMENTS}\n"
            f"  python -m benchmarks.reward --peer-python trl116/bin/python {' '.join(sys.argv[1:])}"
        )
    for name in asked.model or list(CASES):
        usual = CASES.get(name, CASES["135m"])
        case = Case(asked.batch or usual.batch, asked.micro_batch or usual.micro_batch, asked.steps or usual.steps)
        print(compared(name, case, asked), flush=True)


def compared(name: str, case: Case, asked: argparse.Namespace) -> Line:
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
    found = run([sys.executable, "-m", "benchmarks.reward", "--job"], job | own, "ours")
    peer = run([str(asked.peer_python.absolute()), "-m", "benchmarks.peers.trl_reward"], job | theirs, "TRL")
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
            "peak_rss_mib": found["peak_rss_mib"],
            "peer_peak_rss_mib": peer["peak_rss_mib"],
            "share_of_cores": found["cores"],
            "peer_share_of_cores": peer["cores"],
            "in_force": found["in_force"],
            "peer_products_in": peer["products_in"],
            "peer_checkpointing": False,
            "versions": found["versions"],
            "peer_versions": peer["versions"],
        },
    )


def run(command: list[str], job: dict[str, Any], who: str) -> dict[str, Any]:
    """What a driver found out, in a process of its own with the same settings for both."""
    say(f"{who}: {job['batch']} pairs a step, {job['dtype']}")
    # Threads that wait by sleeping: spinning ones take the cores from each other on a machine that is not idle.
    settings = {"OMP_NUM_THREADS": str(job["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.json")
        file.write_text(json.dumps(job))
        done = subprocess.run(
            [*command, str(file)], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"{who} failed:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@dataclass
class Clock(metrics.NullSink):
    """When each step ended, what was in force, and who used the cores from the first step to the last."""

    steps: int
    marks: list[float] = field(default_factory=list)
    in_force: dict[str, str] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)
    used: Shares = field(default_factory=Shares)

    def note(self, name: str, value: str) -> None:
        """Keeps it."""
        self.in_force[name] = value

    def progress(self, done: int, total: int, words: str) -> None:
        """A step has ended."""
        self.marks.append(time.perf_counter())
        if len(self.marks) == 1:
            self.used = self.held.enter_context(shares({"own": [os.getpid()]}))
        if len(self.marks) == self.steps:
            self.held.close()


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """`reward.train` on the pairs of texts; gives what was measured."""
    import torch

    from worker.training import reward

    torch.set_num_threads(job["threads"])
    pairs = [Pair(Query(*about), preferred, other, 9, ("a", "b")) for *about, preferred, other in job["pairs"]]
    clock = Clock(len(pairs) // job["batch"])
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
    return {
        "seconds": clock.marks[clock.steps - 1] - clock.marks[0],
        "steps": clock.steps - 1,
        "cores": clock.used.of,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "in_force": clock.in_force,
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


if __name__ == "__main__":
    main()

"""How fast PPO goes: `python -m benchmarks.ppo [--model 6m|135m|DIR] [--samples 1|4] [--dtype fp32|bf16]`.

Prints a JSON object for each model and number of samples per document, one a line (benchmarks.lines): episodes per
second of `ppo.train` beside TRL's PPOTrainer on the same prompts, models, batch, micro-batches, epochs, optimizer,
threads and precision, one after the other in processes of their own. Whole updates count: writing, scoring, learning.
The first update of each warms up and is not counted; nor is loading and saving. With `--defaults` precision and
checkpointing are what each takes where nobody says anything.

`--peer-python PYTHON` is an environment with the peer (benchmarks/peers/requirements-trl-1.12.txt); where there is
none it is said how to make it. `--data` is a file of comparisons in OpenAI's format, whose posts are taken; without
it posts are made up, with the lengths of theirs.

On a GPU the same command measures it, with `peak_gpu_mib` and the share of the GPU's peak that ours reached
(`model_flops_utilisation`; `--peak-tflops` where the GPU is not in PEAKS, or computes in fp32). Larger batches suit it,
for example

    python -m benchmarks.ppo --model 135m --dtype bf16 --batch 512 --micro-batch 64 --peer-python trl-1.12/bin/python
"""

import argparse
import itertools
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.domain.prompts import TLDR
from app.domain.recipes import PAPER, PpoRecipe, SamplingRecipe
from benchmarks import beside, flops, training
from benchmarks.beside import Case
from benchmarks.lines import Line, short
from benchmarks.machine import cores
from worker.training import checkpoints, metrics, models, ppo, tokens
from worker.training.devices import CPU
from worker.training.examples import Query

REQUIREMENTS = "benchmarks/peers/requirements-trl-1.12.txt"
SEED = 1

PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
"""Dense bf16 TFLOP/s by a word of the GPU's name, from NVIDIA's data sheets."""


CASES = {"6m": Case(32, 8, 3), "135m": Case(8, 4, 2)}


def main() -> None:
    """Run the cases asked for."""
    parser = beside.options(__doc__)
    parser.add_argument("--samples", action="append", type=int, help="of each document; may be repeated; default: 1, 4")
    parser.add_argument("--defaults", action="store_true", help="each in its own default precision, one sample")
    parser.add_argument("--batch", type=int, help="episodes per update")
    parser.add_argument("--micro-batch", type=int, help="episodes per forward pass")
    parser.add_argument("--updates", type=int, help="updates, the first of which is not counted")
    parser.add_argument("--summary-tokens", type=int, default=SamplingRecipe().max_summary_tokens)
    parser.add_argument(
        "--peak-tflops", type=float, help="of the GPU in this dtype, dense, where PEAKS does not know it"
    )
    parser.add_argument("--peer-python", type=Path, help="the Python of an environment with TRL 1.12")
    asked = parser.parse_args()
    if asked.job is not None:
        print(json.dumps(ours(json.loads(asked.job.read_text()))))
        return
    peer = beside.required(asked.peer_python, REQUIREMENTS)
    for name in asked.model or list(CASES):
        usual = CASES.get(name, CASES["135m"])
        case = Case(asked.batch or usual.batch, asked.micro_batch or usual.micro_batch, asked.updates or usual.steps)
        for samples in [1] if asked.defaults else asked.samples or [1, 4]:
            print(compared(name, samples, case, asked, peer), flush=True)


def compared(name: str, samples: int, case: Case, asked: argparse.Namespace, peer_python: str) -> Line:
    """One model with so many samples of each document, ours and the peer, in this order."""
    recipe = replace(
        PpoRecipe(),
        episodes=case.batch * case.steps,
        batch=case.batch,
        micro_batch=case.micro_batch,
        samples_per_query=samples,
    )
    sampling = replace(SamplingRecipe(), max_summary_tokens=asked.summary_tokens)
    queries = training.queries(asked.data, recipe.queries * recipe.rollouts)
    place = training.model(name, [f"{each.title} {each.post}" for each in queries], asked.work)
    codec = tokens.load(place)
    with tempfile.TemporaryDirectory() as folder:
        reward = checkpoints.save(models.new_reward(place, SEED, CPU).stock, codec.tokenizer, Path(folder, "reward"))
        prompts = [codec.prompt(query, TLDR, sampling.max_query_tokens) for query in queries]
        drawn = list(itertools.islice(ppo.endless(prompts, SEED), len(prompts)))
        job = {
            "model": str(place),
            "reward": str(reward),
            "recipe": recipe.to_dict(),
            "summary_tokens": sampling.max_summary_tokens,
            "side_by_side": sampling.batch,
            "threads": asked.threads,
        }
        own = {
            "queries": [[each.subreddit, each.title, each.post] for each in queries],
            "dtype": PAPER.precision if asked.defaults else asked.dtype,
            "prompt_tokens": [len(each.tokens) for each in drawn],
            "peak_tflops": asked.peak_tflops,
        }
        theirs = {
            "prompts": [each.tokens for each in drawn for _ in range(samples)],
            "dtype": None if asked.defaults else asked.dtype,
        }
        words = f"{case.batch} episodes an update, {samples} of each document"
        found = beside.run(
            [sys.executable, "-m", "benchmarks.ppo", "--job"], job | own, f"ours: {words}, {own['dtype']}"
        )
        peer = beside.run(
            [peer_python, "-m", "benchmarks.peers.trl_ppo"], job | theirs, f"TRL: {words}, {theirs['dtype']}"
        )
    counted = case.batch * (case.steps - 1)
    rates = [counted / each["seconds"] for each in (found, peer)]
    return Line(
        f"ppo.{Path(name).name}.{'defaults' if asked.defaults else f'k{samples}'}",
        short(rates[0]),
        "episodes/s",
        f"TRL {peer['versions']['trl']} PPOTrainer",
        short(rates[1]),
        {
            "dtype": "each its own" if asked.defaults else asked.dtype,
            "threads": asked.threads,
            "cores": cores(),
            "episodes_per_update": case.batch,
            "samples_per_document": samples,
            "episodes_per_pass": case.micro_batch,
            "epochs": recipe.epochs,
            "updates": case.steps - 1,
            "posts": "made up, lengths of TL;DR posts" if asked.data is None else asked.data.name,
            "prompt_tokens": short(sum(len(each.tokens) for each in prompts) / len(prompts)),
            "summary_tokens": sampling.max_summary_tokens,
            "seconds": _phases(found),
            "peer_seconds": _phases(peer),
            **beside.told(found, peer),
            "peer_checkpointing": peer["checkpointing"],
            **({"gpu": found["gpu"] | {"peer_peak_gpu_mib": peer["peak_gpu_mib"]}} if found["gpu"] else {}),
        },
    )


def _phases(found: dict[str, Any]) -> dict[str, float]:
    spent = found["phases"]
    return {name: short(each) for name, each in spent.items()} | {
        "learning": short(found["seconds"] - sum(spent.values()))
    }


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """`ppo.train` on the documents; gives what was measured."""
    torch.set_num_threads(job["threads"])
    place, recipe = Path(job["model"]), PpoRecipe.from_dict(job["recipe"])
    steps = 2 + recipe.epochs  # progress is told when all is written, when all is scored, and after each epoch
    clock = beside.Clock(steps, steps * recipe.rollouts)
    with tempfile.TemporaryDirectory() as folder:
        result = ppo.train(
            place,
            Path(job["reward"]),
            [Query(*each) for each in job["queries"]],
            recipe,
            sampling=replace(SamplingRecipe(), max_summary_tokens=job["summary_tokens"], batch=job["side_by_side"]),
            precision=job["dtype"],
            seed=SEED,
            out_dir=Path(folder, "ppo"),
            sink=clock,
        )
    assert result.steps == recipe.epochs * recipe.rollouts
    begun = range(steps, steps * recipe.rollouts, steps)
    return clock.found() | {
        "phases": {
            "writing": sum(clock.marks[each] - clock.marks[each - 1] for each in begun),
            "scoring": sum(clock.marks[each + 1] - clock.marks[each] for each in begun),
        },
        "gpu": _gpu(place, recipe, job, clock) if torch.cuda.is_available() else None,
    }


def _gpu(place: Path, recipe: PpoRecipe, job: dict[str, Any], clock: beside.Clock) -> dict[str, Any]:
    """The GPU, the memory taken of it, TFLOP/s (benchmarks.flops), and their share of its peak where that is known."""
    lengths = clock.series[metrics.PPO_LENGTH][1:]
    prompts = job["prompt_tokens"][recipe.queries :]
    shape = flops.Shape.of(models.load_policy(place, CPU))
    counted = shape.ppo(prompts, sum(lengths) / len(lengths), recipe.samples_per_query, recipe.epochs)
    reached, peak = counted / clock.seconds / 1e12, job["peak_tflops"]
    name = torch.cuda.get_device_name()
    if peak is None and clock.in_force["precision"] == "bf16":
        peak = next((each for word, each in PEAKS.items() if word in name.replace("-", " ").split()), None)
    return {
        "name": name,
        "peak_gpu_mib": round(torch.cuda.max_memory_allocated() / 2**20),
        "model_tflops": short(reached),
        "model_flops_utilisation": short(reached / peak) if peak else None,
    }


if __name__ == "__main__":
    main()

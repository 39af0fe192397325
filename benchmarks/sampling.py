"""How fast summaries are written: `python -m benchmarks.sampling [--model 6m|135m|DIR] [--samples 1|4]`.

Prints a JSON object for each model and number of samples per document, one a line (benchmarks.lines): summary tokens
per second of `generation.write` beside transformers' `generate()` with `num_return_sequences`, on the same prompts,
model, number side by side, temperature, threads and precision, one after the other in processes of their own. Tokens
count up to and with the end token; reading the prompt is part of the time. The first batch of each warms up and is not
counted, nor is loading. Under bf16 both run fp32 weights in autocast.

The peer is a library that Hone itself uses, so it needs no environment of its own; `--peer-python PYTHON` takes
another one, with another version. `--data` is a file of comparisons in OpenAI's format, whose posts are taken; without
it posts are made up, with the lengths of theirs.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from app.domain.prompts import TLDR
from app.domain.recipes import SamplingRecipe
from benchmarks import beside, training
from benchmarks.lines import Line, short
from benchmarks.machine import cores
from worker.training import devices, generation, models, seeding, tokens
from worker.training.tokens import Prompt, QueryTokens

SEED = 1


@dataclass(frozen=True)
class Case:
    """A model with summaries side by side, and batches of them, the first of which is not counted."""

    batch: int
    batches: int


CASES = {"6m": Case(32, 4), "135m": Case(16, 2)}


def main() -> None:
    """Run the cases asked for."""
    parser = beside.options(__doc__)
    parser.add_argument("--samples", action="append", type=int, help="of each document; may be repeated; default: 1, 4")
    parser.add_argument("--batch", type=int, help="summaries side by side")
    parser.add_argument("--batches", type=int, help="batches, the first of which is not counted")
    parser.add_argument("--summary-tokens", type=int, default=SamplingRecipe().max_summary_tokens)
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), help="default: this one")
    asked = parser.parse_args()
    if asked.job is not None:
        print(json.dumps(ours(json.loads(asked.job.read_text()))))
        return
    if not asked.peer_python.exists():
        parser.error(f"--peer-python is {asked.peer_python}: nothing is there; leave it out to take this Python")
    for name in asked.model or list(CASES):
        usual = CASES.get(name, CASES["135m"])
        case = Case(asked.batch or usual.batch, asked.batches or usual.batches)
        for samples in asked.samples or [1, 4]:
            if case.batch % samples:
                parser.error(f"--batch is {case.batch}: allowed is a multiple of --samples, which is {samples}")
            print(compared(name, samples, case, asked), flush=True)


def compared(name: str, samples: int, case: Case, asked: argparse.Namespace) -> Line:
    """One model with so many samples of each document, ours and the peer, in this order."""
    sampling = replace(SamplingRecipe(), batch=case.batch, max_summary_tokens=asked.summary_tokens)
    queries = training.queries(asked.data, case.batch // samples * case.batches)
    place = training.model(name, [f"{each.title} {each.post}" for each in queries], asked.work)
    codec = tokens.load(place)
    prompts = [codec.prompt(query, TLDR, sampling.max_query_tokens).tokens for query in queries]
    job = {
        "model": str(place),
        "prompts": prompts,
        "samples": samples,
        "sampling": sampling.to_dict(),
        "dtype": asked.dtype,
        "threads": asked.threads,
        "eos": codec.eos,
        "pad": codec.pad,
    }
    words = f"{case.batch} side by side, {samples} of each document, {asked.dtype}"
    found = beside.run([sys.executable, "-m", "benchmarks.sampling", "--job"], job, f"ours: {words}")
    peer = beside.run(
        [str(asked.peer_python.absolute()), "-m", "benchmarks.peers.hf_generate"], job, f"generate(): {words}"
    )
    rates = [each["tokens"] / each["seconds"] for each in (found, peer)]
    return Line(
        f"sampling.{Path(name).name}.k{samples}",
        short(rates[0]),
        "tokens/s",
        f"transformers {peer['versions']['transformers']} generate()",
        short(rates[1]),
        {
            "dtype": asked.dtype,
            "threads": asked.threads,
            "cores": cores(),
            "side_by_side": case.batch,
            "samples_per_document": samples,
            "batches": case.batches - 1,
            "posts": "made up, lengths of TL;DR posts" if asked.data is None else asked.data.name,
            "prompt_tokens": short(sum(map(len, prompts)) / len(prompts)),
            "tokens": found["tokens"],
            "peer_tokens": peer["tokens"],
            "seconds": short(found["seconds"]),
            "peer_seconds": short(peer["seconds"]),
            **beside.told(found, peer),
        },
    )


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """`generation.write` on the prompts; gives what was measured."""
    torch.set_num_threads(job["threads"])
    sampling = SamplingRecipe.from_dict(job["sampling"])
    place, each = Path(job["model"]), job["samples"]
    codec = tokens.load(place)
    model = models.load_policy(place, devices.best())
    prompts = [Prompt("", QueryTokens(tuple(ids))) for ids in job["prompts"] for _ in range(each)]
    batches = range(0, len(prompts), sampling.batch)
    clock = beside.Clock(1, len(batches))
    devices.note(model, clock)
    lengths = []
    for start in batches:
        asked = prompts[start : start + sampling.batch]
        seeds = [seeding.derive(SEED, "sampling", start + row) for row in range(len(asked))]
        written = [
            sample
            for group in generation.write(model, codec, asked, sampling, seeds, job["dtype"], clock)
            for sample in group.values()
        ]
        lengths.append(sum(sample.token_count for sample in written))
        clock.progress(len(lengths), len(batches), "written")
    return clock.found() | {"tokens": sum(lengths[1:])}


if __name__ == "__main__":
    main()

"""The words of the command: its stages and their options."""

import argparse
from collections.abc import Callable

from app.domain.recipes import NAMED
from app.domain.words import Split
from worker.cli import learning, writing
from worker.cli.calls import Call
from worker.cli.directories import SMOLLM2, TINY
from worker.cli.learning import Work

STAGES: dict[str, tuple[str, Callable[[Call], Work]]] = {
    "sft": ("fine-tune a base model on reference summaries", learning.sft),
    "reward": ("train a reward model on comparisons, from the SFT policy", learning.reward),
    "ppo": ("improve the SFT policy against a reward model", learning.ppo),
    "sample": ("write summaries, the best of several if asked", writing.sample),
    "evaluate": ("measure a policy on validation documents", writing.evaluate),
}


def parser() -> argparse.ArgumentParser:
    """What reads the command's words: `stage`, and the options of that stage."""
    parser = argparse.ArgumentParser(prog="python -m worker.cli", description="Hone's training library, from files.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, (words, _) in STAGES.items():
        stage = stages.add_parser(name, help=words, description=f"{words[:1].upper()}{words[1:]}.")
        form = "comparisons in OpenAI's form" if name == "reward" else "documents (id, subreddit, title, post, summary)"
        model = f"a directory, a hub id, {SMOLLM2} or {TINY}" if name == "sft" else "a directory"
        whose = {"sft": "base model", "reward": "SFT policy", "ppo": "SFT policy"}.get(name, "policy")
        stage.add_argument("--recipe", required=True, metavar="R", help=f"{', '.join(NAMED)}, or a JSON file")
        stage.add_argument("--data", required=True, metavar="FILE", help=f"JSON lines, plain or .gz: {form}")
        stage.add_argument("--model", required=True, metavar="DIR", help=f"the {whose}: {model}")
        stage.add_argument("--out", required=True, metavar="DIR", help="what is made; call again to go on there")
        stage.add_argument(
            "--splits",
            choices=("file", "hash"),
            default="file",
            help="whose splits: the file's where it names one, or by a hash of the id whatever it says",
        )
        stage.add_argument("--template", metavar="FILE", help="a prompt template instead of the study's")
        if name in ("sft", "reward", "ppo"):
            stage.add_argument(
                "--processes", type=_positive, metavar="N", help="how many learn together (default: one for each GPU)"
            )
        if name == "reward":
            stage.add_argument(
                "--documents", metavar="FILE", help="documents whose summaries get the score 0 on average"
            )
        if name in ("ppo", "evaluate", "sample"):
            stage.add_argument("--reward", metavar="DIR", required=name != "sample", help="the reward model")
        if name == "ppo":
            stage.add_argument("--start", metavar="DIR", help="the policy to start from, if not the SFT policy")
        if name == "evaluate":
            stage.add_argument("--sft", metavar="DIR", help="the policy to measure the KL divergence from")
        if name == "sample":
            stage.add_argument("--split", choices=("all", *(split.value for split in Split)), default="all")
            stage.add_argument("--limit", type=_positive, metavar="N", help="of the documents, the first N")
            stage.add_argument("--best-of", type=_positive, default=1, metavar="N", help="keep the best of N")
        if name in ("sample", "evaluate"):
            stage.add_argument("--examples", metavar="FILE", help="documents to show before the question (few-shot)")
            stage.add_argument("-k", type=_positive, default=4, metavar="K", help="how many of them (default 4)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)

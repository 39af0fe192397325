"""The training library alone: `python -m worker.cli STAGE` runs one stage from files, without Hone's servers.

Knows arguments, Hone's file forms, signals and sentences; the only place of the worker that talks to a terminal. The
mathematics is in worker.training, which is loaded once arguments and files are known to be good.
"""

import argparse
import fcntl
import gzip
import json
import math
import os
import platform
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from tqdm import tqdm

from app.domain import intervals
from app.domain.prompts import (
    FEW_SHOT_QUESTION,
    TLDR,
    FewShot,
    InvalidTemplate,
    PromptTemplate,
    PromptTooLong,
    WorkedExample,
)
from app.domain.recipes import LONGEST_PROMPT, NAMED, InvalidRecipe, Recipe
from app.domain.records import BadRecord, ComparisonRecord, PostRecord, SummaryRecord, read_comparison, read_post
from app.domain.splits import SALT, SPELLINGS, TEST_SHARE, VALIDATION_SHARE, split_by_hash
from app.domain.words import Split
from worker.training import checkpoints
from worker.training.errors import SMALLER, CannotTrain, DiskFull, out_of_disk, out_of_memory
from worker.training.examples import Demonstration, Pair, Query
from worker.training.metrics import Cancelled, Sink

R = TypeVar("R")

REFUSED = 2
STOPPED = 130
"""What a shell says of a command that Ctrl-C ended."""
LINE_EVERY_SECONDS = 15.0
VALIDATION_DOCUMENTS = 64
"""Held-out documents whose loss SFT reports, as in the product."""
REFERENCE = "ref"
"""The policy that stands for people in OpenAI's released records."""

TINY, SMOLLM2 = "tiny", "smollm2-135m"

ASKED, RESULT, METRICS, STATES, SUMMARIES = "asked.json", "result.json", "metrics.jsonl", "states", "summaries.jsonl"
MADE = ("base", "policy", "reward", "ppo", SUMMARIES, STATES)


class Wrong(Exception):
    """What a person has to change before this can run, in one sentence."""


@dataclass(frozen=True)
class Call:
    """One call of the command: what was asked, with the recipe and the template read."""

    options: argparse.Namespace
    recipe: Recipe
    template: PromptTemplate
    out: Path

    @property
    def data(self) -> Path:
        """The file to read."""
        return Path(self.options.data)

    @property
    def states(self) -> Path:
        """Where the resume states are, until there is a result."""
        return self.out / STATES

    def named(self, sink: Sink) -> dict[str, Any]:
        """What every stage takes by name."""
        return {
            "sampling": self.recipe.sampling,
            "precision": self.recipe.precision,
            "seed": self.recipe.seed,
            "sink": sink,
            "template": self.template,
            "state_dir": self.states,
        }

    def documents(self, path: Path, *splits: Split) -> list[PostRecord]:
        """The documents of a file in these splits; of several with one id, the first."""
        firsts: dict[str, PostRecord] = {}
        for record in _records(path, read_post):
            firsts.setdefault(record.source_id, record)
        return [record for record in firsts.values() if self.split(record) in splits]

    def split(self, record: PostRecord) -> Split:
        """The split that the file gives a document, else the one that the product would give it."""
        named = SPELLINGS.get(record.split or "") if self.options.splits == "file" else None
        return named or split_by_hash(SALT, record.source_id, VALIDATION_SHARE, TEST_SHARE)

    def demonstrations(self, path: Path, split: Split) -> list[Demonstration]:
        """The documents of a split that have a reference summary."""
        return [_demonstration(record) for record in self.documents(path, split) if record.summary is not None]

    def judged(self) -> dict[Split, list[ComparisonRecord]]:
        """The comparisons by split, which is the first one named for a document.

        Where one person judged a pair again, the last answer counts.
        """
        splits: dict[str, Split] = {}
        newest: dict[tuple[object, ...], ComparisonRecord] = {}
        for record in _records(self.data, read_comparison):
            splits.setdefault(record.document.source_id, self.split(record.document))
            sides = frozenset((side.policy, side.text) for side in record.summaries)
            newest[record.document.source_id, sides, record.batch, record.worker] = record
        rows: dict[Split, list[ComparisonRecord]] = {split: [] for split in Split}
        for record in newest.values():
            rows[splits[record.document.source_id]].append(record)
        return rows


Work = Callable[[Sink], dict[str, Any]]
"""The stage itself, once its files are read: gives the result."""


def _query(record: PostRecord) -> Query:
    return Query(record.community, record.title, record.post)


def _demonstration(record: PostRecord) -> Demonstration:
    return Demonstration(_query(record), record.summary or "")


def _pair(record: ComparisonRecord) -> Pair:
    """A comparison as training sees it: the preferred text first."""
    sides = record.summaries if record.value <= 5 else record.summaries[::-1]
    texts = [side.text.strip() for side in sides]
    return Pair(_query(record.document), texts[0], texts[1], record.value, (sides[0].policy, sides[1].policy))


def _records(path: Path, form: Callable[[int, str], R]) -> list[R]:
    """Every line of a plain or gzip file in one form. Raises Wrong at the first bad line."""
    number = 0
    found = []
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            for number, raw in enumerate(gzip.GzipFile(fileobj=file) if packed else file, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    found.append(form(number, text))
    except BadRecord as bad:
        raise Wrong(f"{path}, {bad}. Mend the line; nothing was begun.") from bad
    except UnicodeDecodeError as bad:
        raise Wrong(f"{path}, line {number}: not UTF-8 at byte {bad.start}. Nothing was begun.") from bad
    except (EOFError, zlib.error, gzip.BadGzipFile) as bad:
        raise Wrong(f"{path} is broken after line {number}: {bad}. Nothing was begun.") from bad
    except OSError as trouble:
        raise Wrong(f"{path} cannot be read: {trouble.strerror}. Nothing was begun.") from trouble
    return found


def _some(rows: list[R], what: str, call: Call, path: Path | None = None) -> list[R]:
    if not rows:
        kept = "splits come from the file where it names them" if call.options.splits == "file" else "splits by hash"
        raise Wrong(f"{path or call.data} has no {what} ({kept}; see --splits).")
    return rows


def _recipe(given: str) -> Recipe:
    """A named recipe, or one from a JSON file. Raises Wrong."""
    if given in NAMED:
        return NAMED[given]
    path = Path(given)
    if not path.is_file():
        raise Wrong(f"--recipe {given} is neither a file nor one of {', '.join(NAMED)}.")
    try:
        return Recipe.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except InvalidRecipe as refused:
        raise Wrong(f"--recipe {given}: {refused}.") from refused
    except (ValueError, RecursionError) as refused:
        raise Wrong(f"--recipe {given} is not JSON: {refused}.") from refused


def _template(given: str | None, otherwise: str) -> str:
    if given is None:
        return otherwise
    try:
        text = Path(given).read_text(encoding="utf-8").rstrip()
        return PromptTemplate(text).text
    except InvalidTemplate as refused:
        raise Wrong(f"--template {given}: {refused}.") from refused
    except (OSError, UnicodeDecodeError) as trouble:
        raise Wrong(f"--template {given} cannot be read: {trouble}.") from trouble


def _config(option: str, given: str) -> dict[str, Any]:
    """The config.json of a model directory. Raises Wrong when it is none that can be read here."""
    place = Path(given)
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as trouble:
        raise Wrong(
            f"--{option} {given} is not a model directory: it has no config.json that can be read."
        ) from trouble
    if not any(place.glob("*.safetensors")):
        raise Wrong(f"--{option} {given} has no weights in safetensors, the only form that is read.")
    if not any(place.glob("tokenizer*.json")):
        raise Wrong(f"--{option} {given} has no tokenizer.")
    if not isinstance(config, dict):
        raise Wrong(f"--{option} {given} is not a model directory: its config.json is no object.")
    return config


def _is_scalar(config: Mapping[str, Any]) -> bool:
    return "hone_prompt" in config or any(
        str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []
    )


def _policy(option: str, given: str) -> Path:
    """A directory that holds a causal language model. Raises Wrong."""
    if _is_scalar(_config(option, given)):
        raise Wrong(f"--{option} {given} is a reward or value model; a policy is needed here.")
    return Path(given)


def _reward_model(given: str) -> Path:
    """A directory that the stage `reward` wrote. Raises Wrong."""
    if "hone_prompt" not in _config("reward", given):
        raise Wrong(f"--reward {given} is not a reward model that `reward` has written.")
    return Path(given)


def _prepared(call: Call, texts: Callable[[], list[str]]) -> Path:
    """The model to start from, in the form that training needs: fp32, with padding that is not the end token.

    A directory that has it is taken as it is; everything else is prepared once, in `base` under --out.
    """
    from worker.training import models

    given, place = call.options.model, call.out / "base"
    if Path(given).is_dir():
        config = _config("model", given)
        pad = config.get("pad_token_id")
        if pad is not None and pad != config.get("eos_token_id"):
            return Path(given)
    if place.exists():
        return place
    say(f"preparing {given}, once")
    if given == TINY:
        return models.build_tiny(place, texts(), seed=1)
    if given == SMOLLM2:
        return models.convert_smollm2(place)
    try:
        return models.prepare_base(given, place)
    except (OSError, ValueError) as trouble:
        if out_of_disk(trouble):
            raise
        raise Wrong(f"--model {given} cannot be loaded: {str(trouble).splitlines()[0]}") from trouble


def _sft(call: Call) -> Work:
    if Path(call.options.model).is_dir():
        _policy("model", call.options.model)
    train = _some(call.demonstrations(call.data, Split.TRAIN), "training document with a summary", call)
    held_out = call.demonstrations(call.data, Split.VALIDATION)[:VALIDATION_DOCUMENTS]

    def texts() -> list[str]:
        return [f"{each.query.title} {each.query.post} {each.summary_text}" for each in train[:2000]]

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import sft

        done = sft.train(
            _prepared(call, texts),
            train,
            held_out,
            call.recipe.sft,
            out_dir=call.out / "policy",
            **call.named(sink),
        )
        return asdict(done) | {"validation_documents": len(held_out)}

    return work


def _reward(call: Call) -> Work:
    if not call.recipe.labels.keeps_all:
        raise Wrong("The recipe leaves answers out (labels), which only the product can: give one that keeps all.")
    _policy("model", call.options.model)
    judged = call.judged()
    train, held_out = ([_pair(row) for row in judged[split]] for split in (Split.TRAIN, Split.VALIDATION))
    if all(pair.tied for pair in _some(train, "comparison of a training document", call)):
        raise Wrong(f"{call.data} has no comparison of a training document that prefers a side.")
    references = (
        [
            Demonstration(_query(row.document), side.text.strip())
            for row in {row.document.source_id: row for row in judged[Split.TRAIN] if _reference(row)}.values()
            for side in _reference(row)
        ]
        if call.options.documents is None
        else call.demonstrations(Path(call.options.documents), Split.TRAIN)
    )
    if not references:
        raise Wrong(
            "There is no reference summary of a training document, to give the score 0 to: name a file of documents "
            "with --documents."
        )

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import reward
        from worker.training.accuracy import Accuracy

        def estimate(counted: Accuracy) -> dict[str, Any]:
            return asdict(intervals.rate(counted.right, counted.n))

        done = reward.train(
            _prepared(call, list),
            train,
            held_out,
            references,
            call.recipe.reward,
            out_dir=call.out / "reward",
            **call.named(sink),
        )
        return {
            "directory": done.directory,
            "pairs": done.pairs,
            "ties": done.ties,
            "steps": done.steps,
            "training_loss": done.training_loss,
            "validation_loss": done.validation_loss,
            "accuracy": estimate(done.accuracy),
            "accuracy_by_policies": {name: estimate(each) for name, each in done.accuracy_by_policies.items()},
            "accuracy_by_confidence": {name: estimate(each) for name, each in done.accuracy_by_confidence.items()},
            "offset": done.offset,
            "references": done.references,
            "chosen_seed": done.chosen_seed,
        }

    return work


def _reference(row: ComparisonRecord) -> list[SummaryRecord]:
    """The side that a person wrote, if there is one."""
    return [side for side in row.summaries if side.policy == REFERENCE][:1]


def _ppo(call: Call) -> Work:
    options = call.options
    _policy("model", options.model)
    reward_dir = _reward_model(options.reward)
    start = None if options.start is None else _policy("start", options.start)
    queries = [_query(each) for each in _some(call.documents(call.data, Split.TRAIN), "training document", call)]
    held_out = []
    if call.recipe.ppo.stop_preference_drop is not None:
        # None of those that the evaluation measures, as long as there are others.
        wanted = call.recipe.ppo.preference_documents
        rows = call.documents(call.data, Split.VALIDATION)[: call.recipe.evaluation.documents + wanted]
        what = "validation document to estimate the preference on (ppo.stop_preference_drop)"
        held_out = [_query(each) for each in _some(rows, what, call)[-wanted:]]

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import ppo

        done = ppo.train(
            _prepared(call, list),
            reward_dir,
            queries,
            call.recipe.ppo,
            out_dir=call.out / "ppo",
            start_dir=start,
            held_out=held_out,
            **call.named(sink),
        )
        return asdict(done)

    return work


def _sample(call: Call) -> Work:
    options, recipe = call.options, call.recipe
    policy_dir = _policy("model", options.model)
    if options.best_of > 1 and options.reward is None:
        raise Wrong("--best-of needs --reward, the model that says which one is best.")
    if options.best_of > 1 and recipe.sampling.temperature == 0:
        raise Wrong("--best-of needs a recipe with sampling.temperature above 0: at 0 all summaries would be equal.")
    reward_dir = None if options.reward is None else _reward_model(options.reward)
    splits = list(Split) if options.split == "all" else [Split(options.split)]
    what = "document" if options.split == "all" else f"document in the split {options.split}"
    records = _some(call.documents(call.data, *splits)[: options.limit], what, call)
    queries = [_query(record) for record in records]
    worked = _worked(call)

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import best_of_n, generation, seeding

        template = _asking(call, worked)
        common: dict[str, Any] = {"template": template, "precision": recipe.precision, "state_dir": call.states}
        curve = {}
        if reward_dir is None:
            seeds = [seeding.derive(recipe.seed, "sample", index, 0) for index in range(len(queries))]
            samples = generation.sample(policy_dir, queries, recipe.sampling, seeds, sink, **common)
            scores: list[float | None] = [None] * len(samples)
        else:
            found = best_of_n.write(
                policy_dir, reward_dir, queries, options.best_of, recipe.sampling, sink, seed=recipe.seed, **common
            )
            samples = [each.samples[each.best] for each in found]
            scores = [each.scores[each.best] for each in found]
            curve = {
                n: {"score": _mean([best_of_n.expected(n, each.scores) for each in found])}
                | {"kl_at_most": best_of_n.divergence(n)}
                for n in sorted({*(2**power for power in range(options.best_of.bit_length())), options.best_of})
            }
        _write_lines(
            call.out / SUMMARIES,
            [
                {"id": record.source_id, "split": call.split(record).value, "summary": each.text, "score": score}
                | {"tokens": each.token_count, "finished": each.finished, "seed": each.seed, "prompt": each.prompt}
                for record, each, score in zip(records, samples, scores, strict=True)
            ],
        )
        return {
            "summaries": call.out / SUMMARIES,
            "documents": len(records),
            "length": _mean([float(each.token_count) for each in samples]),
            "without_eos": asdict(intervals.rate(sum(not each.finished for each in samples), len(samples))),
            "best_of": curve,
        }

    return work


def _evaluate(call: Call) -> Work:
    options, recipe = call.options, call.recipe
    policy_dir, reward_dir = _policy("model", options.model), _reward_model(options.reward)
    if (options.sft is None) == (options.examples is None):
        raise Wrong(
            "--sft names the policy from which the KL divergence is measured, and is needed but with --examples: "
            "a policy that is asked in another way has no such divergence."
        )
    sft_dir = None if options.sft is None else _policy("sft", options.sft)
    records = [
        record
        for record in _some(call.documents(call.data, Split.VALIDATION), "validation document", call)
        if record.summary is not None
    ][: recipe.evaluation.documents]
    told = [_demonstration(each) for each in _some(records, "validation document with a summary", call)]
    worked = _worked(call)

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import evaluation

        done = evaluation.evaluate(
            policy_dir,
            sft_dir,
            reward_dir,
            told,
            recipe.evaluation,
            **call.named(sink) | {"template": _asking(call, worked)},
        )
        _write_lines(
            call.out / SUMMARIES,
            [
                {"id": record.source_id, "summary": row.sample.text, "reference": record.summary}
                | {"score": row.score, "reference_score": row.reference_score, "kl": _plain(row.kl)}
                | asdict(row.rouge)
                | {"copying": row.copying, "tokens": row.sample.token_count, "finished": row.sample.finished}
                | {"seed": row.sample.seed, "prompt": row.sample.prompt}
                for record, row in zip(records, done.rows, strict=True)
            ],
        )
        means = {name.partition("/")[2]: _mean(done.values(name)) for name in done.means}
        above = sum(row.score > row.reference_score for row in done.rows)
        return (
            {"summaries": call.out / SUMMARIES, "documents": len(records)}
            | means
            | {"above_reference": asdict(intervals.rate(above, len(records)))}
        )

    return work


def _mean(values: list[float]) -> dict[str, Any]:
    return asdict(intervals.mean(values))


def _worked(call: Call) -> tuple[WorkedExample, ...]:
    """The examples to show before a question: the first K training documents of the file that have a summary."""
    options = call.options
    if options.examples is None:
        return ()
    path = Path(options.examples)
    shown = _some(call.demonstrations(path, Split.TRAIN), "training document with a summary", call, path)[: options.k]
    return tuple(
        WorkedExample(each.query.subreddit, each.query.title, each.query.post, each.summary_text) for each in shown
    )


def _asking(call: Call, worked: tuple[WorkedExample, ...]) -> PromptTemplate:
    """The template, with the examples before it, as many as the model has positions for."""
    if not worked:
        return call.template
    from transformers import AutoConfig

    from worker.training import tokens

    config = AutoConfig.from_pretrained(call.options.model)
    positions = getattr(config, "max_position_embeddings", None) or LONGEST_PROMPT
    room = positions - call.recipe.sampling.max_summary_tokens - len(tokens.load(Path(call.options.model)).prefix)
    return FewShot(_template(call.options.template, FEW_SHOT_QUESTION), worked, room)


STAGES: dict[str, tuple[str, Callable[[Call], Work]]] = {
    "sft": ("fine-tune a base model on reference summaries", _sft),
    "reward": ("train a reward model on comparisons, from the SFT policy", _reward),
    "ppo": ("improve the SFT policy against a reward model", _ppo),
    "sample": ("write summaries, the best of several if asked", _sample),
    "evaluate": ("measure a policy on validation documents", _evaluate),
}


def _parser() -> argparse.ArgumentParser:
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


class FileSink:
    """Metrics and conditions as JSON lines in a file, progress on the terminal."""

    def __init__(self, path: Path, stopping: Callable[[], bool]) -> None:
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            self._file.close()
            raise Wrong(f"Another process is at work in {path.parent}.") from taken
        _drop_torn_line(self._file)
        self._stopping = stopping
        self._conditions: dict[str, str] = {}
        self._bar: Any = None
        self._told = time.monotonic()

    def metric(self, name: str, step: int, value: float) -> None:
        """A line with the point; null for what is not a number."""
        self._write({"step": step, "name": name, "value": _plain(value)})

    def progress(self, done: int, total: int, words: str) -> None:
        """A bar where somebody looks at a terminal, else a line now and then."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(
                    desc=words, initial=done, total=total, file=sys.stderr, dynamic_ncols=True, leave=False
                )
            self._bar.total = total
            self._bar.set_description(words, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == total or time.monotonic() - self._told >= LINE_EVERY_SECONDS:
            self._told = time.monotonic()
            say(words)

    def check(self) -> None:
        """Raises Cancelled once somebody has pressed Ctrl-C."""
        if self._stopping():
            raise Cancelled("Somebody asked to stop.")

    def note(self, name: str, value: str) -> None:
        """A line with the condition, in the file and on the terminal, when it is new."""
        if self._conditions.get(name) != value:
            self._conditions[name] = value
            self._write({"condition": name, "value": value})
            say(f"{name}: {value}")

    def flush(self) -> None:
        """What was told is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more will be told."""
        if self._bar is not None:
            self._bar.close()
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(f"{json.dumps(line)}\n".encode())


def _drop_torn_line(file: Any) -> None:
    """What a killed process left without its end."""
    file.seek(0)
    whole = file.read().rpartition(b"\n")
    file.truncate(len(whole[0]) + len(whole[1]))


def _plain(value: float) -> float | None:
    """A number that JSON has, or null."""
    return value if math.isfinite(value) else None


def say(sentence: str) -> None:
    """One line to the terminal, above the bar if there is one."""
    tqdm.write(f"hone: {sentence}", file=sys.stderr)


def _write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    _write_whole(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _write_whole(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _identity(call: Call) -> dict[str, Any]:
    """What decides the result: two calls that agree in it are one."""
    told: dict[str, Any] = {"recipe": call.recipe.to_dict()}
    for name, given in sorted(vars(call.options).items()):
        path = Path(str(given))
        if name in ("recipe", "out"):
            continue
        if name in ("model", "reward", "sft", "start") and path.is_dir():
            told[name] = {"directory": given, "sha256": checkpoints.digest_directory(path)}
        elif name in ("data", "documents", "examples", "template") and path.is_file():
            told[name] = {"file": given, "sha256": checkpoints.digest_file(path)}
        else:
            told[name] = given
    return told


def _digests(told: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without the paths: a file that was moved is the same file."""
    return {name: value.get("sha256", value) if isinstance(value, dict) else value for name, value in told.items()}


def _begin(call: Call, told: dict[str, Any]) -> bool:
    """Make --out ours, or go on in it; whether there is something to do. Raises Wrong when it is another call's."""
    path = call.out / ASKED
    taken = [name for name in MADE if _holds(call.out / name)]
    if path.exists() and (taken or (call.out / RESULT).exists()):
        before = _digests(json.loads(path.read_text(encoding="utf-8")))
        now = _digests(json.loads(json.dumps(told)))
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if differing:
            raise Wrong(f"{call.out} was begun with another {' and '.join(differing)}. Give another --out; it is kept.")
        return not (call.out / RESULT).exists()
    if taken and not path.exists():
        raise Wrong(f"{call.out} holds {' and '.join(taken)} of something else. Give another --out; it is kept.")
    call.out.mkdir(parents=True, exist_ok=True)
    _write_whole(path, json.dumps(told, indent=1))
    return True


def _holds(place: Path) -> bool:
    return any(place.iterdir()) if place.is_dir() else place.exists()


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C (or a termination) is asked about and not thrown; a second one ends the process at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        # Not `say`: the signal may have come in the middle of one.
        os.write(2, b"\nhone: stopping after the update in hand; once more ends at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note_conditions(sink: Sink) -> None:
    import torch
    import transformers

    from worker.training import devices

    device = devices.best()
    sink.note("python", platform.python_version())
    sink.note("machine", platform.machine())
    sink.note("torch", torch.__version__)
    sink.note("transformers", transformers.__version__)
    sink.note("device", torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")


def _run(options: argparse.Namespace) -> None:
    """Read everything, then do the work that is left. Raises Wrong, Cancelled, or what training raises."""
    recipe = _recipe(options.recipe)
    call = Call(options, recipe, PromptTemplate(_template(options.template, TLDR.text)), Path(options.out))
    work = STAGES[options.stage][1](call)
    if _begin(call, told := _identity(call)):
        with _stoppable() as stopping:
            sink = FileSink(call.out / METRICS, stopping)
            try:
                _note_conditions(sink)
                result = work(sink)
                sink.flush()
            finally:
                sink.close()
        _write_whole(call.out / RESULT, json.dumps({"result": result, "asked": told}, indent=1, default=str))
    else:
        say("this was finished before; nothing was done again")
    shutil.rmtree(call.states, ignore_errors=True)
    say(f"done: {call.out / RESULT}")


def _in_words(error: Exception, options: argparse.Namespace) -> str | None:
    """What happened and what to do, of an error that a person can act on."""
    if out_of_memory(error):
        return (
            f"Out of memory. What was reached is kept in {options.out}. Lower {SMALLER[options.stage]} or "
            "sampling.max_query_tokens in the recipe, and give another --out."
        )
    if isinstance(error, DiskFull):
        return str(error)
    if out_of_disk(error):
        return f"The disk is full. What was reached is kept in {options.out}: make room and call again."
    if isinstance(error, PromptTooLong):
        return f"{_sentence(error)} Raise sampling.max_query_tokens in the recipe, or leave the document out."
    if isinstance(error, CannotTrain):
        return _sentence(error)
    if isinstance(error, SafetensorError):
        return f"The weights of a model cannot be read: {error}."
    if isinstance(error, OSError):
        return f"{str(error).splitlines()[0]}." if str(error) else None
    return None


def _sentence(error: Exception) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status: 0 done, 2 refused in words, 130 stopped by Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except Wrong as wrong:
        say(str(wrong))
        return REFUSED
    except Cancelled as stop:
        left = "" if stop.left is None else f" The model as it is now is in {stop.left}."
        say(f"Stopped.{left} Call the same command again to go on where it stands.")
        return STOPPED
    except KeyboardInterrupt:
        say("Stopped before anything was begun.")
        return STOPPED
    except (CannotTrain, PromptTooLong, SafetensorError, OSError, MemoryError, RuntimeError) as error:
        words = _in_words(error, options)
        if words is None:
            raise
        say(words)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())

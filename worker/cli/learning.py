"""The stages that train a model: which rows of the files go in, and what of the outcome is told."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.words import Split
from worker.cli.calls import Call, pair, query, reference, some
from worker.cli.directories import policy, prepared, reward_model
from worker.cli.refusal import Wrong
from worker.training.examples import Demonstration
from worker.training.metrics import Sink

VALIDATION_DOCUMENTS = 64
"""Held-out documents whose loss SFT reports, as in the product."""

Work = Callable[[Sink], dict[str, Any]]
"""The stage itself, once its files are read: gives the result."""


def sft(call: Call) -> Work:
    """Fine-tuning on the training documents that have a summary. Raises Wrong."""
    if Path(call.options.model).is_dir():
        policy("model", call.options.model)
    train = some(call.demonstrations(call.data, Split.TRAIN), "training document with a summary", call)
    held_out = call.demonstrations(call.data, Split.VALIDATION)[:VALIDATION_DOCUMENTS]

    def texts() -> list[str]:
        return [f"{each.query.title} {each.query.post} {each.summary_text}" for each in train[:2000]]

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import launching, sft

        done = launching.run(
            sft.train,
            prepared(call, texts),
            train,
            held_out,
            call.recipe.sft,
            processes=call.processes(launching.usual()),
            out_dir=call.out / "policy",
            **call.named(sink),
        )
        return asdict(done) | {"validation_documents": len(held_out)}

    return work


def reward(call: Call) -> Work:
    """A reward model from the training comparisons. Raises Wrong."""
    if not call.recipe.labels.keeps_all:
        raise Wrong("The recipe leaves answers out (labels), which only the product can: give one that keeps all.")
    adapter = _adapter(call, bool(call.recipe.reward.lora_rank))
    policy("model", call.options.model)
    judged = call.judged()
    train, held_out = ([pair(row) for row in judged[split]] for split in (Split.TRAIN, Split.VALIDATION))
    if all(pair.tied for pair in some(train, "comparison of a training document", call)):
        raise Wrong(f"{call.data} has no comparison of a training document that prefers a side.")
    references = (
        [
            Demonstration(query(row.document), side.text.strip())
            for row in {row.document.source_id: row for row in judged[Split.TRAIN] if reference(row)}.values()
            for side in reference(row)
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
        from worker.training import launching, reward
        from worker.training.accuracy import Accuracy

        def estimate(counted: Accuracy) -> dict[str, Any]:
            return asdict(intervals.rate(counted.right, counted.n))

        done = launching.run(
            reward.train,
            prepared(call, list),
            train,
            held_out,
            references,
            call.recipe.reward,
            processes=call.processes(launching.usual(adapter=adapter)),
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


def ppo(call: Call) -> Work:
    """PPO on summaries of the training documents. Raises Wrong."""
    options, asked = call.options, call.recipe.ppo
    adapter = _adapter(call, bool(asked.lora_rank or asked.value_lora_rank))
    policy("model", options.model)
    reward_dir = reward_model(options.reward)
    start = None if options.start is None else policy("start", options.start)
    queries = [query(each) for each in some(call.documents(call.data, Split.TRAIN), "training document", call)]
    held_out = []
    if call.recipe.ppo.stop_preference_drop is not None:
        # None of those that the evaluation measures, as long as there are others.
        wanted = call.recipe.ppo.preference_documents
        rows = call.documents(call.data, Split.VALIDATION)[: call.recipe.evaluation.documents + wanted]
        what = "validation document to estimate the preference on (ppo.stop_preference_drop)"
        held_out = [query(each) for each in some(rows, what, call)[-wanted:]]

    def work(sink: Sink) -> dict[str, Any]:
        from worker.training import launching, ppo

        done = launching.run(
            ppo.train,
            prepared(call, list),
            reward_dir,
            queries,
            call.recipe.ppo,
            processes=call.processes(launching.usual(adapter=adapter)),
            out_dir=call.out / "ppo",
            start_dir=start,
            held_out=held_out,
            **call.named(sink),
        )
        return asdict(done)

    return work


def _adapter(call: Call, adapter: bool) -> bool:
    """Whether an adapter learns. Raises Wrong when it is asked to do so in several processes."""
    if adapter and call.processes(1) > 1:
        raise Wrong("The recipe has an adapter (lora_rank), which learns in one process: leave out --processes.")
    return adapter

"""The stages in which a policy writes: summaries, the best of several, and an evaluation; asked plainly or few-shot."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.domain import intervals
from app.domain.prompts import FEW_SHOT_QUESTION, FewShot, PromptTemplate, WorkedExample
from app.domain.recipes import LONGEST_PROMPT
from app.domain.words import Split
from worker.cli import files, saving
from worker.cli.calls import Call, demonstration, query, some
from worker.cli.directories import policy, reward_model
from worker.cli.learning import Work
from worker.cli.place import SUMMARIES
from worker.cli.refusal import Wrong
from worker.training.metrics import Sink


def sample(call: Call) -> Work:
    """Summaries of the documents of a split, the best of several if asked. Raises Wrong."""
    options, recipe = call.options, call.recipe
    policy_dir = policy("model", options.model)
    if options.best_of > 1 and options.reward is None:
        raise Wrong("--best-of needs --reward, the model that says which one is best.")
    if options.best_of > 1 and recipe.sampling.temperature == 0:
        raise Wrong("--best-of needs a recipe with sampling.temperature above 0: at 0 all summaries would be equal.")
    reward_dir = None if options.reward is None else reward_model(options.reward)
    splits = list(Split) if options.split == "all" else [Split(options.split)]
    what = "document" if options.split == "all" else f"document in the split {options.split}"
    records = some(call.documents(call.data, *splits)[: options.limit], what, call)
    queries = [query(record) for record in records]
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
        saving.write_lines(
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


def evaluate(call: Call) -> Work:
    """A policy on the validation documents. Raises Wrong."""
    options, recipe = call.options, call.recipe
    policy_dir, reward_dir = policy("model", options.model), reward_model(options.reward)
    if (options.sft is None) == (options.examples is None):
        raise Wrong(
            "--sft names the policy from which the KL divergence is measured, and is needed but with --examples: "
            "a policy that is asked in another way has no such divergence."
        )
    sft_dir = None if options.sft is None else policy("sft", options.sft)
    records = [
        record
        for record in some(call.documents(call.data, Split.VALIDATION), "validation document", call)
        if record.summary is not None
    ][: recipe.evaluation.documents]
    told = [demonstration(each) for each in some(records, "validation document with a summary", call)]
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
        saving.write_lines(
            call.out / SUMMARIES,
            [
                {"id": record.source_id, "summary": row.sample.text, "reference": record.summary}
                | {"score": row.score, "reference_score": row.reference_score, "kl": saving.plain(row.kl)}
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
    shown = some(call.demonstrations(path, Split.TRAIN), "training document with a summary", call, path)[: options.k]
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
    return FewShot(files.template(call.options.template, FEW_SHOT_QUESTION), worked, room)

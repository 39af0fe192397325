"""Sampling: the current policy writes summaries, and they are put up in pairs for judging.

Knows which policy, which documents and how many pairs. Texts that say nothing, or the same twice, are written again a
few times and then left out. The sampling itself is in worker.training.generation.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

from app.domain.pairing import REFERENCE, Candidate, Planned, plan
from app.domain.recipes import PairingRecipe, Recipe
from app.domain.words import LabelerKind, Split
from app.services import lineage, promotions, protocols
from app.services.rounds import FOR_QUEUE, FOR_ROUND
from app.store import batches, corpus
from app.store.corpus import DocumentWithReference
from app.store.session import Session
from worker.stages import base_model
from worker.stages.sft import query
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import generation, seeding
from worker.training.generation import Sample

TRIES = 3


@dataclass(frozen=True)
class _Asked:
    recipe: Recipe
    pairing: PairingRecipe
    there: dict[Split, int]
    with_simulated: bool
    notes_first: bool | None
    batch_round: int | None
    batch_name: str


def _asked(task: Task) -> _Asked:
    payload = task.claim.payload
    if payload["for"] == FOR_QUEUE:
        with task.work() as session:
            recipe = lineage.recipe_of(session, payload["recipe_id"])
        values = recipe.pairing.to_dict() | {"pairs": payload["pairs"]}
        pairing = PairingRecipe.from_dict(values)
        name, notes_first = f"pairs of run {task.claim.run_id}", payload.get("notes_first")
        return _Asked(recipe, pairing, {}, payload["with_simulated"], notes_first, None, name)
    facts = task.round
    if payload["for"] == FOR_ROUND:
        with task.work() as session:
            there = batches.count_comparisons(session, facts.id)
        name = f"round {facts.number}"
        return _Asked(facts.recipe, facts.recipe.pairing, there, facts.with_simulated, None, facts.id, name)
    # The next round adopts these.
    name = f"after round {facts.number}"
    return _Asked(facts.recipe, facts.recipe.pairing, {}, facts.with_simulated, None, None, name)


@dataclass
class _Pair:
    planned: Planned
    row: DocumentWithReference
    samples: list[Sample]

    @property
    def missing(self) -> int:
        return (1 if self.planned.reason == REFERENCE else 2) - len(self.samples)

    def take(self, sample: Sample) -> None:
        """Keep a text that says something and says it for the first time in this pair."""
        text = sample.text.strip()
        taken = {each.text.strip() for each in self.samples} | {(self.row.reference or "").strip()}
        if self.missing and text and text not in taken:
            self.samples.append(sample)


def run(task: Task) -> Outcome:
    """Write what is missing and put it up. Raises CannotRun without documents."""
    asked = _asked(task)
    with task.work() as session:
        rows = {
            row.document.id: row
            for split in (Split.TRAIN, Split.VALIDATION)
            for row in corpus.documents_for_training(session, task.claim.project_id, split)
        }
        writer = lineage.current_writer(session)
    if not rows:
        raise CannotRun("There are no documents to summarize. Import some, then ask again.")
    candidates = [
        Candidate(row.document.id, Split(row.document.split), row.reference is not None) for row in rows.values()
    ]
    seed = asked.recipe.seed * 1_000_003 + task.claim.origin
    planned = plan(asked.pairing, candidates, asked.there, Random(seed))
    if not planned:
        return Outcome(
            f"{sum(asked.there.values())} pairs wait already; none were written.", {"pairs": 0, "left_out": 0}
        )
    base = base_model.prepared(task) if writer is None else None
    directory = base or task.artifacts.path(writer.checkpoint.path)  # type: ignore[union-attr]
    pairs = [_Pair(each, rows[each.document_id], []) for each in planned]
    for attempt in range(TRIES):
        _write(task, asked.recipe, directory, pairs, seed, attempt)
    ready = [pair for pair in pairs if not pair.missing]
    left_out = len(pairs) - len(ready)
    with task.work() as session:
        order = protocols.order(session, len(ready), Random(f"{seed} kinds"), notes_first=asked.notes_first)

    def record(session: Session) -> None:
        by = writer or base_model.writer(session, task, directory)
        if writer is None:
            promotions.begin_with(session, by.policy.id, "The base model writes until a policy is fine-tuned.")
        ids = corpus.add_summaries(
            session,
            [
                {
                    "document_id": pair.planned.document_id,
                    "policy_id": by.policy.id,
                    "text": each.text,
                    "checkpoint_id": by.checkpoint.id,
                    "run_id": task.claim.run_id,
                    "prompt": each.prompt,
                    "decoding": _decoding(asked.recipe),
                    "seed": each.seed,
                    "tokens": each.token_count,
                    "finished": each.finished,
                }
                for pair in ready
                for each in pair.samples
            ],
        )
        protocols.put_up(
            session,
            asked.batch_name,
            [
                {
                    "document_id": pair.planned.document_id,
                    "first_summary_id": sides[0],
                    "second_summary_id": sides[1],
                    "reason": pair.planned.reason,
                }
                for pair in ready
                for sides in [_sides(pair, ids, by.policy.id)]
            ],
            order,
            opinions=asked.pairing.opinions,
            for_kind=None if asked.with_simulated else LabelerKind.HUMAN,
            round_id=asked.batch_round,
        )

    name = "the base model" if writer is None else writer.policy.name
    words = [f"{len(ready)} pairs by {name} are up for judging.", *order.words]
    if left_out:
        words.append(f"{left_out} were left out, because the policy wrote nothing or the same twice.")
    result = {"pairs": len(ready), "left_out": left_out, "policy": name, "kinds": order.counts()}
    return Outcome(" ".join(words), result, record)


def _write(task: Task, recipe: Recipe, directory: Path, pairs: list[_Pair], seed: int, attempt: int) -> None:
    wanted = [pair for pair in pairs for _ in range(pair.missing)]
    if not wanted:
        return
    seeds = [seeding.derive(seed, "sample", attempt, number) for number in range(len(wanted))]
    written = generation.sample(
        directory,
        [query(pair.row) for pair in wanted],
        recipe.sampling,
        seeds,
        task.sink,
        template=task.template,
        precision=recipe.precision,
        state_dir=task.states / f"try-{attempt}",
    )
    for pair, sample in zip(wanted, written, strict=True):
        pair.take(sample)


def _decoding(recipe: Recipe) -> dict[str, object]:
    return recipe.sampling.to_dict() | {"precision": recipe.precision}


def _sides(pair: _Pair, ids: dict[tuple[int, int, str, int], int], policy_id: int) -> tuple[int, int]:
    """Both summary ids, in an order that a hash of the texts' seeds decides: being first says nothing."""
    own = [ids[pair.planned.document_id, policy_id, each.text, each.seed] for each in pair.samples]
    both = own if pair.planned.reason != REFERENCE else [own[0], pair.row.reference_id]
    first, second = both
    assert first is not None and second is not None, "a pair against the reference was planned with one"
    turned = sha256(str(pair.samples[0].seed).encode()).digest()[0] % 2
    return (second, first) if turned else (first, second)

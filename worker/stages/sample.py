"""Sampling: the current policy writes summaries, and they are put up in pairs for judging.

Knows which policies write, which documents and how many pairs. Texts that say nothing, or nearly what the other side
says, are written again a few times and then left out. The sampling itself is in worker.training.generation; what a pair
would tell is in worker.training.information; which are put up is decided in app.domain.pairing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from random import Random

from app.domain import pairing
from app.domain.pairing import BEST_OF, INITIAL, REFERENCE, SAMPLES, Candidate, Planned
from app.domain.preferences import MIDDLE
from app.domain.recipes import PairingRecipe, Recipe
from app.domain.words import LabelerKind, Split
from app.services import lineage, promotions, protocols
from app.services.lineage import Writer
from app.services.rounds import FOR_QUEUE, FOR_ROUND, LABELERS_OF
from app.store import answers, batches, corpus
from app.store.corpus import DocumentWithReference
from app.store.session import Session
from app.store.tables import Checkpoint
from worker.stages import base_model
from worker.stages.sft import query
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import best_of_n, devices, generation, information, reward, seeding
from worker.training.examples import Query
from worker.training.generation import Sample
from worker.training.information import TwoTexts

TRIES = 3
MOST_REMEMBERED = 4096
"""Judged pairs that are read again to see what is known already; where there are more, a random part stands for all."""


class By(StrEnum):
    """Who writes a side of a pair."""

    CURRENT = "current"
    INITIAL = "initial"
    BEST = "best"


SIDES = {
    REFERENCE: (By.CURRENT,),
    INITIAL: (By.CURRENT, By.INITIAL),
    BEST_OF: (By.CURRENT, By.BEST),
    SAMPLES: (By.CURRENT, By.CURRENT),
}


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
        asked = PairingRecipe.from_dict(values)
        name, notes_first = f"pairs of run {task.claim.run_id}", payload.get("notes_first")
        return _Asked(recipe, asked, {}, payload["with_simulated"], notes_first, None, name)
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
    """A planned pair and its sides as far as written, in the order of SIDES; `alike`: one was nearly the other."""

    planned: Planned
    row: DocumentWithReference
    most_alike: float
    sides: list[Sample | None] = field(init=False)
    alike: bool = False

    def __post_init__(self) -> None:
        self.sides = [None] * len(SIDES[self.planned.reason])

    @property
    def ready(self) -> bool:
        return None not in self.sides

    def missing(self, by: By) -> list[int]:
        """Which sides this policy has still to write."""
        written = zip(SIDES[self.planned.reason], self.sides, strict=True)
        return [place for place, (who, sample) in enumerate(written) if who is by and sample is None]

    def take(self, place: int, sample: Sample) -> None:
        """Keep a text that says something, and something else than the other side."""
        others = [each.text for each in self.sides if each is not None]
        if self.planned.reason == REFERENCE:
            others.append(self.row.reference or "")
        if not pairing.says_something(sample.text):
            return
        if any(pairing.likeness(sample.text, other) >= self.most_alike for other in others):
            self.alike = True
            return
        self.sides[place] = sample

    def written(self) -> list[tuple[By, Sample]]:
        """The sides that were written, and by whom."""
        both = zip(SIDES[self.planned.reason], self.sides, strict=True)
        return [(who, sample) for who, sample in both if sample is not None]

    def texts(self) -> tuple[str, str]:
        """Both texts as people read them."""
        first, *rest = (sample.text for _, sample in self.written())
        return first.strip(), (rest[0] if rest else self.row.reference or "").strip()


@dataclass(frozen=True)
class _Writers:
    """Who can write: their directories, the reward model, and the recipe without what there is nothing to make of."""

    current: Writer | None
    initial: Writer | None
    reward: Checkpoint | None
    directories: Mapping[By, Path]
    reward_directory: Path | None


def _writers(task: Task) -> _Writers:
    with task.work() as session:
        current, initial = lineage.current_writer(session), lineage.initial_writer(session)
        judge = lineage.newest_reward(session)
    directory = base_model.prepared(task) if current is None else task.artifacts.path(current.checkpoint.path)
    directories = {By.CURRENT: directory}
    if initial is not None:
        directories[By.INITIAL] = task.artifacts.path(initial.checkpoint.path)
    judges = None if judge is None else task.artifacts.path(judge.path)
    return _Writers(current, initial, judge, directories, judges)


def run(task: Task) -> Outcome:
    """Write what is missing and put it up. Raises CannotRun without documents."""
    asked = _asked(task)
    with task.work() as session:
        rows = {
            row.document.id: row
            for split in (Split.TRAIN, Split.VALIDATION)
            for row in corpus.documents_for_training(session, task.claim.project_id, split)
        }
    if not rows:
        raise CannotRun("There are no documents to summarize. Import some, then ask again.")
    candidates = [
        Candidate(row.document.id, Split(row.document.split), row.reference is not None) for row in rows.values()
    ]
    seed = asked.recipe.seed * 1_000_003 + task.claim.origin
    # What a recipe asks in vain is known before anything is planned, so that shares add up.
    writers = _writers(task)
    recipe, words = pairing.possible(
        asked.pairing, initial=writers.initial is not None, reward=writers.reward is not None
    )
    planned = pairing.plan(recipe, candidates, asked.there, Random(seed))
    if not planned:
        return Outcome(
            f"{sum(asked.there.values())} pairs wait already; none were written.", {"pairs": 0, "left_out": 0}
        )
    pairs = [_Pair(each, rows[each.document_id], recipe.most_alike) for each in planned]
    tries = [_write(task, asked.recipe, pairs, writers, recipe.best_of, seed, attempt) for attempt in range(TRIES)]
    written = [place for place, pair in enumerate(pairs) if pair.ready]
    gains: dict[int, float] = {}
    if recipe.choose_from > 1:
        training = [place for place in written if planned[place].split is Split.TRAIN]
        gains = _gains(task, asked, writers.reward_directory, pairs, training, seed)
    chosen = pairing.put_up(recipe, planned, written, gains, Random(f"{seed} chosen"))
    with task.work() as session:
        order = protocols.order(session, len(chosen), Random(f"{seed} kinds"), notes_first=asked.notes_first)

    put_up = [pairs[each.place] for each in chosen]

    def record(session: Session) -> None:
        current = writers.current or base_model.writer(session, task, writers.directories[By.CURRENT])
        if writers.current is None:
            promotions.begin_with(session, current.policy.id, "The base model writes until a policy is fine-tuned.")
        by = _authors(session, current, writers, recipe)
        ids = corpus.add_summaries(
            session,
            [
                {
                    "document_id": pair.planned.document_id,
                    "policy_id": by[who].policy.id,
                    "text": sample.text,
                    "checkpoint_id": by[who].checkpoint.id,
                    "run_id": task.claim.run_id,
                    "prompt": sample.prompt,
                    "decoding": _decoding(asked.recipe) | (_picked(writers, recipe) if who is By.BEST else {}),
                    "seed": sample.seed,
                    "tokens": sample.token_count,
                    "finished": sample.finished,
                }
                for pair in put_up
                for who, sample in pair.written()
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
                    "reason": each.reason,
                    "propensity": each.propensity,
                }
                for each, pair in zip(chosen, put_up, strict=True)
                for sides in [_sides(pair, by, ids)]
            ],
            order,
            opinions=recipe.opinions,
            for_kind=None if asked.with_simulated else LabelerKind.HUMAN,
            round_id=asked.batch_round,
        )

    name = "the base model" if writers.current is None else writers.current.policy.name
    lost = [pair for pair in pairs if not pair.ready]
    left_out = max(0, pairing.wanted(recipe, planned) - len(chosen))
    alike = sum(pair.alike for pair in lost)
    told = [f"{len(chosen)} pairs by {name} are up for judging.", *order.words, *words]
    result = {
        "pairs": len(chosen),
        "left_out": left_out,
        "alike": alike,
        # A forecast knows how many are planned, not how many will be written again.
        "summaries": sum(tries),
        "written_again": sum(tries[1:]),
        "policy": name,
        "kinds": order.counts(),
        "reasons": dict(sorted(Counter(each.reason for each in chosen).items())),
    }
    if recipe.choose_from > 1:
        control = sum(each.reason.endswith(pairing.CONTROL) for each in chosen)
        told.append(
            f"They were chosen from {len(written)} that were written, with a higher probability where an answer tells "
            f"more about the reward model; {control} of them at random."
        )
        result |= {"written": len(written), "control": control, "reward_checkpoint": _id(writers.reward)}
    if lost:
        told.append(
            f"{len(lost)} could not be used: in {alike} both sides say nearly the same, in {len(lost) - alike} one "
            "says nothing."
        )
    return Outcome(" ".join(told), result, record)


def _write(
    task: Task, recipe: Recipe, pairs: Sequence[_Pair], writers: _Writers, best_of: int, seed: int, attempt: int
) -> int:
    """Write the missing sides once, each policy in turn. Gives how many summaries that took."""
    count = 0
    for by in By:
        wanted = [(pair, place) for pair in pairs for place in pair.missing(by)]
        if not wanted:
            continue
        queries = [query(pair.row) for pair, _ in wanted]
        count += len(wanted) * (best_of if by is By.BEST else 1)
        if by is By.BEST:
            samples = _best(task, recipe, writers, queries, best_of, seed, attempt)
        else:
            purpose = ["sample"] if by is By.CURRENT else ["sample", by.value]
            samples = generation.sample(
                writers.directories[by],
                queries,
                recipe.sampling,
                [seeding.derive(seed, *purpose, attempt, number) for number in range(len(wanted))],
                task.sink,
                template=task.template,
                precision=recipe.precision,
                state_dir=task.states / f"{by.value}-{attempt}",
            )
        for (pair, place), sample in zip(wanted, samples, strict=True):
            pair.take(place, sample)
    return count


def _best(
    task: Task, recipe: Recipe, writers: _Writers, queries: Sequence[Query], n: int, seed: int, attempt: int
) -> list[Sample]:
    assert writers.reward_directory is not None, "without a reward model no such pair is planned"
    found = best_of_n.write(
        writers.directories[By.CURRENT],
        writers.reward_directory,
        queries,
        n,
        recipe.sampling,
        task.sink,
        seed=seeding.derive(seed, By.BEST.value, attempt),
        template=task.template,
        precision=recipe.precision,
        state_dir=task.states / f"{By.BEST.value}-{attempt}",
    )
    return [each.samples[each.best] for each in found]


def _gains(
    task: Task, asked: _Asked, directory: Path | None, pairs: Sequence[_Pair], places: Sequence[int], seed: int
) -> dict[int, float]:
    """What an answer to each of these pairs would tell about the reward model, in nats, after those judged so far."""
    assert directory is not None, "without a reward model nothing is chosen"
    with task.work() as session:
        kinds = LABELERS_OF[asked.with_simulated]
        rows = answers.judged(session, task.claim.project_id, kinds=kinds, splits=(Split.TRAIN,))
        judged = [
            TwoTexts(Query(row.community, row.title, row.post), row.texts[0].strip(), row.texts[1].strip())
            for row in rows
            if row.value != MIDDLE
        ]
    remembered = Random(f"{seed} remembered").sample(judged, min(len(judged), MOST_REMEMBERED))
    scorer = reward.load(directory, asked.recipe.precision, devices.best())
    candidates = [TwoTexts(query(pairs[place].row), *pairs[place].texts()) for place in places]
    gains = information.gains(scorer, remembered, candidates, task.sink, stand_for=len(judged))
    return dict(zip(places, gains, strict=True))


def _id(checkpoint: Checkpoint | None) -> int | None:
    return None if checkpoint is None else checkpoint.id


def _authors(session: Session, current: Writer, writers: _Writers, recipe: PairingRecipe) -> dict[By, Writer]:
    """Who wrote each side, as rows. The best of several is a policy of its own, as in the study's Table 11."""
    by = {By.CURRENT: current}
    if writers.initial is not None:
        by[By.INITIAL] = writers.initial
    if writers.reward is not None and recipe.best_of_share:
        best = lineage.best_of(session, current.policy, current.checkpoint, recipe.best_of, writers.reward)
        by[By.BEST] = Writer(best, current.checkpoint)
    return by


def _decoding(recipe: Recipe) -> dict[str, object]:
    return recipe.sampling.to_dict() | {"precision": devices.applied(recipe.precision, devices.best())}


def _picked(writers: _Writers, recipe: PairingRecipe) -> dict[str, object]:
    """How the best one was found. It can be written again without: its seed is its own."""
    return {"best_of": recipe.best_of, "reward_checkpoint": _id(writers.reward)}


def _sides(pair: _Pair, by: Mapping[By, Writer], ids: Mapping[tuple[int, int, str, int], int]) -> tuple[int, int]:
    """Both summary ids, in an order that a hash of the first text's seed decides: being first says nothing."""
    document = pair.planned.document_id
    both = [ids[document, by[who].policy.id, each.text, each.seed] for who, each in pair.written()]
    if pair.planned.reason == REFERENCE:
        assert pair.row.reference_id is not None, "a pair against the reference was planned with one"
        both.append(pair.row.reference_id)
    first, second = both
    turned = sha256(str(pair.written()[0][1].seed).encode()).digest()[0] % 2
    return (second, first) if turned else (first, second)

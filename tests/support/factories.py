"""Rows for tests: people, documents with summaries, batches of comparisons, and one row in every table.

Knows the shortest way to something worth asking about. Knows nothing of any test.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from app.domain.protocols import Protocol
from app.domain.words import (
    BatchKind,
    BatchPurpose,
    CheckpointKind,
    FlagReason,
    LabelerKind,
    LinkPurpose,
    PolicyKind,
    Queue,
    Role,
    RunState,
    SkipReason,
    SlotState,
    Split,
    Stage,
)
from app.services import judging, promotions, verdicts
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, continuous, corpus, guidelines, people, queueing, rounds, runs
from app.store.queueing import Lease
from app.store.session import Session
from app.store.tables import (
    Checkpoint,
    Comparison,
    Confirmation,
    Document,
    Export,
    Flag,
    Guideline,
    Labeler,
    MetricPoint,
    Note,
    Preference,
    Qualification,
    QueuePlace,
    Rating,
    Run,
    Showing,
    Slot,
    Tally,
    Verdict,
    Worker,
)

LEASE = timedelta(minutes=15)
PAGE = "test-page"

_numbers = itertools.count(1)


def labeler(
    session: Session,
    name: str | None = None,
    role: Role = Role.LABELER,
    kind: LabelerKind = LabelerKind.HUMAN,
    *,
    reads: bool = True,
) -> Viewer:
    """An account that can sign in once it has a password; a labeler who has read the guidelines, unless told not to."""
    row = people.add_labeler(session, name or f"{role}-{next(_numbers)}", role, kind)
    if reads and role is Role.LABELER:
        has_read(session, row.id)
    return Viewer(row.id, row.name, role, kind)


def has_read(session: Session, labeler_id: int) -> None:
    """The account has confirmed the guidelines in force, where there are any."""
    told = guidelines.newest(session, the_project(session).id)
    if told is not None:
        guidelines.confirm(session, labeler_id, told.id)


def admin(session: Session, name: str | None = None) -> Viewer:
    """An account that may see everything and judge nothing."""
    return labeler(session, name, Role.ADMIN)


def document(session: Session, source_id: str | None = None, split: Split = Split.TRAIN) -> Document:
    """A document without summaries."""
    return documents(session, [source_id or f"d{next(_numbers)}"], split)[0]


def documents(session: Session, source_ids: Sequence[str], split: Split = Split.TRAIN) -> list[Document]:
    """Documents without summaries, in this order."""
    project = the_project(session)
    added = corpus.add_documents(
        session,
        [
            {
                "project_id": project.id,
                "source_id": source_id,
                "community": "cats",
                "title": f"Title of {source_id}",
                "post": f"A long story about the cat {source_id}.",
                "info": {},
                "split": split,
                "source_split": None,
                "run_id": None,
            }
            for source_id in source_ids
        ],
    )
    return [added[source_id] for source_id in source_ids]


def summary(session: Session, document_id: int, text: str | None = None, policy: str = "ref") -> int:
    """A summary by a policy, made as an imported one where it is not there yet."""
    text = text or f" Summary {next(_numbers)}."
    writer = corpus.policies_by_name(session, the_project(session).id, [policy])[policy]
    ids = corpus.add_summaries(session, [{"document_id": document_id, "policy_id": writer.id, "text": text}])
    return ids[document_id, writer.id, text, -1]


def reference_document(session: Session, source_id: str | None = None, split: Split = Split.TRAIN) -> Document:
    """A document with its reference summary: the least a round needs."""
    row = document(session, source_id, split)
    summary(session, row.id)
    return row


@dataclass(frozen=True)
class Pairs:
    """A batch and its comparisons, in the order in which they were put up."""

    batch_id: int
    comparisons: Sequence[int]


def pairs(
    session: Session,
    count: int = 1,
    *,
    opinions: int = 1,
    priority: int = 0,
    for_kind: LabelerKind | None = None,
    name: str | None = None,
    reason: str = "test",
    split: Split = Split.TRAIN,
    round_id: int | None = None,
    protocol: Protocol = batches.PLAIN,
) -> Pairs:
    """A batch of `count` comparisons, each of a document of its own, by the policies `ref` and `other`."""
    batch = batches.add_batch(
        session,
        the_project(session).id,
        name or f"batch {next(_numbers)}",
        protocol=protocol,
        opinions=opinions,
        priority=priority,
        for_kind=for_kind,
        round_id=round_id,
    )
    about = documents(session, [f"d{next(_numbers)}" for _ in range(count)], split)
    writers = corpus.policies_by_name(session, the_project(session).id, ["ref", "other"])
    ids = corpus.add_summaries(
        session,
        [
            {
                "document_id": one.id,
                "policy_id": writers[policy].id,
                "text": f" {one.source_id} by {policy}.",
            }
            for one in about
            for policy in ("ref", "other")
        ],
    )
    rows = [
        {
            "document_id": one.id,
            "first_summary_id": ids[one.id, writers["ref"].id, f" {one.source_id} by ref.", -1],
            "second_summary_id": ids[one.id, writers["other"].id, f" {one.source_id} by other.", -1],
            "reason": reason,
        }
        for one in about
    ]
    batches.add_comparisons(session, batch.id, rows)
    put_up = session.scalars(select(Comparison.id).where(Comparison.batch_id == batch.id).order_by(Comparison.id))
    return Pairs(batch.id, list(put_up))


def to_rate(session: Session, count: int = 1, *, opinions: int = 1, name: str | None = None) -> Pairs:
    """A batch of `count` summaries to rate, each of a document of its own; `comparisons` are their ids."""
    project = the_project(session)
    name = name or f"batch {next(_numbers)}"
    batch = batches.add_batch(session, project.id, name, kind=BatchKind.RATE, opinions=opinions)
    found = [summary(session, one.id) for one in documents(session, [f"d{next(_numbers)}" for _ in range(count)])]
    batches.add_ratings(session, batch, found)
    return Pairs(batch.id, found)


def standing(session: Session, purpose: BatchPurpose, count: int = 1, *, value: int = 2) -> list[int]:
    """Pairs that a researcher judged, in use as gold or qualification: `value` in their own frame.

    The pairs they were copied from are in a batch that is paused.
    """
    author, put_up = admin(session), pairs(session, count)
    batches.set_batch_paused(session, put_up.batch_id, True)
    for comparison_id in put_up.comparisons:
        verdict(session, comparison_id, author, value)
    return [verdicts.use(session, author, comparison_id, purpose) for comparison_id in put_up.comparisons]


def verdict(session: Session, comparison_id: int, author: Viewer, value: int = 2) -> None:
    """A researcher's answer to a comparison, in its own frame."""
    seen = verdicts.seen(author, comparison_id, value)
    verdicts.give(session, author, comparison_id, seen, f"Because of {comparison_id}.", first=True)


def hold(session: Session, viewer: Viewer, ahead: int = 1) -> list[UUID]:
    """Showings that the labeler holds after asking for `ahead`."""
    return [lease.showing_id for lease in judging.leases(session, viewer, ahead, LEASE, PAGE).leases]


def say(session: Session, viewer: Viewer, showing_id: UUID, value: int = 2, key: UUID | None = None) -> judging.Saved:
    """Answer a showing, in displayed order."""
    return judging.answer(
        session, viewer, showing_id=showing_id, key=key or uuid4(), value=value, explanation=None, seconds=1.5
    )


def note(session: Session, viewer: Viewer, showing_id: UUID, key: UUID | None = None) -> Lease:
    """Write down what both summaries are taken to mean."""
    texts = ["A says this.", "B says that."]
    return judging.notes(session, viewer, showing_id=showing_id, key=key or uuid4(), texts=texts, seconds=9.5)


def rate(
    session: Session, viewer: Viewer, showing_id: UUID, overall: int = 6, key: UUID | None = None
) -> judging.Saved:
    """Rate the summary of a showing."""
    return judging.rate(
        session,
        viewer,
        showing_id=showing_id,
        key=key or uuid4(),
        scores=judging.Scores(overall=overall),
        comment=None,
        seconds=1.5,
    )


def judge_all(session: Session, viewer: Viewer, value: int = 2) -> int:
    """Answer everything there is for the labeler, notes first where they are asked for. Gives how many."""
    given = 0
    while held := judging.leases(session, viewer, 3, LEASE, PAGE).leases:
        for lease in held:
            if lease.post is None:
                note(session, viewer, lease.showing_id)
            if lease.task is BatchKind.RATE:
                rate(session, viewer, lease.showing_id, min(value, 7))
            else:
                say(session, viewer, lease.showing_id, value)
            given += 1
    return given


def base_checkpoint(session: Session) -> Checkpoint:
    """A base model that nobody has to load."""
    return rounds.add_checkpoint(
        session,
        Checkpoint(
            project_id=the_project(session).id,
            kind=CheckpointKind.BASE,
            path=f"models/base-{next(_numbers)}",
            digest=sha256(b"base").hexdigest(),
            bytes=1,
        ),
    )


def trained_checkpoint(
    session: Session, run: Run, parent: Checkpoint, kind: CheckpointKind = CheckpointKind.POLICY
) -> Checkpoint:
    """What a run wrote."""
    return rounds.add_checkpoint(
        session,
        Checkpoint(
            project_id=run.project_id,
            kind=kind,
            run_id=run.id,
            parent_id=parent.id,
            path=f"models/{run.id}-{kind}",
            digest=sha256(str(run.id).encode()).hexdigest(),
            bytes=1,
        ),
    )


def worker_row(session: Session, host: str = "gpu-1", *queues: Queue) -> Worker:
    """A worker that has just said that it is there, of both queues unless told otherwise."""
    row = Worker(
        id=uuid4(),
        host=host,
        process=next(_numbers),
        queues=[each.value for each in queues or Queue],
        at_once=2,
        code="0.1.0+abc",
        python="3.11.9",
        device="NVIDIA H100 80GB HBM3",
        memory=85_000_000_000,
        torch="2.13.0 (CUDA 12.9)",
        transformers="5.17.0",
    )
    session.add(row)
    session.flush()
    return row


def own_run(session: Session, stage: Stage = Stage.EXPORT, state: RunState = RunState.QUEUED) -> Run:
    """A run outside of rounds."""
    return runs.add_run(session, the_project(session).id, stage, state, {}, asked_by=None)


def everything(session: Session) -> None:
    """At least one row in every table, every foreign key filled once."""
    project = the_project(session)
    boss, worker = admin(session), labeler(session)
    people.add_sign_in(session, worker.id, sha256(b"session").digest(), LEASE, "a browser")
    people.add_invitation(session, worker.id, LinkPurpose.INVITE, sha256(b"link").digest(), LEASE, boss.id)
    people.add_token(session, worker.id, "a program", "hone_12345", sha256(b"token").digest())
    people.audit(session, boss.id, "did", "everything", None, why="for a test")

    recipe = rounds.recipes(session, project.id)[0]
    mode = continuous.add(session, project.id, recipe.id, boss.id, 0, False)
    turn = rounds.add_round(session, project.id, recipe.id, boss.id, False, mode.id)
    continuous.end(session, mode, boss.id, "Enough.")
    continuous.add(session, project.id, recipe.id, boss.id, 0, False)
    run = runs.add_run(
        session, project.id, Stage.SFT, RunState.PENDING, {}, asked_by=boss.id, round_id=turn.id, position=1
    )
    session.add(MetricPoint(run_id=run.id, name="loss", step=1, value=0.5))
    run.worker_id = worker_row(session).id
    base = base_checkpoint(session)
    trained = trained_checkpoint(session, run, base)
    first = corpus.add_policy(session, project.id, "base", PolicyKind.CHECKPOINT, base.id, {})
    policy = corpus.add_policy(session, project.id, "trained", PolicyKind.CHECKPOINT, trained.id, {"temperature": 0.7})
    promotions.begin_with(session, first.id, "There is no other.")
    promotions.promote(session, boss, policy.id)
    runs.add_export(
        session,
        Export(project_id=project.id, run_id=run.id, path="exports/1", digest="0" * 64, rows=1, bytes=1),
    )

    put_up = pairs(session, 3, opinions=1, round_id=turn.id)
    people.assign_batch(session, put_up.batch_id, [worker.id])
    held = hold(session, worker, 3)
    say(session, worker, held[0])
    judging.skip(session, worker, showing_id=held[1], reason=SkipReason.OTHER, comment="why not")
    comparison = session.get_one(Comparison, put_up.comparisons[0])
    session.add(
        Note(
            comparison_id=comparison.id,
            summary_id=comparison.first_summary_id,
            labeler_id=worker.id,
            showing_id=held[0],
            version=1,
            text="It is about a cat.",
        )
    )
    session.add(
        Flag(
            slot_id=slot_of(session, held[0]).id,
            comparison_id=comparison.id,
            showing_id=held[0],
            labeler_id=worker.id,
            reason=FlagReason.QUESTION,
            comment="Why?",
            key=uuid4(),
            reply="Because.",
            closed_by=boss.id,
            closed_at=func.now(),
        )
    )
    session.add(Verdict(comparison_id=comparison.id, value=2, reason="It says who.", author_id=boss.id))
    told = Guideline(project_id=project.id, version=1_000, text="Read first.", author_id=boss.id)
    session.add(told)
    session.flush()
    judges = session.scalars(select(Labeler.id).where(Labeler.role == Role.LABELER))
    session.add_all(Confirmation(labeler_id=each, guideline_id=told.id) for each in judges)
    session.add(
        Qualification(
            project_id=project.id,
            labeler_id=worker.id,
            passed=True,
            answers=3,
            agreement=1.0,
            seconds=20.0,
            reason="Enough.",
            decided_by=boss.id,
        )
    )
    corpus.add_summaries(
        session,
        [
            {
                "document_id": comparison.document_id,
                "policy_id": policy.id,
                "text": " By a model.",
                "checkpoint_id": trained.id,
                "run_id": run.id,
                "prompt": "TL;DR:",
                "decoding": {"temperature": 0.7},
                "seed": 1,
                "tokens": 3,
                "finished": True,
            }
        ],
    )
    rated = Slot(batch_id=put_up.batch_id, summary_id=comparison.first_summary_id, number=1, for_labeler_id=worker.id)
    session.add(rated)
    session.flush()
    shown = Showing(slot_id=rated.id, labeler_id=worker.id, swapped=False, page_version=PAGE)
    session.add(shown)
    session.flush()
    session.add(
        Rating(
            summary_id=comparison.first_summary_id,
            labeler_id=worker.id,
            slot_id=rated.id,
            showing_id=shown.id,
            version=1,
            overall=6,
            surplus=False,
            key=uuid4(),
        )
    )
    session.flush()


# What a test asks about slots and answers


def slots(session: Session, comparison_id: int) -> list[Slot]:
    """A comparison's slots by number, as they are now."""
    query = select(Slot).where(Slot.comparison_id == comparison_id).order_by(Slot.number)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def slot_states(session: Session, comparison_id: int) -> list[SlotState]:
    """The states of a comparison's slots by number."""
    return [SlotState(slot.state) for slot in slots(session, comparison_id)]


def slot_of(session: Session, showing_id: UUID) -> Slot:
    """The slot that was shown."""
    return session.scalars(
        select(Slot)
        .join(Showing, Showing.slot_id == Slot.id)
        .where(Showing.id == showing_id)
        .execution_options(populate_existing=True)
    ).one()


def shown(session: Session, showing_id: UUID) -> Showing:
    """The showing with this id, as it is now."""
    return session.get_one(Showing, showing_id, populate_existing=True)


def answers(session: Session, comparison_id: int) -> list[Preference]:
    """Every version of every answer to a comparison, in the order in which they came."""
    return list(
        session.scalars(select(Preference).where(Preference.comparison_id == comparison_id).order_by(Preference.id))
    )


def search_again(session: Session) -> None:
    """Let so much time pass, as the database's clock sees it, that every batch may be searched from its start again."""
    long_ago = func.now() - 2 * queueing.SEARCH_AGAIN
    session.execute(update(QueuePlace).where(QueuePlace.searched_at.is_not(None)).values(searched_at=long_ago))


def a_day_later(session: Session) -> None:
    """Let a day pass for everybody's progress."""
    session.execute(update(Tally).values(day=Tally.day - 1))


def run_out(session: Session, showing_id: UUID | None = None) -> None:
    """Let leases run out as the database's clock sees it: this showing's, or all."""
    rows = select(Slot).where(Slot.state == SlotState.LEASED)
    if showing_id is not None:
        rows = rows.where(Slot.showing_id == showing_id)
    for slot in session.scalars(rows.execution_options(populate_existing=True)):
        slot.lease_expires_at = func.now() - timedelta(seconds=1)
    session.flush()


def come_back(session: Session, showing_id: UUID | None = None) -> None:
    """Let leases run out, this showing's or all, and go back to the queue, as when somebody else asks for pairs."""
    run_out(session, showing_id)
    judging.count_surplus(session, queueing.release_expired(session))

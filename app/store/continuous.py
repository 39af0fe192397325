"""Continuous mode: its rows, and the counts that it decides by.

Knows the questions asked of the tables. Knows nothing of what follows from the answers (app.domain.continuous).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, cast, exists, func, or_, select
from sqlalchemy.orm import aliased

from app.domain.words import (
    BatchKind,
    BatchPurpose,
    CheckpointKind,
    LabelerKind,
    RoundState,
    RunState,
    SlotState,
    Stage,
)
from app.store.batches import UNFINISHED
from app.store.protocols import may_judge
from app.store.session import Session
from app.store.tables import (
    AuditEvent,
    Batch,
    BatchLabeler,
    Checkpoint,
    Continuous,
    Labeler,
    Recipe,
    Round,
    Run,
    Slot,
)


def add(
    session: Session, project_id: int, recipe_id: int, turned_on_by: int, after_preference: int, with_simulated: bool
) -> Continuous:
    """Continuous mode is on. The database refuses a second one."""
    row = Continuous(
        project_id=project_id,
        recipe_id=recipe_id,
        turned_on_by=turned_on_by,
        after_preference=after_preference,
        with_simulated=with_simulated,
    )
    session.add(row)
    session.flush()
    return row


def end(session: Session, row: Continuous, ended_by: int | None, words: str) -> None:
    """It is off, for this reason."""
    row.ended_at, row.ended_by, row.end_words = func.now(), ended_by, words
    session.flush()


def is_on(session: Session, project_id: int) -> Continuous | None:
    """The mode that is on, as it is now."""
    return session.scalar(
        select(Continuous)
        .where(Continuous.project_id == project_id, Continuous.ended_at.is_(None))
        .execution_options(populate_existing=True)
    )


@dataclass(frozen=True)
class Mode:
    """A continuous mode with its recipe and the names of who turned it on and off."""

    row: Continuous
    recipe: Recipe
    turned_on_by: str
    ended_by: str | None


def newest(session: Session, project_id: int) -> Mode | None:
    """The mode that is on, or the last that was."""
    on, off = aliased(Labeler), aliased(Labeler)
    row = session.execute(
        select(Continuous, Recipe, on.name, off.name)
        .join(Recipe, Recipe.id == Continuous.recipe_id)
        .join(on, on.id == Continuous.turned_on_by)
        .outerjoin(off, off.id == Continuous.ended_by)
        .where(Continuous.project_id == project_id)
        .order_by(Continuous.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else Mode(*row)


def needed(session: Session, project_id: int, kinds: Sequence[LabelerKind]) -> tuple[int, int]:
    """Opinions on ordinary pairs that are still needed of these kinds of labelers: all, and those given out now.

    What lies in paused batches is not given out, and of one comparison no more than there are labelers who may be
    given it and have not judged it: nobody gives two of them. Without any labeler of these kinds more pairs would
    help nobody, and all count as given out.
    """
    assigned = exists().where(BatchLabeler.batch_id == Batch.id)
    theirs = exists().where(BatchLabeler.batch_id == Batch.id, BatchLabeler.labeler_id == Labeler.id)
    judges = (
        select(func.count())
        .select_from(Labeler)
        .where(*may_judge(kinds), or_(Batch.for_kind.is_(None), Labeler.kind == Batch.for_kind), or_(~assigned, theirs))
        .correlate(Batch)
        .scalar_subquery()
    )
    # Materialized: labelers are counted once for a batch, not for each of its comparisons.
    waiting = (
        select(Batch.id, Batch.paused_at, judges.label("judges"))
        .where(
            Batch.project_id == project_id,
            Batch.kind == BatchKind.COMPARE,
            Batch.purpose == BatchPurpose.ORDINARY,
            or_(Batch.for_kind.is_(None), Batch.for_kind.in_(kinds)),
            exists().where(Slot.batch_id == Batch.id, Slot.state.in_(UNFINISHED), Slot.for_labeler_id.is_(None)),
        )
        .cte("waiting")
        .prefix_with("MATERIALIZED")
    )
    wanted = (
        select(
            waiting.c.paused_at,
            waiting.c.judges,
            func.count().filter(Slot.state.in_(UNFINISHED)).label("unfinished"),
            func.count().filter(Slot.state == SlotState.DONE).label("done"),
        )
        .join(waiting, waiting.c.id == Slot.batch_id)
        .where(Slot.for_labeler_id.is_(None))
        .group_by(waiting.c.id, waiting.c.paused_at, waiting.c.judges, Slot.comparison_id)
        .subquery()
    )
    able: ColumnElement[int] = func.least(wanted.c.unfinished, func.greatest(0, wanted.c.judges - wanted.c.done))
    if not session.scalar(select(exists().where(*may_judge(kinds)))):
        able = wanted.c.unfinished
    row = session.execute(
        select(
            func.coalesce(func.sum(wanted.c.unfinished), 0),
            func.coalesce(func.sum(able).filter(wanted.c.paused_at.is_(None)), 0),
        )
    ).one()
    return int(row[0]), int(row[1])


def last_counted(session: Session, project_id: int) -> int:
    """The newest preference that a round has counted or learned from which is going on or went well; 0 without one.

    Answers go on coming in between the two: a reward model learns from all that are there when it begins.
    """

    def last(value: ColumnElement[str], *conditions: ColumnElement[bool]) -> int:
        query = (
            select(func.max(cast(value, BigInteger)))
            .select_from(Run)
            .join(Round, Round.id == Run.round_id)
            .where(
                Run.project_id == project_id,
                Run.state == RunState.SUCCEEDED,
                Run.superseded_at.is_(None),
                Round.state.in_((RoundState.ACTIVE, RoundState.SUCCEEDED)),
                *conditions,
            )
        )
        return session.scalar(query) or 0

    learned = Checkpoint.snapshot["up_to_preference"].astext.label("learned")
    counted = last(Run.result["last_preference"].astext, Run.stage == Stage.LABEL)
    of_reward = select(learned).where(Checkpoint.run_id == Run.id, Checkpoint.kind == CheckpointKind.REWARD)
    return max(counted, last(of_reward.correlate(Run).scalar_subquery(), Run.stage == Stage.REWARD))


def rounds_launched(session: Session, mode_id: int) -> int:
    """How many rounds this mode has launched."""
    return session.scalar(select(func.count()).where(Round.continuous_id == mode_id)) or 0


def is_sampling(session: Session, project_id: int) -> bool:
    """Whether pairs are being sampled, or wait for a worker only."""
    found = exists().where(
        Run.project_id == project_id,
        Run.stage == Stage.SAMPLE,
        Run.state.in_((RunState.QUEUED, RunState.RUNNING)),
    )
    return bool(session.scalar(select(found)))


def last_sampling(session: Session, project_id: int, mode_id: int) -> Run | None:
    """The newest run by which this mode sampled pairs."""
    return session.scalar(
        select(Run)
        .where(
            Run.project_id == project_id,
            Run.stage == Stage.SAMPLE,
            Run.round_id.is_(None),
            Run.payload["continuous"].astext == str(mode_id),
        )
        .order_by(Run.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )


def ended_early_since(session: Session, mode: Continuous) -> Round | None:
    """The newest round that failed or was cancelled since the mode was turned on."""
    return session.scalar(
        select(Round)
        .where(
            Round.project_id == mode.project_id,
            Round.state.in_((RoundState.FAILED, RoundState.CANCELLED)),
            Round.ended_at > mode.created_at,
        )
        .order_by(Round.number.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )


def paused_by_itself(session: Session, round_id: int) -> bool:
    """Whether it was no person who paused this round last."""
    last = (
        select(AuditEvent.actor_id)
        .where(AuditEvent.action == "paused round", AuditEvent.subject == "round", AuditEvent.subject_id == round_id)
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    return session.scalars(last).first() is None

"""Which policy is current, every decision that made it so, and where what is decided on comes from.

Knows the questions asked of these rows. Knows nothing of who may decide (app.services.promotions).
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ScalarSelect, Select, and_, exists, func, select
from sqlalchemy.orm import aliased

from app.domain.words import CheckpointKind, Decided, PolicyKind, Stage
from app.store.session import Session
from app.store.tables import AuditEvent, Checkpoint, Labeler, Policy, Project, Promotion, Round, Run


def lock_current(session: Session, project_id: int) -> int | None:
    """The current policy, which nobody else changes until the transaction ends."""
    # Not a full lock: every row that refers to the project would wait for it.
    return session.scalar(
        select(Project.current_policy_id).where(Project.id == project_id).with_for_update(key_share=True)
    )


def add(session: Session, row: Promotion) -> Promotion:
    """Write a decision down."""
    session.add(row)
    session.flush()
    return row


@dataclass(frozen=True)
class Decision:
    """A decision with the names of what and whom it is about."""

    row: Promotion
    policy: str
    before: str | None
    decided_by: str | None


def _decisions(project_id: int) -> Select[Promotion, str, str | None, str | None]:
    policy, before = aliased(Policy), aliased(Policy)
    return (
        select(Promotion, policy.name, before.name, Labeler.name)
        .join(policy, policy.id == Promotion.policy_id)
        .outerjoin(before, before.id == Promotion.before_id)
        .outerjoin(Labeler, Labeler.id == Promotion.decided_by)
        .where(Promotion.project_id == project_id)
        .order_by(Promotion.id.desc())
    )


def decisions(session: Session, project_id: int, limit: int) -> list[Decision]:
    """Decisions, newest first."""
    return [Decision(*row) for row in session.execute(_decisions(project_id).limit(limit))]


def decisions_on(session: Session, project_id: int, policy_id: int) -> list[Decision]:
    """Decisions on one policy, newest first."""
    return [Decision(*row) for row in session.execute(_decisions(project_id).where(Promotion.policy_id == policy_id))]


def last_change(session: Session, project_id: int) -> Decision | None:
    """The newest decision that changed which policy is current."""
    row = session.execute(_decisions(project_id).where(Promotion.outcome != Decided.WAITS).limit(1)).one_or_none()
    return None if row is None else Decision(*row)


def paused_by_itself(session: Session, project_id: int, number: int) -> bool:
    """Whether nobody, but an alarm, has paused this round before."""
    found = exists().where(
        AuditEvent.action == "paused round",
        AuditEvent.actor_id.is_(None),
        AuditEvent.subject_id == Round.id,
        Round.project_id == project_id,
        Round.number == number,
    )
    return bool(session.scalar(select(found)))


def waiting(session: Session, project_id: int) -> list[Decision]:
    """Decisions that left a policy to an admin, after which nothing else became current; newest first."""
    later = aliased(Promotion)
    newer = select(later.id).where(
        later.project_id == project_id, later.id > Promotion.id, later.outcome != Decided.WAITS
    )
    found = _decisions(project_id).where(Promotion.outcome == Decided.WAITS, ~newer.exists())
    return [Decision(*row) for row in session.execute(found)]


def current_is_trained(session: Session, project_id: int) -> bool:
    """Whether the current policy is more than a base model."""
    kind = session.scalar(
        select(Checkpoint.kind)
        .join(Policy, Policy.checkpoint_id == Checkpoint.id)
        .join(Project, Project.current_policy_id == Policy.id)
        .where(Project.id == project_id)
    )
    return kind is not None and kind != CheckpointKind.BASE


@dataclass(frozen=True)
class Improved:
    """A policy that PPO made in a round, and what its evaluation measured, if it was evaluated."""

    policy_id: int
    policy: str
    round_number: int
    measured: dict[str, Any] | None


def improved(session: Session, project_id: int) -> list[Improved]:
    """What the rounds made, in the order of the rounds; of a stage that was run again the last try."""
    evaluation = aliased(Run)
    rows = session.execute(
        select(Policy.id, Policy.name, Round.number, evaluation.result)
        .join(Checkpoint, Checkpoint.id == Policy.checkpoint_id)
        .join(Run, and_(Run.id == Checkpoint.run_id, Run.stage == Stage.PPO, Run.superseded_at.is_(None)))
        .join(Round, Round.id == Run.round_id)
        .outerjoin(
            evaluation,
            and_(
                evaluation.round_id == Round.id,
                evaluation.stage == Stage.EVALUATE,
                evaluation.superseded_at.is_(None),
            ),
        )
        .where(
            Policy.project_id == project_id,
            # The best of several summaries is another policy with the same checkpoint.
            Policy.kind == PolicyKind.CHECKPOINT,
            Checkpoint.kind == CheckpointKind.POLICY,
        )
        .order_by(Round.number, Policy.id)
    )
    return [Improved(*row) for row in rows]


@dataclass(frozen=True)
class Origin:
    """A checkpoint, the run that wrote it, in which round, the policy that writes with it, and its parent's policy."""

    checkpoint: Checkpoint
    run: Run | None
    round_number: int | None
    policy_id: int | None
    policy: str | None
    parent_kind: str | None
    parent_policy: str | None


def _origins(project_id: int) -> Select[*tuple[Any, ...]]:
    parent = aliased(Checkpoint)
    writer, parents_writer = aliased(Policy), aliased(Policy)

    def first(of: type[Checkpoint]) -> ScalarSelect[int]:
        return select(func.min(Policy.id)).where(Policy.checkpoint_id == of.id).correlate(of).scalar_subquery()

    return (
        select(Checkpoint, Run, Round.number, writer.id, writer.name, parent.kind, parents_writer.name)
        .outerjoin(Run, Run.id == Checkpoint.run_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .outerjoin(writer, writer.id == first(Checkpoint))
        .outerjoin(parent, parent.id == Checkpoint.parent_id)
        .outerjoin(parents_writer, parents_writer.id == first(parent))
        .where(Checkpoint.project_id == project_id)
    )


def checkpoints(session: Session, project_id: int, limit: int) -> list[Origin]:
    """Checkpoints of every kind with where they are from, newest first."""
    rows = session.execute(_origins(project_id).order_by(Checkpoint.id.desc()).limit(limit))
    return [Origin(*row) for row in rows]


def checkpoint(session: Session, project_id: int, checkpoint_id: int) -> Origin | None:
    """One checkpoint with where it is from."""
    row = session.execute(_origins(project_id).where(Checkpoint.id == checkpoint_id)).one_or_none()
    return None if row is None else Origin(*row)

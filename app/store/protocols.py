"""What a project asks of new batches by default, and the pairs of its fixed baseline.

Knows which summaries a sentinel pair can be made of. Knows nothing of what a share means (app.domain.protocols) or of
how pairs are put up (app.store.batches).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import aliased

from app.domain.protocols import Protocol
from app.domain.words import CheckpointKind, ComparisonKind, LabelerKind, PolicyKind, Role, Split, Stage
from app.store.session import Session
from app.store.tables import Checkpoint, Comparison, Document, Labeler, Policy, Project, Run, Summary


def set_default(session: Session, project_id: int, protocol: Protocol, sentinel_policy_id: int | None) -> None:
    """What new batches ask, and which policy their sentinel pairs set against the reference."""
    session.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(protocol=protocol.to_dict(), sentinel_policy_id=sentinel_policy_id)
    )


def first_fine_tuned(session: Session, project_id: int) -> Policy | None:
    """The policy of the first fine-tuning: what the study took for its fixed baseline."""
    return session.scalar(
        select(Policy)
        .join(Checkpoint, Checkpoint.id == Policy.checkpoint_id)
        .join(Run, Run.id == Checkpoint.run_id)
        .where(Policy.project_id == project_id, Run.stage == Stage.SFT, Checkpoint.kind == CheckpointKind.POLICY)
        .order_by(Policy.id)
        .limit(1)
    )


def may_judge(kinds: Sequence[LabelerKind]) -> list[ColumnElement[bool]]:
    """What is true of the Labelers of these kinds who may be given ordinary pairs: those who can sign in.

    Researchers' accounts are lent other pairs.
    """
    return [
        Labeler.role == Role.LABELER,
        Labeler.kind.in_(kinds),
        ~Labeler.calibrates,
        Labeler.deactivated_at.is_(None),
        ~Labeler.name.startswith("import:", autoescape=True),
    ]


def active_judges(session: Session) -> int:
    """How many people may be given ordinary pairs."""
    return session.scalar(select(func.count()).where(*may_judge((LabelerKind.HUMAN,)))) or 0


@dataclass(frozen=True)
class Baseline:
    """A summary by the fixed baseline and the reference for the same document."""

    document_id: int
    summary_id: int
    reference_id: int


def _baselines(project_id: int, policy_id: int) -> Select[int, int, int]:
    """One for each document of the splits that are judged; the first texts that came, where there are several."""
    own, reference, ref = aliased(Summary), aliased(Summary), aliased(Policy)

    def first(summary: Any, by: ColumnElement[bool]) -> ColumnElement[int]:
        ids = select(func.min(summary.id)).where(summary.document_id == Document.id, func.btrim(summary.text) != "", by)
        return ids.correlate(Document).scalar_subquery()

    is_reference = reference.policy_id == (
        select(ref.id).where(ref.project_id == project_id, ref.kind == PolicyKind.REF).scalar_subquery()
    )
    both = (
        select(
            Document.id.label("document_id"),
            Document.source_id,
            first(own, own.policy_id == policy_id).label("summary_id"),
            first(reference, is_reference).label("reference_id"),
        )
        .where(Document.project_id == project_id, Document.split.in_((Split.TRAIN, Split.VALIDATION)))
        .where(Document.id.in_(select(Summary.document_id).where(Summary.policy_id == policy_id)))
        .subquery()
    )
    one, two = aliased(Summary), aliased(Summary)
    used = (
        select(func.count())
        .where(Comparison.document_id == both.c.document_id, Comparison.kind == ComparisonKind.SENTINEL)
        .scalar_subquery()
    )
    return (
        select(both.c.document_id, both.c.summary_id, both.c.reference_id)
        .join(one, one.id == both.c.summary_id)
        .join(two, two.id == both.c.reference_id)
        .where(func.btrim(one.text) != func.btrim(two.text))
        .order_by(used, func.md5(both.c.source_id), both.c.document_id)
    )


def baselines(session: Session, project_id: int, policy_id: int, number: int) -> list[Baseline]:
    """What sentinel pairs are made of: documents that were least often used for one first, then in a fixed order."""
    rows = session.execute(_baselines(project_id, policy_id).limit(number))
    return [Baseline(row[0], row[1], row[2]) for row in rows]


def count_baselines(session: Session, project_id: int, policy_id: int) -> int:
    """On how many documents a sentinel pair can be made."""
    every = _baselines(project_id, policy_id).order_by(None).subquery()
    return session.scalar(select(func.count()).select_from(every)) or 0

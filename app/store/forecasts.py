"""What a forecast of a round stands on: how much there is, how large the models are, how long stages took before.

Knows counts and times. Knows nothing of what a recipe makes of them (app.services.forecasts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, select

from app.domain.words import BatchPurpose, CheckpointKind, LabelerKind, PolicyKind, RunState, SlotState, Split, Stage
from app.store.session import Session
from app.store.tables import Batch, Checkpoint, Document, Labeler, Policy, Preference, Recipe, Round, Run, Slot, Summary


def with_reference(session: Session, project_id: int) -> dict[Split, int]:
    """Documents with a reference summary, by split."""
    told = exists().where(
        Summary.document_id == Document.id, Summary.policy_id == Policy.id, Policy.kind == PolicyKind.REF
    )
    rows = session.execute(
        select(Document.split, func.count()).where(Document.project_id == project_id, told).group_by(Document.split)
    )
    found = {Split(row[0]): row[1] for row in rows}
    return {split: found.get(split, 0) for split in Split}


def post_characters(session: Session, project_id: int) -> float:
    """Mean length of a training document's post; 0 without any."""
    found = session.scalar(
        select(func.avg(func.length(Document.post))).where(
            Document.project_id == project_id, Document.split == Split.TRAIN
        )
    )
    return float(found or 0)


def counted_preferences(session: Session, project_id: int, kinds: Sequence[LabelerKind]) -> int:
    """Answers by these kinds of labelers that a reward model would learn from or be measured on."""
    found = session.scalar(
        select(func.count(func.distinct(Preference.slot_id)))
        .join(Labeler, Labeler.id == Preference.labeler_id)
        .join(Slot, Slot.id == Preference.slot_id)
        .join(Batch, Batch.id == Slot.batch_id)
        .where(
            Batch.project_id == project_id,
            Batch.purpose == BatchPurpose.ORDINARY,
            Labeler.kind.in_(kinds),
            Slot.state != SlotState.VOID,
            ~Preference.surplus,
        )
    )
    return found or 0


def model_bytes(session: Session, project_id: int) -> int | None:
    """Bytes of the newest policy's weights, or of the base model; None before any was prepared."""
    return session.scalar(
        select(Checkpoint.bytes)
        .where(
            Checkpoint.project_id == project_id,
            Checkpoint.kind.in_((CheckpointKind.POLICY, CheckpointKind.BASE)),
        )
        .order_by((Checkpoint.kind == CheckpointKind.POLICY).desc(), Checkpoint.id.desc())
        .limit(1)
    )


@dataclass(frozen=True)
class Timed:
    """A run that nothing happened to: how long it took, what it says came out, its recipe, and what computed."""

    seconds: float
    result: dict[str, Any]
    recipe: dict[str, Any]
    device: str | None


def timed(session: Session, project_id: int, stage: Stage, limit: int) -> list[Timed]:
    """The newest runs of this stage that succeeded in rounds at their first claim, the newest first."""
    rows = session.execute(
        select(Run.started_at, Run.ended_at, Run.result, Recipe.body, Run.conditions)
        .join(Round, Round.id == Run.round_id)
        .join(Recipe, Recipe.id == Round.recipe_id)
        .where(
            Run.project_id == project_id,
            Run.stage == stage,
            Run.state == RunState.SUCCEEDED,
            Run.fence == 1,
            Run.started_at.is_not(None),
        )
        .order_by(Run.id.desc())
        .limit(limit)
    )
    return [
        Timed((row[1] - row[0]).total_seconds(), row[2] or {}, row[3], (row[4] or {}).get("device"))
        for row in rows
        if row[0] is not None and row[1] is not None
    ]

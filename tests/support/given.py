"""Answers that are simply there, for tests of what is made of them: no queue, no page, any value, any time.

Knows which rows an answer is. Knows nothing of how one is given (app.services.judging).
"""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, select

from app.domain.preferences import turned
from app.domain.words import SlotState
from app.services.people import Viewer
from app.store.session import Session
from app.store.tables import Comparison, Preference, Showing, Slot
from tests.support.factories import PAGE


def answer(
    session: Session,
    viewer: Viewer,
    comparison_id: int,
    value: int,
    *,
    swapped: bool = False,
    seconds: float | None = 30.0,
    at: datetime | None = None,
    surplus: bool = False,
    explanation: str | None = None,
) -> UUID:
    """The labeler's first answer to the comparison, in a slot of its own; `value` in displayed order. The showing."""
    comparison = session.get_one(Comparison, comparison_id)
    last = session.scalar(select(func.coalesce(func.max(Slot.number), 0)).where(Slot.comparison_id == comparison_id))
    slot = Slot(batch_id=comparison.batch_id, comparison_id=comparison_id, number=(last or 0) + 1)
    session.add(slot)
    session.flush()
    shown = Showing(id=uuid4(), slot_id=slot.id, labeler_id=viewer.id, swapped=swapped, page_version=PAGE)
    session.add(shown)
    session.flush()
    if not surplus:
        slot.state, slot.labeler_id, slot.showing_id, slot.done_at = SlotState.DONE, viewer.id, shown.id, func.now()
    _version(session, viewer, shown, slot.id, comparison_id, 1, value, seconds, at, surplus, explanation)
    return shown.id


def change(session: Session, viewer: Viewer, showing_id: UUID, value: int, *, at: datetime | None = None) -> None:
    """A new version of the answer of this showing; `value` in displayed order. It took an hour."""
    shown = session.get_one(Showing, showing_id)
    slot = session.get_one(Slot, shown.slot_id)
    assert slot.comparison_id is not None
    versions = select(func.count()).where(
        Preference.comparison_id == slot.comparison_id, Preference.labeler_id == viewer.id
    )
    version = (session.scalar(versions) or 0) + 1
    _version(session, viewer, shown, slot.id, slot.comparison_id, version, value, 3600.0, at, False, None)


def _version(
    session: Session,
    viewer: Viewer,
    shown: Showing,
    slot_id: int,
    comparison_id: int,
    version: int,
    value: int,
    seconds: float | None,
    at: datetime | None,
    surplus: bool,
    explanation: str | None,
) -> None:
    session.add(
        Preference(
            comparison_id=comparison_id,
            labeler_id=viewer.id,
            slot_id=slot_id,
            showing_id=shown.id,
            version=version,
            value=turned(value, shown.swapped),
            surplus=surplus,
            explanation=explanation,
            seconds=seconds,
            key=uuid4(),
            **({} if at is None else {"created_at": at}),
        )
    )
    session.flush()

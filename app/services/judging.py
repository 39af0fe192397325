"""The labeler's desk: what they hold, what they answer, what they pass on.

Knows that an acknowledged answer is never lost and none counts twice (invariant 1), and that a labeler learns nothing
about where a text came from (invariant 3). Knows nothing of HTTP; never commits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.preferences import HIGHEST, LOWEST, turned
from app.domain.words import SkipReason, SlotState
from app.services import rounds
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, people, queueing
from app.store.queueing import Lease
from app.store.session import Session
from app.store.tables import Preference

MOST_AHEAD = 20
LONGEST_WORDS = 4000
DAY = 86_400.0


@dataclass(frozen=True)
class Progress:
    """Comparisons answered today (UTC) and in all."""

    mine_today: int
    mine_total: int


@dataclass(frozen=True)
class Saved:
    """What became of an answer: counted, or kept as surplus because somebody else had filled the slot."""

    version: int
    surplus: bool


def _may_judge(viewer: Viewer) -> None:
    if not viewer.judges:
        raise NotAllowed(
            "Accounts that may see policies are given no pairs, so that every judgement is blind.",
            "Sign in with a labeler's account. An admin can invite one under People.",
        )


def leases(session: Session, viewer: Viewer, ahead: int, lasts: timedelta, page_version: str) -> list[Lease]:
    """What the labeler holds, filled up to `ahead` (1 to MOST_AHEAD); the same list in every tab."""
    _may_judge(viewer)
    if not 1 <= ahead <= MOST_AHEAD:
        raise Invalid(f"A labeler holds 1 to {MOST_AHEAD} pairs.", "Ask for fewer.", "ahead")
    project = the_project(session)
    queueing.lock_queue_of(session, viewer.id)
    queueing.release_expired(session)
    labeler = people.labeler(session, viewer.id)
    if labeler is None:
        raise NotFound("This account is gone.", "Sign in again.")
    held = queueing.held(session, viewer.id)
    missing = ahead - len(held)
    claimed = 0
    while claimed < missing and queueing.claim(session, project.id, labeler, lasts, page_version) is not None:
        claimed += 1
    return queueing.held(session, viewer.id) if claimed else held


def extend(session: Session, viewer: Viewer, showings: list[UUID], lasts: timedelta) -> datetime | None:
    """Keep what the labeler looks at; None when all of it has gone back to the queue (answers are still taken)."""
    _may_judge(viewer)
    return queueing.extend(session, viewer.id, showings, lasts)


def answer(
    session: Session,
    viewer: Viewer,
    *,
    showing_id: UUID,
    key: UUID,
    value: int,
    explanation: str | None,
    seconds: float | None,
) -> Saved:
    """Keep an answer. `value` is in displayed order.

    A repeat of the same key gives the first result. A second answer by the same labeler is a new version. An answer
    whose lease ran out still fills the slot, or another of the same comparison, if nobody else has it, and is kept as
    surplus otherwise: it is never refused. A new version of a surplus answer fills a slot that has become free.
    Raises NotFound for a showing that is not this labeler's, Invalid for a value off the scale.
    """
    _may_judge(viewer)
    # Answers of one labeler come one at a time: two tabs, a repeat and a double Enter are then all the same case.
    queueing.lock_queue_of(session, viewer.id)
    if not LOWEST <= value <= HIGHEST:
        raise Invalid(f"{value} is not on the scale.", f"Choose {LOWEST} to {HIGHEST}.", "value")
    shown = queueing.lock_shown(session, showing_id, viewer.id)
    if shown is None or shown.slot.comparison_id is None:
        raise NotFound("This pair was not shown to this account.", "Reload the page; nothing else was lost.")
    repeat = answers.preference_by_key(session, key)
    if repeat is not None:
        if repeat.showing_id != showing_id:
            raise Conflict("This key was used for another pair.", "Reload the page.")
        return Saved(repeat.version, repeat.surplus)
    before = answers.newest_of(session, shown.slot.comparison_id, viewer.id)
    slot = None
    if before is None or before.surplus:
        slot = queueing.lock_slot_to_fill(session, shown, viewer.id)
        queueing.release_twins(session, slot or shown.slot, viewer.id)
    if slot is not None:
        surplus, slot_id = False, slot.id
    elif before is None:
        surplus, slot_id = True, shown.slot.id
    else:
        surplus, slot_id = before.surplus, before.slot_id
    version = 1 if before is None else before.version + 1
    answers.add_preference(
        session,
        Preference(
            comparison_id=shown.slot.comparison_id,
            labeler_id=viewer.id,
            slot_id=slot_id,
            showing_id=showing_id,
            version=version,
            value=turned(value, shown.showing.swapped),
            surplus=surplus,
            explanation=_words(explanation),
            # The browser's clock may be wrong; the answer is not.
            seconds=seconds if seconds is not None and 0 <= seconds <= DAY else None,
            key=key,
        ),
    )
    if slot is not None:
        queueing.finish_slot(session, slot, viewer.id, showing_id)
        rounds.opinion_given(session, slot.batch_id)
    return Saved(version, surplus)


def _words(sent: str | None) -> str | None:
    """What a browser sent, as text that PostgreSQL can hold: an odd sign never costs the answer."""
    plain = (sent or "").replace("\0", "").encode("utf-8", "replace").decode()
    return plain.strip()[:LONGEST_WORDS] or None


def skip(session: Session, viewer: Viewer, *, showing_id: UUID, reason: SkipReason, comment: str | None) -> None:
    """Pass a showing on with a reason. The slot goes to somebody else; this labeler is not asked again.

    Asking twice changes nothing; a pair that was answered meanwhile stays answered.
    """
    _may_judge(viewer)
    queueing.lock_queue_of(session, viewer.id)
    shown = queueing.lock_shown(session, showing_id, viewer.id)
    if shown is None:
        raise NotFound("This pair was not shown to this account.", "Reload the page; nothing else was lost.")
    queueing.add_skip(session, shown, viewer.id, reason, _words(comment))
    if shown.slot.state == SlotState.LEASED and shown.slot.labeler_id == viewer.id:
        queueing.reopen_slot(session, shown.slot)
    if shown.slot.comparison_id is not None:
        queueing.release_twins(session, shown.slot, viewer.id)


def progress(session: Session, viewer: Viewer) -> Progress:
    """How far the labeler is."""
    return Progress(*answers.progress(session, viewer.id))

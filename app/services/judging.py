"""The labeler's desk: what they hold, what they answer, what they pass on.

Knows that an acknowledged answer is never lost and none counts twice (invariant 1), that a labeler learns nothing
about where a text came from (invariant 3), and that notes come before the document (invariant 4). Knows nothing of
HTTP; never commits.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.domain import ratings
from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.preferences import HIGHEST, LOWEST, turned
from app.domain.words import BatchKind, FlagReason, SkipReason, SlotState
from app.services import onboarding, rounds, standing
from app.services.onboarding import Feedback, First
from app.services.people import Viewer
from app.services.projects import entrance
from app.store import answers, queueing
from app.store.answers import KeyTaken
from app.store.guidelines import Entrance
from app.store.queueing import Desk, Lease, Shown, Terms
from app.store.session import Session
from app.store.tables import Preference, Rating

MOST_AHEAD = 20
LONGEST_WORDS = 4000
STEPS = ("notes", "compare", "explain")
DAY = 86_400.0


@dataclass(frozen=True)
class Handed:
    """What a labeler holds, and what they have to do before they are given any more."""

    leases: list[Lease]
    before: First | None = None


@dataclass(frozen=True)
class Progress:
    """Comparisons and summaries answered today (UTC) and in all."""

    mine_today: int
    mine_total: int


@dataclass(frozen=True)
class Saved:
    """What became of an answer: counted, or kept as surplus because somebody else had filled the slot.

    `feedback` is there for practice pairs only.
    """

    version: int
    surplus: bool
    feedback: Feedback | None = None


@dataclass(frozen=True)
class Scores:
    """A rating, each axis 1 to 7 or left out; at least one is given. Source of the axes: P Table 7."""

    coherence: int | None = None
    accuracy: int | None = None
    coverage: int | None = None
    overall: int | None = None


@dataclass(frozen=True)
class Answered:
    """Something that the labeler answered, to be looked at again: the preference in displayed order, or the scores.

    `feedback` is there for practice pairs only.
    """

    lease: Lease
    said: int | Scores
    words: str | None
    feedback: Feedback | None = None


def _may_judge(viewer: Viewer) -> None:
    if not viewer.judges:
        raise NotAllowed(
            "Accounts that may see policies are given no pairs, so that every judgement is blind.",
            "Sign in with a labeler's account. An admin can invite one under People.",
        )


def _not_shown() -> NotFound:
    return NotFound("This pair was not shown to this account.", "Reload the page; nothing else was lost.")


# What is held


def leases(session: Session, viewer: Viewer, ahead: int, lasts: timedelta, page_version: str) -> Handed:
    """What the labeler holds, filled up to `ahead` (1 to MOST_AHEAD); the same list in every tab.

    What ran out while they were away, and was given to nobody else, is theirs again. Who has to do something first is
    given nothing new; what they hold they may still answer.
    """
    _may_judge(viewer)
    if not 1 <= ahead <= MOST_AHEAD:
        raise Invalid(f"A labeler holds 1 to {MOST_AHEAD} pairs.", "Ask for fewer.", "ahead")
    met = entrance(session, viewer.id)
    before = onboarding.what_first(session, met, viewer)
    if before is not None:
        queueing.by_index(session)
        return Handed(queueing.held(session, viewer.id), before)
    queueing.lock_queue_of(session, viewer.id)
    desk = queueing.desk(session, met.project_id, viewer.id, viewer.kind)
    if desk.expired:
        queueing.renew(session, viewer.id, lasts)
        count_surplus(session, queueing.release_expired(session))
        desk = queueing.desk(session, met.project_id, viewer.id, viewer.kind)
    due = [place for place in desk.places if place.due]
    terms = Terms(viewer.id, lasts, page_version)
    for _ in range(desk.holds, ahead):
        if not _given_one_more(session, met, viewer, desk, terms):
            break
    if any(not place.due for place in due):
        # Searched from its start without finding anything: what is open there may be for nobody.
        count_waiting(session)
    return Handed(queueing.held(session, viewer.id))


def _given_one_more(session: Session, met: Entrance, viewer: Viewer, desk: Desk, terms: Terms) -> bool:
    usual = desk.places[0] if desk.places else None
    if any(place.gold_share for place in desk.places):
        usual = queueing.next_place(session, viewer.id, desk.places)
    gold_share = 0.0 if usual is None else usual.gold_share
    slot_id = standing.lend(session, met, viewer, gold_share, waiting=desk.addressed)
    if slot_id is not None:
        notes_first = None if usual is None else usual.notes_first
        return queueing.lease(session, terms, slot_id, notes_first) is not None
    if standing.lent_only(session, met, viewer):
        return False
    return queueing.claim(session, terms, desk.places) is not None


def extend(session: Session, viewer: Viewer, showings: list[UUID], lasts: timedelta) -> datetime | None:
    """Keep what the labeler looks at; None when all of it has gone back to the queue (answers are still taken)."""
    _may_judge(viewer)
    queueing.by_index(session)
    return queueing.extend(session, viewer.id, showings, lasts)


# What is answered


def answer(
    session: Session,
    viewer: Viewer,
    *,
    showing_id: UUID,
    key: UUID,
    value: int,
    explanation: str | None,
    seconds: float | None,
    steps: dict[str, float | None] | None = None,
) -> Saved:
    """Keep a preference. `value` is in displayed order.

    A repeat of the same key gives the first result. A second answer by the same labeler is a new version. An answer
    whose lease ran out still fills the slot, or another of the same comparison, if nobody else has it, and is kept as
    surplus otherwise: it is never refused. A new version of a surplus answer fills a slot that has become free.
    Raises NotFound for a showing that is not this labeler's, Invalid for a value off the scale, and Conflict where the
    document is still kept back.
    """
    if not LOWEST <= value <= HIGHEST:
        raise Invalid(f"{value} is not on the scale.", f"Choose {LOWEST} to {HIGHEST}.", "value")

    def said(shown: Shown) -> dict[str, Any]:
        if shown.notes_first and not shown.revealed:
            raise Conflict("The document was not shown yet.", "Save what you take each summary to mean first.")
        return {
            "comparison_id": shown.comparison_id,
            "value": turned(value, shown.swapped),
            "explanation": _words(explanation),
            "seconds": _seconds(seconds),
            "steps": _steps(steps),
        }

    kept = _keep(session, viewer, Preference, showing_id, key, said)
    feedback = onboarding.feedback(session, viewer, showing_id) if kept.shown.practice else None
    return Saved(kept.version, kept.surplus, feedback)


def rate(
    session: Session,
    viewer: Viewer,
    *,
    showing_id: UUID,
    key: UUID,
    scores: Scores,
    comment: str | None,
    seconds: float | None,
) -> Saved:
    """Keep a rating of a summary, by the same rules as `answer`. Raises Invalid for no score, or one off the scale."""
    given = {axis: score for axis, score in asdict(scores).items() if score is not None}
    if not given:
        raise Invalid("Nothing was rated.", "Give a score on at least one axis.", "overall")
    for axis, score in given.items():
        if not ratings.LOWEST <= score <= ratings.HIGHEST:
            raise Invalid(f"{score} is not on the scale.", f"Choose {ratings.LOWEST} to {ratings.HIGHEST}.", axis)

    def said(shown: Shown) -> dict[str, Any]:
        return {
            "summary_id": shown.summary_id,
            "comment": _words(comment),
            "seconds": _seconds(seconds),
            **asdict(scores),
        }

    kept = _keep(session, viewer, Rating, showing_id, key, said)
    return Saved(kept.version, kept.surplus)


@dataclass(frozen=True)
class _Kept:
    shown: Shown
    version: int
    surplus: bool


def _keep(
    session: Session,
    viewer: Viewer,
    said: type[Preference] | type[Rating],
    showing_id: UUID,
    key: UUID,
    values: Callable[[Shown], dict[str, Any]],
) -> _Kept:
    _may_judge(viewer)
    # Answers of one labeler come one at a time: two tabs, a repeat and a double Enter are then all the same case.
    queueing.lock_queue_of(session, viewer.id)
    found = answers.before(session, said, showing_id, viewer.id, key)
    if found is None or (found.shown.comparison_id if said is Preference else found.shown.summary_id) is None:
        raise _not_shown()
    shown = found.shown
    if found.sent is not None:
        if found.sent.showing_id != showing_id:
            raise _used_elsewhere()
        return _Kept(shown, found.sent.version, found.sent.surplus)
    row, before, free = values(shown), found.newest, None
    if before is None or before.surplus:
        free = queueing.lock_slot_to_fill(session, shown, viewer.id, viewer.kind, calibrates=viewer.calibrates)
        if free is None or not (shown.state is SlotState.LEASED and shown.holder == viewer.id):
            # Who holds the slot that was shown, and fills it, holds no other of its subject: an index sees to that.
            others = queueing.let_go(session, shown, viewer.id, None if free is None else free.slot_id)
            count_surplus(session, others)
    if free is not None:
        surplus, slot_id = False, free.slot_id
    elif before is None:
        surplus, slot_id = True, shown.slot_id
    else:
        surplus, slot_id = before.surplus, before.slot_id
    version = 1 if before is None else before.version + 1
    kept = {"labeler_id": viewer.id, "showing_id": showing_id, "slot_id": slot_id, "key": key}
    try:
        answers.add(session, said, {**row, **kept, "version": version, "surplus": surplus}, fills=free is not None)
    except KeyTaken as error:
        raise _used_elsewhere() from error
    if free is not None and shown.for_round:
        rounds.opinion_given(session, free.batch_id)
    return _Kept(shown, version, surplus)


def count_surplus(session: Session, slot_ids: Sequence[int]) -> None:
    """These slots came back, or are new: answers on their subjects that were kept as surplus fill them first.

    Each becomes a new version that says the same. One whose labeler is at something in this moment is left: they may be
    changing it; `count_waiting` comes back to it.
    """
    for slot_id in slot_ids:
        slot = queueing.lock_open(session, slot_id)
        found = None if slot is None else answers.waiting(session, slot)
        if slot is None or found is None or not queueing.try_lock_queue_of(session, found.labeler_id):
            continue
        found = answers.waiting(session, slot)
        if found is not None:
            answers.count_after_all(session, slot, found)
            queueing.finish_slot(session, slot.id, found.labeler_id, found.showing_id)
            rounds.opinion_given(session, slot.batch_id)


def count_waiting(session: Session) -> None:
    """Let surplus answers fill what is open still: nobody is asked who has answered. Safe to run at any time.

    There are such slots where their labelers were busy when they came back, or who claimed one did not get so far as
    to commit it.
    """
    count_surplus(session, answers.fillable(session))


def _used_elsewhere() -> Conflict:
    return Conflict("This key was used for another pair.", "Reload the page.")


def _words(sent: str | None) -> str | None:
    """What a browser sent, as text that PostgreSQL can hold: an odd sign never costs the answer."""
    return _plain(sent)[:LONGEST_WORDS] or None


def _plain(sent: str | None) -> str:
    return (sent or "").replace("\0", "").encode("utf-8", "replace").decode().strip()


def _seconds(sent: float | None) -> float | None:
    # The browser's clock may be wrong; the answer is not.
    return sent if sent is not None and 0 <= sent <= DAY else None


def _steps(sent: dict[str, float | None] | None) -> dict[str, float] | None:
    known = {step: _seconds((sent or {}).get(step)) for step in STEPS}
    return {step: seconds for step, seconds in known.items() if seconds is not None} or None


def notes(
    session: Session, viewer: Viewer, *, showing_id: UUID, key: UUID, texts: Sequence[str], seconds: float | None
) -> Lease:
    """Keep what the labeler takes each summary to mean, in displayed order, and reveal the document.

    A repeat of the same key changes nothing; new notes are a new version, marked where the document was shown before.
    Raises NotFound for a showing that is not this labeler's, Conflict where no notes are asked for, and Invalid for an
    empty note or one that is too long.
    """
    _may_judge(viewer)
    queueing.lock_queue_of(session, viewer.id)
    shown = queueing.lock_shown(session, showing_id, viewer.id)
    if shown is None or shown.comparison_id is None:
        raise _not_shown()
    if not shown.notes_first:
        raise Conflict("No notes are asked for here.", "Reload the page.")
    repeat = answers.notes_by_key(session, key)
    if repeat is not None and repeat.showing_id != showing_id:
        raise _used_elsewhere()
    if repeat is None:
        words = [_plain(each) for each in texts]
        if not all(words):
            raise Invalid("A note is empty.", "Write what you take each summary to mean.", "notes")
        if any(len(each) > LONGEST_WORDS for each in words):
            raise Invalid("A note is too long.", f"Use up to {LONGEST_WORDS:,} characters.", "notes")
        _keep_notes(session, viewer, shown, words, {"key": key, "seconds": _seconds(seconds)})
        queueing.reveal(session, showing_id)
    lease = queueing.shown(session, viewer.id, showing_id)
    assert lease is not None, "its slot is locked"
    return lease


def _keep_notes(session: Session, viewer: Viewer, shown: Shown, words: Sequence[str], sent: dict[str, Any]) -> None:
    assert shown.comparison_id is not None
    before = answers.newest_notes(session, shown.comparison_id, viewer.id)
    common = {
        "comparison_id": shown.comparison_id,
        "labeler_id": viewer.id,
        "showing_id": shown.showing_id,
        "version": 1 if before is None else before.version + 1,
        "after_reveal": shown.revealed,
        **sent,
    }
    answers.add_notes(session, common, dict(zip(queueing.sides(session, shown), words, strict=True)))


# What is passed on, asked, looked at again


def skip(session: Session, viewer: Viewer, *, showing_id: UUID, reason: SkipReason, comment: str | None) -> None:
    """Pass a showing on with a reason. The slot goes to somebody else; this labeler is not asked again.

    A slot addressed to them is asked of nobody. Asking twice changes nothing; a pair that was answered meanwhile stays
    answered.
    """
    _may_judge(viewer)
    queueing.lock_queue_of(session, viewer.id)
    shown = queueing.lock_shown(session, showing_id, viewer.id)
    if shown is None:
        raise _not_shown()
    queueing.add_skip(session, shown, viewer.id, reason, _words(comment))
    count_surplus(session, queueing.let_go(session, shown, viewer.id))


def flag(
    session: Session, viewer: Viewer, *, showing_id: UUID, key: UUID, reason: FlagReason, comment: str | None
) -> None:
    """Ask the researchers to look at a pair, before or after it is answered. The queue stays as it is.

    A repeat of the same key changes nothing. Raises NotFound for a showing that is not this labeler's.
    """
    _may_judge(viewer)
    queueing.lock_queue_of(session, viewer.id)
    shown = queueing.lock_shown(session, showing_id, viewer.id)
    if shown is None:
        raise _not_shown()
    repeat = answers.flag_by_key(session, key)
    if repeat is None:
        values = {
            "slot_id": shown.slot_id,
            "comparison_id": shown.comparison_id,
            "summary_id": shown.summary_id,
            "showing_id": showing_id,
            "labeler_id": viewer.id,
            "reason": reason,
            "comment": _words(comment),
            "key": key,
        }
        answers.add_flag(session, values)
    elif repeat != showing_id:
        raise _used_elsewhere()


def last_answer(session: Session, viewer: Viewer) -> Answered | None:
    """What the labeler answered last, of either kind; None before they have answered anything."""
    _may_judge(viewer)
    queueing.by_index(session)
    showing_id = answers.last_shown(session, viewer.id)
    return None if showing_id is None else answered(session, viewer, showing_id)


def answered(session: Session, viewer: Viewer, showing_id: UUID) -> Answered:
    """What the labeler said last of what this showing showed. Raises NotFound where they have not answered it."""
    _may_judge(viewer)
    queueing.by_index(session)
    lease = queueing.shown(session, viewer.id, showing_id)
    if lease is None:
        raise _not_shown()
    if lease.task is BatchKind.COMPARE:
        said = answers.preference_on(session, showing_id)
        if said is not None:
            preference, swapped = said
            feedback = onboarding.feedback(session, viewer, showing_id) if lease.practice else None
            return Answered(lease, turned(preference.value, swapped), preference.explanation, feedback)
    else:
        rating = answers.rating_on(session, showing_id)
        if rating is not None:
            scores = Scores(rating.coherence, rating.accuracy, rating.coverage, rating.overall)
            return Answered(lease, scores, rating.comment)
    raise NotFound("This pair was not answered yet.", "Reload the page; nothing was lost.")


def progress(session: Session, viewer: Viewer) -> Progress:
    """How far the labeler is."""
    return Progress(*answers.progress(session, viewer.id))

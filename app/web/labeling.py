"""The judging page and the JSON it speaks: leases, notes, preferences, ratings, skips, flags, heartbeats, answers.

Knows the wire form, which says nothing of policies, scores or ids in order (invariant 3). Knows nothing of how a slot
is chosen (app.services.judging).
"""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, PlainValidator

from app.domain import ratings as axes
from app.domain.preferences import HIGHEST, LOWEST
from app.domain.preferences import WORDS as SCALE
from app.domain.words import BatchKind, FlagReason, Role, SkipReason
from app.services import judging
from app.services.judging import Answered, Progress, Scores
from app.services.onboarding import Feedback
from app.store.queueing import Lease
from app.web.contexts import ComparePage
from app.web.door import Desk, Door, DoorDep
from app.web.rendering import page, page_version

router = APIRouter()

# What the page holds, so that the next pair is there at once and a short loss of the network costs nothing.
AHEAD = 3
REASONS = [
    (SkipReason.UNREADABLE, "A text cannot be read"),
    (SkipReason.NOT_A_SUMMARY, "No text here is a summary"),
    (SkipReason.OFFENSIVE, "The content is too unpleasant"),
    (SkipReason.KNOW_THE_AUTHOR, "I know the people in it"),
    (SkipReason.OTHER, "Something else"),
]
CONCERNS = [
    (FlagReason.QUESTION, "I have a question about it"),
    (FlagReason.CUT_OFF, "A text is cut off"),
    (FlagReason.PERSONAL_DATA, "It names or exposes a private person"),
    (FlagReason.IDENTICAL, "Both summaries are the same"),
    (FlagReason.OTHER, "Something else"),
]


def _words(sent: object) -> str | None:
    return sent if isinstance(sent, str) else None


def _number(sent: object) -> float | None:
    return sent if isinstance(sent, int | float) and not isinstance(sent, bool) else None


def _ahead(sent: object) -> int | None:
    if isinstance(sent, int) and not isinstance(sent, bool) and 1 <= sent <= judging.MOST_AHEAD:
        return sent
    return None


def _numbers(sent: object) -> dict[str, float | None] | None:
    return {str(step): _number(value) for step, value in sent.items()} if isinstance(sent, dict) else None


# What comes beside an answer never costs it: app.services.judging cuts what is too long and leaves out what is odd.
Words = Annotated[str | None, PlainValidator(_words)]
Number = Annotated[float | None, PlainValidator(_number)]
Numbers = Annotated[dict[str, float | None] | None, PlainValidator(_numbers)]
Ahead = Annotated[int | None, PlainValidator(_ahead)]
Score = Annotated[int, Field(ge=axes.LOWEST, le=axes.HIGHEST)]


class Text(BaseModel):
    """A summary as shown."""

    text: str


class Shown(BaseModel):
    """The document as shown."""

    title: str
    community: str
    text: str


class Chosen(BaseModel):
    """The labeler's own preference, in displayed order."""

    value: int
    explanation: str | None


class Rated(BaseModel):
    """The labeler's own rating."""

    coherence: int | None
    accuracy: int | None
    coverage: int | None
    overall: int | None
    comment: str | None


class Item(BaseModel):
    """What the labeler holds, or has answered: A first, as drawn for this showing.

    `document` is null while it is kept back; `answer` is there for what is looked at again.
    """

    showing: UUID
    task: BatchKind
    notes_first: bool
    document: Shown | None
    summaries: list[Text]
    notes: list[str | None]
    practice: bool
    expires_at: datetime | None
    answer: Chosen | Rated | None


class Count(BaseModel):
    """How far the labeler is."""

    mine_today: int
    mine_total: int


class LeaseRequest(BaseModel):
    """How many to hold."""

    ahead: Annotated[int, Field(ge=1, le=judging.MOST_AHEAD)] = AHEAD


class Before(BaseModel):
    """What the labeler has to do first, and where; an empty `href` is nowhere: they wait."""

    words: str
    href: str
    label: str


class Held(BaseModel):
    """What the labeler holds now; empty when there is nothing to judge, or something to do `before`."""

    items: list[Item]
    before: Before | None


class LeaseAnswer(Held):
    """The same, and how far the labeler is."""

    progress: Count


class NotesRequest(BaseModel):
    """What the labeler takes each summary to mean, A first."""

    showing: UUID
    key: UUID
    notes: tuple[Words, Words]
    seconds: Number = None


class NotesAnswer(BaseModel):
    """The notes are kept; the document may be seen."""

    document: Shown
    progress: Count


class PreferenceRequest(BaseModel):
    """An answer in displayed order: 1 = A much better, 5 = cannot tell, 9 = B much better.

    With `ahead`, as in all that ends a showing, the labeler holds so many again, and is told what.
    """

    showing: UUID
    key: UUID
    value: Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
    explanation: Words = None
    seconds: Number = None
    steps: Numbers = None
    ahead: Ahead = None


class Lesson(BaseModel):
    """What the researchers said of a practice pair, in displayed order; `agrees` is null where one of the two is 5."""

    value: int
    reason: str
    agrees: bool | None


class RatingAnswer(BaseModel):
    """The answer is kept: it counts, or it came after others had given all that was asked for."""

    status: Literal["saved", "surplus"]
    version: int
    progress: Count
    held: Held | None


class PreferenceAnswer(RatingAnswer):
    """The same, with what a practice pair teaches."""

    feedback: Lesson | None


class RatingRequest(BaseModel):
    """Scores of one summary, at least one."""

    showing: UUID
    key: UUID
    coherence: Score | None = None
    accuracy: Score | None = None
    coverage: Score | None = None
    overall: Score | None = None
    comment: Words = None
    seconds: Number = None
    ahead: Ahead = None


class SkipRequest(BaseModel):
    """A showing passed on, with a reason."""

    showing: UUID
    key: UUID
    reason: SkipReason
    comment: Words = None
    ahead: Ahead = None


class SkipAnswer(BaseModel):
    """The skip is kept."""

    status: Literal["skipped"]
    progress: Count
    held: Held | None


class FlagRequest(BaseModel):
    """Something that the researchers are to look at."""

    showing: UUID
    key: UUID
    reason: FlagReason
    comment: Words = None


class FlagAnswer(BaseModel):
    """The flag is kept."""

    status: Literal["flagged"]


class Heartbeat(BaseModel):
    """What a visible page holds."""

    showings: Annotated[list[UUID], Field(max_length=judging.MOST_AHEAD)]


class HeartbeatAnswer(BaseModel):
    """Until when it is kept; null when it went back to the queue (answers are taken all the same)."""

    expires_at: datetime | None


class Again(BaseModel):
    """Something that the labeler answered, null before the first answer, and what a practice pair teaches."""

    item: Item | None
    feedback: Lesson | None


def _count(progress: Progress) -> Count:
    return Count(mine_today=progress.mine_today, mine_total=progress.mine_total)


def _document(lease: Lease) -> Shown | None:
    if lease.post is None:
        return None
    return Shown(title=lease.title or "", community=lease.community or "", text=lease.post)


def _item(lease: Lease, answer: Chosen | Rated | None = None) -> Item:
    return Item(
        showing=lease.showing_id,
        task=lease.task,
        notes_first=lease.notes_first,
        document=_document(lease),
        summaries=[Text(text=text.strip()) for text in lease.texts],
        notes=list(lease.notes),
        practice=lease.practice,
        expires_at=lease.expires_at,
        answer=answer,
    )


def _again(answered: Answered | None) -> Again:
    if answered is None:
        return Again(item=None, feedback=None)
    if isinstance(answered.said, Scores):
        said: Chosen | Rated = Rated(**asdict(answered.said), comment=answered.words)
    else:
        said = Chosen(value=answered.said, explanation=answered.words)
    return Again(item=_item(answered.lease, said), feedback=_lesson(answered.feedback))


def _lesson(feedback: Feedback | None) -> Lesson | None:
    return None if feedback is None else Lesson(**asdict(feedback))


def _told(answer: BaseModel) -> Response:
    """As JSON, written here: FastAPI would check and write it in a second hop of the thread pool."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _lasts(door: Door) -> timedelta:
    return timedelta(seconds=door.settings.lease_seconds)


def _progress(desk: Desk) -> Count:
    return _count(judging.progress(desk.session, desk.viewer))


def _handed(door: Door, desk: Desk, ahead: int) -> Held:
    handed = judging.leases(desk.session, desk.viewer, ahead, _lasts(door), page_version())
    return Held(
        items=[_item(lease) for lease in handed.leases],
        before=None if handed.before is None else Before(**asdict(handed.before)),
    )


def _held(door: Door, desk: Desk, ahead: int | None, *, surplus: bool = False) -> Held | None:
    # Slots that come back in a claim are filled by surplus answers: what was just said of this one would be wrong.
    return None if ahead is None or surplus else _handed(door, desk, ahead)


@router.get("/label")
def compare_page(door: DoorDep) -> Response:
    """The page on which labelers spend their days."""
    with door.enter(Role.LABELER):
        pass
    context = ComparePage(
        ahead=AHEAD,
        scale=list(SCALE.items()),
        axes=list(axes.AXES),
        reasons=[(reason.value, words) for reason, words in REASONS],
        concerns=[(reason.value, words) for reason, words in CONCERNS],
    )
    return page(door.request, "labeling/compare.html", context)


@router.post("/api/leases")
def leases(door: DoorDep, wanted: LeaseRequest) -> Response:
    """Hold the next ones; the same in every tab."""
    with door.enter(Role.LABELER) as desk:
        held = _handed(door, desk, wanted.ahead)
        return _told(LeaseAnswer(items=held.items, before=held.before, progress=_progress(desk)))


@router.post("/api/notes")
def notes(door: DoorDep, sent: NotesRequest) -> Response:
    """Keep the notes on both summaries; only then is the document read."""
    with door.enter(Role.LABELER) as desk:
        lease = judging.notes(
            desk.session,
            desk.viewer,
            showing_id=sent.showing,
            key=sent.key,
            texts=[words or "" for words in sent.notes],
            seconds=sent.seconds,
        )
        document = _document(lease)
        assert document is not None, "saving the notes revealed it"
        return _told(NotesAnswer(document=document, progress=_progress(desk)))


@router.post("/api/preferences")
def preferences(door: DoorDep, sent: PreferenceRequest) -> Response:
    """Keep an answer; it is committed before this returns."""
    with door.enter(Role.LABELER) as desk:
        saved = judging.answer(
            desk.session,
            desk.viewer,
            showing_id=sent.showing,
            key=sent.key,
            value=sent.value,
            explanation=sent.explanation,
            seconds=sent.seconds,
            steps=sent.steps,
        )
        return _told(
            PreferenceAnswer(
                status="surplus" if saved.surplus else "saved",
                version=saved.version,
                feedback=_lesson(saved.feedback),
                progress=_progress(desk),
                held=_held(door, desk, sent.ahead, surplus=saved.surplus),
            )
        )


@router.post("/api/ratings")
def ratings(door: DoorDep, sent: RatingRequest) -> Response:
    """Keep the scores of a summary; they are committed before this returns."""
    with door.enter(Role.LABELER) as desk:
        saved = judging.rate(
            desk.session,
            desk.viewer,
            showing_id=sent.showing,
            key=sent.key,
            scores=Scores(sent.coherence, sent.accuracy, sent.coverage, sent.overall),
            comment=sent.comment,
            seconds=sent.seconds,
        )
        return _told(
            RatingAnswer(
                status="surplus" if saved.surplus else "saved",
                version=saved.version,
                progress=_progress(desk),
                held=_held(door, desk, sent.ahead, surplus=saved.surplus),
            )
        )


@router.post("/api/skips")
def skips(door: DoorDep, sent: SkipRequest) -> Response:
    """Pass it on."""
    with door.enter(Role.LABELER) as desk:
        judging.skip(desk.session, desk.viewer, showing_id=sent.showing, reason=sent.reason, comment=sent.comment)
        return _told(SkipAnswer(status="skipped", progress=_progress(desk), held=_held(door, desk, sent.ahead)))


@router.post("/api/flags")
def flags(door: DoorDep, sent: FlagRequest) -> Response:
    """Ask the researchers to look at it."""
    with door.enter(Role.LABELER) as desk:
        judging.flag(
            desk.session,
            desk.viewer,
            showing_id=sent.showing,
            key=sent.key,
            reason=sent.reason,
            comment=sent.comment,
        )
        return _told(FlagAnswer(status="flagged"))


@router.post("/api/heartbeats")
def heartbeats(door: DoorDep, sent: Heartbeat) -> Response:
    """Keep what a visible page holds."""
    with door.enter(Role.LABELER) as desk:
        return _told(HeartbeatAnswer(expires_at=judging.extend(desk.session, desk.viewer, sent.showings, _lasts(door))))


@router.get("/api/answers/last")
def last_answer(door: DoorDep) -> Response:
    """What the labeler answered last, to change it, also after the page was loaded again."""
    with door.enter(Role.LABELER) as desk:
        return _told(_again(judging.last_answer(desk.session, desk.viewer)))


@router.get("/api/answers/{showing}")
def one_answer(door: DoorDep, showing: UUID) -> Response:
    """What the labeler said of this."""
    with door.enter(Role.LABELER) as desk:
        return _told(_again(judging.answered(desk.session, desk.viewer, showing)))

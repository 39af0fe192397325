"""The judging page and the JSON it speaks: leases, preferences, skips, heartbeats.

Knows the wire form, which says nothing of policies, scores or ids in order (invariant 3). Knows nothing of how a slot
is chosen (app.services.judging).
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, PlainValidator

from app.domain.preferences import HIGHEST, LOWEST
from app.domain.preferences import WORDS as SCALE
from app.domain.words import Role, SkipReason
from app.services import judging
from app.services.judging import Progress
from app.store.queueing import Lease
from app.web.contexts import ComparePage
from app.web.door import Desk, DoorDep
from app.web.rendering import page, page_version

router = APIRouter()

REASONS = [
    (SkipReason.UNREADABLE, "A text cannot be read"),
    (SkipReason.NOT_A_SUMMARY, "Neither text is a summary"),
    (SkipReason.OFFENSIVE, "The content is too unpleasant"),
    (SkipReason.KNOW_THE_AUTHOR, "I know the people in it"),
    (SkipReason.OTHER, "Something else"),
]


def _words(sent: object) -> str | None:
    return sent if isinstance(sent, str) else None


def _number(sent: object) -> float | None:
    return sent if isinstance(sent, int | float) and not isinstance(sent, bool) else None


# What comes beside an answer never costs it: app.services.judging cuts what is too long and leaves out what is odd.
Words = Annotated[str | None, PlainValidator(_words)]
Number = Annotated[float | None, PlainValidator(_number)]


class Text(BaseModel):
    """A summary as shown."""

    text: str


class Shown(BaseModel):
    """The document as shown."""

    title: str
    community: str
    text: str


class Item(BaseModel):
    """A pair that the labeler holds; A first, as drawn for this showing."""

    showing: UUID
    document: Shown
    summaries: tuple[Text, Text]
    expires_at: datetime | None


class Count(BaseModel):
    """How far the labeler is."""

    mine_today: int
    mine_total: int


class LeaseRequest(BaseModel):
    """How many pairs to hold."""

    ahead: Annotated[int, Field(ge=1, le=judging.MOST_AHEAD)] = 1


class LeaseAnswer(BaseModel):
    """What the labeler holds now; empty when there is nothing to judge."""

    items: list[Item]
    progress: Count


class PreferenceRequest(BaseModel):
    """An answer in displayed order: 1 = A much better, 5 = cannot tell, 9 = B much better."""

    showing: UUID
    key: UUID
    value: Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
    explanation: Words = None
    seconds: Number = None


class PreferenceAnswer(BaseModel):
    """The answer is kept."""

    status: Literal["saved", "surplus"]
    version: int
    progress: Count


class SkipRequest(BaseModel):
    """A pair passed on, with a reason."""

    showing: UUID
    key: UUID
    reason: SkipReason
    comment: Words = None


class SkipAnswer(BaseModel):
    """The skip is kept."""

    status: Literal["skipped"]
    progress: Count


class Heartbeat(BaseModel):
    """The pairs a visible page holds."""

    showings: Annotated[list[UUID], Field(max_length=10)]


class HeartbeatAnswer(BaseModel):
    """Until when they are kept; null when they went back to the queue (answers are taken all the same)."""

    expires_at: datetime | None


def _count(progress: Progress) -> Count:
    return Count(mine_today=progress.mine_today, mine_total=progress.mine_total)


def _item(lease: Lease) -> Item:
    return Item(
        showing=lease.showing_id,
        document=Shown(title=lease.title or "", community=lease.community or "", text=lease.post or ""),
        summaries=(Text(text=lease.texts[0].strip()), Text(text=lease.texts[1].strip())),
        expires_at=lease.expires_at,
    )


def _lasts(door: DoorDep) -> timedelta:
    return timedelta(seconds=door.settings.lease_seconds)


def _progress(desk: Desk) -> Count:
    return _count(judging.progress(desk.session, desk.viewer))


@router.get("/label")
def compare_page(door: DoorDep) -> Response:
    """The page on which labelers spend their days."""
    with door.enter(Role.LABELER):
        pass
    context = ComparePage(list(SCALE.items()), [(reason.value, words) for reason, words in REASONS])
    return page(door.request, "labeling/compare.html", context)


@router.post("/api/leases")
def leases(door: DoorDep, wanted: LeaseRequest) -> LeaseAnswer:
    """Hold the next pairs; the same ones in every tab."""
    with door.enter(Role.LABELER) as desk:
        held = judging.leases(desk.session, desk.viewer, wanted.ahead, _lasts(door), page_version())
        return LeaseAnswer(items=[_item(lease) for lease in held], progress=_progress(desk))


@router.post("/api/preferences")
def preferences(door: DoorDep, sent: PreferenceRequest) -> PreferenceAnswer:
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
        )
        return PreferenceAnswer(
            status="surplus" if saved.surplus else "saved", version=saved.version, progress=_progress(desk)
        )


@router.post("/api/skips")
def skips(door: DoorDep, sent: SkipRequest) -> SkipAnswer:
    """Pass a pair on."""
    with door.enter(Role.LABELER) as desk:
        judging.skip(desk.session, desk.viewer, showing_id=sent.showing, reason=sent.reason, comment=sent.comment)
        return SkipAnswer(status="skipped", progress=_progress(desk))


@router.post("/api/heartbeats")
def heartbeats(door: DoorDep, sent: Heartbeat) -> HeartbeatAnswer:
    """Keep what a visible page holds."""
    with door.enter(Role.LABELER) as desk:
        return HeartbeatAnswer(expires_at=judging.extend(desk.session, desk.viewer, sent.showings, _lasts(door)))

"""What labelers asked the researchers to look at, and the replies.

Knows pages and forms. Knows nothing of how a flag is raised (app.web.labeling).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from app.domain.errors import Invalid
from app.domain.words import FlagReason
from app.services import flags
from app.services.flags import LONGEST_REPLY, WORDS
from app.store.flags import Raised
from app.web.contexts import FlagLine, FlagPage, FlagsPage, SideText
from app.web.door import ADMIN, STAFF, Desk, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=4 * LONGEST_REPLY)]


def _line(raised: Raised) -> FlagLine:
    return FlagLine(
        id=raised.flag.id,
        reason=WORDS[FlagReason(raised.flag.reason)],
        comment=raised.flag.comment,
        labeler=raised.labeler,
        title=raised.document.title or "Untitled",
        raised=raised.flag.created_at,
        reply=raised.flag.reply,
    )


@router.get("/flags")
def listed(
    door: DoorDep,
    closed: Annotated[str, Query(max_length=20)] = "",
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Flags that wait for a reply, or those that were closed."""
    with door.enter(*STAFF) as desk:
        found, more = flags.listed(desk.session, bool(closed), before)
        waiting = flags.waiting(desk.session)
    context = FlagsPage(
        flags=[_line(each) for each in found],
        closed=bool(closed),
        waiting=waiting,
        older=f"/flags?{'closed=yes&' if closed else ''}before={found[-1].flag.id}" if more else None,
    )
    return page(door.request, "flags/flags.html", context)


def _page(desk: Desk, flag_id: int, reply: str | None = None, errors: dict[str, str] | None = None) -> FlagPage:
    raised = flags.one(desk.session, flag_id)
    comparison_id = raised.flag.comparison_id
    names = ("A", "B") if len(raised.texts) == 2 else ("",)
    return FlagPage(
        flag=_line(raised),
        closed_by=raised.closed_by,
        closed_at=raised.flag.closed_at,
        document_title=raised.document.title or "Untitled",
        community=raised.document.community,
        text=raised.document.post,
        sides=[SideText(name, text.strip(), None) for name, text in zip(names, raised.texts, strict=True)],
        comparison_id=comparison_id,
        slots=f"/comparisons/{comparison_id}" if comparison_id and desk.viewer.role in ADMIN else None,
        reply=(raised.flag.reply or "") if reply is None else reply,
        longest=LONGEST_REPLY,
        errors=errors or {},
    )


@router.get("/flags/{flag_id}")
def one(door: DoorDep, flag_id: Id) -> Response:
    """One flag, with the texts as its labeler saw them."""
    with door.enter(*STAFF) as desk:
        context = _page(desk, flag_id)
    return page(door.request, "flags/flag.html", context)


@router.post("/flags/{flag_id}")
def close(door: DoorDep, flag_id: Id, reply: Text = "") -> Response:
    """Reply to a flag, and close it."""
    try:
        with door.enter(*STAFF) as desk:
            flags.close(desk.session, desk.viewer, flag_id, reply)
    except Invalid as refusal:
        with door.enter(*STAFF) as desk:
            context = _page(desk, flag_id, reply, {"reply": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "flags/flag.html", context, 422)
    return redirect("/flags", "The flag is closed. Its labeler can read your reply." if reply.strip() else "Closed.")

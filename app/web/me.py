"""A labeler's own work: pace, how they stand with the researchers on released pairs, and what they asked.

Knows routes and words. Knows nothing of anybody else: what a labeler may see is decided in app.services.quality.
"""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from app.domain.errors import Invalid
from app.domain.preferences import WORDS as SCALE
from app.domain.words import FlagReason, Role
from app.services import judging, quality
from app.services.quality import Disagreement, Own
from app.web.contexts import ApartLine, AskedLine, MePage
from app.web.door import DoorDep
from app.web.errors import for_programs
from app.web.quality import NONE, pace_plots, share
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=100_000)]


@router.get("/me")
def me_page(door: DoorDep, number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1) -> Response:
    """One's own work, with one page of the pairs on which the researchers see it differently."""
    with door.enter(Role.LABELER) as desk:
        found = quality.own(desk.session, desk.viewer, number)
    if for_programs(door.request):
        return JSONResponse(jsonable_encoder(found))
    return page(door.request, "me/me.html", _page(found, number))


@router.post("/me/questions")
def ask(door: DoorDep, showing: Text = "", key: Text = "", comment: Text = "") -> Response:
    """Ask the researchers about a pair one was shown."""
    with door.enter(Role.LABELER) as desk:
        judging.flag(
            desk.session,
            desk.viewer,
            showing_id=_id(showing),
            key=_id(key),
            reason=FlagReason.QUESTION,
            comment=comment,
        )
    return redirect("/me", "Asked. The reply will stand on this page.")


def _id(sent: str) -> UUID:
    try:
        return UUID(sent)
    except ValueError:
        raise Invalid("This does not say which pair is meant.", "Reload the page and ask again.") from None


def _page(found: Own, number: int) -> MePage:
    pace, agreement = found.pace, share(found.agreement)
    before = (number - 1) * quality.DISAGREEMENTS_SHOWN
    shown = before + len(found.disagreements)
    return MePage(
        tiles=[
            ("Judged today", f"{found.progress.mine_today:,}", f"{found.progress.mine_total:,} in all"),
            (
                "Time per pair",
                NONE if pace.seconds is None else f"{pace.seconds:.0f} s",
                "your median of active time" if pace.seconds is not None else "not measured yet",
            ),
            (
                "With the researchers",
                agreement.value,
                f"same side, {agreement.detail}" if found.agreement.n else "nothing to compare yet",
            ),
        ],
        plots=pace_plots(found.days),
        released=found.released,
        differ=found.apart,
        apart=[_apart(each) for each in found.disagreements],
        shown=f"{before + 1:,} to {shown:,} of {found.apart:,}" if found.disagreements else "There are none here.",
        newer=f"/me?page={number - 1}" if number > 1 else None,
        older=f"/me?page={number + 1}" if shown < found.apart else None,
        asked=[
            AskedLine(
                title=each.title,
                words=each.words,
                comment=each.comment,
                raised=each.raised_at,
                reply=each.reply,
                closed=each.closed_at is not None,
            )
            for each in found.flags
        ],
        longest=judging.LONGEST_WORDS,
    )


def _apart(found: Disagreement) -> ApartLine:
    return ApartLine(
        showing=found.showing_id,
        # Made with the page, so that a second click on the same button asks nothing twice.
        key=str(uuid4()),
        title=found.title,
        community=found.community,
        text=found.post,
        first=found.texts[0].strip(),
        second=found.texts[1].strip(),
        said=SCALE[found.said],
        explanation=found.explanation,
        verdict=SCALE[found.verdict],
        reason=found.reason,
        released=found.released_at,
        asked=found.asked,
    )

"""Researchers look for comparisons, judge them blind, and say what their verdicts are used for.

Knows pages, searches and forms. Knows nothing of what may be told before a verdict (app.services.verdicts).
"""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response

from app.domain.errors import Conflict, Invalid
from app.domain.preferences import MIDDLE, WORDS
from app.domain.words import BatchPurpose, ComparisonKind
from app.services import verdicts
from app.services.people import Viewer
from app.services.verdicts import LONGEST_REASON, PairView
from app.store.session import Session
from app.store.verdicts import Line, Only
from app.web.contexts import AnswerLine, ComparedLine, GivenVerdict, SideText, UseLine, VerdictPage, VerdictsPage
from app.web.door import STAFF, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=4 * LONGEST_REASON)]
Word = Annotated[str, Query(max_length=20)]

OPENING = 160
KINDS = {
    ComparisonKind.ORDINARY: "ordinary",
    ComparisonKind.SHARED: "shared pool",
    ComparisonKind.GOLD: "gold",
    ComparisonKind.SENTINEL: "sentinel",
    ComparisonKind.CALIBRATION: "for researchers",
    ComparisonKind.QUALIFICATION: "qualification",
}
ONLY = {
    Only.DISAGREED: "labelers disagree",
    Only.WITHOUT: "without a verdict",
    Only.GIVEN: "with a verdict",
    Only.RELEASED: "with a verdict that labelers see",
}
USES = {BatchPurpose.GOLD: "gold", BatchPurpose.QUALIFICATION: "qualification"}


@router.get("/verdicts")
def listed(door: DoorDep, batch: Word = "", kind: Word = "", only: Word = "", before: Word = "") -> Response:
    """Comparisons, newest first, found by batch, kind, and what was said of them."""
    batch_id, last = _id(batch), _id(before)
    chosen = ComparisonKind(kind) if kind in list(ComparisonKind) else None
    wanted = Only(only) if only in list(Only) else None
    with door.enter(*STAFF) as desk:
        found, more = verdicts.listed(desk.session, batch_id, chosen, wanted, last)
        batches = verdicts.batches(desk.session)

    def at(below: int | None) -> str:
        asked = {"batch": batch_id or "", "kind": chosen or "", "only": wanted or "", "before": below or ""}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/verdicts?{query}" if query else "/verdicts"

    context = VerdictsPage(
        comparisons=[_line(each) for each in found],
        batches=[(str(number), name) for number, name in batches],
        batch=str(batch_id or ""),
        kinds=[(each.value, words) for each, words in KINDS.items()],
        kind=chosen or "",
        choices=[(each.value, words) for each, words in ONLY.items()],
        only=wanted or "",
        filtered=bool(batch_id or chosen or wanted or last),
        newest=at(None) if last else None,
        older=at(found[-1].id) if more else None,
    )
    return page(door.request, "verdicts/verdicts.html", context)


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 2**63 else None


def _line(each: Line) -> ComparedLine:
    flat = " ".join(each.post[: 4 * OPENING].split())
    opening = flat if len(flat) <= OPENING else flat[: OPENING - 1].rstrip() + "…"
    return ComparedLine(
        id=each.id,
        title=each.title or opening[:80] or "Untitled",
        opening=opening,
        batch=each.batch,
        # Before there is a verdict, nothing of what tells about the policies, or of what labelers said.
        kind="" if each.verdict is None else KINDS[each.kind],
        answers=each.answers,
        disagreed=None if each.verdict is None else each.disagreed,
        verdict="" if each.verdict is None else "retired" if each.verdict.retired_at is not None else "given",
        released=each.verdict is not None and each.verdict.released_at is not None,
        agreeing=each.agreeing,
        sided=each.sided,
    )


def _page(
    found: PairView,
    *,
    changing: bool = False,
    value: str = "",
    reason: str = "",
    errors: dict[str, str] | None = None,
) -> VerdictPage:
    given = found.given
    standing = found.kind in (ComparisonKind.GOLD, ComparisonKind.QUALIFICATION)
    policies = found.policies or (None, None)
    used = {copy.purpose for copy in found.copies if not copy.retired}
    return VerdictPage(
        id=found.id,
        title=found.title or "Untitled",
        community=found.community,
        text=found.post,
        sides=[
            SideText(name, text.strip(), policy) for name, text, policy in zip("AB", found.texts, policies, strict=True)
        ],
        verdict=None
        if given is None
        else GivenVerdict(WORDS[given.value], given.reason, given.author, given.at, given.released, given.retired),
        kind=KINDS[found.kind],
        batch=found.batch,
        standing=standing,
        answers=[
            AnswerLine(each.name, each.calibrates, WORDS[each.value], each.explanation, each.agrees)
            for each in found.answers
        ],
        uses=[
            UseLine(each.comparison_id, each.purpose.value, USES[each.purpose], each.retired) for each in found.copies
        ],
        can_use=[
            (purpose.value, words)
            for purpose, words in USES.items()
            if given is not None and given.value != MIDDLE and purpose not in used and found.kind.value != purpose.value
        ],
        changing=changing or given is None,
        scale=[(str(number), f"{number}: {words}") for number, words in WORDS.items()],
        value=value,
        reason=reason,
        longest=LONGEST_REASON,
        errors=errors or {},
    )


@router.get("/verdicts/{comparison_id}")
def one(door: DoorDep, comparison_id: Id, change: Word = "") -> Response:
    """A comparison to judge; once that is done, what others said, and what the verdict is used for."""
    with door.enter(*STAFF) as desk:
        found = verdicts.one(desk.session, desk.viewer, comparison_id)
    if found.given is not None and change:
        context = _page(found, changing=True, value=str(found.given.value), reason=found.given.reason)
    else:
        context = _page(found)
    return page(door.request, "verdicts/verdict.html", context)


@router.post("/verdicts/{comparison_id}")
def give(door: DoorDep, comparison_id: Id, value: Text = "", reason: Text = "", first: Text = "") -> Response:
    """Keep a verdict."""
    chosen = int(value) if value in {str(number) for number in WORDS} else None
    try:
        with door.enter(*STAFF) as desk:
            verdicts.give(desk.session, desk.viewer, comparison_id, chosen, reason, first=first == "yes")
    except (Invalid, Conflict) as refusal:
        field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "reason"
        with door.enter(*STAFF) as desk:
            found = verdicts.one(desk.session, desk.viewer, comparison_id)
        errors = {field: f"{refusal.what} {refusal.what_to_do}"}
        context = _page(found, changing=True, value=value, reason=reason, errors=errors)
        return page(door.request, "verdicts/verdict.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return redirect(f"/verdicts/{comparison_id}", "Your verdict is kept.")


@router.post("/verdicts/{comparison_id}/use")
def use(door: DoorDep, comparison_id: Id, purpose: Text = "") -> Response:
    """Put the pair before every labeler once, as gold or as practice."""
    with door.enter(*STAFF) as desk:
        chosen = next((each for each in USES if each.value == purpose), None)
        if chosen is None:
            raise Invalid("Say what the pair is to be used for.", "Choose gold or qualification.", "purpose")
        verdicts.use(desk.session, desk.viewer, comparison_id, chosen)
    return redirect(f"/verdicts/{comparison_id}", f"A copy of the pair is in use as {USES[chosen]}.")


@router.post("/verdicts/{comparison_id}/retire")
def retire(door: DoorDep, comparison_id: Id) -> Response:
    """Put a gold or qualification pair before nobody any more."""
    return _changed(door, comparison_id, verdicts.retire, "The pair is retired. What was answered stays.")


@router.post("/verdicts/{comparison_id}/put-back")
def put_back(door: DoorDep, comparison_id: Id) -> Response:
    """Put a retired pair before labelers again."""
    return _changed(door, comparison_id, verdicts.put_back, "The pair is in use again.")


@router.post("/verdicts/{comparison_id}/release")
def release(door: DoorDep, comparison_id: Id) -> Response:
    """Let labelers who answered see the verdict."""
    return _changed(door, comparison_id, verdicts.release, "Labelers who answered the pair see your verdict and why.")


@router.post("/verdicts/{comparison_id}/withdraw")
def withdraw(door: DoorDep, comparison_id: Id) -> Response:
    """Show the verdict to labelers no longer."""
    return _changed(door, comparison_id, verdicts.withdraw, "Labelers no longer see the verdict.")


def _changed(door: DoorDep, comparison_id: int, change: Callable[[Session, Viewer, int], None], words: str) -> Response:
    with door.enter(*STAFF) as desk:
        change(desk.session, desk.viewer, comparison_id)
    return redirect(f"/verdicts/{comparison_id}", words)

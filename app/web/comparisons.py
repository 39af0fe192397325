"""The comparisons of a batch, and one of them with everything that was said of it: for admins.

Knows routes and words. Knows nothing of what making an opinion void does (app.services.comparisons). A page here tells
which policy wrote what, so that whoever wants to give a blind verdict goes to the verdicts first.
"""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response

from app.domain.errors import Conflict, Invalid, Refusal
from app.domain.preferences import WORDS, turned
from app.domain.words import ComparisonKind, SlotState
from app.services import comparisons
from app.services.comparisons import LONGEST_REASON, ComparisonView
from app.services.flags import WORDS as FLAG_WORDS
from app.services.people import Viewer
from app.store.comparisons import Line, Said, SlotLine, Standing
from app.store.session import Session
from app.web.batches import KINDS, counted
from app.web.contexts import (
    ChangeForm,
    ComparisonPage,
    ComparisonsPage,
    OpinionLine,
    PairLine,
    RemarkLine,
    SaidLine,
    SideText,
)
from app.web.door import ADMIN, Desk, Door, DoorDep, Id
from app.web.labeling import REASONS
from app.web.protocols import whole
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]
Key = Annotated[int | None, Query(ge=1, le=2**63 - 1)]

_SKIPPED = dict(REASONS)
_STANDINGS = {
    Standing.OPEN: "with an open opinion",
    Standing.HELD: "held by a labeler",
    Standing.DONE: "asking for nothing more",
    Standing.VOID: "with a void opinion",
}
_STATES = {
    SlotState.OPEN: ("queued", "open"),
    SlotState.LEASED: ("running", "held"),
    SlotState.DONE: ("succeeded", "given"),
    SlotState.VOID: ("cancelled", "void"),
}


def _cut(text: str, longest: int = 90) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1].rstrip() + "…"


@router.get("/batches/{batch_id}/comparisons")
def listed(
    door: DoorDep,
    batch_id: Id,
    kind: Annotated[str, Query(max_length=20)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    words: Annotated[str, Query(max_length=200)] = "",
    after: Key = None,
    before: Key = None,
) -> Response:
    """A batch's comparisons by number, found by kind, state and words."""
    of_kind = ComparisonKind(kind) if kind in list(ComparisonKind) else None
    standing = Standing(state) if state in list(Standing) else None
    with door.enter(*ADMIN) as desk:
        found = comparisons.listed(
            desk.session, batch_id, kind=of_kind, standing=standing, words=words, after=after, before=before
        )
        lines = [_line(line) for line in found.lines]

    def at(**place: int) -> str:
        asked = {"words": words, "kind": of_kind or "", "state": standing or "", **place}
        return f"/batches/{batch_id}/comparisons?" + urlencode({name: each for name, each in asked.items() if each})

    context = ComparisonsPage(
        batch=batch_id,
        name=found.batch.name,
        comparisons=lines,
        words=words,
        kind=of_kind or "",
        kinds=[(each.value, name) for each, name in KINDS.items()],
        state=standing or "",
        states=[(each.value, name) for each, name in _STANDINGS.items()],
        filtered=bool(words.strip() or of_kind or standing),
        newer=at(before=lines[0].id) if lines and found.earlier else None,
        older=at(after=lines[-1].id) if lines and found.later else None,
    )
    return page(door.request, "comparisons/comparisons.html", context)


def _line(line: Line) -> PairLine:
    return PairLine(
        id=line.comparison.id,
        title=line.title or _cut(line.post),
        kind=KINDS[ComparisonKind(line.comparison.kind)],
        policies=" and ".join(line.policies),
        slots=[
            (_STATES[state][0], f"{line.slots[state]} {_STATES[state][1]}") for state in _STATES if state in line.slots
        ],
    )


@router.get("/comparisons/{comparison_id}")
def one(door: DoorDep, comparison_id: Id) -> Response:
    """One comparison, and what can be changed about its opinions."""
    with door.enter(*ADMIN) as desk:
        context = _page(desk, comparison_id)
    return page(door.request, "comparisons/comparison.html", context)


def _page(
    desk: Desk, comparison_id: int, form: ChangeForm | None = None, errors: dict[str, str] | None = None
) -> ComparisonPage:
    view = comparisons.one(desk.session, comparison_id)
    found = view.found
    state = {line.slot.id: SlotState(line.slot.state) for line in view.slots}
    number = {line.slot.id: line.slot.number for line in view.slots}
    newest = {said.preference.labeler_id: said.preference.id for said in view.answers}
    side = {each.summary.id: name for each, name in zip(found.sides, ("first", "second"), strict=True)}
    return ComparisonPage(
        id=found.comparison.id,
        title=found.document.title or _cut(found.document.post),
        community=found.document.community,
        document=found.document.id,
        text=found.document.post,
        sides=[
            SideText(name, each.summary.text.strip(), each.policy.name)
            for each, name in zip(found.sides, ("First summary", "Second summary"), strict=True)
        ],
        facts=_facts(view),
        batch=found.batch.id,
        batch_name=found.batch.name,
        opinions=[_opinion(line) for line in view.slots],
        answers=[
            _said(said, number[said.preference.slot_id], state[said.preference.slot_id], newest)
            for said in view.answers
        ],
        notes=[
            RemarkLine(
                name,
                f"{side[note.summary_id]} summary, version {note.version}"
                + (", after the document was shown" if note.after_reveal else ""),
                note.text,
                note.created_at,
                None,
            )
            for note, name in view.notes
        ],
        skips=[
            RemarkLine(name, _SKIPPED[skip.reason], skip.comment, skip.created_at, None) for skip, name in view.skips
        ],
        flags=[
            RemarkLine(name, FLAG_WORDS[flag.reason], flag.comment, flag.created_at, f"/flags/{flag.id}")
            for flag, name in view.flags
        ],
        verdict=None if found.verdict is None else f"{_frame(found.verdict.value)}: {found.verdict.reason}",
        standing=view.standing,
        asks=_asks(view),
        open=sum(each is SlotState.OPEN for each in state.values()),
        voidable=[(str(line.slot.id), _named(line)) for line in view.slots if line.slot.state != SlotState.VOID],
        void=[(str(line.slot.id), _named(line)) for line in view.slots if line.slot.state == SlotState.VOID],
        form=form or ChangeForm("", "", ""),
        longest=LONGEST_REASON,
        errors=errors or {},
    )


def _facts(view: ComparisonView) -> list[tuple[str, str]]:
    comparison = view.found.comparison
    return [
        ("Kind", KINDS[ComparisonKind(comparison.kind)]),
        ("Why paired", comparison.reason or "not recorded"),
        ("Chosen with probability", "not recorded" if comparison.propensity is None else f"{comparison.propensity:g}"),
        ("Put up", f"{comparison.created_at:%Y-%m-%d %H:%M} UTC"),
    ]


def _asks(view: ComparisonView) -> str:
    if view.standing:
        return "It is put before each labeler once."
    more = view.live - view.asked
    words = f"Its batch asks for {counted(view.asked, 'opinion', 'opinions')} on a pair of this kind"
    if more > 0:
        return f"{words}; {counted(more, 'more was', 'more were')} asked for here."
    return f"{words}; {counted(-more, 'of them is', 'of them are')} no longer asked for." if more else f"{words}."


def _opinion(line: SlotLine) -> OpinionLine:
    slot, state = line.slot, SlotState(line.slot.state)
    words = _STATES[state][1]
    if state is SlotState.VOID and line.answered:
        words = "void, was given"
    since = {SlotState.LEASED: slot.lease_expires_at, SlotState.DONE: slot.done_at}.get(state)
    return OpinionLine(
        id=slot.id,
        number=slot.number,
        state=_STATES[state][0],
        words=words,
        labeler=line.labeler,
        addressed=line.for_labeler,
        since=since,
    )


def _named(line: SlotLine) -> str:
    words = _opinion(line).words
    return f"Opinion {line.slot.number}, {words}" + (f" by {line.labeler}" if line.labeler else "")


def _frame(value: int) -> str:
    """An answer in the comparison's own frame, in words."""
    words = WORDS[value]
    named = {"A ": "the first ", "B ": "the second "}
    return f"{value}, {named.get(words[:2], words[:2].lower())}{words[2:]}"


def _said(said: Said, opinion: int, state: SlotState, newest: dict[int, int]) -> SaidLine:
    preference = said.preference
    replaced = newest[preference.labeler_id] != preference.id
    counts = not replaced and not preference.surplus and state is not SlotState.VOID
    if counts:
        status = "counts"
    elif replaced:
        status = "replaced"
    else:
        status = "surplus" if preference.surplus else "void"
    shown = turned(preference.value, said.swapped)
    return SaidLine(
        labeler=said.labeler,
        researcher=said.calibrates,
        opinion=opinion,
        version=preference.version,
        counted=counts,
        status=status,
        value=_frame(preference.value),
        shown=f"{shown}, {WORDS[shown]}" + (" (A was the second)" if said.swapped else " (A was the first)"),
        explanation=preference.explanation,
        time=_time(preference.seconds, preference.steps or {}),
        at=preference.created_at,
    )


def _time(seconds: float | None, steps: dict[str, Any]) -> str:
    if seconds is None:
        return "not known"
    parts = [f"{name} {steps[name]:.0f} s" for name in ("notes", "compare", "explain") if steps.get(name) is not None]
    return f"{seconds:.0f} s" + (f" ({', '.join(parts)})" if parts else "")


Change = Callable[[Session, Viewer], str]


def _change(door: Door, comparison_id: int, form: ChangeForm, change: Change) -> Response:
    try:
        with door.enter(*ADMIN) as desk:
            words = change(desk.session, desk.viewer)
    except (Invalid, Conflict) as refusal:
        return _again(door, comparison_id, form, refusal)
    return redirect(f"/comparisons/{comparison_id}", words)


def _again(door: Door, comparison_id: int, form: ChangeForm, refusal: Refusal) -> Response:
    field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "reason"
    with door.enter(*ADMIN) as desk:
        errors = {f"{form.action}-{field}": f"{refusal.what} {refusal.what_to_do}"}
        context = _page(desk, comparison_id, form, errors)
    return page(door.request, "comparisons/comparison.html", context, 422 if isinstance(refusal, Invalid) else 409)


@router.post("/comparisons/{comparison_id}/void")
def void(door: DoorDep, comparison_id: Id, slot: Text = "", reason: Text = "") -> Response:
    """Make an opinion void."""

    def change(session: Session, viewer: Viewer) -> str:
        return comparisons.void(session, viewer, comparison_id, whole(slot, "slot", "The opinion"), reason)

    return _change(door, comparison_id, ChangeForm("void", slot, reason), change)


@router.post("/comparisons/{comparison_id}/take-back")
def take_back(door: DoorDep, comparison_id: Id, slot: Text = "", reason: Text = "") -> Response:
    """Undo that an opinion was made void."""

    def change(session: Session, viewer: Viewer) -> str:
        return comparisons.take_back(session, viewer, comparison_id, whole(slot, "slot", "The opinion"), reason)

    return _change(door, comparison_id, ChangeForm("take-back", slot, reason), change)


@router.post("/comparisons/{comparison_id}/ask-again")
def ask_again(door: DoorDep, comparison_id: Id, reason: Text = "") -> Response:
    """Ask for one more opinion."""

    def change(session: Session, viewer: Viewer) -> str:
        number = comparisons.ask_again(session, viewer, comparison_id, reason)
        return f"Opinion {number} is asked for."

    return _change(door, comparison_id, ChangeForm("ask-again", "", reason), change)


@router.post("/comparisons/{comparison_id}/void-open")
def void_open(door: DoorDep, comparison_id: Id, reason: Text = "") -> Response:
    """Ask nobody for the opinions that are open."""

    def change(session: Session, viewer: Viewer) -> str:
        number = comparisons.void_open(session, viewer, comparison_id, reason)
        return counted(number, "open opinion became void.", "open opinions became void.")

    return _change(door, comparison_id, ChangeForm("void-open", "", reason), change)

"""The gate before the first pair: what it asks, who passed and why, and what an admin decides by hand.

Knows pages and forms. Knows nothing of the gate's rule (app.domain.qualifying) or of its rows.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from app.domain.errors import Conflict, Invalid
from app.domain.preferences import WORDS
from app.domain.protocols import LONGEST_PACE, Gate
from app.domain.qualifying import agrees
from app.services import onboarding, verdicts
from app.services.onboarding import Onboarding
from app.services.people import Viewer
from app.store.qualifications import Newcomer, Tried
from app.store.tables import Qualification
from app.web.contexts import DecisionLine, GateForm, NewcomerLine, NewcomerPage, QualificationPage, TriedLine
from app.web.door import ADMIN, Desk, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=8000)]


def _state(decision: Qualification | None, answered: int) -> tuple[str, str]:
    """How somebody stands, as the tone of a badge and in words."""
    if decision is None:
        return ("running", "practising") if answered else ("queued", "not begun")
    if decision.passed:
        return "succeeded", "passed"
    return ("failed", "not passed") if decision.decided_by is None else ("paused", "may try again")


def _line(newcomer: Newcomer) -> NewcomerLine:
    decision = newcomer.decision
    state, words = _state(decision, newcomer.answered)
    return NewcomerLine(
        id=newcomer.labeler.id,
        name=newcomer.labeler.name,
        state=state,
        words=words,
        calibrates=newcomer.labeler.calibrates,
        answered=newcomer.answered,
        agreement="" if decision is None or decision.agreement is None else f"{decision.agreement:.0%}",
        pace=None if decision is None else decision.seconds,
        reason="" if decision is None else _reason(decision, newcomer.decided_by),
        decided=None if decision is None else decision.created_at,
    )


def _reason(decision: Qualification, by: str | None) -> str:
    return decision.reason if by is None else f"{by}: {decision.reason}"


def _form(gate: Gate) -> GateForm:
    return GateForm(gate.required, f"{100 * gate.agreement:g}", f"{gate.seconds:g}")


def _page(found: Onboarding, form: GateForm, errors: dict[str, str]) -> QualificationPage:
    return QualificationPage(
        form=form,
        errors=errors,
        required=found.gate.required,
        pairs=found.pairs,
        people=[_line(each) for each in found.newcomers],
        longest=LONGEST_PACE,
    )


@router.get("/people/qualification")
def qualification(door: DoorDep) -> Response:
    """The gate, and how everybody stands."""
    with door.enter(*ADMIN) as desk:
        found = onboarding.overview(desk.session)
    return page(door.request, "qualification/qualification.html", _page(found, _form(found.gate), {}))


def _number(text: str, field: str, noun: str) -> float:
    try:
        return float(text.strip().rstrip("%").replace(",", ".")) if len(text) <= 20 else float("")
    except ValueError as error:
        raise Invalid(f"{noun} is not a number.", "Use digits.", field) from error


@router.post("/people/qualification")
def set_gate(door: DoorDep, required: Text = "", agreement: Text = "", seconds: Text = "") -> Response:
    """Say what newcomers must show."""
    asked = required == "yes"
    try:
        with door.enter(*ADMIN) as desk:
            gate = Gate(
                required=asked,
                agreement=_number(agreement, "agreement", "The least agreement") / 100,
                seconds=_number(seconds, "seconds", "The longest time"),
            )
            onboarding.set_gate(desk.session, desk.viewer, gate)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            found = onboarding.overview(desk.session)
        errors = {refusal.field or "required": f"{refusal.what} {refusal.what_to_do}"}
        context = _page(found, GateForm(asked, agreement, seconds), errors)
        return page(door.request, "qualification/qualification.html", context, 422)
    words = "Newcomers qualify before they are given other pairs." if asked else "Nobody has to qualify."
    return redirect("/people/qualification", words)


def _newcomer(desk: Desk, labeler_id: int, reason: str = "", errors: dict[str, str] | None = None) -> NewcomerPage:
    found = onboarding.record(desk.session, labeler_id)
    newest = found.decisions[0][0] if found.decisions else None
    state, words = _state(newest, len(found.tried))
    return NewcomerPage(
        id=found.labeler.id,
        name=found.labeler.name,
        required=found.gate.required,
        state=state,
        words=words,
        left=found.left,
        decisions=[
            DecisionLine(*_state(decision, 0), by or "the gate", decision.created_at, decision.answers, decision.reason)
            for decision, by in found.decisions
        ],
        tried=[_tried(desk.viewer, each) for each in found.tried],
        reason=reason,
        errors=errors or {},
    )


def _tried(viewer: Viewer, each: Tried) -> TriedLine:
    # A and B are what they are to this reader on the page of the verdict; labelers saw them in an order of their own.
    return TriedLine(
        comparison_id=each.comparison_id,
        title=each.title or "Untitled",
        said=WORDS[verdicts.seen(viewer, each.comparison_id, each.value)],
        verdict=WORDS[verdicts.seen(viewer, each.comparison_id, each.verdict)],
        same=agrees(each.value, each.verdict),
        seconds=each.seconds,
        retired=each.retired,
        void=each.void,
    )


@router.get("/people/qualification/{labeler_id}")
def newcomer(door: DoorDep, labeler_id: Id) -> Response:
    """One newcomer: their answers to the practice pairs, and the decisions."""
    with door.enter(*ADMIN) as desk:
        context = _newcomer(desk, labeler_id)
    return page(door.request, "qualification/newcomer.html", context)


@router.post("/people/qualification/{labeler_id}/pass")
def let_pass(door: DoorDep, labeler_id: Id, reason: Text = "") -> Response:
    """Let somebody begin, whatever the gate says."""
    try:
        with door.enter(*ADMIN) as desk:
            name = onboarding.let_pass(desk.session, desk.viewer, labeler_id, reason)
    except Invalid as refusal:
        return _refused(door, labeler_id, reason, refusal)
    return redirect(f"/people/qualification/{labeler_id}", f"{name} may begin.")


@router.post("/people/qualification/{labeler_id}/again")
def let_try_again(door: DoorDep, labeler_id: Id, reason: Text = "") -> Response:
    """Let somebody qualify anew on pairs that they have not met."""
    try:
        with door.enter(*ADMIN) as desk:
            name = onboarding.let_try_again(desk.session, desk.viewer, labeler_id, reason)
    except (Invalid, Conflict) as refusal:
        return _refused(door, labeler_id, reason, refusal)
    return redirect(f"/people/qualification/{labeler_id}", f"{name} is given the pairs that are new to them.")


def _refused(door: DoorDep, labeler_id: int, reason: str, refusal: Invalid | Conflict) -> Response:
    with door.enter(*ADMIN) as desk:
        errors = {"reason": f"{refusal.what} {refusal.what_to_do}"}
        context = _newcomer(desk, labeler_id, reason, errors)
    return page(door.request, "qualification/newcomer.html", context, 422 if isinstance(refusal, Invalid) else 409)

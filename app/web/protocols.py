"""The protocol of new batches: what is asked of labelers unless a batch says otherwise.

Knows the form and its words. Knows nothing of what a share does (app.services.protocols).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from app.domain.errors import Invalid
from app.domain.protocols import MOST_OPINIONS, Protocol
from app.domain.words import PolicyKind
from app.services import policies, protocols
from app.services.protocols import Default
from app.web.contexts import ProtocolForm, ProtocolPage
from app.web.door import ADMIN, Desk, DoorDep
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]


def whole(text: str, field: str, noun: str) -> int:
    """The whole number that was typed. Raises Invalid."""
    try:
        return int(text) if len(text) <= 12 else int("")
    except ValueError as error:
        raise Invalid(f"{noun} is not a whole number.", "Use digits only.", field) from error


def share(text: str, field: str, noun: str) -> float:
    """The share that was typed in percent. Raises Invalid."""
    try:
        return float(text.strip().removesuffix("%").replace(",", ".")) / 100 if len(text) <= 12 else float("")
    except ValueError as error:
        raise Invalid(f"{noun} is not a number.", "Give it in percent.", field) from error


def percent(share: float) -> str:
    """A share as a form shows it."""
    return f"{share * 100:.6g}"


def _form(default: Default) -> ProtocolForm:
    protocol = default.protocol
    return ProtocolForm(
        notes_first=protocol.notes_first,
        shared=percent(protocol.shared_share),
        shared_opinions=str(protocol.shared_opinions),
        sentinel="" if default.sentinel_policy_id is None else str(default.sentinel_policy_id),
        sentinel_share=percent(protocol.sentinel_share),
        calibration=percent(protocol.calibration_share),
        gold=percent(protocol.gold_share),
    )


def _page(desk: Desk, form: ProtocolForm | None = None, errors: dict[str, str] | None = None) -> ProtocolPage:
    default = protocols.default(desk.session)
    proposed = protocols.proposed_baseline(desk.session)
    writers = [each for each in policies.policies(desk.session) if each.kind is not PolicyKind.REF]
    return ProtocolPage(
        form=form or _form(default),
        policies=[("", "none"), *((str(each.id), f"{each.name} ({each.summaries:,} summaries)") for each in writers)],
        proposed=None if proposed is None or default.sentinel_policy_id is not None else proposed[1],
        warnings=_warnings(desk, default),
        most=MOST_OPINIONS,
        errors=errors or {},
    )


def _warnings(desk: Desk, default: Default) -> list[str]:
    protocol, judges = default.protocol, protocols.judges(desk.session)
    words = []
    if protocol.shared_share and judges < protocol.shared_opinions:
        there = "Nobody judges" if not judges else "One person judges" if judges == 1 else f"{judges} people judge"
        words.append(
            f"{there} at present, and pairs of the shared pool ask {protocol.shared_opinions}: they wait, and so does "
            "a round that they belong to, until there are enough, or an admin asks for fewer."
        )
    if protocol.sentinel_share and not default.usable:
        words.append(
            "The baseline has written no summary of a document that has a reference yet. Until it has, no sentinel "
            "pairs are added."
        )
    return words


@router.get("/batches/protocol")
def protocol_page(door: DoorDep) -> Response:
    """What new batches ask."""
    with door.enter(*ADMIN) as desk:
        context = _page(desk)
    return page(door.request, "batches/protocol.html", context)


@router.post("/batches/protocol")
def set_protocol(
    door: DoorDep,
    notes_first: Text = "",
    shared_share: Text = "",
    shared_opinions: Text = "",
    sentinel: Text = "",
    sentinel_share: Text = "",
    calibration_share: Text = "",
    gold_share: Text = "",
) -> Response:
    """Say what new batches ask."""
    try:
        with door.enter(*ADMIN) as desk:
            protocols.set_default(
                desk.session,
                desk.viewer,
                Protocol(
                    notes_first=notes_first == "yes",
                    shared_share=share(shared_share, "shared_share", "The share of the shared pool"),
                    shared_opinions=whole(shared_opinions.strip(), "shared_opinions", "The number of labelers"),
                    sentinel_share=share(sentinel_share, "sentinel_share", "The share of sentinel pairs"),
                    calibration_share=share(calibration_share, "calibration_share", "The share for researchers"),
                    gold_share=share(gold_share, "gold_share", "The share of gold pairs"),
                ),
                whole(sentinel, "sentinel", "The policy") if sentinel else None,
            )
    except Invalid as refusal:
        form = ProtocolForm(
            notes_first=notes_first == "yes",
            shared=shared_share,
            shared_opinions=shared_opinions,
            sentinel=sentinel,
            sentinel_share=sentinel_share,
            calibration=calibration_share,
            gold=gold_share,
        )
        with door.enter(*ADMIN) as desk:
            context = _page(desk, form, {refusal.field or "shared_share": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/protocol.html", context, 422)
    return redirect("/batches/protocol", "Saved. Batches that are put up from now on follow it.")

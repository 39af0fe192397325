"""The accounts of an install: invite, reset, deactivate. And the JSON by which programs make accounts and tokens.

Knows forms and one-time links as addresses. Knows nothing of how a link is made or used (app.services.people).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from pydantic import BaseModel, Field

from app.domain.errors import Conflict, Invalid
from app.domain.words import LabelerKind, Role
from app.services import people
from app.services.people import LINK_LASTS, Viewer
from app.store.people import Person
from app.web.contexts import InvitePage, NewLinkPage, PeoplePage, PersonLine
from app.web.door import ADMIN, Door, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]


def _line(person: Person, viewer: Viewer) -> PersonLine:
    labeler = person.labeler
    if labeler.deactivated_at is not None:
        state = "deactivated"
    elif labeler.password_hash is not None:
        state = "active"
    else:
        state = "expired" if person.invited_until is None else "invited"
    return PersonLine(
        id=labeler.id,
        name=labeler.name,
        role=Role(labeler.role).value,
        simulated=labeler.kind == LabelerKind.SIMULATED,
        calibrates=labeler.calibrates,
        state=state,
        answers=person.answers,
        seen=person.last_seen,
        link_until=None if labeler.deactivated_at is not None else person.invited_until,
        oneself=labeler.id == viewer.id,
    )


@router.get("/people")
def everybody(door: DoorDep) -> Response:
    """All accounts."""
    with door.enter(*ADMIN) as desk:
        lines = [_line(person, desk.viewer) for person in people.everybody(desk.session)]
    context = PeoplePage(lines, sum(line.role == Role.LABELER for line in lines))
    return page(door.request, "people/people.html", context)


@router.get("/people/invite")
def invite_page(door: DoorDep) -> Response:
    """Where somebody is invited."""
    with door.enter(*ADMIN):
        pass
    context = InvitePage("", Role.LABELER.value, LabelerKind.HUMAN.value, False, {})
    return page(door.request, "people/invite.html", context)


@router.post("/people")
def invite(
    door: DoorDep, name: Text = "", role: Text = "", kind: Text = LabelerKind.HUMAN.value, calibrates: Text = ""
) -> Response:
    """A new account; its one-time link is shown this once."""
    judging = calibrates == "yes"
    try:
        with door.enter(*ADMIN) as desk:
            _, token = people.invite(desk.session, desk.viewer, name, _role(role), _kind(kind), calibrates=judging)
    except (Invalid, Conflict) as refusal:
        field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "name"
        context = InvitePage(name, role, kind, judging, {field: f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "people/invite.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return _shown_once(door, name.strip(), token, invited=True)


def _role(word: str) -> Role:
    if word not in list(Role):
        raise Invalid("Choose what the account is for.", "Labelers judge; researchers and admins do not.", "role")
    return Role(word)


def _kind(word: str) -> LabelerKind:
    if word not in list(LabelerKind):
        raise Invalid("Choose who stands behind the answers.", "", "kind")
    return LabelerKind(word)


def _shown_once(door: Door, name: str, token: str, *, invited: bool) -> Response:
    context = NewLinkPage(name, _address(door, token), LINK_LASTS.days, invited)
    return page(door.request, "people/link.html", context, 201)


def _address(door: Door, token: str) -> str:
    return f"{door.settings.address}/link/{token}"


@router.post("/people/{labeler_id}/reset")
def reset(door: DoorDep, labeler_id: Id) -> Response:
    """A new link by which the account's password is set; earlier ones stop working."""
    with door.enter(*ADMIN) as desk:
        name, token = people.reset(desk.session, desk.viewer, labeler_id)
    return _shown_once(door, name, token, invited=False)


@router.post("/people/{labeler_id}/deactivate")
def deactivate(door: DoorDep, labeler_id: Id) -> Response:
    """Keep an account out."""
    with door.enter(*ADMIN) as desk:
        name = people.deactivate(desk.session, desk.viewer, labeler_id)
    return redirect("/people", f"{name} can no longer sign in. The answers stay.")


@router.post("/people/{labeler_id}/activate")
def activate(door: DoorDep, labeler_id: Id) -> Response:
    """Let an account in again."""
    with door.enter(*ADMIN) as desk:
        name = people.activate(desk.session, desk.viewer, labeler_id)
    return redirect("/people", f"{name} can sign in again.")


class PersonRequest(BaseModel):
    """A new account."""

    name: Annotated[str, Field(max_length=1000)]
    role: Role = Role.LABELER
    kind: LabelerKind = LabelerKind.HUMAN
    calibrates: bool = False


class PersonAnswer(BaseModel):
    """The account, and the one-time link on which its password is set."""

    id: int
    link: str


@router.post("/api/people", status_code=201)
def invite_by_program(door: DoorDep, wanted: PersonRequest) -> PersonAnswer:
    """Make an account. Admins only."""
    with door.enter(*ADMIN) as desk:
        labeler_id, token = people.invite(
            desk.session, desk.viewer, wanted.name, wanted.role, wanted.kind, calibrates=wanted.calibrates
        )
        return PersonAnswer(id=labeler_id, link=_address(door, token))


class TokenRequest(BaseModel):
    """A new API token of one's own."""

    name: Annotated[str, Field(max_length=1000)]


class TokenAnswer(BaseModel):
    """The token, given this once."""

    token: str


@router.post("/api/tokens", status_code=201)
def token_by_program(door: DoorDep, wanted: TokenRequest) -> TokenAnswer:
    """Make an API token for one's own account."""
    with door.enter() as desk:
        return TokenAnswer(token=people.make_api_token(desk.session, desk.viewer, wanted.name))

"""Signing in and out, one-time links, and one's own account.

Knows forms and the session cookie. Knows nothing of how a password is checked (app.services.people).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from app.domain.errors import Invalid, NotFound, TooManyTries
from app.domain.words import LinkPurpose
from app.services import people
from app.services.passwords import SHORTEST
from app.services.people import SESSION_LASTS
from app.web.contexts import AccountPage, LinkPage, SignInPage, TokenLine
from app.web.door import COOKIE, Desk, Door, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]


def _with_cookie(door: Door, response: Response, token: str) -> Response:
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_LASTS.total_seconds()),
        httponly=True,
        secure=door.settings.cookie_secure,
        samesite="lax",
    )
    return response


@router.get("/")
def home(door: DoorDep) -> Response:
    """The first page of each role."""
    with door.enter() as desk:
        return RedirectResponse("/label" if desk.viewer.judges else "/overview", 303)


@router.get("/sign-in")
def sign_in_page(door: DoorDep, next: str = "/") -> Response:
    """Where a name and a password are typed."""
    with door.outside():
        return page(door.request, "accounts/sign_in.html", SignInPage("", None, "", _inside(next)))


@router.post("/sign-in")
def sign_in(door: DoorDep, name: Text = "", password: Text = "", next: Text = "/") -> Response:
    """Start a session, with a new id."""
    try:
        with door.outside() as session:
            token = people.sign_in(session, name, password, door.request.headers.get("user-agent", ""), door.address)
    except TooManyTries as refusal:
        context = SignInPage(name, refusal.what, refusal.what_to_do, _inside(next))
        return page(door.request, "accounts/sign_in.html", context, 429)
    if token is None:
        context = SignInPage(
            name,
            "The name or the password is not right.",
            "Try again, or ask an admin for a new link to set a password.",
            _inside(next),
        )
        return page(door.request, "accounts/sign_in.html", context, 401)
    return _with_cookie(door, redirect(_inside(next)), token)


def _inside(path: str) -> str:
    """The path if it leads to this site, else the first page: never send anybody elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


@router.post("/sign-out")
def sign_out(door: DoorDep) -> Response:
    """End this session."""
    with door.outside() as session:
        people.sign_out(session, door.request.cookies.get(COOKIE, ""))
    response = redirect("/sign-in", "You are signed out.", "info")
    response.delete_cookie(COOKIE)
    return response


@router.get("/link/{token}")
def link_page(door: DoorDep, token: str) -> Response:
    """A one-time link: where a password is set."""
    return _link_page(door, token)


def _link_page(door: Door, token: str, problem: str | None = None, what_to_do: str = "", status: int = 200) -> Response:
    with door.outside() as session:
        found = people.link_owner(session, token, door.address)
    if found is None:
        raise _spent_link()
    name, purpose = found
    context = LinkPage(name, purpose is LinkPurpose.FIRST, problem, what_to_do, SHORTEST)
    return page(door.request, "accounts/link.html", context, status)


def _spent_link() -> NotFound:
    return NotFound("This link was used already, or has run out.", "Ask an admin for a new one.")


@router.post("/link/{token}")
def use_link(door: DoorDep, token: str, password: Text = "") -> Response:
    """Set the password and come in."""
    try:
        with door.outside() as session:
            came = people.use_link(session, token, password, door.request.headers.get("user-agent", ""), door.address)
    except Invalid as refusal:
        return _link_page(door, token, refusal.what, refusal.what_to_do, 422)
    if came is None:
        raise _spent_link()
    session_token, viewer = came
    return _with_cookie(door, redirect("/", f"Welcome, {viewer.name}."), session_token)


def _account(desk: Desk, new_token: str | None = None, errors: dict[str, str] | None = None) -> AccountPage:
    return AccountPage(
        name=desk.viewer.name,
        role=desk.viewer.role.value,
        tokens=[
            TokenLine(
                row.id,
                row.name,
                row.prefix,
                f"{row.created_at:%Y-%m-%d}",
                f"{row.used_at:%Y-%m-%d}" if row.used_at else "never",
            )
            for row in people.api_tokens(desk.session, desk.viewer)
        ],
        shortest=SHORTEST,
        new_token=new_token,
        errors=errors or {},
    )


@router.get("/account")
def account(door: DoorDep) -> Response:
    """One's own password and API tokens."""
    with door.enter() as desk:
        context = _account(desk)
    return page(door.request, "accounts/account.html", context)


@router.post("/account/password")
def change_password(door: DoorDep, old: Text = "", password: Text = "") -> Response:
    """Replace the password; other sessions end."""
    try:
        with door.enter() as desk:
            changed = people.change_password(
                desk.session, desk.viewer, old, password, door.request.cookies.get(COOKIE, ""), door.address
            )
    except (Invalid, TooManyTries) as refusal:
        field, status = (refusal.field or "password", 422) if isinstance(refusal, Invalid) else ("old", 429)
        return _account_page(door, {field: f"{refusal.what} {refusal.what_to_do}"}, status)
    if not changed:
        return _account_page(door, {"old": "The present password is not right. Try again."}, 422)
    return redirect("/account", "The password is changed; your other sessions have ended.")


def _account_page(door: Door, errors: dict[str, str], status: int) -> Response:
    with door.enter() as desk:
        context = _account(desk, errors=errors)
    return page(door.request, "accounts/account.html", context, status)


@router.post("/account/tokens")
def make_token(door: DoorDep, name: Text = "") -> Response:
    """A new API token, shown this once."""
    try:
        with door.enter() as desk:
            token = people.make_api_token(desk.session, desk.viewer, name)
            context = _account(desk, new_token=token)
    except Invalid as refusal:
        return _account_page(door, {"name": f"{refusal.what} {refusal.what_to_do}"}, 422)
    return page(door.request, "accounts/account.html", context, 201)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(door: DoorDep, token_id: Id) -> Response:
    """Stop a token."""
    with door.enter() as desk:
        people.revoke_api_token(desk.session, desk.viewer, token_id)
    return redirect("/account", "The token no longer works.")

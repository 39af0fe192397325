"""The way in: identity and work in one hop.

Knows that a request's connection is taken, used, committed and given back inside the route, before the response
leaves. A `def` dependency plus a `def` route would be two hops of the thread pool holding one connection, which
deadlocked at 200 clients on a pool of 20 when tried; so `Door` is made without touching the database, and the route
opens it. Knows nothing of any page.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path, Request

from app.domain.errors import NotAllowed, NotSignedIn
from app.domain.words import Role
from app.services import people
from app.services.people import Viewer
from app.settings import Settings
from app.store.session import Send, Session, Sessions, unit_of_work

COOKIE = "hone_session"
# Whose page it is that asks, percent-encoded: what it holds is not sent in by whoever signed in after them.
OWNER = "x-hone-viewer"
STAFF = (Role.ADMIN, Role.RESEARCHER)
ADMIN = (Role.ADMIN,)
# A row's id in an address: what the database could not compare is refused before it is asked.
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Desk:
    """An open unit of work and who works at it."""

    session: Session
    viewer: Viewer


@dataclass(frozen=True)
class Door:
    """What a route gets: it opens the door for the roles that may pass."""

    request: Request
    settings: Settings
    sessions: Sessions
    send: Send

    @property
    def address(self) -> str:
        """Where the request comes from; behind a proxy, what uvicorn makes of its headers."""
        return self.request.client.host if self.request.client else ""

    @contextmanager
    def enter(self, *roles: Role) -> Iterator[Desk]:
        """A unit of work for a signed-in account of one of `roles` (all when none is named); commits at the end.

        Raises NotSignedIn, also where the page that asks is somebody else's than whoever is signed in by now, or
        NotAllowed. Do not build the response's body lazily from the session: it is closed then.
        """
        with unit_of_work(self.sessions, self.send) as session:
            viewer = self._viewer(session)
            if viewer is None:
                raise NotSignedIn("You are not signed in, or the session has ended.", "Sign in again.")
            owner = unquote(self.request.headers.get(OWNER, viewer.name))
            if owner != viewer.name:
                raise NotSignedIn(f"{viewer.name} is signed in here now.", f"Sign in again as {owner}.")
            if roles and viewer.role not in roles:
                raise NotAllowed(
                    "This page is not for your account.", f"You are signed in as {viewer.name} ({viewer.role})."
                )
            self.request.state.viewer = viewer
            yield Desk(session, viewer)

    @contextmanager
    def outside(self) -> Iterator[Session]:
        """A unit of work for somebody who need not be signed in; the pages show who is, if anybody."""
        with unit_of_work(self.sessions, self.send) as session:
            self.request.state.viewer = self._viewer(session)
            yield session

    def _viewer(self, session: Session) -> Viewer | None:
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return people.viewer_of_api_token(session, token.strip())
        cookie = self.request.cookies.get(COOKIE)
        return people.viewer_of_session(session, cookie) if cookie else None


async def _door(request: Request) -> Door:
    # Async and without I/O, so that it costs no hop of the thread pool.
    state = request.app.state
    return Door(request, state.settings, state.sessions, state.send)


DoorDep = Annotated[Door, Depends(_door)]

"""Builds the web process: settings, sessions, sender, routers. The one place that makes a FastAPI.

Knows how the pieces fit. Knows nothing of any rule. `web` is the factory for uvicorn.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope
from starlette.types import Send as Answer

from app.queue import celery_client, sender
from app.settings import Settings
from app.store.session import Send, Sessions, connect
from app.web import (
    accounts,
    batches,
    comparisons,
    documents,
    errors,
    exports,
    flags,
    guidelines,
    health,
    labeling,
    me,
    overview,
    people,
    policies,
    protocols,
    qualification,
    quality,
    recipes,
    rounds,
    runs,
    verdicts,
    workers,
)
from app.web.rendering import STATIC, environment, page_version
from app.web.security import Headed, SameSite

UPLOAD_PATHS = ("/documents/import",)


class _Static(StaticFiles):
    """Files that caches may keep for ever where the address changes with the content, and ask about elsewhere.

    A module that imports another by name cannot carry its fingerprint; a cache that did not ask would mix releases.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        fingerprinted = scope["query_string"].startswith(b"v=")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if fingerprinted else "no-cache"
        return response


class _Head:
    """Lets HEAD find what GET finds. The server leaves the body of such an answer out by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Answer) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


def create_app(settings: Settings, sessions: Sessions, send: Send) -> FastAPI:
    """The application over a given database and sender."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A thread more than there are connections would only wait for one, and be in the way of those that have one.
        to_thread.current_default_thread_limiter().total_tokens = settings.database_pool
        yield
        sessions.kw["bind"].dispose()

    # No list of addresses for people who are not signed in, and no redirect that repeats the Host it was sent.
    app = FastAPI(title="Hone", version=page_version(), lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.settings = settings
    app.state.sessions = sessions
    app.state.send = send
    app.state.jinja = environment()
    errors.install(app)
    for room in (
        accounts,
        overview,
        labeling,
        documents,
        protocols,
        batches,
        comparisons,
        rounds,
        recipes,
        runs,
        policies,
        exports,
        qualification,
        people,
        workers,
        guidelines,
        verdicts,
        flags,
        quality,
        me,
        health,
    ):
        app.include_router(room.router)
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.add_middleware(
        SameSite,
        public_url=settings.public_url,
        upload_bytes=settings.upload_megabytes * 1_000_000,
        upload_paths=UPLOAD_PATHS,
        refuse=errors.answer,
    )
    app.add_middleware(_Head)
    app.add_middleware(Headed)
    return app


def web() -> FastAPI:
    """The application from the environment. Raises RuntimeError without a database or a broker."""
    settings = Settings()
    if settings.database_url is None or settings.broker_url is None:
        raise RuntimeError("Set HONE_DATABASE_URL and HONE_BROKER_URL, or start everything with `hone run`.")
    return create_app(
        settings,
        connect(settings.database_url, settings.database_pool),
        sender(celery_client(settings.broker_url)),
    )

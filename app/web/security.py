"""What every response carries and what every unsafe request must show: headers, same-site checks, size limits.

Knows HTTP headers. Knows nothing of accounts or routes. Plain ASGI, so that streams pass through untouched.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SMALL_BODY = 2_000_000
# Makes a response of a request, a status, what happened and what to do.
Refuse = Callable[[Request, int, str, str], Response]

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def _at_most(limit: int, length: str) -> bool:
    """Whether a Content-Length is a plain number up to `limit`."""
    return length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= limit


def protect(headers: MutableHeaders) -> None:
    """Put the security headers on; what a route chose itself stays."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("cache-control", "no-store")


class Headed:
    """Adds the security headers to every response; pages are never kept by caches, files under /static/ are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message))
            await send(message)

        await self.app(scope, receive, headed)


class SameSite:
    """Refuses unsafe requests that another site's page could have caused, and bodies larger than their route takes.

    A browser says where a request comes from by Sec-Fetch-Site or Origin. Programs that send neither hold no cookie
    that a page could abuse. Requests with a bearer token are exempt: a page cannot add one.
    """

    def __init__(
        self,
        app: ASGIApp,
        public_url: str | None,
        upload_bytes: int,
        upload_paths: tuple[str, ...],
        refuse: Refuse,
    ) -> None:
        self.app = app
        self._refuse = refuse
        self._public_host = urlsplit(public_url).netloc if public_url else None
        self._upload_bytes = upload_bytes
        self._upload_paths = upload_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403 or 413."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not headers.get("authorization", "").lower().startswith("bearer ") and not self._own(headers):
            refusal = self._refuse(
                Request(scope),
                403,
                "This request came from another site, so nothing was done.",
                "Open Hone itself and try again. Behind a proxy, set HONE_PUBLIC_URL to the address people type.",
            )
            await refusal(scope, receive, send)
            return
        uploading = scope["path"] in self._upload_paths
        limit = self._upload_bytes if uploading else SMALL_BODY
        length = headers.get("content-length")
        if length is None and headers.get("transfer-encoding"):
            refusal = self._refuse(
                Request(scope), 411, "The size of the request is not given.", "Send it with a Content-Length."
            )
            await refusal(scope, receive, send)
        elif length is not None and not _at_most(limit, length):
            refusal = self._refuse(
                Request(scope),
                413,
                f"The request is larger than {limit // 1_000_000} MB, so nothing was read.",
                "Use `hone import`, which has no limit, or raise HONE_UPLOAD_MEGABYTES."
                if uploading
                else "Send less at once.",
            )
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _own(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc in (headers.get("host"), self._public_host)

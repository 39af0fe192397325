"""Business refusals and broken requests become a status and a sentence, as a page or as JSON.

Knows which kind of refusal is which status. Knows nothing of how they come about.
"""

from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, Refusal, TooManyTries
from app.store.session import DatabaseUnreachable
from app.web.contexts import ErrorPage
from app.web.rendering import page
from app.web.security import protect

_STATUS: dict[type[Refusal], int] = {
    NotFound: 404,
    NotAllowed: 403,
    NotSignedIn: 401,
    Conflict: 409,
    Invalid: 422,
    TooManyTries: 429,
}
_TITLE = {
    401: "Not signed in",
    403: "Not allowed",
    404: "Not here",
    405: "Not here",
    409: "Not now",
    411: "Too large",
    413: "Too large",
    422: "Not understood",
    429: "Slow down",
    503: "Not now",
}
# Seconds after which the database may well be there again.
_RETRY_AFTER = "5"

log = structlog.get_logger()


def for_programs(request: Request) -> bool:
    """Whether the answer is read by a program: a JSON address, or nobody asks for a page."""
    return request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")


def answer(request: Request, status: int, what: str, what_to_do: str) -> Response:
    """A sentence with a status, as JSON for programs and as a page for people."""
    if for_programs(request):
        return JSONResponse({"error": what, "what_to_do": what_to_do}, status)
    return page(
        request,
        "errors/error.html",
        ErrorPage(title=_TITLE.get(status, "Something broke"), what=what, what_to_do=what_to_do, home="/"),
        status,
    )


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    if isinstance(refusal, NotSignedIn) and not for_programs(request) and request.method == "GET":
        return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303)
    return answer(request, _STATUS.get(type(refusal), 422), refusal.what, refusal.what_to_do)


def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    # The name of a field is as it was sent.
    where = where.encode("utf-8", "replace").decode()[:100]
    return answer(request, 422, f"{where or 'The request'}: {first['msg']}.", "Nothing was changed.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = "There is no such page." if error.status_code in (404, 405) else str(error.detail)
    return answer(request, error.status_code, what, "Go back, or start from the first page.")


def _away(request: Request, error: Exception) -> Response:
    log.warning("database_unreachable", path=request.url.path, method=request.method, trouble=str(error))
    response = answer(
        request,
        503,
        "The database cannot be reached just now, or is too busy.",
        "Try again in a few seconds. Sending the same again does no harm.",
    )
    response.headers["Retry-After"] = _RETRY_AFTER
    return response


def _broken(request: Request, error: Exception) -> Response:
    # Starlette raises it again and uvicorn logs the traceback; here it would come with every local, secrets included.
    log.error("request_failed", path=request.url.path, method=request.method, trouble=type(error).__name__)
    response = answer(
        request,
        500,
        "Hone ran into an error of its own; nothing of this request was saved.",
        "Try again. If it stays, the log of the web process says what happened.",
    )
    # Starlette answers what nobody caught outside of every middleware, so the headers are put on here.
    protect(response.headers)
    return response


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DatabaseUnreachable, _away)
    app.add_exception_handler(Exception, _broken)

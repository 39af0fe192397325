"""From a page's dataclass to HTML: the Jinja environment, navigation, notices that survive one redirect.

Knows templates and who sees which part of the navigation. Knows nothing of rows: a template gets the fields of one
dataclass of app.web.contexts and nothing else.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.domain.words import Role

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parents[2] / "templates"
NOTICE_COOKIE = "hone_notice"
Tone = Literal["good", "info", "warn", "bad"]

_STAFF = (Role.ADMIN, Role.RESEARCHER)
_NAVIGATION = (
    ("Judge", "/label", (Role.LABELER,)),
    ("My work", "/me", (Role.LABELER,)),
    ("Overview", "/overview", _STAFF),
    ("Documents", "/documents", _STAFF),
    ("Batches", "/batches", (Role.ADMIN,)),
    ("Rounds", "/rounds", _STAFF),
    ("Policies", "/policies", _STAFF),
    ("Quality", "/quality", _STAFF),
    ("Verdicts", "/verdicts", _STAFF),
    ("Flags", "/flags", _STAFF),
    ("Guidelines", "/guidelines", tuple(Role)),
    ("Exports", "/exports", _STAFF),
    ("People", "/people", (Role.ADMIN,)),
    ("Workers", "/workers", (Role.ADMIN,)),
)


@dataclass(frozen=True)
class Site:
    """What base.html says about this install."""

    name: str
    address: str


@dataclass(frozen=True)
class Notice:
    """A sentence on top of the next page."""

    kind: Tone
    text: str


@cache
def _fingerprint(path: str, changed: int) -> str:
    return sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def static_url(path: str) -> str:
    """The address of a file under static/, with a fingerprint so that caches may keep it for ever."""
    return f"/static/{path}?v={_fingerprint(path, (STATIC / path).stat().st_mtime_ns)}"


@cache
def page_version() -> str:
    """The version in force, recorded with every showing."""
    return version("hone")


def _when(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def environment() -> Environment:
    """The Jinja environment: autoescape everywhere, an unknown variable is an error."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals["static"] = static_url
    jinja.filters.update(when=_when, seconds=_seconds, bytes=_bytes)
    return jinja


def page(request: Request, template: str, context: object, status: int = 200) -> HTMLResponse:
    """The page of a context dataclass. Shows, and spends, the notice that a redirect left."""
    viewer = getattr(request.state, "viewer", None)
    path = request.url.path
    raw = request.cookies.get(NOTICE_COOKIE)
    shown = {each.name: getattr(context, each.name) for each in fields(context)}  # type: ignore[arg-type]
    frame: dict[str, Any] = {
        "site": Site("Hone", request.app.state.settings.address),
        "viewer": viewer,
        "navigation": []
        if viewer is None
        else [
            (label, href, path == href or path.startswith(href + "/"))
            for label, href, roles in _NAVIGATION
            if viewer.role in roles
        ],
        "notice": _read_notice(raw),
        "page_version": page_version(),
    }
    response = HTMLResponse(request.app.state.jinja.get_template(template).render(frame | shown), status)
    if raw is not None:
        response.delete_cookie(NOTICE_COOKIE)
    return response


def _read_notice(raw: str | None) -> Notice | None:
    if raw is None:
        return None
    kind, _, text = unquote(raw).partition("|")
    return Notice(kind, text) if kind in ("good", "info", "warn", "bad") else None  # type: ignore[arg-type]


def redirect(to: str, notice: str | None = None, kind: Tone = "good") -> RedirectResponse:
    """Go to another page after a form was taken, with a sentence on top of it."""
    response = RedirectResponse(to, status_code=303)
    if notice is not None:
        response.set_cookie(NOTICE_COOKIE, quote(f"{kind}|{notice[:800]}"), max_age=60, httponly=True, samesite="lax")
    return response

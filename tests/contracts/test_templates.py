"""Every page renders from its dataclass alone: nothing in a template that is not in its context, and nothing spare."""

import dataclasses
import inspect
import types
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from fastapi import FastAPI
from jinja2 import Environment, meta, nodes
from markupsafe import Markup
from starlette.requests import Request

from app.domain.words import LabelerKind, Role
from app.services.people import Viewer
from app.settings import Settings
from app.web import contexts
from app.web.rendering import TEMPLATES, environment, page

EVIL = "<script>alert('&')</script>"
FRAME = {"site", "viewer", "navigation", "notice", "page_version"}

PAGES = {
    each.__doc__.split()[0].rstrip(":."): each
    for _, each in inspect.getmembers(contexts, dataclasses.is_dataclass)
    if each.__doc__ and ".html" in each.__doc__.split()[0]
}


def templates() -> list[str]:
    """Every page: not the frame, not the macros."""
    found = (path.relative_to(TEMPLATES) for path in TEMPLATES.rglob("*.html"))
    return sorted(path.as_posix() for path in found if path.parts[0] not in ("_macros", "base.html"))


@pytest.fixture(scope="module")
def jinja() -> Environment:
    return environment()


def test_every_page_has_its_dataclass() -> None:
    assert sorted(PAGES) == templates()


@pytest.mark.parametrize("template", sorted(PAGES))
def test_a_template_uses_exactly_what_its_dataclass_holds(template: str, jinja: Environment) -> None:
    parsed = jinja.parse((TEMPLATES / template).read_text())
    # Inside a block, Jinja counts what the file imports as undeclared.
    imported = (name for found in parsed.find_all(nodes.FromImport) for name in found.names)
    macros = {name if isinstance(name, str) else name[1] for name in imported}
    used = meta.find_undeclared_variables(parsed) - jinja.globals.keys() - macros
    held = {each.name for each in dataclasses.fields(PAGES[template])}
    assert used - held <= FRAME, "not in the context"
    assert held - used == set(), "in the context for nothing"


def sample(kind: Any, full: bool) -> Any:
    """A value of this type: long lists and every option given, or everything empty."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return sample(next(each for each in inside if each is not type(None)), full) if full else None
    if origin in (list, Sequence):
        return [sample(inside[0], full)] * 3 if full else []
    if origin is tuple and len(inside) == 2 and inside[1] is Ellipsis:
        return (sample(inside[0], full),) * 3 if full else ()
    if origin is tuple:
        return tuple(sample(each, full) for each in inside)
    if origin is dict:
        return {sample(inside[0], full): sample(inside[1], full)} if full else {}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{each.name: sample(hints[each.name], full) for each in dataclasses.fields(kind)})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, datetime):
        return datetime(2026, 1, 2, tzinfo=UTC)
    plain: dict[Any, tuple[Any, Any]] = {
        str: (EVIL, ""),
        Markup: (Markup("<p>Made safe before.</p>"), Markup()),
        int: (3, 0),
        float: (0.5, 0.0),
        bool: (True, False),
        Any: (EVIL, ""),
    }
    return plain[kind][0 if full else 1]


@pytest.fixture(scope="module")
def request_of_nobody() -> Request:
    app = FastAPI()
    app.state.settings, app.state.jinja = Settings(), environment()
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b"", "app": app}
    return Request(scope | {"state": {}})


@pytest.mark.parametrize("full", [True, False], ids=["full", "empty"])
@pytest.mark.parametrize("template", sorted(PAGES))
def test_a_page_renders_from_its_dataclass_alone(template: str, full: bool, request_of_nobody: Request) -> None:
    request_of_nobody.state.viewer = Viewer(1, EVIL, Role.ADMIN, LabelerKind.HUMAN) if full else None
    if template.startswith("labeling/"):
        request_of_nobody.state.viewer = Viewer(1, EVIL, Role.LABELER, LabelerKind.HUMAN)
    response = page(request_of_nobody, template, sample(PAGES[template], full))
    text = bytes(response.body).decode()
    assert EVIL not in text
    assert text.count("<h1") == 1
    assert " · Hone</title>" in text

"""One dataclass per page: exactly what its template may use. A test renders every page from its context alone.

Knows values. Knows nothing of rows or requests; routers convert once.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ErrorPage:
    """errors/error.html"""

    title: str
    what: str
    what_to_do: str
    home: str


@dataclass(frozen=True)
class SignInPage:
    """accounts/sign_in.html"""

    name: str
    problem: str | None
    what_to_do: str
    next: str


@dataclass(frozen=True)
class LinkPage:
    """accounts/link.html: a one-time link on which a password is set."""

    name: str
    first: bool
    problem: str | None
    what_to_do: str
    shortest: int


@dataclass(frozen=True)
class TokenLine:
    """An API token in a list."""

    id: int
    name: str
    prefix: str
    created: str
    used: str


@dataclass(frozen=True)
class AccountPage:
    """accounts/account.html"""

    name: str
    role: str
    tokens: list[TokenLine]
    new_token: str | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparePage:
    """labeling/compare.html: the shell; the pair itself is fetched by the page."""

    reasons: list[tuple[str, str]]

"""Business refusals: what people asked for cannot be done, and what they can do instead.

Knows sentences. Knows nothing of HTTP; app.web.errors gives each kind its status and page.
"""


class Refusal(Exception):
    """Something that cannot be done, in words: what happened (with what is safe), and what to do."""

    def __init__(self, what: str, what_to_do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.what_to_do = what_to_do


class NotFound(Refusal):
    """There is no such thing, or none that this person may see."""


class NotAllowed(Refusal):
    """This account may not do that."""


class NotSignedIn(Refusal):
    """Nobody is signed in, or the session has ended."""


class Conflict(Refusal):
    """It contradicts what is already there."""


class Invalid(Refusal):
    """What was sent cannot be used. `field` names the form field, where there is one."""

    def __init__(self, what: str, what_to_do: str = "", field: str | None = None) -> None:
        super().__init__(what, what_to_do)
        self.field = field


class TooManyTries(Refusal):
    """Slow down."""


class StaleClaim(Refusal):
    """A run was claimed by somebody else since, or ended: this worker may not write to it any more."""

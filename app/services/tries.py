"""How often a password or a link may be guessed: failed tries are counted by name and by address.

Knows the limits, and what is kept of a try. Knows nothing of how a secret is checked (app.services.people).
"""

import math
from datetime import timedelta

from app.domain.errors import TooManyTries
from app.services.passwords import token_hash
from app.store import people
from app.store.session import Session
from app.store.tables import Labeler
from app.store.tables.people import FAILED_TRY

WITHIN = timedelta(minutes=15)
PER_NAME, PER_ADDRESS = 10, 50


def admit(session: Session, address: str, name: str | None = None, labeler: Labeler | None = None) -> None:
    """Let a try happen. `name` is what was typed, `labeler` the account it stands for, if any.

    Tries under one name or from one address wait for each other until the transaction ends, so that many at once are
    counted one by one. Raises TooManyTries.
    """
    kept = None if name is None else _kept(name, labeler)
    people.lock_tries(session, kept, address)
    waits = [people.tries_wait(session, "address", address, PER_ADDRESS, WITHIN)]
    if kept is not None:
        forgiven = 0 if labeler is None else people.last_right_password(session, labeler.id, WITHIN)
        waits.append(people.tries_wait(session, "name", kept, PER_NAME, WITHIN, after=forgiven))
    wait = max((each for each in waits if each is not None), default=None)
    if wait is not None:
        minutes = max(1, math.ceil(min(wait, WITHIN) / timedelta(minutes=1)))
        raise TooManyTries("Too many failed tries.", f"Try again in {minutes} minute{'' if minutes == 1 else 's'}.")


def failed(session: Session, address: str, name: str | None = None, labeler: Labeler | None = None) -> None:
    """Count a failed try. It counts once it is committed: whoever refuses must not roll this back."""
    details = {"address": address} if name is None else {"address": address, "name": _kept(name, labeler)}
    people.audit(session, None, FAILED_TRY, "labeler", None if labeler is None else labeler.id, **details)


def _kept(name: str, labeler: Labeler | None) -> str:
    """An account's name, however it was typed; a digest of any other: passwords are typed into the wrong field."""
    if labeler is not None:
        return labeler.name.lower()
    typed = name.strip().lower().encode("utf-8", "backslashreplace").decode()
    return f"sha256:{token_hash(typed).hex()}"

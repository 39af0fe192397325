"""What labelers are told before they judge: published by admins, confirmed by those who judge.

Knows who must confirm and what changed between two versions. Knows nothing of how Markdown is shown; never commits.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from app import samples
from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.words import LabelerKind
from app.services.people import Viewer
from app.services.projects import entrance, the_project
from app.store import guidelines, people
from app.store.guidelines import Entrance, Version
from app.store.session import Session
from app.store.tables import Guideline

LONGEST = 100_000
# Two texts are compared whenever somebody looks at them: with very many lines that would take minutes.
MOST_LINES = 1000


@dataclass(frozen=True)
class Change:
    """A line that a version took out or put in; `gap` stands for lines that stayed."""

    kind: Literal["removed", "added", "gap"]
    text: str = ""


def ensure(session: Session, project_id: int) -> None:
    """Publish the guidelines that come with Hone where there are none."""
    if guidelines.newest(session, project_id) is None:
        guidelines.add(session, project_id, 1, samples.guidelines(), None)


def in_force(session: Session) -> Guideline | None:
    """The newest version; None where none was ever published."""
    return guidelines.newest(session, the_project(session).id)


def unread(session: Session, viewer: Viewer, met: Entrance | None = None) -> int | None:
    """The number of the version that this account has to confirm before it judges; None when it has nothing to.

    Simulated labelers cannot read, and accounts that do not judge need not say that they did.
    """
    if not viewer.judges or viewer.kind is not LabelerKind.HUMAN:
        return None
    return (met or entrance(session, viewer.id)).unread


def last_read(session: Session, viewer: Viewer) -> Guideline | None:
    """The newest version that this account has confirmed."""
    return guidelines.confirmed(session, the_project(session).id, viewer.id)


def confirm(session: Session, viewer: Viewer, number: int) -> None:
    """The viewer has read version `number`. Raises Conflict when there is a newer one, NotAllowed for staff."""
    if not viewer.judges:
        raise NotAllowed("Only accounts that judge confirm the guidelines.", "You can read them at any time.")
    newest = in_force(session)
    if newest is None or newest.version != number:
        raise Conflict("A newer version was published meanwhile.", "Read what changed, then confirm that one.")
    guidelines.confirm(session, viewer.id, newest.id)


def versions(session: Session) -> list[Version]:
    """All versions, newest first."""
    return guidelines.versions(session, the_project(session).id)


def one(session: Session, number: int) -> Guideline:
    """The version with this number. Raises NotFound."""
    found = guidelines.version(session, the_project(session).id, number)
    if found is None:
        raise NotFound("There is no such version.", "Go back to the guidelines.")
    return found


def written(text: str) -> str:
    """What was typed, as it would be published. Raises Invalid for nothing, or for far too much."""
    plain = text.replace("\r\n", "\n").replace("\0", "").encode("utf-8", "replace").decode().strip()
    if not plain:
        raise Invalid("There is nothing to publish.", "Write what labelers should know.", "text")
    if len(plain) > LONGEST:
        raise Invalid(f"That is more than {LONGEST:,} letters.", "Nobody would read it; say less.", "text")
    if len(plain.splitlines()) > MOST_LINES:
        raise Invalid(f"That is more than {MOST_LINES:,} lines.", "Nobody would read it; say less.", "text")
    return plain + "\n"


def publish(session: Session, viewer: Viewer, text: str, after: int) -> int:
    """Publish a new version that was written from version `after` (0: from nothing). Gives its number.

    Everybody who judges has to confirm it before they are given more. Raises Invalid, and Conflict when another version
    came meanwhile or nothing was changed.
    """
    project, plain = the_project(session), written(text)
    newest = guidelines.newest(session, project.id)
    if newest is not None and newest.text == plain:
        raise Conflict("Nothing was changed.", "Labelers are only asked to read what is new.")
    number = after + 1
    if (newest.version if newest else 0) != after or not guidelines.add(session, project.id, number, plain, viewer.id):
        raise Conflict(
            "Somebody published another version meanwhile.", "Copy your text, open the newest version, and put it in."
        )
    people.audit(session, viewer.id, "published guidelines", "guideline", None, version=number)
    return number


def changes(old: str, new: str) -> list[Change]:
    """What became of the lines of a text, in order; empty when nothing changed."""
    before, after = ([line for line in text.splitlines() if line.strip()] for text in (old, new))
    found: list[Change] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, before, after).get_opcodes():
        if kind == "equal":
            found.append(Change("gap"))
            continue
        found += [Change("removed", line) for line in before[i1:i2]]
        found += [Change("added", line) for line in after[j1:j2]]
    return found if any(change.kind != "gap" for change in found) else []

"""Researchers and admins answer what labelers asked about a pair, or told them of it.

Knows that a labeler reads the reply to their own flag, and nothing else about the pair. Knows nothing of how a flag is
raised (app.services.judging); never commits.
"""

from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Invalid, NotFound
from app.domain.words import FlagReason
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import flags, people
from app.store.flags import Raised
from app.store.session import Session

PAGE = 30
OWN = 50
LONGEST_REPLY = 4000
WORDS = {
    FlagReason.QUESTION: "A question",
    FlagReason.CUT_OFF: "A text is cut off",
    FlagReason.PERSONAL_DATA: "It tells who somebody is",
    FlagReason.IDENTICAL: "Both summaries say the same",
    FlagReason.OTHER: "Something else",
}


def listed(session: Session, closed: bool, before: int | None) -> tuple[list[Raised], bool]:
    """One page of PAGE open or closed flags, newest first, and whether there are older ones."""
    found = flags.flags(session, the_project(session).id, closed=closed, before=before, limit=PAGE + 1)
    return found[:PAGE], len(found) > PAGE


def waiting(session: Session) -> int:
    """How many flags wait for a reply."""
    return flags.waiting(session, the_project(session).id)


def one(session: Session, flag_id: int) -> Raised:
    """A flag with the texts it is about, as its labeler saw them. Raises NotFound."""
    found = flags.flag(session, the_project(session).id, flag_id)
    if found is None:
        raise NotFound("There is no such flag.", "Go back to the list of flags.")
    return found


def close(session: Session, viewer: Viewer, flag_id: int, reply: str) -> None:
    """Close a flag with a reply, which its labeler can read. It may be replaced, and be empty where none was asked.

    Raises NotFound, and Invalid for a question without an answer.
    """
    found = one(session, flag_id)
    words = reply.replace("\0", "").encode("utf-8", "replace").decode().strip()[:LONGEST_REPLY]
    if not words and found.flag.reason == FlagReason.QUESTION:
        raise Invalid("It was asked as a question.", "Write an answer; its labeler is waiting for it.", "reply")
    flags.close(session, flag_id, viewer.id, words or None)
    people.audit(session, viewer.id, "closed flag", "flag", flag_id, replied=bool(words))


@dataclass(frozen=True)
class OwnFlag:
    """A flag as the labeler who raised it sees it: nothing of where the texts are from.

    `title` is empty while they have not saved the notes that the document waits for.
    """

    title: str
    reason: FlagReason
    words: str
    comment: str | None
    raised_at: datetime
    reply: str | None
    closed_at: datetime | None


def of_labeler(session: Session, viewer: Viewer) -> list[OwnFlag]:
    """The viewer's own newest flags, with the replies."""
    return [
        OwnFlag(
            # While the document is kept back, its title is, too (invariant 4).
            title="" if each.kept_back else each.document.title,
            reason=FlagReason(each.flag.reason),
            words=WORDS[FlagReason(each.flag.reason)],
            comment=each.flag.comment,
            raised_at=each.flag.created_at,
            reply=each.flag.reply,
            closed_at=each.flag.closed_at,
        )
        for each in flags.of_labeler(session, viewer.id, OWN)
    ]

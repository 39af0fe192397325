"""The install's project: made at the first start, found by everything else.

Knows that there is one to begin with. Knows nothing of its documents.
"""

from app.domain.errors import NotFound
from app.domain.prompts import TLDR
from app.domain.splits import SALT
from app.store import corpus, guidelines
from app.store.guidelines import Entrance
from app.store.session import Session
from app.store.tables import Project

NAME = "Summaries"


def ensure_project(session: Session) -> Project:
    """The project, made when there is none."""
    return corpus.project(session) or corpus.add_project(session, NAME, TLDR.text, SALT)


def the_project(session: Session) -> Project:
    """The project. Raises NotFound before the first start has made it."""
    project = corpus.project(session)
    if project is None:
        raise _no_project()
    return project


def entrance(session: Session, labeler_id: int) -> Entrance:
    """The project as this labeler meets it who comes for pairs. Raises NotFound before there is one."""
    found = guidelines.entrance(session, labeler_id)
    if found is None:
        raise _no_project()
    return found


def _no_project() -> NotFound:
    return NotFound("The database holds no project yet.", "Run `hone migrate`, which makes it.")

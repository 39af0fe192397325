"""What labelers are told, version by version, and who has confirmed reading it.

Knows that versions are only added. Knows nothing of Markdown or of who must read (app.services.guidelines).
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, case, exists, func, select, true
from sqlalchemy.dialects.postgresql import insert

from app.store.session import Session, directly
from app.store.tables import Confirmation, Guideline, Labeler, Project


def newest(session: Session, project_id: int) -> Guideline | None:
    """The version in force."""
    return session.scalar(
        select(Guideline).where(Guideline.project_id == project_id).order_by(Guideline.version.desc()).limit(1)
    )


def version(session: Session, project_id: int, number: int) -> Guideline | None:
    """The version with this number."""
    return session.scalar(select(Guideline).where(Guideline.project_id == project_id, Guideline.version == number))


@dataclass(frozen=True)
class Version:
    """A version, who published it (None: it came with Hone) and how many people confirmed it."""

    guideline: Guideline
    author: str | None
    confirmed: int


def versions(session: Session, project_id: int) -> list[Version]:
    """All versions, newest first."""
    confirmed = (
        select(func.count()).where(Confirmation.guideline_id == Guideline.id).correlate(Guideline).scalar_subquery()
    )
    rows = session.execute(
        select(Guideline, Labeler.name, confirmed)
        .outerjoin(Labeler, Labeler.id == Guideline.author_id)
        .where(Guideline.project_id == project_id)
        .order_by(Guideline.version.desc())
    )
    return [Version(*row) for row in rows]


def add(session: Session, project_id: int, number: int, text: str, author_id: int | None) -> bool:
    """Publish a version. False when that number was published meanwhile: nothing is changed."""
    added = session.scalar(
        insert(Guideline)
        .values(project_id=project_id, version=number, text=text, author_id=author_id)
        .on_conflict_do_nothing(index_elements=["project_id", "version"])
        .returning(Guideline.id)
    )
    return added is not None


def confirmed(session: Session, project_id: int, labeler_id: int) -> Guideline | None:
    """The newest version that the labeler has confirmed."""
    return session.scalar(
        select(Guideline)
        .join(Confirmation, Confirmation.guideline_id == Guideline.id)
        .where(Guideline.project_id == project_id, Confirmation.labeler_id == labeler_id)
        .order_by(Guideline.version.desc())
        .limit(1)
    )


@dataclass(frozen=True)
class Entrance:
    """A project as a labeler who comes for pairs meets it.

    `unread`: the number of the guidelines in force, where the labeler has not confirmed them. `gate`: what newcomers
    must show, as it is stored (app.domain.protocols.Gate).
    """

    project_id: int
    salt: str
    gate: dict[str, Any]
    unread: int | None


_IN_FORCE = (
    select(Guideline.id, Guideline.version)
    .where(Guideline.project_id == Project.id)
    .order_by(Guideline.version.desc())
    .limit(1)
    .lateral()
)
_READ = exists().where(
    Confirmation.guideline_id == _IN_FORCE.c.id,
    Confirmation.labeler_id == bindparam("labeler", type_=BigInteger),
)
# Built once: it runs whenever a labeler asks for pairs.
_ENTRANCE = (
    select(Project.id, Project.salt, Project.gate, case((~_READ, _IN_FORCE.c.version)))
    .outerjoin(_IN_FORCE, true())
    .order_by(Project.id)
    .limit(1)
)


def entrance(session: Session, labeler_id: int) -> Entrance | None:
    """What stands between the labeler and pairs; None before there is a project."""
    return next((Entrance(*row) for row in directly(session, _ENTRANCE, labeler=labeler_id)), None)


def confirm(session: Session, labeler_id: int, guideline_id: int) -> None:
    """The labeler has read this version; saying so twice changes nothing."""
    session.execute(
        insert(Confirmation).values(labeler_id=labeler_id, guideline_id=guideline_id).on_conflict_do_nothing()
    )

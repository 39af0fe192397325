"""What labelers are told, version by version, and who has confirmed reading it.

Knows that versions are only added. Knows nothing of Markdown or of who must read (app.services.guidelines).
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from app.store.session import Session, directly
from app.store.tables import Confirmation, Guideline, Labeler


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


_IN_FORCE = (
    select(Guideline.id, Guideline.version)
    .where(Guideline.project_id == bindparam("project", type_=BigInteger))
    .order_by(Guideline.version.desc())
    .limit(1)
    .subquery()
)
# Built once: it runs whenever a labeler asks for pairs.
_UNCONFIRMED = select(_IN_FORCE.c.version).where(
    ~select(Confirmation.guideline_id)
    .where(
        Confirmation.guideline_id == _IN_FORCE.c.id,
        Confirmation.labeler_id == bindparam("labeler", type_=BigInteger),
    )
    .exists()
)


def unconfirmed(session: Session, project_id: int, labeler_id: int) -> int | None:
    """The number of the version in force, if the labeler has not confirmed it."""
    return directly(session, _UNCONFIRMED, project=project_id, labeler=labeler_id).scalar()


def confirm(session: Session, labeler_id: int, guideline_id: int) -> None:
    """The labeler has read this version; saying so twice changes nothing."""
    session.execute(
        insert(Confirmation).values(labeler_id=labeler_id, guideline_id=guideline_id).on_conflict_do_nothing()
    )

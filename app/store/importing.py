"""What imports ask of several tables at once: their turn, and which documents lack a reference.

Knows that the chunks of two imports take turns. Knows nothing of file forms (app.domain.records).
"""

from collections.abc import Iterable

from sqlalchemy import func, select, text

from app.store.session import Session
from app.store.tables import Summary


def lock_imports(session: Session, project_id: int) -> None:
    """One chunk of one import at a time in a project, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(4172005, project_id % 2**31)))


def take_stock(session: Session) -> None:
    """Let the database see how much there is: until it looks by itself it plans as if the tables were still empty."""
    session.execute(text("analyze document, summary, comparison, slot, showing, preference, note"))


def documents_written_about(session: Session, policy_id: int, document_ids: Iterable[int]) -> set[int]:
    """Which of these documents have a summary by the policy."""
    return set(
        session.scalars(
            select(Summary.document_id).where(
                Summary.policy_id == policy_id, Summary.document_id.in_(list(document_ids))
            )
        )
    )

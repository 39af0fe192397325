"""For tests of many hands on one database: to know that somebody waits.

Knows how the server tells it. Knows nothing of any subject.
"""

from sqlalchemy import text

from app.store.session import Session


def until_somebody_waits(session: Session, how_many: int = 1) -> None:
    """Until so many transactions wait for what another one holds."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    for _ in range(2000):
        if (session.scalar(text(waiting)) or 0) >= how_many:
            return
        session.execute(text("select pg_sleep(0.005)"))
        session.rollback()  # the server shows the same to the end of a transaction
    raise AssertionError("Nobody waits.")

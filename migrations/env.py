"""Runs migrations on the database that `hone migrate` (or a test) hands over.

Knows how to reach one connection. Knows nothing of settings: the URL comes in by the Alembic config, or by
HONE_DATABASE_URL when Alembic is used by hand.
"""

import os

from alembic import context
from sqlalchemy import create_engine

from app.store.tables import Table

url = context.config.get_main_option("sqlalchemy.url") or os.environ["HONE_DATABASE_URL"]
engine = create_engine(url)
try:
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Table.metadata, compare_server_default=True)
        with context.begin_transaction():
            # Two processes that start together must not migrate together.
            connection.exec_driver_sql("select pg_advisory_xact_lock(4172000)")
            context.run_migrations()
finally:
    engine.dispose()

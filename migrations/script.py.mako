"""${message}

A migration runs beside the old version of the web process: add before you use, drop one release after you stop using.
Never lock a large table for long: indexes on tables with rows are made concurrently, checks are added not valid first.

Revision: ${up_revision}
Follows: ${down_revision | comma,n}
Created: ${create_date}
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}

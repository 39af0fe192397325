"""Held slots: the index of what a labeler holds goes by the lease's end, so that no other index answers for it.

Revision: 5f0b6f3c92d1
Follows: e7a3c05d91b4
Created: 2026-11-28 00:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "5f0b6f3c92d1"
down_revision = "e7a3c05d91b4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_slot_held", table_name="slot")
    op.create_index(
        "ix_slot_held", "slot", ["labeler_id"], unique=False, postgresql_where=sa.text("lease_expires_at is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_slot_held", table_name="slot")
    op.create_index("ix_slot_held", "slot", ["labeler_id"], unique=False, postgresql_where=sa.text("state = 'leased'"))

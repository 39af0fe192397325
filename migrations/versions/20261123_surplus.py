"""The queue: what waits as surplus is found, copies of a pair are found, and a search from the start goes bit by bit.

Revision: 9d3b62f4c1a8
Follows: 5e9b3c81f7d4
Created: 2026-11-23 23:58:00
"""

import sqlalchemy as sa
from alembic import op

revision = "9d3b62f4c1a8"
down_revision = "5e9b3c81f7d4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_preference_surplus", "preference", ["comparison_id"], postgresql_where=sa.text("surplus"))
    op.create_index("ix_rating_surplus", "rating", ["summary_id"], postgresql_where=sa.text("surplus"))
    op.create_index(
        "ix_comparison_copied",
        "comparison",
        ["document_id"],
        postgresql_where=sa.text("kind in ('gold', 'qualification')"),
    )
    op.create_index(
        "ix_slot_made_for",
        "slot",
        ["comparison_id", "for_labeler_id"],
        postgresql_where=sa.text("for_labeler_id is not null"),
    )
    op.add_column(
        "queue_place",
        sa.Column(
            "again_id",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="how far they have searched the batch from its start again; a hint, too",
        ),
    )


def downgrade() -> None:
    op.drop_column("queue_place", "again_id")
    op.drop_index("ix_slot_made_for", table_name="slot")
    op.drop_index("ix_comparison_copied", table_name="comparison")
    op.drop_index("ix_rating_surplus", table_name="rating")
    op.drop_index("ix_preference_surplus", table_name="preference")

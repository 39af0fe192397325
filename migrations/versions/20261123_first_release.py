"""Verdicts: when each was first released, which stays when it is withdrawn.

Revision: 5e9b3c81f7d4
Follows: 7c1f0a5d92be
Created: 2026-11-23 23:55:00
"""

import sqlalchemy as sa
from alembic import op

revision = "5e9b3c81f7d4"
down_revision = "7c1f0a5d92be"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "verdict",
        sa.Column(
            "first_released_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="stays when it is withdrawn: who changes an answer after it may have seen the verdict",
        ),
    )
    # Those that were withdrawn are known from the audit trail only.
    op.execute(
        "update verdict set first_released_at = least(released_at, (select min(at) from audit_event "
        "where action = 'released verdict' and subject = 'comparison' and subject_id = verdict.comparison_id))"
    )
    op.create_check_constraint(
        op.f("ck_verdict_first_release_is_kept"),
        "verdict",
        "released_at is null or first_released_at is not null",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_verdict_first_release_is_kept"), "verdict")
    op.drop_column("verdict", "first_released_at")

"""Promotion: every decision on which policy writes the next pairs, with what was known at that moment.

Revision: c2f9a7164e83
Follows: b81d4e60c7a5
Created: 2026-11-24 00:10:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c2f9a7164e83"
down_revision = "b81d4e60c7a5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "promotion",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("before_id", sa.BigInteger(), nullable=True, comment="what was current until then"),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="what was known at that moment",
        ),
        sa.Column("decided_by", sa.BigInteger(), nullable=True, comment="none: by itself"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("outcome in ('promoted', 'waits', 'rolled_back')", name=op.f("ck_promotion_outcome_known")),
        sa.CheckConstraint("length(btrim(reason)) > 0", name=op.f("ck_promotion_reason_not_empty")),
        sa.CheckConstraint(
            "outcome <> 'rolled_back' or before_id is not null", name=op.f("ck_promotion_rolled_back_from_something")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_promotion_project_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name=op.f("fk_promotion_policy_id")),
        sa.ForeignKeyConstraint(["before_id"], ["policy.id"], name=op.f("fk_promotion_before_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["labeler.id"], name=op.f("fk_promotion_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_index(op.f("ix_promotion_policy_id"), "promotion", ["policy_id"])
    op.execute(
        "create trigger promotion_append_only before update or delete on promotion "
        "for each row execute function refuse_change()"
    )
    op.execute(
        "create trigger promotion_never_truncated before truncate on promotion "
        "for each statement execute function refuse_change()"
    )


def downgrade() -> None:
    op.drop_table("promotion")

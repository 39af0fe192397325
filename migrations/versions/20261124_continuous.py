"""Continuous mode: who turned it on, with which recipe, why it is off, and the rounds that it launched.

Revision: e7a3c05d91b4
Follows: c2f9a7164e83
Created: 2026-11-24 04:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "e7a3c05d91b4"
down_revision = "c2f9a7164e83"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "continuous",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("recipe_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "with_simulated",
            sa.Boolean(),
            nullable=False,
            comment="answers of simulated labelers count too (invariant 10)",
        ),
        sa.Column(
            "after_preference",
            sa.BigInteger(),
            nullable=False,
            comment="the newest preference when it was turned on: its budget counts later ones",
        ),
        sa.Column("turned_on_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.BigInteger(), nullable=True, comment="none: it stopped by itself"),
        sa.Column("end_words", sa.Text(), nullable=True, comment="why it is off"),
        sa.CheckConstraint("(ended_at is null) = (end_words is null)", name=op.f("ck_continuous_end_says_why")),
        sa.CheckConstraint(
            "ended_by is null or ended_at is not null", name=op.f("ck_continuous_ended_when_somebody_did")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_continuous_project_id")),
        sa.ForeignKeyConstraint(["recipe_id"], ["recipe.id"], name=op.f("fk_continuous_recipe_id")),
        sa.ForeignKeyConstraint(["turned_on_by"], ["labeler.id"], name=op.f("fk_continuous_turned_on_by")),
        sa.ForeignKeyConstraint(["ended_by"], ["labeler.id"], name=op.f("fk_continuous_ended_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_continuous")),
    )
    op.create_index(
        "uq_continuous_on", "continuous", ["project_id"], unique=True, postgresql_where=sa.text("ended_at is null")
    )
    op.add_column(
        "round",
        sa.Column(
            "continuous_id",
            sa.BigInteger(),
            nullable=True,
            comment="the continuous mode that launched it; none: somebody did",
        ),
    )
    op.create_foreign_key(op.f("fk_round_continuous_id"), "round", "continuous", ["continuous_id"], ["id"])


def downgrade() -> None:
    op.drop_column("round", "continuous_id")
    op.drop_table("continuous")

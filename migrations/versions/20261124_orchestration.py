"""Orchestration: workers as rows, tries that come back by themselves, rounds that pause and run again from a stage.

A place in a round may hold several runs now, of which one counts: the others are earlier tries.

Revision: b81d4e60c7a5
Follows: 9d3b62f4c1a8
Created: 2026-11-23 23:35:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "b81d4e60c7a5"
down_revision = "9d3b62f4c1a8"
branch_labels = None
depends_on = None


def _moment(name: str, *, now: bool = False, comment: str | None = None) -> "sa.Column[object]":
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now, comment=comment)


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.Uuid(), nullable=False, comment="made by the process when it starts"),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column(
            "queues", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="the queues that it takes from"
        ),
        sa.Column("at_once", sa.Integer(), nullable=False, comment="how many tasks it may have at a time"),
        sa.Column("code", sa.Text(), nullable=False, comment="version and commit of Hone"),
        sa.Column("python", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=True, comment="what torch computes on; none until it was asked"),
        sa.Column("memory", sa.BigInteger(), nullable=True, comment="bytes of the device: of the GPU, or of the host"),
        sa.Column("torch", sa.Text(), nullable=True, comment="version and build"),
        sa.Column("transformers", sa.Text(), nullable=True),
        _moment("started_at", now=True),
        _moment("heartbeat_at", now=True),
        _moment("ended_at", comment="when it said that it stops"),
        sa.CheckConstraint("at_once >= 1", name=op.f("ck_worker_takes_something")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_index(op.f("ix_worker_heartbeat_at"), "worker", ["heartbeat_at"])

    op.add_column("round", _moment("paused_at"))
    op.add_column("round", sa.Column("pause_words", sa.Text(), nullable=True, comment="who paused it, or what did"))
    op.create_check_constraint(op.f("ck_round_pause_says_why"), "round", "(paused_at is null) = (pause_words is null)")
    op.create_check_constraint(op.f("ck_round_active_may_pause"), "round", "paused_at is null or state = 'active'")

    op.add_column("run", sa.Column("worker_id", sa.Uuid(), nullable=True, comment="the worker that claimed it last"))
    op.create_foreign_key(op.f("fk_run_worker_id"), "run", "worker", ["worker_id"], ["id"])
    op.add_column("run", _moment("pause_asked_at"))
    op.add_column(
        "run", _moment("superseded_at", comment="when it was run again: an earlier try, which counts no more")
    )
    op.drop_constraint(op.f("uq_run_round_id_position"), "run")
    op.create_index(
        "uq_run_place",
        "run",
        ["round_id", "position"],
        unique=True,
        postgresql_where=sa.text("superseded_at is null"),
    )
    op.add_column(
        "run",
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="grows when one failed for what passes by itself",
        ),
    )
    op.add_column("run", _moment("due_at", comment="not claimed before: it waits for what passes by itself"))
    op.add_column(
        "run",
        sa.Column(
            "trouble", sa.String(length=40), nullable=True, comment="whether the same again, later, may well succeed"
        ),
    )
    op.create_check_constraint(op.f("ck_run_trouble_known"), "run", "trouble in ('passing', 'lasting')")
    op.create_check_constraint(op.f("ck_run_trouble_has_words"), "run", "trouble is null or problem is not null")
    op.create_check_constraint(op.f("ck_run_due_while_queued"), "run", "due_at is null or state = 'queued'")
    op.add_column(
        "run",
        sa.Column(
            "deaths",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="holders that went silent, one after the other, without getting further",
        ),
    )
    op.add_column(
        "run",
        sa.Column(
            "furthest",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="`done` of the holder that came furthest before it went silent",
        ),
    )


def downgrade() -> None:
    op.drop_column("run", "furthest")
    op.drop_column("run", "deaths")
    for name in ("due_while_queued", "trouble_has_words", "trouble_known"):
        op.drop_constraint(op.f(f"ck_run_{name}"), "run")
    op.drop_column("run", "trouble")
    op.drop_column("run", "due_at")
    op.drop_column("run", "attempt")
    op.drop_index("uq_run_place", table_name="run")
    # One run in each place again: earlier tries are kept in places of their own.
    op.execute("update run set position = -id where superseded_at is not null")
    op.create_unique_constraint(op.f("uq_run_round_id_position"), "run", ["round_id", "position"])
    op.drop_column("run", "superseded_at")
    op.drop_column("run", "pause_asked_at")
    op.drop_constraint(op.f("fk_run_worker_id"), "run", type_="foreignkey")
    op.drop_column("run", "worker_id")
    op.drop_constraint(op.f("ck_round_active_may_pause"), "round")
    op.drop_constraint(op.f("ck_round_pause_says_why"), "round")
    op.drop_column("round", "pause_words")
    op.drop_column("round", "paused_at")
    op.drop_table("worker")

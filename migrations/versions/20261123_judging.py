"""Judging: notes first, gold and qualification, verdicts, guidelines, flags, and a queue that does not slow down.

A slot's priority and kind repeated its batch's: they are asked of the batch now.

Revision: 7c1f0a5d92be
Follows: 4d36e28ad860
Created: 2026-11-23 19:20:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "7c1f0a5d92be"
down_revision = "4d36e28ad860"
branch_labels = None
depends_on = None

APPEND_ONLY = ("guideline", "confirmation", "qualification")


def _json(name: str, comment: str) -> "sa.Column[object]":
    return sa.Column(
        name, postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False, comment=comment
    )


def _moment(name: str, *, now: bool = False, comment: str | None = None) -> "sa.Column[object]":
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now, comment=comment)


def upgrade() -> None:
    op.add_column(
        "labeler",
        sa.Column(
            "calibrates",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="a researcher's own judging account: its answers are what others are held to",
        ),
    )
    op.create_check_constraint(
        op.f("ck_labeler_calibrates_by_judging"), "labeler", "not calibrates or (kind = 'human' and role = 'labeler')"
    )
    op.add_column(
        "project",
        sa.Column("sentinel_policy_id", sa.BigInteger(), nullable=True, comment="the fixed baseline of sentinel pairs"),
    )
    op.create_foreign_key(
        op.f("fk_project_sentinel_policy_id"), "project", "policy", ["sentinel_policy_id"], ["id"], use_alter=True
    )
    op.add_column("project", _json("protocol", "app.domain.protocols.Protocol of new batches"))
    op.add_column("project", _json("gate", "app.domain.protocols.Gate: who may begin"))

    op.add_column("batch", sa.Column("purpose", sa.String(length=40), server_default="ordinary", nullable=False))
    op.create_check_constraint(
        op.f("ck_batch_purpose_known"), "batch", "purpose in ('ordinary', 'gold', 'qualification')"
    )
    op.create_check_constraint(
        op.f("ck_batch_standing_is_alone"),
        "batch",
        "purpose = 'ordinary' or (kind = 'compare' and round_id is null)",
    )

    op.drop_index("ix_comparison_batch_id", table_name="comparison")
    op.create_index("ix_comparison_batch_id", "comparison", ["batch_id", "id"])
    op.create_index(
        "ix_comparison_calibrated",
        "comparison",
        ["id"],
        postgresql_where=sa.text("kind in ('calibration', 'shared')"),
    )
    op.drop_index("ix_slot_unfinished", table_name="slot")
    op.create_index("ix_slot_counted", "slot", ["batch_id", "state", "for_labeler_id"])
    op.drop_index("ix_slot_claim", table_name="slot")
    op.create_index(
        "ix_slot_claim",
        "slot",
        ["batch_id", "id"],
        postgresql_where=sa.text("state = 'open' and for_labeler_id is null"),
    )
    op.create_index(
        "ix_slot_addressed",
        "slot",
        ["for_labeler_id", "id"],
        postgresql_where=sa.text("state = 'open' and for_labeler_id is not null"),
    )
    op.drop_column("slot", "priority")
    op.drop_column("slot", "for_kind")
    op.create_table(
        "queue_place",
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "slot_id",
            sa.BigInteger(),
            nullable=False,
            comment="the last slot they were given here; not a key: it is only a hint",
        ),
        _moment("searched_at"),
        sa.Column(
            "turns",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="in a gold batch: the gold shares of all places they were given, added up",
        ),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_queue_place_labeler_id")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_queue_place_batch_id")),
        sa.PrimaryKeyConstraint("labeler_id", "batch_id", name=op.f("pk_queue_place")),
    )

    op.add_column(
        "showing",
        sa.Column(
            "notes_first",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="the document was kept back until both notes were saved",
        ),
    )
    op.add_column("showing", _moment("revealed_at", comment="when a kept back document was first sent"))
    op.add_column(
        "preference",
        sa.Column(
            "steps",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the same by step: notes, compare, explain",
        ),
    )
    op.add_column("skip", sa.Column("summary_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_skip_summary_id"), "skip", "summary", ["summary_id"], ["id"])
    op.create_index(op.f("ix_skip_summary_id"), "skip", ["summary_id"])
    op.add_column(
        "note",
        sa.Column("seconds", sa.Double(), nullable=True, comment="visible, active time on both notes of the pair"),
    )
    op.add_column(
        "note",
        sa.Column(
            "key", sa.Uuid(), nullable=True, comment="made by the client, the same for both notes; imports have none"
        ),
    )
    op.create_check_constraint(op.f("ck_note_seconds_not_negative"), "note", "seconds >= 0")
    op.create_index(
        "uq_note_key", "note", ["key", "summary_id"], unique=True, postgresql_where=sa.text("key is not null")
    )

    op.drop_index(op.f("ix_rating_labeler_id"), table_name="rating")
    op.create_index("ix_rating_labeler_id_created_at", "rating", ["labeler_id", "created_at"])
    op.create_index(
        "uq_rating_slot_version", "rating", ["slot_id", "version"], unique=True, postgresql_where=sa.text("not surplus")
    )
    op.create_table(
        "tally",
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_tally_labeler_id")),
        sa.PrimaryKeyConstraint("labeler_id", "day", name=op.f("pk_tally")),
    )
    op.execute(
        "insert into tally (labeler_id, day, answers) "
        "select labeler_id, (preference.created_at at time zone 'UTC')::date, count(*) from preference "
        "join labeler on labeler.id = labeler_id "
        "where version = 1 and not starts_with(name, 'import:') group by 1, 2"
    )

    op.create_table(
        "flag",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("slot_id", sa.BigInteger(), nullable=False),
        sa.Column("comparison_id", sa.BigInteger(), nullable=True),
        sa.Column("summary_id", sa.BigInteger(), nullable=True),
        sa.Column("showing_id", sa.Uuid(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("key", sa.Uuid(), nullable=False),
        _moment("created_at", now=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.BigInteger(), nullable=True),
        _moment("closed_at"),
        sa.CheckConstraint(
            "reason in ('question', 'cut_off', 'personal_data', 'identical', 'other')",
            name=op.f("ck_flag_reason_known"),
        ),
        sa.CheckConstraint("(closed_by is null) = (closed_at is null)", name=op.f("ck_flag_closed_by_somebody")),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_flag_slot_id")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_flag_comparison_id")),
        sa.ForeignKeyConstraint(["summary_id"], ["summary.id"], name=op.f("fk_flag_summary_id")),
        sa.ForeignKeyConstraint(["showing_id"], ["showing.id"], name=op.f("fk_flag_showing_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_flag_labeler_id")),
        sa.ForeignKeyConstraint(["closed_by"], ["labeler.id"], name=op.f("fk_flag_closed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flag")),
        sa.UniqueConstraint("key", name=op.f("uq_flag_key")),
    )
    for column in ("comparison_id", "showing_id", "labeler_id"):
        op.create_index(op.f(f"ix_flag_{column}"), "flag", [column])
    op.create_index("ix_flag_open", "flag", ["id"], postgresql_where=sa.text("closed_at is null"))
    op.create_table(
        "verdict",
        sa.Column("comparison_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False, comment="1 to 9, in the comparison's own frame"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        _moment("created_at", now=True),
        _moment("released_at"),
        _moment("retired_at", comment="gold or qualification: put before nobody any more"),
        sa.CheckConstraint("value between 1 and 9", name=op.f("ck_verdict_value_on_the_scale")),
        sa.CheckConstraint("length(btrim(reason)) > 0", name=op.f("ck_verdict_reason_not_empty")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_verdict_comparison_id")),
        sa.ForeignKeyConstraint(["author_id"], ["labeler.id"], name=op.f("fk_verdict_author_id")),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_verdict")),
    )
    op.create_table(
        "guideline",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        _moment("created_at", now=True),
        sa.CheckConstraint("version >= 1", name=op.f("ck_guideline_version_from_one")),
        sa.CheckConstraint("length(btrim(text)) > 0", name=op.f("ck_guideline_text_not_empty")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_guideline_project_id")),
        sa.ForeignKeyConstraint(["author_id"], ["labeler.id"], name=op.f("fk_guideline_author_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guideline")),
        sa.UniqueConstraint("project_id", "version", name="uq_guideline_version"),
    )
    op.create_table(
        "confirmation",
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("guideline_id", sa.BigInteger(), nullable=False),
        _moment("created_at", now=True),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_confirmation_labeler_id")),
        sa.ForeignKeyConstraint(["guideline_id"], ["guideline.id"], name=op.f("fk_confirmation_guideline_id")),
        sa.PrimaryKeyConstraint("labeler_id", "guideline_id", name=op.f("pk_confirmation")),
    )
    op.create_table(
        "qualification",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False, comment="qualification pairs answered"),
        sa.Column(
            "agreement", sa.Double(), nullable=True, comment="share of them on the researchers' side, indifference out"
        ),
        sa.Column("seconds", sa.Double(), nullable=True, comment="median active seconds for each"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True, comment="none: the gate"),
        _moment("created_at", now=True),
        sa.CheckConstraint("agreement between 0 and 1", name=op.f("ck_qualification_agreement_is_a_share")),
        sa.CheckConstraint("answers >= 0", name=op.f("ck_qualification_answers_not_negative")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_qualification_project_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_qualification_labeler_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["labeler.id"], name=op.f("fk_qualification_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qualification")),
    )
    op.create_index(op.f("ix_qualification_labeler_id"), "qualification", ["labeler_id"])
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger {table}_append_only before update or delete on {table} "
            "for each row execute function refuse_change()"
        )
        op.execute(
            f"create trigger {table}_never_truncated before truncate on {table} "
            "for each statement execute function refuse_change()"
        )


def downgrade() -> None:
    # What tells gold and practice apart goes with the column, and answers are never removed.
    op.execute(
        "do $$ begin if exists (select from preference join slot on slot.id = slot_id "
        "join batch on batch.id = batch_id where purpose <> 'ordinary') then raise exception "
        "'There are answers on gold or practice pairs: the version before would train on them.'; end if; end $$"
    )
    for table in APPEND_ONLY:
        op.execute(f"drop trigger {table}_never_truncated on {table}")
        op.execute(f"drop trigger {table}_append_only on {table}")
    for table in ("qualification", "confirmation", "guideline", "verdict", "flag", "tally"):
        op.drop_table(table)
    op.drop_index("uq_rating_slot_version", table_name="rating")
    op.drop_index("ix_rating_labeler_id_created_at", table_name="rating")
    op.create_index(op.f("ix_rating_labeler_id"), "rating", ["labeler_id"])
    op.drop_index("uq_note_key", table_name="note")
    op.drop_constraint(op.f("ck_note_seconds_not_negative"), "note")
    op.drop_column("note", "key")
    op.drop_column("note", "seconds")
    op.drop_column("skip", "summary_id")
    op.drop_column("preference", "steps")
    op.drop_column("showing", "revealed_at")
    op.drop_column("showing", "notes_first")
    op.drop_table("queue_place")
    op.add_column("slot", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("slot", sa.Column("for_kind", sa.String(length=40), nullable=True))
    op.execute(
        "update slot set priority = batch.priority, for_kind = batch.for_kind from batch where batch.id = batch_id"
    )
    op.create_check_constraint(op.f("ck_slot_for_kind_known"), "slot", "for_kind in ('human', 'simulated')")
    op.drop_index("ix_slot_addressed", table_name="slot")
    op.drop_index("ix_slot_claim", table_name="slot")
    op.create_index(
        "ix_slot_claim",
        "slot",
        ["batch_id", sa.text("priority desc"), "id"],
        postgresql_where=sa.text("state = 'open'"),
    )
    op.drop_index("ix_slot_counted", table_name="slot")
    op.create_index("ix_slot_unfinished", "slot", ["batch_id"], postgresql_where=sa.text("state in ('open', 'leased')"))
    op.drop_index("ix_comparison_calibrated", table_name="comparison")
    op.drop_index("ix_comparison_batch_id", table_name="comparison")
    op.create_index("ix_comparison_batch_id", "comparison", ["batch_id"])
    op.drop_constraint(op.f("ck_batch_standing_is_alone"), "batch")
    op.drop_column("batch", "purpose")
    op.drop_column("project", "gate")
    op.drop_column("project", "protocol")
    op.drop_constraint(op.f("fk_project_sentinel_policy_id"), "project", type_="foreignkey")
    op.drop_column("project", "sentinel_policy_id")
    op.drop_constraint(op.f("ck_labeler_calibrates_by_judging"), "labeler")
    op.drop_column("labeler", "calibrates")

"""The whole product: people, corpus, labeling, training.

A migration runs beside the old version of the web process: add before you use, drop one release after you stop using.
Never lock a large table for long: indexes on tables with rows are made concurrently, checks are added not valid first.

Revision: 4d36e28ad860
Follows:
Created: 2026-11-23 16:09:33.254389
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "4d36e28ad860"
down_revision = None
branch_labels = None
depends_on = None

# Tables that point at each other: these keys are made when all tables are there.
LATE_KEYS = (
    ("project", "policy", "current_policy_id"),
    ("batch", "round", "round_id"),
    ("document", "run", "run_id"),
    ("policy", "checkpoint", "checkpoint_id"),
    ("summary", "checkpoint", "checkpoint_id"),
    ("summary", "run", "run_id"),
    ("slot", "showing", "showing_id"),
)
APPEND_ONLY = ("preference", "note", "rating", "skip", "audit_event", "recipe")


def upgrade() -> None:
    op.create_table(
        "labeler",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=40), server_default="human", nullable=False),
        sa.Column("role", sa.String(length=40), server_default="labeler", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deactivated_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind = 'human' or role = 'labeler'", name=op.f("ck_labeler_simulated_is_labeler")),
        sa.CheckConstraint("kind in ('human', 'simulated')", name=op.f("ck_labeler_kind_known")),
        sa.CheckConstraint("role in ('labeler', 'researcher', 'admin')", name=op.f("ck_labeler_role_known")),
        sa.CheckConstraint("length(btrim(name)) between 1 and 120", name=op.f("ck_labeler_name_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labeler")),
        sa.UniqueConstraint("name", name=op.f("uq_labeler_name")),
    )
    op.create_index(
        "uq_labeler_sign_in_name",
        "labeler",
        [sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("not starts_with(name, 'import:')"),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prompt_template", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("validation_share", sa.Double(), server_default="0.1", nullable=False),
        sa.Column("test_share", sa.Double(), server_default="0.05", nullable=False),
        sa.Column("current_policy_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "validation_share >= 0 and test_share >= 0 and validation_share + test_share < 1",
            name=op.f("ck_project_shares_leave_train"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_api_token_labeler_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_index(op.f("ix_api_token_labeler_id"), "api_token", ["labeler_id"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["labeler.id"], name=op.f("fk_audit_event_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_actor_id"), "audit_event", ["actor_id"], unique=False)
    for by in ("name", "address"):
        op.create_index(
            f"ix_audit_event_failed_{by}",
            "audit_event",
            [sa.text(f"(details ->> '{by}')"), "at"],
            unique=False,
            postgresql_where=sa.text("action = 'sign-in failed'"),
        )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=40), server_default="compare", nullable=False),
        sa.Column("protocol", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("opinions", sa.Integer(), server_default="1", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("for_kind", sa.String(length=40), nullable=True),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("for_kind in ('human', 'simulated')", name=op.f("ck_batch_for_kind_known")),
        sa.CheckConstraint("kind in ('compare', 'rate')", name=op.f("ck_batch_kind_known")),
        sa.CheckConstraint("opinions between 1 and 100", name=op.f("ck_batch_opinions_range")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_batch_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_batch_project_id_name")),
    )
    op.create_index(op.f("ix_batch_round_id"), "batch", ["round_id"], unique=False)
    op.create_table(
        "document",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("post", sa.Text(), nullable=False),
        sa.Column(
            "info",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="fields of the source record that have no column",
        ),
        sa.Column("split", sa.String(length=40), nullable=False),
        sa.Column("source_split", sa.Text(), nullable=True, comment="the split as the file spelled it, for export"),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("split in ('train', 'validation', 'test')", name=op.f("ck_document_split_known")),
        sa.CheckConstraint("length(post) > 0", name=op.f("ck_document_post_not_empty")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_document_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("project_id", "source_id", name=op.f("uq_document_project_id_source_id")),
    )
    op.create_index("ix_document_project_id_split", "document", ["project_id", "split", "id"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("purpose in ('first', 'invite', 'reset')", name=op.f("ck_invitation_purpose_known")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_invitation_labeler_id")),
        sa.ForeignKeyConstraint(["made_by"], ["labeler.id"], name=op.f("fk_invitation_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitation_token_hash")),
    )
    op.create_index(op.f("ix_invitation_labeler_id"), "invitation", ["labeler_id"], unique=False)
    op.create_table(
        "policy",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=True),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(kind in ('checkpoint', 'best_of_n', 'few_shot')) = (checkpoint_id is not null)",
            name=op.f("ck_policy_writes_by_checkpoint"),
        ),
        sa.CheckConstraint(
            "kind in ('ref', 'checkpoint', 'best_of_n', 'few_shot', 'imported')", name=op.f("ck_policy_kind_known")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_policy_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_policy_project_id_name")),
    )
    op.create_table(
        "recipe",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["made_by"], ["labeler.id"], name=op.f("fk_recipe_made_by")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_recipe_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe")),
        sa.UniqueConstraint("project_id", "name", "version", name=op.f("uq_recipe_project_id_name_version")),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("agent", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_session_labeler_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_session_token_hash")),
    )
    op.create_index(op.f("ix_session_labeler_id"), "session", ["labeler_id"], unique=False)
    op.create_table(
        "batch_labeler",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_batch_labeler_batch_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_batch_labeler_labeler_id")),
        sa.PrimaryKeyConstraint("batch_id", "labeler_id", name=op.f("pk_batch_labeler")),
    )
    op.create_table(
        "round",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=40), server_default="active", nullable=False),
        sa.Column("recipe_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "with_simulated",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="answers of simulated labelers count too: asked for by name (invariant 10)",
        ),
        sa.Column("launched_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'active') = (ended_at is null)", name=op.f("ck_round_ended_when_not_active")),
        sa.CheckConstraint(
            "state in ('active', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_round_state_known")
        ),
        sa.ForeignKeyConstraint(["launched_by"], ["labeler.id"], name=op.f("fk_round_launched_by")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_round_project_id")),
        sa.ForeignKeyConstraint(["recipe_id"], ["recipe.id"], name=op.f("fk_round_recipe_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_round_project_id_number")),
    )
    op.create_index(
        "uq_round_active", "round", ["project_id"], unique=True, postgresql_where=sa.text("state = 'active'")
    )
    op.create_table(
        "summary",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("decoding", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("finished", sa.Boolean(), nullable=True, comment="whether the model ended the text itself"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "checkpoint_id is null or (prompt is not null and decoding is not null and seed is not null "
            "and run_id is not null and finished is not null and tokens is not null)",
            name=op.f("ck_summary_model_text_has_provenance"),
        ),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name=op.f("fk_summary_document_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name=op.f("fk_summary_policy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_summary")),
        sa.UniqueConstraint("id", "document_id", name=op.f("uq_summary_id_document_id")),
    )
    op.create_index(op.f("ix_summary_policy_id"), "summary", ["policy_id"], unique=False)
    op.create_index(
        "uq_summary_text",
        "summary",
        ["document_id", "policy_id", sa.literal_column("md5(text)"), sa.literal_column("coalesce(seed, -1)")],
        unique=True,
    )
    op.create_table(
        "comparison",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("first_summary_id", sa.Integer(), nullable=False),
        sa.Column("second_summary_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), server_default="ordinary", nullable=False),
        sa.Column(
            "reason", sa.Text(), server_default="", nullable=False, comment="the pairing rule that put them together"
        ),
        sa.Column("propensity", sa.Double(), nullable=True, comment="probability with which the rule chose this pair"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind in ('ordinary', 'shared', 'gold', 'sentinel', 'calibration', 'qualification')",
            name=op.f("ck_comparison_kind_known"),
        ),
        sa.CheckConstraint("first_summary_id <> second_summary_id", name=op.f("ck_comparison_two_summaries")),
        sa.CheckConstraint("propensity > 0 and propensity <= 1", name=op.f("ck_comparison_propensity_range")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_comparison_batch_id")),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name=op.f("fk_comparison_document_id")),
        sa.ForeignKeyConstraint(
            ["first_summary_id", "document_id"],
            ["summary.id", "summary.document_id"],
            name=op.f("fk_comparison_first_summary_id_document_id"),
        ),
        sa.ForeignKeyConstraint(
            ["second_summary_id", "document_id"],
            ["summary.id", "summary.document_id"],
            name=op.f("fk_comparison_second_summary_id_document_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
    )
    op.create_index(op.f("ix_comparison_batch_id"), "comparison", ["batch_id"], unique=False)
    op.create_index(op.f("ix_comparison_document_id"), "comparison", ["document_id"], unique=False)
    op.create_index(
        "uq_comparison_pair",
        "comparison",
        [
            "batch_id",
            sa.literal_column("least(first_summary_id, second_summary_id)"),
            sa.literal_column("greatest(first_summary_id, second_summary_id)"),
        ],
        unique=True,
    )
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False, comment="place in the round, from 1"),
        sa.Column("stage", sa.String(length=40), nullable=False),
        sa.Column("queue", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="what is asked",
        ),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="what came out"),
        sa.Column(
            "conditions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="device, precision, threads, versions in force",
        ),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="grows with every claim; a stale holder cannot write",
        ),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True, comment="when a message was last sent for it"),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False, comment="what it is doing, for people"),
        sa.Column(
            "problem", sa.Text(), nullable=True, comment="why it failed: what happened, what is safe, what to do"
        ),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at is not null)", name=op.f("ck_run_running_has_a_lease")
        ),
        sa.CheckConstraint(
            "(state in ('succeeded', 'failed', 'cancelled')) = (ended_at is not null)",
            name=op.f("ck_run_ended_has_a_time"),
        ),
        sa.CheckConstraint("queue in ('gpu', 'cpu')", name=op.f("ck_run_queue_known")),
        sa.CheckConstraint(
            "stage in ('import', 'sft', 'sample', 'label', 'reward', 'ppo', 'evaluate', 'export')",
            name=op.f("ck_run_stage_known"),
        ),
        sa.CheckConstraint("state <> 'failed' or problem is not null", name=op.f("ck_run_failed_has_words")),
        sa.CheckConstraint(
            "state in ('pending', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_run_state_known"),
        ),
        sa.ForeignKeyConstraint(["asked_by"], ["labeler.id"], name=op.f("fk_run_asked_by")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_run_project_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_run_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("round_id", "position", name=op.f("uq_run_round_id_position")),
    )
    op.create_index(op.f("ix_run_project_id"), "run", ["project_id"], unique=False)
    op.create_index(
        "ix_run_unfinished",
        "run",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state in ('queued', 'running', 'waiting')"),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False, comment="relative to the artifact directory"),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("recipe", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("code_revision", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "snapshot",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="which rows it was trained on",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind = 'base' or (run_id is not null and parent_id is not null)",
            name=op.f("ck_checkpoint_trained_has_lineage"),
        ),
        sa.CheckConstraint("kind in ('base', 'policy', 'reward', 'value')", name=op.f("ck_checkpoint_kind_known")),
        sa.ForeignKeyConstraint(["parent_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_parent_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_checkpoint_project_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_checkpoint_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("run_id", "kind", name=op.f("uq_checkpoint_run_id_kind")),
    )
    op.create_index(op.f("ix_checkpoint_run_id"), "checkpoint", ["run_id"], unique=False)
    op.create_table(
        "export",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_export_project_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_export_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
        sa.UniqueConstraint("run_id", name=op.f("uq_export_run_id")),
    )
    op.create_table(
        "metric_point",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_point_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", "step", name=op.f("pk_metric_point")),
    )
    op.create_table(
        "slot",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("comparison_id", sa.BigInteger(), nullable=True),
        sa.Column("summary_id", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("for_labeler_id", sa.BigInteger(), nullable=True),
        sa.Column("for_kind", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=40), server_default="open", nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=True),
        sa.Column("showing_id", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'done') = (done_at is not null)", name=op.f("ck_slot_done_has_a_time")),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_expires_at is not null)", name=op.f("ck_slot_lease_has_an_end")
        ),
        sa.CheckConstraint("for_kind in ('human', 'simulated')", name=op.f("ck_slot_for_kind_known")),
        sa.CheckConstraint(
            "state <> 'open' or (labeler_id is null and showing_id is null)", name=op.f("ck_slot_open_is_free")
        ),
        sa.CheckConstraint("state in ('open', 'leased', 'done', 'void')", name=op.f("ck_slot_state_known")),
        sa.CheckConstraint(
            "state not in ('leased', 'done') or (labeler_id is not null and showing_id is not null)",
            name=op.f("ck_slot_held_by_somebody"),
        ),
        sa.CheckConstraint("num_nonnulls(comparison_id, summary_id) = 1", name=op.f("ck_slot_one_subject")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_slot_number_from_one")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_slot_batch_id")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_slot_comparison_id")),
        sa.ForeignKeyConstraint(["for_labeler_id"], ["labeler.id"], name=op.f("fk_slot_for_labeler_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_slot_labeler_id")),
        sa.ForeignKeyConstraint(["summary_id"], ["summary.id"], name=op.f("fk_slot_summary_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slot")),
        sa.UniqueConstraint("comparison_id", "number", name=op.f("uq_slot_comparison_id_number")),
        sa.UniqueConstraint("summary_id", "number", name=op.f("uq_slot_summary_id_number")),
    )
    op.create_index(
        "ix_slot_claim",
        "slot",
        ["batch_id", sa.literal_column("priority desc"), "id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_slot_held", "slot", ["labeler_id"], unique=False, postgresql_where=sa.text("state = 'leased'"))
    op.create_index(
        "ix_slot_leases", "slot", ["lease_expires_at"], unique=False, postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "ix_slot_unfinished",
        "slot",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("state in ('open', 'leased')"),
    )
    op.create_index(
        "uq_slot_comparison_labeler",
        "slot",
        ["comparison_id", "labeler_id"],
        unique=True,
        postgresql_where=sa.text("labeler_id is not null and state <> 'void'"),
    )
    op.create_index(
        "uq_slot_summary_labeler",
        "slot",
        ["summary_id", "labeler_id"],
        unique=True,
        postgresql_where=sa.text("labeler_id is not null and state <> 'void'"),
    )
    op.create_table(
        "showing",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slot_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("swapped", sa.Boolean(), nullable=False, comment="the comparison's second summary was shown as A"),
        sa.Column("page_version", sa.Text(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_showing_labeler_id")),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_showing_slot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_showing")),
    )
    op.create_index(op.f("ix_showing_labeler_id"), "showing", ["labeler_id"], unique=False)
    op.create_index(op.f("ix_showing_slot_id"), "showing", ["slot_id"], unique=False)
    op.create_table(
        "note",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("comparison_id", sa.BigInteger(), nullable=False),
        sa.Column("summary_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("showing_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("after_reveal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_note_version_from_one")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_note_comparison_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_note_labeler_id")),
        sa.ForeignKeyConstraint(["showing_id"], ["showing.id"], name=op.f("fk_note_showing_id")),
        sa.ForeignKeyConstraint(["summary_id"], ["summary.id"], name=op.f("fk_note_summary_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note")),
        sa.UniqueConstraint(
            "comparison_id",
            "summary_id",
            "labeler_id",
            "version",
            name=op.f("uq_note_comparison_id_summary_id_labeler_id_version"),
        ),
    )
    op.create_index(op.f("ix_note_showing_id"), "note", ["showing_id"], unique=False)
    op.create_table(
        "preference",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("comparison_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("slot_id", sa.BigInteger(), nullable=False),
        sa.Column("showing_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "value",
            sa.Integer(),
            nullable=False,
            comment="1 = the comparison's first much better, 5 = no preference, 9 = second",
        ),
        sa.Column(
            "surplus",
            sa.Boolean(),
            nullable=False,
            comment="came after somebody else filled the slot; kept, not counted",
        ),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True, comment="visible, active time on the pair"),
        sa.Column("key", sa.Uuid(), nullable=False, comment="made by the client: a repeat of the request is harmless"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_preference_seconds_not_negative")),
        sa.CheckConstraint("value between 1 and 9", name=op.f("ck_preference_value_on_the_scale")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_preference_version_from_one")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_preference_comparison_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_preference_labeler_id")),
        sa.ForeignKeyConstraint(["showing_id"], ["showing.id"], name=op.f("fk_preference_showing_id")),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_preference_slot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preference")),
        sa.UniqueConstraint(
            "comparison_id", "labeler_id", "version", name=op.f("uq_preference_comparison_id_labeler_id_version")
        ),
        sa.UniqueConstraint("key", name=op.f("uq_preference_key")),
    )
    op.create_index("ix_preference_labeler_id_created_at", "preference", ["labeler_id", "created_at"], unique=False)
    op.create_index(op.f("ix_preference_showing_id"), "preference", ["showing_id"], unique=False)
    op.create_index(
        "uq_preference_slot_version",
        "preference",
        ["slot_id", "version"],
        unique=True,
        postgresql_where=sa.text("not surplus"),
    )
    op.create_table(
        "rating",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("summary_id", sa.BigInteger(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("slot_id", sa.BigInteger(), nullable=False),
        sa.Column("showing_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("coherence", sa.Integer(), nullable=True),
        sa.Column("accuracy", sa.Integer(), nullable=True),
        sa.Column("coverage", sa.Integer(), nullable=True),
        sa.Column("overall", sa.Integer(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("surplus", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("accuracy between 1 and 7", name=op.f("ck_rating_accuracy_range")),
        sa.CheckConstraint("coherence between 1 and 7", name=op.f("ck_rating_coherence_range")),
        sa.CheckConstraint("coverage between 1 and 7", name=op.f("ck_rating_coverage_range")),
        sa.CheckConstraint(
            "num_nonnulls(coherence, accuracy, coverage, overall) > 0", name=op.f("ck_rating_says_something")
        ),
        sa.CheckConstraint("overall between 1 and 7", name=op.f("ck_rating_overall_range")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_rating_version_from_one")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_rating_labeler_id")),
        sa.ForeignKeyConstraint(["showing_id"], ["showing.id"], name=op.f("fk_rating_showing_id")),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_rating_slot_id")),
        sa.ForeignKeyConstraint(["summary_id"], ["summary.id"], name=op.f("fk_rating_summary_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating")),
        sa.UniqueConstraint("key", name=op.f("uq_rating_key")),
        sa.UniqueConstraint(
            "summary_id", "labeler_id", "version", name=op.f("uq_rating_summary_id_labeler_id_version")
        ),
    )
    op.create_index(op.f("ix_rating_labeler_id"), "rating", ["labeler_id"], unique=False)
    op.create_index(op.f("ix_rating_showing_id"), "rating", ["showing_id"], unique=False)
    op.create_index(op.f("ix_rating_slot_id"), "rating", ["slot_id"], unique=False)
    op.create_table(
        "skip",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("slot_id", sa.BigInteger(), nullable=False),
        sa.Column("comparison_id", sa.BigInteger(), nullable=True),
        sa.Column("showing_id", sa.Uuid(), nullable=False),
        sa.Column("labeler_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "reason in ('unreadable', 'offensive', 'not_a_summary', 'know_the_author', 'other')",
            name=op.f("ck_skip_reason_known"),
        ),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"], name=op.f("fk_skip_comparison_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_skip_labeler_id")),
        sa.ForeignKeyConstraint(["showing_id"], ["showing.id"], name=op.f("fk_skip_showing_id")),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_skip_slot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skip")),
        sa.UniqueConstraint("showing_id", name=op.f("uq_skip_showing_id")),
    )
    op.create_index(op.f("ix_skip_comparison_id"), "skip", ["comparison_id"], unique=False)
    op.create_index(op.f("ix_skip_labeler_id"), "skip", ["labeler_id"], unique=False)
    for table, target, column in LATE_KEYS:
        op.create_foreign_key(op.f(f"fk_{table}_{column}"), table, target, [column], ["id"])
    # Append-only rows and splits that never change are kept by the database itself, not only by code.
    op.execute(
        """
        create function refuse_change() returns trigger language plpgsql as $$
        begin
            raise exception '% rows are never changed or removed', tg_table_name
                using errcode = 'integrity_constraint_violation';
        end $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger {table}_append_only before update or delete on {table} "
            "for each row execute function refuse_change()"
        )
        op.execute(
            f"create trigger {table}_never_truncated before truncate on {table} "
            "for each statement execute function refuse_change()"
        )
    op.execute(
        "create trigger document_split_for_ever before update of split, source_id, project_id on document "
        "for each row when (old.split is distinct from new.split or old.source_id is distinct from new.source_id "
        "or old.project_id is distinct from new.project_id) execute function refuse_change()"
    )


def downgrade() -> None:
    op.execute("drop trigger document_split_for_ever on document")
    for table in APPEND_ONLY:
        op.execute(f"drop trigger {table}_never_truncated on {table}")
        op.execute(f"drop trigger {table}_append_only on {table}")
    op.execute("drop function refuse_change()")
    for table, _, column in LATE_KEYS:
        op.drop_constraint(op.f(f"fk_{table}_{column}"), table, type_="foreignkey")
    op.drop_index(op.f("ix_skip_labeler_id"), table_name="skip")
    op.drop_index(op.f("ix_skip_comparison_id"), table_name="skip")
    op.drop_table("skip")
    op.drop_index(op.f("ix_rating_slot_id"), table_name="rating")
    op.drop_index(op.f("ix_rating_showing_id"), table_name="rating")
    op.drop_index(op.f("ix_rating_labeler_id"), table_name="rating")
    op.drop_table("rating")
    op.drop_index("uq_preference_slot_version", table_name="preference", postgresql_where=sa.text("not surplus"))
    op.drop_index(op.f("ix_preference_showing_id"), table_name="preference")
    op.drop_index("ix_preference_labeler_id_created_at", table_name="preference")
    op.drop_table("preference")
    op.drop_index(op.f("ix_note_showing_id"), table_name="note")
    op.drop_table("note")
    op.drop_index(op.f("ix_showing_slot_id"), table_name="showing")
    op.drop_index(op.f("ix_showing_labeler_id"), table_name="showing")
    op.drop_table("showing")
    op.drop_index(
        "uq_slot_summary_labeler",
        table_name="slot",
        postgresql_where=sa.text("labeler_id is not null and state <> 'void'"),
    )
    op.drop_index(
        "uq_slot_comparison_labeler",
        table_name="slot",
        postgresql_where=sa.text("labeler_id is not null and state <> 'void'"),
    )
    op.drop_index("ix_slot_unfinished", table_name="slot", postgresql_where=sa.text("state in ('open', 'leased')"))
    op.drop_index("ix_slot_leases", table_name="slot", postgresql_where=sa.text("state = 'leased'"))
    op.drop_index("ix_slot_held", table_name="slot", postgresql_where=sa.text("state = 'leased'"))
    op.drop_index("ix_slot_claim", table_name="slot", postgresql_where=sa.text("state = 'open'"))
    op.drop_table("slot")
    op.drop_table("metric_point")
    op.drop_table("export")
    op.drop_index(op.f("ix_checkpoint_run_id"), table_name="checkpoint")
    op.drop_table("checkpoint")
    op.drop_index(
        "ix_run_unfinished", table_name="run", postgresql_where=sa.text("state in ('queued', 'running', 'waiting')")
    )
    op.drop_index(op.f("ix_run_project_id"), table_name="run")
    op.drop_table("run")
    op.drop_index("uq_comparison_pair", table_name="comparison")
    op.drop_index(op.f("ix_comparison_document_id"), table_name="comparison")
    op.drop_index(op.f("ix_comparison_batch_id"), table_name="comparison")
    op.drop_table("comparison")
    op.drop_index("uq_summary_text", table_name="summary")
    op.drop_index(op.f("ix_summary_policy_id"), table_name="summary")
    op.drop_table("summary")
    op.drop_index("uq_round_active", table_name="round", postgresql_where=sa.text("state = 'active'"))
    op.drop_table("round")
    op.drop_table("batch_labeler")
    op.drop_index(op.f("ix_session_labeler_id"), table_name="session")
    op.drop_table("session")
    op.drop_table("recipe")
    op.drop_table("policy")
    op.drop_index(op.f("ix_invitation_labeler_id"), table_name="invitation")
    op.drop_table("invitation")
    op.drop_index("ix_document_project_id_split", table_name="document")
    op.drop_table("document")
    op.drop_index(op.f("ix_batch_round_id"), table_name="batch")
    op.drop_table("batch")
    op.drop_index(op.f("ix_audit_event_actor_id"), table_name="audit_event")
    op.drop_table("audit_event")
    op.drop_index(op.f("ix_api_token_labeler_id"), table_name="api_token")
    op.drop_table("api_token")
    op.drop_table("project")
    op.drop_index(
        "uq_labeler_sign_in_name", table_name="labeler", postgresql_where=sa.text("not starts_with(name, 'import:')")
    )
    op.drop_table("labeler")

"""Recipes, rounds, runs with their metrics, the checkpoints they write, and exports.

Knows the row that is the job (invariant 5) and the lineage of weights (invariant 6). Knows nothing of what a stage
does.
"""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.words import CheckpointKind, Queue, RoundState, RunState, Stage
from app.store.tables.base import Created, Json, Key, Moment, Table, one_of


class Recipe(Table):
    """A frozen, validated set of hyperparameters. Editing makes a new version; a trigger refuses to change a row."""

    __tablename__ = "recipe"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    version: Mapped[int]
    body: Mapped[Json]
    digest: Mapped[str]
    made_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]

    __table_args__ = (UniqueConstraint("project_id", "name", "version"),)


class Round(Table):
    """One turn of the loop. At most one is active per project, by a partial unique index."""

    __tablename__ = "round"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    number: Mapped[int]
    state: Mapped[RoundState] = mapped_column(server_default=RoundState.ACTIVE)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipe.id"))
    with_simulated: Mapped[bool] = mapped_column(
        server_default=text("false"),
        comment="answers of simulated labelers count too: asked for by name (invariant 10)",
    )
    launched_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]
    ended_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        one_of("state", RoundState),
        CheckConstraint("(state = 'active') = (ended_at is null)", name="ended_when_not_active"),
        Index("uq_round_active", "project_id", unique=True, postgresql_where=text("state = 'active'")),
    )


class Run(Table):
    """One execution of one stage. The row is the job; a message only says that it is there."""

    __tablename__ = "run"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    position: Mapped[int] = mapped_column(server_default="0", comment="place in the round, from 1")
    stage: Mapped[Stage]
    queue: Mapped[Queue | None]
    state: Mapped[RunState]
    payload: Mapped[Json] = mapped_column(server_default="{}", comment="what is asked")
    result: Mapped[Json | None] = mapped_column(comment="what came out")
    conditions: Mapped[Json | None] = mapped_column(comment="device, precision, threads, versions in force")
    fence: Mapped[int] = mapped_column(
        server_default="0", comment="grows with every claim; a stale holder cannot write"
    )
    worker: Mapped[str | None]
    lease_expires_at: Mapped[Moment | None]
    heartbeat_at: Mapped[Moment | None]
    cancel_asked_at: Mapped[Moment | None]
    rung_at: Mapped[Moment | None] = mapped_column(comment="when a message was last sent for it")
    done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    words: Mapped[str] = mapped_column(server_default="", comment="what it is doing, for people")
    problem: Mapped[str | None] = mapped_column(comment="why it failed: what happened, what is safe, what to do")
    traceback: Mapped[str | None]
    asked_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]
    started_at: Mapped[Moment | None]
    ended_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("round_id", "position"),
        one_of("stage", Stage),
        one_of("queue", Queue),
        one_of("state", RunState),
        CheckConstraint("(state = 'running') = (lease_expires_at is not null)", name="running_has_a_lease"),
        CheckConstraint(
            "(state in ('succeeded', 'failed', 'cancelled')) = (ended_at is not null)", name="ended_has_a_time"
        ),
        CheckConstraint("state <> 'failed' or problem is not null", name="failed_has_words"),
        Index("ix_run_unfinished", "state", postgresql_where=text("state in ('queued', 'running', 'waiting')")),
    )


class MetricPoint(Table):
    """One value of one metric of a run. A run that starts again writes the same steps again."""

    __tablename__ = "metric_point"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]
    at: Mapped[Created]


class Checkpoint(Table):
    """A directory of weights, with its parent, recipe, digest and the data it saw."""

    __tablename__ = "checkpoint"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[CheckpointKind]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id"))
    path: Mapped[str] = mapped_column(comment="relative to the artifact directory")
    digest: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    recipe: Mapped[Json] = mapped_column(server_default="{}")
    code_revision: Mapped[str] = mapped_column(server_default="")
    snapshot: Mapped[Json] = mapped_column(server_default="{}", comment="which rows it was trained on")
    created_at: Mapped[Created]

    __table_args__ = (
        one_of("kind", CheckpointKind),
        CheckConstraint("kind = 'base' or (run_id is not null and parent_id is not null)", name="trained_has_lineage"),
        UniqueConstraint("run_id", "kind"),
    )


class Export(Table):
    """A file of rows that somebody asked for: written by a run, kept with its digest."""

    __tablename__ = "export"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), unique=True)
    path: Mapped[str]
    digest: Mapped[str]
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[Created]

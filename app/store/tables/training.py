"""Recipes, rounds, continuous mode, runs with metrics, workers, checkpoints, promotions of policies, and exports.

Knows the row that is the job (invariant 5) and the lineage of weights (invariant 6). Knows nothing of what a stage
does.
"""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.words import CheckpointKind, Decided, Queue, RoundState, RunState, Stage, Trouble
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
    paused_at: Mapped[Moment | None]
    pause_words: Mapped[str | None] = mapped_column(comment="who paused it, or what did")
    continuous_id: Mapped[int | None] = mapped_column(
        ForeignKey("continuous.id"), comment="the continuous mode that launched it; none: somebody did"
    )

    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        one_of("state", RoundState),
        CheckConstraint("(state = 'active') = (ended_at is null)", name="ended_when_not_active"),
        CheckConstraint("(paused_at is null) = (pause_words is null)", name="pause_says_why"),
        CheckConstraint("paused_at is null or state = 'active'", name="active_may_pause"),
        Index("uq_round_active", "project_id", unique=True, postgresql_where=text("state = 'active'")),
    )


class Continuous(Table):
    """Continuous mode, from when it was turned on until it was turned off or stopped by itself.

    At most one is on per project, by a partial unique index.
    """

    __tablename__ = "continuous"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipe.id"))
    with_simulated: Mapped[bool] = mapped_column(comment="answers of simulated labelers count too (invariant 10)")
    after_preference: Mapped[int] = mapped_column(
        BigInteger, comment="the newest preference when it was turned on: its budget counts later ones"
    )
    turned_on_by: Mapped[int] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]
    ended_at: Mapped[Moment | None]
    ended_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"), comment="none: it stopped by itself")
    end_words: Mapped[str | None] = mapped_column(comment="why it is off")

    __table_args__ = (
        CheckConstraint("(ended_at is null) = (end_words is null)", name="end_says_why"),
        CheckConstraint("ended_by is null or ended_at is not null", name="ended_when_somebody_did"),
        Index("uq_continuous_on", "project_id", unique=True, postgresql_where=text("ended_at is null")),
    )


class Worker(Table):
    """A process that takes messages, and what it has. That it lives, its heartbeat says, by the database's clock."""

    __tablename__ = "worker"

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="made by the process when it starts")
    host: Mapped[str]
    process: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(JSONB, comment="the queues that it takes from")
    at_once: Mapped[int] = mapped_column(comment="how many tasks it may have at a time")
    code: Mapped[str] = mapped_column(comment="version and commit of Hone")
    python: Mapped[str]
    device: Mapped[str | None] = mapped_column(comment="what torch computes on; none until it was asked")
    memory: Mapped[int | None] = mapped_column(BigInteger, comment="bytes of the device: of the GPU, or of the host")
    torch: Mapped[str | None] = mapped_column(comment="version and build")
    transformers: Mapped[str | None]
    started_at: Mapped[Created]
    heartbeat_at: Mapped[Created] = mapped_column(index=True)
    ended_at: Mapped[Moment | None] = mapped_column(comment="when it said that it stops")

    __table_args__ = (CheckConstraint("at_once >= 1", name="takes_something"),)


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
    worker_id: Mapped[UUID | None] = mapped_column(ForeignKey("worker.id"), comment="the worker that claimed it last")
    lease_expires_at: Mapped[Moment | None]
    heartbeat_at: Mapped[Moment | None]
    cancel_asked_at: Mapped[Moment | None]
    pause_asked_at: Mapped[Moment | None]
    superseded_at: Mapped[Moment | None] = mapped_column(
        comment="when it was run again: an earlier try, which counts no more"
    )
    attempt: Mapped[int] = mapped_column(server_default="1", comment="grows when one failed for what passes by itself")
    due_at: Mapped[Moment | None] = mapped_column(comment="not claimed before: it waits for what passes by itself")
    trouble: Mapped[Trouble | None] = mapped_column(comment="whether the same again, later, may well succeed")
    deaths: Mapped[int] = mapped_column(
        server_default="0", comment="holders that went silent, one after the other, without getting further"
    )
    furthest: Mapped[int] = mapped_column(
        BigInteger, server_default="0", comment="`done` of the holder that came furthest before it went silent"
    )
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
        Index("uq_run_place", "round_id", "position", unique=True, postgresql_where=text("superseded_at is null")),
        one_of("stage", Stage),
        one_of("queue", Queue),
        one_of("state", RunState),
        one_of("trouble", Trouble),
        CheckConstraint("trouble is null or problem is not null", name="trouble_has_words"),
        CheckConstraint("due_at is null or state = 'queued'", name="due_while_queued"),
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


class Promotion(Table):
    """A decision on which policy writes the next pairs: by a recipe's gate, or by an admin. Append-only."""

    __tablename__ = "promotion"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    policy_id: Mapped[int] = mapped_column(ForeignKey("policy.id"), index=True)
    before_id: Mapped[int | None] = mapped_column(ForeignKey("policy.id"), comment="what was current until then")
    outcome: Mapped[Decided]
    reason: Mapped[str]
    evidence: Mapped[Json] = mapped_column(server_default="{}", comment="what was known at that moment")
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"), comment="none: by itself")
    created_at: Mapped[Created]

    __table_args__ = (
        one_of("outcome", Decided),
        CheckConstraint("length(btrim(reason)) > 0", name="reason_not_empty"),
        CheckConstraint("outcome <> 'rolled_back' or before_id is not null", name="rolled_back_from_something"),
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

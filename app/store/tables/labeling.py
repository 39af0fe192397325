"""Batches, comparisons, slots, showings, and what labelers said: preferences, notes, ratings, skips, flags.

Knows the constraints by which an opinion is asked exactly as often as wanted and never overwritten. Knows nothing of
how the next slot is chosen (app.store.queueing) or of what an answer is worth.
"""

from datetime import date
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.words import BatchKind, BatchPurpose, ComparisonKind, FlagReason, LabelerKind, SkipReason, SlotState
from app.store.tables.base import Created, Json, Key, Moment, Table, one_of


class Batch(Table):
    """Comparisons put up together under one protocol. Without assignments it is for every labeler of its kind."""

    __tablename__ = "batch"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    kind: Mapped[BatchKind] = mapped_column(server_default=BatchKind.COMPARE)
    purpose: Mapped[BatchPurpose] = mapped_column(server_default=BatchPurpose.ORDINARY)
    protocol: Mapped[Json] = mapped_column(server_default="{}")
    opinions: Mapped[int] = mapped_column(server_default="1")
    priority: Mapped[int] = mapped_column(server_default="0")
    for_kind: Mapped[LabelerKind | None]
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id", use_alter=True), index=True)
    created_at: Mapped[Created]
    paused_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        one_of("kind", BatchKind),
        one_of("purpose", BatchPurpose),
        one_of("for_kind", LabelerKind),
        CheckConstraint("purpose = 'ordinary' or (kind = 'compare' and round_id is null)", name="standing_is_alone"),
        CheckConstraint("opinions between 1 and 100", name="opinions_range"),
    )


class BatchLabeler(Table):
    """An assignment: with at least one, only the people named are given slots of the batch."""

    __tablename__ = "batch_labeler"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), primary_key=True)


class Comparison(Table):
    """Two summaries of one document, put up for judging, and why they were paired."""

    __tablename__ = "comparison"

    id: Mapped[Key]
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    document_id: Mapped[int] = mapped_column(ForeignKey("document.id"), index=True)
    first_summary_id: Mapped[int]
    second_summary_id: Mapped[int]
    kind: Mapped[ComparisonKind] = mapped_column(server_default=ComparisonKind.ORDINARY)
    reason: Mapped[str] = mapped_column(server_default="", comment="the pairing rule that put them together")
    propensity: Mapped[float | None] = mapped_column(comment="probability with which the rule chose this pair")
    created_at: Mapped[Created]

    __table_args__ = (
        ForeignKeyConstraint(["first_summary_id", "document_id"], ["summary.id", "summary.document_id"]),
        ForeignKeyConstraint(["second_summary_id", "document_id"], ["summary.id", "summary.document_id"]),
        CheckConstraint("first_summary_id <> second_summary_id", name="two_summaries"),
        CheckConstraint("propensity > 0 and propensity <= 1", name="propensity_range"),
        one_of("kind", ComparisonKind),
        Index("ix_comparison_batch_id", "batch_id", "id"),
        # Few of many, looked for whenever a researcher judges.
        Index("ix_comparison_calibrated", "id", postgresql_where=sql("kind in ('calibration', 'shared')")),
        # Likewise: whether a pair has a copy is asked of every slot that is about to be given out.
        Index("ix_comparison_copied", "document_id", postgresql_where=sql("kind in ('gold', 'qualification')")),
        Index(
            "uq_comparison_pair",
            "batch_id",
            func.least(sql("first_summary_id"), sql("second_summary_id")),
            func.greatest(sql("first_summary_id"), sql("second_summary_id")),
            unique=True,
        ),
    )


class Slot(Table):
    """One opinion still needed, or given. Rows, so that exactly as many are asked as wanted (invariant 2)."""

    __tablename__ = "slot"

    id: Mapped[Key]
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparison.id"))
    summary_id: Mapped[int | None] = mapped_column(ForeignKey("summary.id"))
    number: Mapped[int]
    for_labeler_id: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    state: Mapped[SlotState] = mapped_column(server_default=SlotState.OPEN)
    labeler_id: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    showing_id: Mapped[UUID | None] = mapped_column(ForeignKey("showing.id", use_alter=True))
    lease_expires_at: Mapped[Moment | None]
    done_at: Mapped[Moment | None]

    __table_args__ = (
        one_of("state", SlotState),
        CheckConstraint("num_nonnulls(comparison_id, summary_id) = 1", name="one_subject"),
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("(state = 'leased') = (lease_expires_at is not null)", name="lease_has_an_end"),
        CheckConstraint(
            "state not in ('leased', 'done') or (labeler_id is not null and showing_id is not null)",
            name="held_by_somebody",
        ),
        CheckConstraint("state <> 'open' or (labeler_id is null and showing_id is null)", name="open_is_free"),
        CheckConstraint("(state = 'done') = (done_at is not null)", name="done_has_a_time"),
        UniqueConstraint("comparison_id", "number"),
        UniqueConstraint("summary_id", "number"),
        # One labeler never fills two slots of one comparison, under any concurrency.
        Index(
            "uq_slot_comparison_labeler",
            "comparison_id",
            "labeler_id",
            unique=True,
            postgresql_where=sql("labeler_id is not null and state <> 'void'"),
        ),
        Index(
            "uq_slot_summary_labeler",
            "summary_id",
            "labeler_id",
            unique=True,
            postgresql_where=sql("labeler_id is not null and state <> 'void'"),
        ),
        Index("ix_slot_claim", "batch_id", "id", postgresql_where=sql("state = 'open' and for_labeler_id is null")),
        Index(
            "ix_slot_addressed",
            "for_labeler_id",
            "id",
            postgresql_where=sql("state = 'open' and for_labeler_id is not null"),
        ),
        Index(
            "ix_slot_made_for",
            "comparison_id",
            "for_labeler_id",
            postgresql_where=sql("for_labeler_id is not null"),
        ),
        Index("ix_slot_leases", "lease_expires_at", postgresql_where=sql("state = 'leased'")),
        # By what only a leased slot has, and not by its state: see app.store.queueing.
        Index("ix_slot_held", "labeler_id", postgresql_where=sql("lease_expires_at is not null")),
        Index("ix_slot_counted", "batch_id", "state", "for_labeler_id"),
    )


class QueuePlace(Table):
    """Where a labeler's search of a batch goes on, so that a claim does not pass by all that they have answered.

    `searched_at`: when the batch was last searched from its start, to the end, without finding anything for them.
    """

    __tablename__ = "queue_place"

    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    slot_id: Mapped[int] = mapped_column(
        BigInteger, comment="the last slot they were given here; not a key: it is only a hint"
    )
    again_id: Mapped[int] = mapped_column(
        BigInteger,
        server_default=sql("0"),
        comment="how far they have searched the batch from its start again; a hint, too",
    )
    searched_at: Mapped[Moment | None]
    turns: Mapped[float] = mapped_column(
        server_default=sql("0"), comment="in a gold batch: the gold shares of all places they were given, added up"
    )


class Showing(Table):
    """One rendering of a slot to a labeler. Its random id is the lease's token and the only id a labeler sees."""

    __tablename__ = "showing"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"), index=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    swapped: Mapped[bool] = mapped_column(comment="the comparison's second summary was shown as A")
    page_version: Mapped[str]
    notes_first: Mapped[bool] = mapped_column(
        server_default=sql("false"), comment="the document was kept back until both notes were saved"
    )
    shown_at: Mapped[Created]
    revealed_at: Mapped[Moment | None] = mapped_column(comment="when a kept back document was first sent")


class Preference(Table):
    """One version of one labeler's answer. Append-only: an edit is a new version (a trigger refuses anything else)."""

    __tablename__ = "preference"

    id: Mapped[Key]
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"))
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"))
    showing_id: Mapped[UUID] = mapped_column(ForeignKey("showing.id"), index=True)
    version: Mapped[int]
    value: Mapped[int] = mapped_column(comment="1 = the comparison's first much better, 5 = no preference, 9 = second")
    surplus: Mapped[bool] = mapped_column(comment="came after somebody else filled the slot; kept, not counted")
    explanation: Mapped[str | None]
    seconds: Mapped[float | None] = mapped_column(comment="visible, active time on the pair")
    steps: Mapped[Json | None] = mapped_column(comment="the same by step: notes, compare, explain")
    key: Mapped[UUID] = mapped_column(unique=True, comment="made by the client: a repeat of the request is harmless")
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("comparison_id", "labeler_id", "version"),
        CheckConstraint("value between 1 and 9", name="value_on_the_scale"),
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("seconds >= 0", name="seconds_not_negative"),
        Index("uq_preference_slot_version", "slot_id", "version", unique=True, postgresql_where=sql("not surplus")),
        Index("ix_preference_labeler_id_created_at", "labeler_id", "created_at"),
        Index("ix_preference_surplus", "comparison_id", postgresql_where=sql("surplus")),
    )


class Tally(Table):
    """How many comparisons and summaries a labeler answered on a day, by UTC; imported answers are not in it.

    Kept with the answers: counting those would take the longer the more somebody has given.
    """

    __tablename__ = "tally"

    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    answers: Mapped[int]


class Skip(Table):
    """A labeler passed a showing on, with a reason. The slot goes back to others; this labeler is not asked again."""

    __tablename__ = "skip"

    id: Mapped[Key]
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparison.id"), index=True)
    summary_id: Mapped[int | None] = mapped_column(ForeignKey("summary.id"), index=True)
    showing_id: Mapped[UUID] = mapped_column(ForeignKey("showing.id"), unique=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    reason: Mapped[SkipReason]
    comment: Mapped[str | None]
    created_at: Mapped[Created]

    __table_args__ = (one_of("reason", SkipReason),)


class Note(Table):
    """A naive interpretation, written before the document is shown. Versions like a preference's."""

    __tablename__ = "note"

    id: Mapped[Key]
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    summary_id: Mapped[int] = mapped_column(ForeignKey("summary.id"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"))
    showing_id: Mapped[UUID] = mapped_column(ForeignKey("showing.id"), index=True)
    version: Mapped[int]
    text: Mapped[str]
    after_reveal: Mapped[bool] = mapped_column(server_default=sql("false"))
    seconds: Mapped[float | None] = mapped_column(comment="visible, active time on both notes of the pair")
    key: Mapped[UUID | None] = mapped_column(comment="made by the client, the same for both notes; imports have none")
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("comparison_id", "summary_id", "labeler_id", "version"),
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("seconds >= 0", name="seconds_not_negative"),
        Index("uq_note_key", "key", "summary_id", unique=True, postgresql_where=sql("key is not null")),
    )


class Rating(Table):
    """One version of one labeler's 1-7 scores of a summary."""

    __tablename__ = "rating"

    id: Mapped[Key]
    summary_id: Mapped[int] = mapped_column(ForeignKey("summary.id"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"))
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"), index=True)
    showing_id: Mapped[UUID] = mapped_column(ForeignKey("showing.id"), index=True)
    version: Mapped[int]
    coherence: Mapped[int | None]
    accuracy: Mapped[int | None]
    coverage: Mapped[int | None]
    overall: Mapped[int | None]
    comment: Mapped[str | None]
    surplus: Mapped[bool]
    seconds: Mapped[float | None]
    key: Mapped[UUID] = mapped_column(unique=True)
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("summary_id", "labeler_id", "version"),
        *(
            CheckConstraint(f"{axis} between 1 and 7", name=f"{axis}_range")
            for axis in ("coherence", "accuracy", "coverage", "overall")
        ),
        CheckConstraint("num_nonnulls(coherence, accuracy, coverage, overall) > 0", name="says_something"),
        CheckConstraint("version >= 1", name="version_from_one"),
        Index("uq_rating_slot_version", "slot_id", "version", unique=True, postgresql_where=sql("not surplus")),
        Index("ix_rating_labeler_id_created_at", "labeler_id", "created_at"),
        Index("ix_rating_surplus", "summary_id", postgresql_where=sql("surplus")),
    )


class Flag(Table):
    """A labeler asks the researchers to look at an item, or asks them about it; their reply, once there is one."""

    __tablename__ = "flag"

    id: Mapped[Key]
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparison.id"), index=True)
    summary_id: Mapped[int | None] = mapped_column(ForeignKey("summary.id"))
    showing_id: Mapped[UUID] = mapped_column(ForeignKey("showing.id"), index=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    reason: Mapped[FlagReason]
    comment: Mapped[str | None]
    key: Mapped[UUID] = mapped_column(unique=True)
    created_at: Mapped[Created]
    reply: Mapped[str | None]
    closed_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    closed_at: Mapped[Moment | None]

    __table_args__ = (
        one_of("reason", FlagReason),
        CheckConstraint("(closed_by is null) = (closed_at is null)", name="closed_by_somebody"),
        Index("ix_flag_open", "id", postgresql_where=sql("closed_at is null")),
    )


class Verdict(Table):
    """A researcher's own answer to a comparison and the reason for it: what gold and qualification are held to.

    Labelers are shown it only after they answered: at once for qualification, otherwise once it is released.
    """

    __tablename__ = "verdict"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    value: Mapped[int] = mapped_column(comment="1 to 9, in the comparison's own frame")
    reason: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]
    released_at: Mapped[Moment | None]
    first_released_at: Mapped[Moment | None] = mapped_column(
        comment="stays when it is withdrawn: who changes an answer after it may have seen the verdict"
    )
    retired_at: Mapped[Moment | None] = mapped_column(comment="gold or qualification: put before nobody any more")

    __table_args__ = (
        CheckConstraint("value between 1 and 9", name="value_on_the_scale"),
        CheckConstraint("length(btrim(reason)) > 0", name="reason_not_empty"),
        CheckConstraint("released_at is null or first_released_at is not null", name="first_release_is_kept"),
    )


class Guideline(Table):
    """One version of what labelers are told, in Markdown. Append-only: a change is a new version."""

    __tablename__ = "guideline"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    version: Mapped[int]
    text: Mapped[str]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("project_id", "version", name="uq_guideline_version"),
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("length(btrim(text)) > 0", name="text_not_empty"),
    )


class Confirmation(Table):
    """A labeler has read a version of the guidelines."""

    __tablename__ = "confirmation"

    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), primary_key=True)
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guideline.id"), primary_key=True)
    created_at: Mapped[Created]


class Qualification(Table):
    """A decision on whether a labeler may begin: by the gate, or by an admin. The newest one counts. Append-only."""

    __tablename__ = "qualification"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    passed: Mapped[bool]
    answers: Mapped[int] = mapped_column(comment="qualification pairs answered")
    agreement: Mapped[float | None] = mapped_column(comment="share of them on the researchers' side, indifference out")
    seconds: Mapped[float | None] = mapped_column(comment="median active seconds for each")
    reason: Mapped[str]
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"), comment="none: the gate")
    created_at: Mapped[Created]

    __table_args__ = (
        CheckConstraint("agreement between 0 and 1", name="agreement_is_a_share"),
        CheckConstraint("answers >= 0", name="answers_not_negative"),
    )

"""Projects, documents, and what was written about them: policies and their summaries with full provenance.

Knows where a text came from and how to write it again. Knows nothing of who judged it.
"""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.words import PolicyKind, Split
from app.store.tables.base import Created, Json, Key, Table, one_of


class Project(Table):
    """One body of work with its own documents, prompt template and policies. `salt` fixes how documents are split."""

    __tablename__ = "project"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    prompt_template: Mapped[str]
    salt: Mapped[str]
    validation_share: Mapped[float] = mapped_column(server_default="0.1")
    test_share: Mapped[float] = mapped_column(server_default="0.05")
    current_policy_id: Mapped[int | None] = mapped_column(ForeignKey("policy.id", use_alter=True))
    sentinel_policy_id: Mapped[int | None] = mapped_column(
        ForeignKey("policy.id", use_alter=True), comment="the fixed baseline of sentinel pairs"
    )
    protocol: Mapped[Json] = mapped_column(server_default="{}", comment="app.domain.protocols.Protocol of new batches")
    gate: Mapped[Json] = mapped_column(server_default="{}", comment="app.domain.protocols.Gate: who may begin")
    created_at: Mapped[Created]

    __table_args__ = (
        CheckConstraint(
            "validation_share >= 0 and test_share >= 0 and validation_share + test_share < 1", name="shares_leave_train"
        ),
    )


class Document(Table):
    """A text to summarize. Its split is decided at first sight and never changes: a trigger refuses it."""

    __tablename__ = "document"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    source_id: Mapped[str]
    community: Mapped[str] = mapped_column(server_default="")
    title: Mapped[str] = mapped_column(server_default="")
    post: Mapped[str]
    info: Mapped[Json] = mapped_column(server_default="{}", comment="fields of the source record that have no column")
    split: Mapped[Split]
    source_split: Mapped[str | None] = mapped_column(comment="the split as the file spelled it, for export")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id", use_alter=True))
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("project_id", "source_id"),
        Index("ix_document_project_id_split", "project_id", "split", "id"),
        one_of("split", Split),
        CheckConstraint("length(post) > 0", name="post_not_empty"),
    )


class Policy(Table):
    """Something that writes summaries."""

    __tablename__ = "policy"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    kind: Mapped[PolicyKind]
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    settings: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[Created]

    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        one_of("kind", PolicyKind),
        CheckConstraint(
            "(kind in ('checkpoint', 'best_of_n', 'few_shot')) = (checkpoint_id is not null)",
            name="writes_by_checkpoint",
        ),
    )


class Summary(Table):
    """One text by one policy for one document. A model's summary carries all that is needed to write it again."""

    __tablename__ = "summary"

    id: Mapped[Key]
    document_id: Mapped[int] = mapped_column(ForeignKey("document.id"))
    policy_id: Mapped[int] = mapped_column(ForeignKey("policy.id"), index=True)
    text: Mapped[str]
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id", use_alter=True))
    prompt: Mapped[str | None]
    decoding: Mapped[Json | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    tokens: Mapped[int | None]
    finished: Mapped[bool | None] = mapped_column(Boolean, comment="whether the model ended the text itself")
    created_at: Mapped[Created]

    __table_args__ = (
        # The target of the composite foreign keys by which both sides of a comparison share its document.
        UniqueConstraint("id", "document_id"),
        Index(
            "uq_summary_text",
            "document_id",
            "policy_id",
            sql("md5(text)"),
            sql("coalesce(seed, -1)"),
            unique=True,
        ),
        CheckConstraint(
            "checkpoint_id is null or (prompt is not null and decoding is not null and seed is not null "
            "and run_id is not null and finished is not null and tokens is not null)",
            name="model_text_has_provenance",
        ),
    )

"""Labelers and how they come in: sessions, one-time links, API tokens, and the audit trail of what they did.

Knows that only hashes of secrets are stored. Knows nothing of labeling or training.
"""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.words import LabelerKind, LinkPurpose, Role
from app.store.tables.base import Created, Json, Key, Moment, Table, one_of

FAILED_TRY = "sign-in failed"


class Labeler(Table):
    """An account: a person of any role, or a simulated labeler. `name` is what is typed to sign in."""

    __tablename__ = "labeler"

    id: Mapped[Key]
    name: Mapped[str]
    kind: Mapped[LabelerKind] = mapped_column(server_default=LabelerKind.HUMAN)
    role: Mapped[Role] = mapped_column(server_default=Role.LABELER)
    password_hash: Mapped[str | None]
    calibrates: Mapped[bool] = mapped_column(
        server_default=false(), comment="a researcher's own judging account: its answers are what others are held to"
    )
    created_at: Mapped[Created]
    deactivated_at: Mapped[Moment | None]

    __table_args__ = (
        one_of("kind", LabelerKind),
        one_of("role", Role),
        CheckConstraint("kind = 'human' or role = 'labeler'", name="simulated_is_labeler"),
        CheckConstraint("not calibrates or (kind = 'human' and role = 'labeler')", name="calibrates_by_judging"),
        CheckConstraint("length(btrim(name)) between 1 and 120", name="name_length"),
        UniqueConstraint("name"),
        # People may write their name in any case; workers of imported comparisons are told apart by it.
        Index(
            "uq_labeler_sign_in_name",
            text("lower(name)"),
            unique=True,
            postgresql_where=text("not starts_with(name, 'import:')"),
        ),
    )


class SignIn(Table):
    """A browser session. The cookie holds a random token; only its SHA-256 is here."""

    __tablename__ = "session"

    id: Mapped[Key]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    created_at: Mapped[Created]
    seen_at: Mapped[Created]
    expires_at: Mapped[Moment]
    ended_at: Mapped[Moment | None]
    agent: Mapped[str] = mapped_column(server_default="")


class Invitation(Table):
    """A one-time link on which a password is set: the first admin, an invitation, or a reset."""

    __tablename__ = "invitation"

    id: Mapped[Key]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    purpose: Mapped[LinkPurpose]
    made_by: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"))
    created_at: Mapped[Created]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]

    __table_args__ = (one_of("purpose", LinkPurpose),)


class ApiToken(Table):
    """A bearer token for programs. Shown once; the prefix tells tokens apart in a list."""

    __tablename__ = "api_token"

    id: Mapped[Key]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    prefix: Mapped[str]
    name: Mapped[str]
    labeler_id: Mapped[int] = mapped_column(ForeignKey("labeler.id"), index=True)
    created_at: Mapped[Created]
    used_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]


class AuditEvent(Table):
    """Who did what to what, when. Append-only: a trigger refuses to change or remove a row."""

    __tablename__ = "audit_event"

    id: Mapped[Key]
    at: Mapped[Created]
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("labeler.id"), index=True)
    action: Mapped[str]
    subject: Mapped[str]
    subject_id: Mapped[int | None] = mapped_column(BigInteger)
    details: Mapped[Json] = mapped_column(server_default="{}")

    # How often a name or an address failed of late is asked at every sign-in.
    __table_args__ = tuple(
        Index(
            f"ix_audit_event_failed_{by}",
            text(f"(details ->> '{by}')"),
            "at",
            postgresql_where=text(f"action = '{FAILED_TRY}'"),
        )
        for by in ("name", "address")
    )

"""Accounts and how they come in: labelers, browser sessions, one-time links, API tokens, audit events.

Knows the questions asked of these tables. Knows nothing of passwords or of who may do what (app.services.people).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Interval, LargeBinary, bindparam, func, literal_column, or_, select, text, update

from app.domain.words import LabelerKind, LinkPurpose, Role
from app.store.session import Session, Sessions, directly
from app.store.tables import ApiToken, AuditEvent, BatchLabeler, Invitation, Labeler, Preference, SignIn
from app.store.tables.people import FAILED_TRY

SIGNED_IN, CHANGED_PASSWORD = "signed in", "changed password"


def add_labeler(
    session: Session, name: str, role: Role, kind: LabelerKind, *, active: bool = True, calibrates: bool = False
) -> Labeler:
    """A new account without a password. An inactive one cannot sign in (workers of imported comparisons).

    `calibrates`: a researcher judges with it, and others are held to its answers.
    """
    left = None if active else func.now()
    labeler = Labeler(name=name, role=role, kind=kind, calibrates=calibrates, deactivated_at=left)
    session.add(labeler)
    session.flush()
    return labeler


def labeler(session: Session, labeler_id: int) -> Labeler | None:
    """The account with this id."""
    return session.get(Labeler, labeler_id)


def labeler_by_name(session: Session, name: str) -> Labeler | None:
    """The account with this sign-in name, whatever the case."""
    return session.scalar(select(Labeler).where(func.lower(Labeler.name) == func.lower(name.strip())))


def lock_name(session: Session, name: str) -> None:
    """One newcomer at a time under this name, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(4172004, func.hashtext(name.strip().lower()))))


@contextmanager
def simulating(sessions: Sessions) -> Iterator[bool]:
    """Whether nobody else lets simulated labelers judge; nobody else is told so before the block ends.

    The lock is the connection's, and no transaction is open meanwhile.
    """
    with sessions.kw["bind"].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield bool(connection.scalar(select(func.pg_try_advisory_lock(4172010, 0))))
        finally:
            # The lock ends with the connection, not with its return to the pool.
            connection.invalidate()


def labelers_by_name(session: Session, names: list[str]) -> dict[str, Labeler]:
    """Accounts by their exact names."""
    return {row.name: row for row in session.scalars(select(Labeler).where(Labeler.name.in_(names)))}


def lock_labeler(session: Session, labeler_id: int) -> Labeler | None:
    """The account as it is now, locked until the transaction ends."""
    return session.scalar(
        select(Labeler).where(Labeler.id == labeler_id).with_for_update().execution_options(populate_existing=True)
    )


def active_admins(session: Session) -> int:
    """How many admins can sign in, or will when they used their link."""
    found = session.scalar(select(func.count()).where(Labeler.role == Role.ADMIN, Labeler.deactivated_at.is_(None)))
    return found or 0


@dataclass(frozen=True)
class Person:
    """An account with what a list of people shows."""

    labeler: Labeler
    answers: int
    last_seen: datetime | None
    invited_until: datetime | None


def people(session: Session) -> list[Person]:
    """Everybody but the workers that only came with imported comparisons, newest first."""
    seen = select(SignIn.labeler_id, func.max(SignIn.seen_at).label("at")).group_by(SignIn.labeler_id).subquery()
    answers = (
        select(Preference.labeler_id, func.count().label("n"))
        .where(Preference.version == 1)
        .group_by(Preference.labeler_id)
        .subquery()
    )
    links = (
        select(Invitation.labeler_id, func.max(Invitation.expires_at).label("until"))
        .where(Invitation.used_at.is_(None), Invitation.expires_at > func.now())
        .group_by(Invitation.labeler_id)
        .subquery()
    )
    rows = session.execute(
        select(Labeler, func.coalesce(answers.c.n, 0), seen.c.at, links.c.until)
        .outerjoin(seen, seen.c.labeler_id == Labeler.id)
        .outerjoin(answers, answers.c.labeler_id == Labeler.id)
        .outerjoin(links, links.c.labeler_id == Labeler.id)
        .where(~Labeler.name.startswith("import:", autoescape=True))
        .order_by(Labeler.id.desc())
    )
    return [Person(row[0], row[1], row[2], row[3]) for row in rows]


def has_labelers(session: Session) -> bool:
    """Whether anybody may judge: an active labeler, invited or signed in."""
    return bool(
        session.scalar(
            select(
                select(Labeler.id)
                .where(
                    Labeler.role == Role.LABELER,
                    Labeler.deactivated_at.is_(None),
                    ~Labeler.name.startswith("import:", autoescape=True),
                )
                .exists()
            )
        )
    )


def set_password(session: Session, labeler_id: int, password_hash: str) -> None:
    """Replace the stored hash."""
    session.execute(update(Labeler).where(Labeler.id == labeler_id).values(password_hash=password_hash))


def set_active(session: Session, labeler_id: int, active: bool) -> None:
    """Let the account in, or keep it out from now on."""
    at = None if active else func.now()
    session.execute(update(Labeler).where(Labeler.id == labeler_id).values(deactivated_at=at))


def add_sign_in(session: Session, labeler_id: int, token_hash: bytes, lasts: timedelta, agent: str) -> None:
    """A new browser session."""
    session.add(SignIn(labeler_id=labeler_id, token_hash=token_hash, expires_at=func.now() + lasts, agent=agent[:200]))
    session.flush()


@dataclass(frozen=True)
class Account:
    """An account that may come in, as far as every request needs it."""

    id: int
    name: str
    role: Role
    kind: LabelerKind
    calibrates: bool


def _account(key: int, name: str, role: str, kind: str, calibrates: bool) -> Account:
    return Account(key, name, Role(role), LabelerKind(kind), calibrates)


_MARKED_EVERY = timedelta(minutes=1)
_ACCOUNT = select(Labeler.id, Labeler.name, Labeler.role, Labeler.kind, Labeler.calibrates)
_SIGNED_IN = (
    _ACCOUNT.add_columns(SignIn.id, SignIn.seen_at < func.now() - _MARKED_EVERY)
    .join(SignIn, SignIn.labeler_id == Labeler.id)
    .where(
        SignIn.token_hash == bindparam("token", type_=LargeBinary),
        SignIn.ended_at.is_(None),
        SignIn.expires_at > func.now(),
        SignIn.seen_at > func.now() - bindparam("idle", type_=Interval),
        Labeler.deactivated_at.is_(None),
    )
)
_TOKEN = (
    _ACCOUNT.add_columns(ApiToken.id, or_(ApiToken.used_at.is_(None), ApiToken.used_at < func.now() - _MARKED_EVERY))
    .join(ApiToken, ApiToken.labeler_id == Labeler.id)
    .where(
        ApiToken.token_hash == bindparam("token", type_=LargeBinary),
        ApiToken.revoked_at.is_(None),
        Labeler.deactivated_at.is_(None),
    )
)


def account_of_sign_in(session: Session, token_hash: bytes, idle: timedelta) -> Account | None:
    """Who is signed in with this token; None when it ended, expired, idled too long, or the account is closed.

    Marks the session as seen, at most once a minute, so that judging does not write the row at every answer.
    """
    rows = directly(session, _SIGNED_IN, token=token_hash, idle=idle)
    if not rows:
        return None
    *account, sign_in_id, unmarked = rows[0]
    if unmarked:
        session.execute(
            update(SignIn)
            .where(SignIn.id == sign_in_id)
            .values(seen_at=func.now())
            .execution_options(synchronize_session=False)
        )
    return _account(*account)


def end_sign_ins(session: Session, labeler_id: int, *, but: bytes | None = None) -> None:
    """End every browser session of an account, but the one with this token hash."""
    ended = update(SignIn).where(SignIn.labeler_id == labeler_id, SignIn.ended_at.is_(None))
    if but is not None:
        ended = ended.where(SignIn.token_hash != but)
    session.execute(ended.values(ended_at=func.now()))


def end_sign_in(session: Session, token_hash: bytes) -> None:
    """End one browser session."""
    session.execute(update(SignIn).where(SignIn.token_hash == token_hash).values(ended_at=func.now()))


def end_tokens_and_links(session: Session, labeler_id: int) -> None:
    """Stop every API token and unused link of an account for good."""
    session.execute(
        update(ApiToken)
        .where(ApiToken.labeler_id == labeler_id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    _end_links(session, labeler_id)


def _end_links(session: Session, labeler_id: int) -> None:
    session.execute(
        update(Invitation)
        .where(Invitation.labeler_id == labeler_id, Invitation.used_at.is_(None))
        .values(expires_at=func.least(Invitation.expires_at, func.now()))
    )


def add_invitation(
    session: Session, labeler_id: int, purpose: LinkPurpose, token_hash: bytes, lasts: timedelta, made_by: int | None
) -> None:
    """A one-time link. Earlier unused links of the account stop working."""
    _end_links(session, labeler_id)
    session.add(
        Invitation(
            labeler_id=labeler_id,
            purpose=purpose,
            token_hash=token_hash,
            expires_at=func.now() + lasts,
            made_by=made_by,
        )
    )


def open_invitation(session: Session, token_hash: bytes, *, lock: bool = False) -> tuple[Invitation, Labeler] | None:
    """The link with this token and its account, while it can be used. `lock`: nobody else can use it meanwhile."""
    query = (
        select(Invitation, Labeler)
        .join(Labeler, Labeler.id == Invitation.labeler_id)
        .where(
            Invitation.token_hash == token_hash,
            Invitation.used_at.is_(None),
            Invitation.expires_at > func.now(),
            Labeler.deactivated_at.is_(None),
        )
    )
    row = session.execute(query.with_for_update(of=Invitation) if lock else query).one_or_none()
    return None if row is None else (row[0], row[1])


def use_invitation(session: Session, invitation_id: int) -> None:
    """The link was used."""
    session.execute(update(Invitation).where(Invitation.id == invitation_id).values(used_at=func.now()))


def add_token(session: Session, labeler_id: int, name: str, prefix: str, token_hash: bytes) -> ApiToken:
    """A new API token."""
    token = ApiToken(labeler_id=labeler_id, name=name, prefix=prefix, token_hash=token_hash)
    session.add(token)
    session.flush()
    return token


def tokens(session: Session, labeler_id: int) -> list[ApiToken]:
    """The account's tokens that work, newest first."""
    return list(
        session.scalars(
            select(ApiToken)
            .where(ApiToken.labeler_id == labeler_id, ApiToken.revoked_at.is_(None))
            .order_by(ApiToken.id.desc())
        )
    )


def revoke_token(session: Session, labeler_id: int, token_id: int) -> bool:
    """Stop one of the account's own tokens. False when there is none such."""
    found = session.scalar(
        update(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.labeler_id == labeler_id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiToken.id)
    )
    return found is not None


def account_of_token(session: Session, token_hash: bytes) -> Account | None:
    """Whose API token this is; None when revoked or the account is closed."""
    rows = directly(session, _TOKEN, token=token_hash)
    if not rows:
        return None
    *account, token_id, unmarked = rows[0]
    if unmarked:
        session.execute(
            update(ApiToken)
            .where(ApiToken.id == token_id)
            .values(used_at=func.now())
            .execution_options(synchronize_session=False)
        )
    return _account(*account)


def audit(
    session: Session, actor_id: int | None, action: str, subject: str, subject_id: int | None, **details: Any
) -> None:
    """Write down who did what to what. Details never hold secrets or the text of documents."""
    session.add(AuditEvent(actor_id=actor_id, action=action, subject=subject, subject_id=subject_id, details=details))


def lock_tries(session: Session, name: str | None, address: str) -> None:
    """One try at a time under this name and from this address, until the transaction ends. Names always come first."""
    if name is not None:
        session.execute(select(func.pg_advisory_xact_lock(4172006, func.hashtext(name))))
    session.execute(select(func.pg_advisory_xact_lock(4172007, func.hashtext(address))))


def tries_wait(
    session: Session, by: Literal["name", "address"], value: str, most: int, within: timedelta, *, after: int = 0
) -> timedelta | None:
    """How long until fewer than `most` failed tries lie `within` the last time; None when it is so now.

    Only audit events with ids above `after` count.
    """
    # Written out, so that the partial indexes are used whatever the plan.
    newest = (
        select(AuditEvent.at)
        .where(
            text(f"action = '{FAILED_TRY}'"),
            literal_column(f"details ->> '{by}'") == value,
            AuditEvent.at > func.now() - within,
            AuditEvent.id > after,
        )
        .order_by(AuditEvent.at.desc())
        .offset(most - 1)
        .limit(1)
    )
    return session.scalar(select(newest.scalar_subquery() + within - func.now()))


def last_right_password(session: Session, labeler_id: int, within: timedelta) -> int:
    """The id of the audit event by which the account last came in or changed its password; 0 for none of late."""
    found = session.scalar(
        select(func.max(AuditEvent.id)).where(
            AuditEvent.actor_id == labeler_id,
            AuditEvent.action.in_((SIGNED_IN, CHANGED_PASSWORD)),
            AuditEvent.at > func.now() - within,
        )
    )
    return found or 0


def assign_batch(session: Session, batch_id: int, labeler_ids: list[int]) -> None:
    """Make the batch be for exactly these people; an empty list makes it be for everybody of its kind."""
    for row in session.scalars(select(BatchLabeler).where(BatchLabeler.batch_id == batch_id)):
        session.delete(row)
    session.flush()
    session.add_all(BatchLabeler(batch_id=batch_id, labeler_id=labeler_id) for labeler_id in labeler_ids)
    session.flush()


def assigned(session: Session, batch_ids: list[int]) -> dict[int, list[str]]:
    """Names of the people each of these batches is assigned to."""
    found: dict[int, list[str]] = {}
    for batch_id, name in session.execute(
        select(BatchLabeler.batch_id, Labeler.name)
        .join(Labeler, Labeler.id == BatchLabeler.labeler_id)
        .where(BatchLabeler.batch_id.in_(batch_ids))
        .order_by(Labeler.name)
    ):
        found.setdefault(batch_id, []).append(name)
    return found

"""Who comes in and what they may do: sign-in, one-time links, invitations, roles, API tokens.

Knows the rules. Knows nothing of cookies or pages; never commits.
"""

from dataclasses import dataclass
from datetime import timedelta

from app.domain.errors import Conflict, Invalid, NotFound, NotSignedIn
from app.domain.words import LabelerKind, LinkPurpose, Role
from app.services import tries
from app.services.passwords import hash_password, new_token, token_hash, verify_password
from app.store import people, queueing
from app.store.people import CHANGED_PASSWORD, SIGNED_IN, Account, Person
from app.store.session import Session
from app.store.tables import ApiToken, Invitation, Labeler

SESSION_LASTS = timedelta(days=30)
SESSION_IDLES = timedelta(days=7)
LINK_LASTS = timedelta(days=7)


@dataclass(frozen=True)
class Viewer:
    """The account behind a request. `calibrates`: a researcher judges with it, and others are held to its answers."""

    id: int
    name: str
    role: Role
    kind: LabelerKind
    calibrates: bool = False

    @property
    def judges(self) -> bool:
        """Whether this account is given slots: one that may see policies never is (invariant 3)."""
        return self.role is Role.LABELER


def _viewer(account: Account | Labeler) -> Viewer:
    return Viewer(account.id, account.name, Role(account.role), LabelerKind(account.kind), account.calibrates)


def viewer_of_session(session: Session, token: str) -> Viewer | None:
    """Who a session cookie stands for."""
    account = people.account_of_sign_in(session, token_hash(token), SESSION_IDLES)
    return None if account is None else _viewer(account)


def viewer_of_api_token(session: Session, token: str) -> Viewer | None:
    """Who a bearer token stands for."""
    account = people.account_of_token(session, token_hash(token))
    return None if account is None else _viewer(account)


def sign_in(session: Session, name: str, password: str, agent: str, address: str) -> str | None:
    """A fresh session token for the right name and password; None, whatever was wrong, and the try is counted.

    Raises TooManyTries.
    """
    # Invisible signs are in no name, and the database takes no NUL.
    labeler = people.labeler_by_name(session, name) if name.isprintable() else None
    tries.admit(session, address, name, labeler)
    right = verify_password(password, None if labeler is None else labeler.password_hash)
    if labeler is None or not right or labeler.deactivated_at is not None:
        tries.failed(session, address, name, labeler)
        return None
    return _start(session, labeler, agent)


def _start(session: Session, labeler: Labeler, agent: str) -> str:
    token = new_token()
    people.add_sign_in(session, labeler.id, token_hash(token), SESSION_LASTS, agent)
    people.audit(session, labeler.id, SIGNED_IN, "labeler", labeler.id)
    return token


def sign_out(session: Session, token: str) -> None:
    """End the session of this cookie."""
    people.end_sign_in(session, token_hash(token))


def first_admin_link(session: Session) -> str | None:
    """The token of a one-time link for the first admin, made anew until somebody has used one; None afterwards."""
    admin = people.labeler_by_name(session, "admin")
    if admin is None:
        if people.active_admins(session):
            return None
        admin = people.add_labeler(session, "admin", Role.ADMIN, LabelerKind.HUMAN)
    elif admin.password_hash is not None or admin.role != Role.ADMIN:
        return None
    token = new_token()
    people.add_invitation(session, admin.id, LinkPurpose.FIRST, token_hash(token), LINK_LASTS, None)
    return token


def link_for(session: Session, name: str) -> str:
    """The token of a reset link for an account, for the one who owns the machine. Raises NotFound."""
    labeler = people.labeler_by_name(session, name)
    if labeler is None or labeler.deactivated_at is not None:
        raise NotFound(f"There is no active account named {name!r}.", "`hone people` lists the names.")
    return _new_link(session, labeler, LinkPurpose.RESET, None)


def _new_link(session: Session, labeler: Labeler, purpose: LinkPurpose, made_by: int | None) -> str:
    token = new_token()
    people.add_invitation(session, labeler.id, purpose, token_hash(token), LINK_LASTS, made_by)
    people.audit(session, made_by, f"made {purpose} link", "labeler", labeler.id)
    return token


def invite(
    session: Session, actor: Viewer, name: str, role: Role, kind: LabelerKind, *, calibrates: bool = False
) -> tuple[int, str]:
    """A new account and the token of its one-time link. Raises Invalid or Conflict.

    `calibrates`: the account with which a researcher judges, since their own may see policies and is given no pairs.
    """
    name = name.strip()
    if not 1 <= len(name) <= 120 or not name.isprintable():
        raise Invalid(
            "The name must have 1 to 120 visible characters.", "It is what the person types to sign in.", "name"
        )
    if name.lower().startswith("import:"):
        raise Invalid("Names that begin with import: belong to imported comparisons.", "Choose another.", "name")
    if kind is LabelerKind.SIMULATED and role is not Role.LABELER:
        raise Invalid("A simulated labeler has the role labeler.", "Choose the role labeler.", "role")
    if calibrates and (role is not Role.LABELER or kind is not LabelerKind.HUMAN):
        raise Invalid(
            "A researcher judges with an account of the role labeler, as a person.",
            "Choose the role labeler, or untick it.",
            "calibrates",
        )
    people.lock_name(session, name)
    if people.labeler_by_name(session, name) is not None:
        raise Conflict(f"There is already an account named {name!r}.", "Choose another name, or reset that account.")
    labeler = people.add_labeler(session, name, role, kind, calibrates=calibrates)
    details = {"role": role.value, "kind": kind.value} | ({"calibrates": True} if calibrates else {})
    people.audit(session, actor.id, "invited", "labeler", labeler.id, **details)
    return labeler.id, _new_link(session, labeler, LinkPurpose.INVITE, actor.id)


def simulated(session: Session, name: str) -> Viewer:
    """The account of a simulated labeler, made where there is none. Raises Conflict for a name that is a person's."""
    people.lock_name(session, name)
    labeler = people.labeler_by_name(session, name)
    if labeler is None:
        labeler = people.add_labeler(session, name, Role.LABELER, LabelerKind.SIMULATED)
        people.audit(session, None, "made simulated labeler", "labeler", labeler.id)
    elif labeler.kind != LabelerKind.SIMULATED or labeler.deactivated_at is not None:
        raise Conflict(
            f"There is an account named {name!r} that is a person's, or deactivated.",
            "Rename or activate it on the page People.",
        )
    return _viewer(labeler)


def reset(session: Session, actor: Viewer, labeler_id: int) -> tuple[str, str]:
    """The name of the account and the token of a new link by which its password is set anew."""
    labeler = _found(session, labeler_id)
    if labeler.deactivated_at is not None:
        raise Conflict(f"{labeler.name} is deactivated.", "Activate the account first.")
    return labeler.name, _new_link(session, labeler, LinkPurpose.RESET, actor.id)


def deactivate(session: Session, actor: Viewer, labeler_id: int) -> str:
    """Keep an account out; its answers stay, and what it holds goes back to the queue. Gives the name."""
    if labeler_id == actor.id:
        raise Conflict("You cannot deactivate your own account.", "Ask another admin.")
    # Before the accounts: an answer under way takes its turn first, and its account afterwards.
    queueing.lock_queue_of(session, labeler_id)
    # Both accounts are locked, in one order, so that two admins cannot put each other out and leave nobody inside.
    found = {each: _found(session, each) for each in sorted({actor.id, labeler_id})}
    if found[actor.id].deactivated_at is not None:
        raise NotSignedIn("Your account was deactivated meanwhile.", "Ask another admin.")
    labeler = found[labeler_id]
    people.set_active(session, labeler.id, False)
    people.end_sign_ins(session, labeler.id)
    people.end_tokens_and_links(session, labeler.id)
    queueing.give_back_all(session, labeler.id)
    people.audit(session, actor.id, "deactivated", "labeler", labeler.id)
    return labeler.name


def activate(session: Session, actor: Viewer, labeler_id: int) -> str:
    """Let an account in again. Gives the name."""
    labeler = _found(session, labeler_id)
    people.set_active(session, labeler.id, True)
    people.audit(session, actor.id, "activated", "labeler", labeler.id)
    return labeler.name


def _found(session: Session, labeler_id: int) -> Labeler:
    labeler = people.lock_labeler(session, labeler_id)
    if labeler is None or labeler.name.startswith("import:"):
        raise NotFound("There is no such account.", "Go back to the list of people.")
    return labeler


def link_owner(session: Session, token: str, address: str) -> tuple[str, LinkPurpose] | None:
    """Whose link it is and what for; None when it was used, ran out, or never was, and the try is counted.

    Raises TooManyTries.
    """
    found = _opened(session, token, address, lock=False)
    return None if found is None else (found[1].name, LinkPurpose(found[0].purpose))


def _opened(session: Session, token: str, address: str, *, lock: bool) -> tuple[Invitation, Labeler] | None:
    tries.admit(session, address)
    found = people.open_invitation(session, token_hash(token), lock=lock)
    if found is None:
        tries.failed(session, address)
    return found


def use_link(session: Session, token: str, password: str, agent: str, address: str) -> tuple[str, Viewer] | None:
    """Set the password, spend the link, end every older session, and sign in: a session token and its viewer.

    None when the link does not work, and the try is counted. Raises TooManyTries, and Invalid for a bad password.
    """
    found = _opened(session, token, address, lock=True)
    if found is None:
        return None
    invitation, labeler = found
    people.set_password(session, labeler.id, hash_password(password, labeler.name))
    people.use_invitation(session, invitation.id)
    people.end_sign_ins(session, labeler.id)
    people.audit(session, labeler.id, "set password", "labeler", labeler.id)
    return _start(session, labeler, agent), _viewer(labeler)


def change_password(session: Session, viewer: Viewer, old: str, new: str, token: str, address: str) -> bool:
    """Replace the viewer's own password and end their other sessions.

    False when the present one is not right, and the try is counted. Raises TooManyTries, and Invalid for a bad new one.
    """
    # The account is locked after the turn is taken, as signing in does it.
    tries.admit(session, address, viewer.name, people.labeler(session, viewer.id))
    labeler = people.lock_labeler(session, viewer.id)
    if labeler is None or not verify_password(old, labeler.password_hash):
        tries.failed(session, address, viewer.name, labeler)
        return False
    people.set_password(session, viewer.id, hash_password(new, viewer.name))
    people.end_sign_ins(session, viewer.id, but=token_hash(token))
    people.audit(session, viewer.id, CHANGED_PASSWORD, "labeler", viewer.id)
    return True


def make_api_token(session: Session, viewer: Viewer, name: str) -> str:
    """A new API token of the viewer; shown once, only its hash is kept."""
    name = name.strip()
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise Invalid("A token needs a name of 1 to 80 visible characters.", "Say what will use it.", "name")
    token = "hone_" + new_token()
    row = people.add_token(session, viewer.id, name, token[:10], token_hash(token))
    people.audit(session, viewer.id, "made api token", "api_token", row.id)
    return token


def revoke_api_token(session: Session, viewer: Viewer, token_id: int) -> None:
    """Stop one of the viewer's own tokens."""
    if not people.revoke_token(session, viewer.id, token_id):
        raise NotFound("There is no such token.", "Look at your account page.")
    people.audit(session, viewer.id, "revoked api token", "api_token", token_id)


def api_tokens(session: Session, viewer: Viewer) -> list[ApiToken]:
    """The viewer's tokens that work."""
    return people.tokens(session, viewer.id)


def everybody(session: Session) -> list[Person]:
    """All accounts, for the page of people."""
    return people.people(session)

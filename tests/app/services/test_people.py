"""Who comes in: one-time links work once, sessions end when they should, and nothing tells names from passwords."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import LargeBinary, String, func, select, update

from app.domain.errors import Conflict, Invalid, NotFound, NotSignedIn, Refusal
from app.domain.words import LabelerKind, LinkPurpose, Role
from app.services import people
from app.services.passwords import hash_password, verify_password
from app.services.people import Viewer
from app.store.session import Session
from app.store.tables import ApiToken, AuditEvent, Invitation, Labeler, SignIn, Table
from tests.conftest import Work
from tests.support import factories as make

PASSWORD = "four unrelated words"
OTHER = "another good secret"


def _member(session: Session, name: str = "Ada", role: Role = Role.LABELER) -> tuple[Viewer, str]:
    """Somebody who was invited and came in: their viewer and session token."""
    _, link = people.invite(session, make.admin(session), name, role, LabelerKind.HUMAN)
    token, viewer = people.use_link(session, link, PASSWORD, "a browser")
    return viewer, token


# The first admin


def test_the_first_admin_comes_in_by_a_link_and_then_there_is_none_again(work: Work) -> None:
    with work() as session:
        link = people.first_admin_link(session)
        assert link is not None
        assert people.link_owner(session, link) == ("admin", LinkPurpose.FIRST)
        token, viewer = people.use_link(session, link, PASSWORD, "a browser")
        assert (viewer.name, viewer.role) == ("admin", Role.ADMIN)
        assert people.viewer_of_session(session, token) == viewer
    with work() as session:
        assert people.first_admin_link(session) is None
        with pytest.raises(NotFound):
            people.use_link(session, link, OTHER, "a browser")
        with pytest.raises(NotFound):
            people.link_owner(session, link)


def test_the_first_link_is_made_anew_until_one_was_used(work: Work) -> None:
    with work() as session:
        first, second = people.first_admin_link(session), people.first_admin_link(session)
        assert first is not None
        assert second is not None
        with pytest.raises(NotFound):
            people.use_link(session, first, PASSWORD, "a browser")
        people.use_link(session, second, PASSWORD, "a browser")
        assert session.scalar(select(func.count()).select_from(Labeler)) == 1


def test_there_is_no_first_link_where_another_admin_is(work: Work) -> None:
    with work() as session:
        make.admin(session, "boss")
        assert people.first_admin_link(session) is None


# Links


def test_an_invitation_works_once(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), " Ada ", Role.RESEARCHER, LabelerKind.HUMAN)
        assert people.link_owner(session, link) == ("Ada", LinkPurpose.INVITE)
        _, viewer = people.use_link(session, link, PASSWORD, "a browser")
        assert (viewer.name, viewer.role, viewer.kind) == ("Ada", Role.RESEARCHER, LabelerKind.HUMAN)
        with pytest.raises(NotFound):
            people.use_link(session, link, PASSWORD, "a browser")


def test_an_invitation_runs_out(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), "Ada", Role.LABELER, LabelerKind.HUMAN)
        session.execute(update(Invitation).values(expires_at=func.now()))
        for use in (people.link_owner, lambda session, link: people.use_link(session, link, PASSWORD, "a browser")):
            with pytest.raises(NotFound):
                use(session, link)


def test_a_newer_link_replaces_an_older_one(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        labeler_id, old = people.invite(session, boss, "Ada", Role.LABELER, LabelerKind.HUMAN)
        name, new = people.reset(session, boss, labeler_id)
        assert name == "Ada"
        with pytest.raises(NotFound):
            people.use_link(session, old, PASSWORD, "a browser")
        assert people.use_link(session, new, PASSWORD, "a browser")[1].name == "Ada"


def test_a_bad_password_does_not_spend_the_link(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), "Ada", Role.LABELER, LabelerKind.HUMAN)
        with pytest.raises(Invalid):
            people.use_link(session, link, "short", "a browser")
        assert people.use_link(session, link, PASSWORD, "a browser")[1].name == "Ada"


def test_a_reset_ends_every_session_and_the_old_password(work: Work) -> None:
    with work() as session:
        viewer, token = _member(session)
        _, link = people.reset(session, make.admin(session), viewer.id)
        assert people.viewer_of_session(session, token) == viewer  # asking for a reset throws nobody out
        fresh, _ = people.use_link(session, link, OTHER, "a browser")
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_session(session, fresh) == viewer
        with pytest.raises(NotSignedIn):
            people.sign_in(session, "Ada", PASSWORD, "a browser")
        people.sign_in(session, "Ada", OTHER, "a browser")


def test_whoever_owns_the_machine_makes_a_link_for_any_active_account(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        assert people.link_owner(session, people.link_for(session, "ada")) == ("Ada", LinkPurpose.RESET)
        people.deactivate(session, make.admin(session), viewer.id)
        for name in ("Ada", "nobody"):
            with pytest.raises(NotFound):
                people.link_for(session, name)


# Signing in


def test_names_are_found_in_any_case(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session, "Éva Ørsted")
        for name in ("Éva Ørsted", " éva ørsted ", "ÉVA ØRSTED"):
            token = people.sign_in(session, name, PASSWORD, "a browser")
            assert people.viewer_of_session(session, token) == viewer


def test_an_unknown_name_and_a_wrong_password_are_told_the_same(work: Work) -> None:
    with work() as session:
        _member(session)
        people.invite(session, make.admin(session), "Not yet", Role.LABELER, LabelerKind.HUMAN)
        gone, _ = _member(session, "Gone")
        people.deactivate(session, make.admin(session), gone.id)
        said = set()
        for name, password in [
            ("Ada", OTHER),
            ("Ada", ""),
            ("Ada", "x" * 10_000),
            ("nobody", PASSWORD),
            ("", ""),
            ("a\0b", PASSWORD),
            ("half \ud83d", PASSWORD),
            ("Not yet", PASSWORD),
            ("Not yet", ""),
            ("Gone", PASSWORD),
        ]:
            with pytest.raises(NotSignedIn) as caught:
                people.sign_in(session, name, password, "a browser")
            said.add((caught.value.what, caught.value.what_to_do))
        assert len(said) == 1


def test_every_sign_in_is_a_session_of_its_own(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        one, two = (people.sign_in(session, "Ada", PASSWORD, "a browser") for _ in range(2))
        assert one != two
        people.sign_out(session, one)
        assert people.viewer_of_session(session, one) is None
        assert people.viewer_of_session(session, two) == viewer


@pytest.mark.parametrize(
    "change",
    [
        {"seen_at": func.now() - people.SESSION_IDLES},
        {"expires_at": func.now()},
        {"ended_at": func.now()},
    ],
)
def test_sessions_idle_out_run_out_and_end(work: Work, change: dict[str, object]) -> None:
    with work() as session:
        viewer, token = _member(session)
        assert people.viewer_of_session(session, token) == viewer
        session.execute(update(SignIn).values(change))
        assert people.viewer_of_session(session, token) is None


def test_a_session_in_use_does_not_idle_out(work: Work) -> None:
    with work() as session:
        viewer, token = _member(session)
        session.execute(update(SignIn).values(seen_at=func.now() - people.SESSION_IDLES + timedelta(minutes=1)))
        assert people.viewer_of_session(session, token) == viewer
        assert session.scalar(select(SignIn.seen_at == func.now())) is True


def test_a_session_is_not_written_at_every_look(work: Work) -> None:
    with work() as session:
        _, token = _member(session)
        session.execute(update(SignIn).values(seen_at=func.now() - timedelta(seconds=30)))
        people.viewer_of_session(session, token)
        assert session.scalar(select(SignIn.seen_at == func.now() - timedelta(seconds=30))) is True


@pytest.mark.parametrize("token", ["", "x", "\0"])
def test_a_made_up_token_is_nobody(work: Work, token: str) -> None:
    with work() as session:
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_api_token(session, token) is None


# Passwords


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "x" * 201,
        "passwordpassword",
        "PasswordPassword",
        "123456789012",
        "aaaaaaaaaaaaaaa",
        "abababababab",
    ],
)
def test_passwords_that_are_guessed_first_are_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        hash_password(password, "Ada")
    assert caught.value.field == "password"


def test_a_password_is_not_ones_own_name() -> None:
    with pytest.raises(Invalid):
        hash_password("Ada Lovelace The First", "ada lovelace the first")


def test_a_password_is_verified_against_its_hash_only() -> None:
    stored = hash_password(PASSWORD, "Ada")
    assert stored.startswith("$argon2id$")
    assert verify_password(PASSWORD, stored)
    assert not verify_password(PASSWORD + " ", stored)
    assert not verify_password(PASSWORD, None)
    assert not verify_password("", None)
    assert not verify_password(PASSWORD, "no hash at all")


def test_a_changed_password_ends_the_other_sessions(work: Work) -> None:
    with work() as session:
        viewer, here = _member(session)
        there = people.sign_in(session, "Ada", PASSWORD, "another browser")
        with pytest.raises(Invalid):
            people.change_password(session, viewer, OTHER, OTHER, here)
        with pytest.raises(Invalid):
            people.change_password(session, viewer, PASSWORD, "short", here)
        assert people.viewer_of_session(session, there) == viewer
        people.change_password(session, viewer, PASSWORD, OTHER, here)
        assert people.viewer_of_session(session, here) == viewer
        assert people.viewer_of_session(session, there) is None
        people.sign_in(session, "Ada", OTHER, "a browser")


# Inviting and putting out


@pytest.mark.parametrize(
    ("name", "role", "kind"),
    [
        ("", Role.LABELER, LabelerKind.HUMAN),
        ("   ", Role.LABELER, LabelerKind.HUMAN),
        ("x" * 121, Role.LABELER, LabelerKind.HUMAN),
        ("a\0b", Role.LABELER, LabelerKind.HUMAN),
        ("a\u200bb", Role.LABELER, LabelerKind.HUMAN),
        ("half \ud83d", Role.LABELER, LabelerKind.HUMAN),
        ("import:me", Role.LABELER, LabelerKind.HUMAN),
        ("Import:me", Role.LABELER, LabelerKind.HUMAN),
        ("robot", Role.ADMIN, LabelerKind.SIMULATED),
    ],
)
def test_accounts_that_make_no_sense_are_refused(work: Work, name: str, role: Role, kind: LabelerKind) -> None:
    with work() as session, pytest.raises(Invalid):
        people.invite(session, make.admin(session), name, role, kind)


@pytest.mark.parametrize("name", ["Éva", "éva", " ÉVA "])
def test_a_name_is_taken_in_any_case(work: Work, name: str) -> None:
    with work() as session:
        _member(session, "Éva")
        with pytest.raises(Conflict):
            people.invite(session, make.admin(session), name, Role.LABELER, LabelerKind.HUMAN)


def test_deactivation_ends_sessions_tokens_and_links_for_good(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        viewer, token = _member(session)
        api_token = people.make_api_token(session, viewer, "a script")
        _, link = people.reset(session, boss, viewer.id)
        assert people.deactivate(session, boss, viewer.id) == "Ada"
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_api_token(session, api_token) is None
        with pytest.raises(NotFound):
            people.use_link(session, link, OTHER, "a browser")
        with pytest.raises(NotSignedIn):
            people.sign_in(session, "Ada", PASSWORD, "a browser")
        with pytest.raises(Conflict):
            people.reset(session, boss, viewer.id)
        assert people.activate(session, boss, viewer.id) == "Ada"
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_api_token(session, api_token) is None
        with pytest.raises(NotFound):
            people.use_link(session, link, OTHER, "a browser")
        assert people.viewer_of_session(session, people.sign_in(session, "Ada", PASSWORD, "a browser")) == viewer


def test_deactivation_keeps_what_was_judged(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        pairs = make.pairs(session)
        [showing] = make.hold(session, viewer)
        make.say(session, viewer, showing)
        people.deactivate(session, make.admin(session), viewer.id)
        assert len(make.answers(session, pairs.comparisons[0])) == 1


def test_a_closed_account_is_nobody_whatever_it_still_holds(work: Work) -> None:
    with work() as session:
        viewer, token = _member(session)
        api_token = people.make_api_token(session, viewer, "a script")
        _, link = people.reset(session, make.admin(session), viewer.id)
        session.execute(update(Labeler).where(Labeler.id == viewer.id).values(deactivated_at=func.now()))
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_api_token(session, api_token) is None
        with pytest.raises(NotFound):
            people.use_link(session, link, OTHER, "a browser")


def test_nobody_puts_themselves_out(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        with pytest.raises(Conflict):
            people.deactivate(session, boss, boss.id)


def test_accounts_that_are_not_there_or_only_imported_are_not_found(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        imported = make.labeler(session, "import:w1")
        for change in (people.deactivate, people.activate, people.reset):
            for labeler_id in (imported.id, 10**9):
                with pytest.raises(NotFound):
                    change(session, boss, labeler_id)


@pytest.mark.parametrize(("role", "judges"), [(Role.LABELER, True), (Role.RESEARCHER, False), (Role.ADMIN, False)])
def test_only_labelers_judge(role: Role, judges: bool) -> None:
    assert Viewer(1, "Ada", role, LabelerKind.HUMAN).judges is judges


# API tokens


def test_an_api_token_stands_for_its_owner_until_it_is_revoked(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        token = people.make_api_token(session, viewer, " a script ")
        assert people.viewer_of_api_token(session, token) == viewer
        assert people.viewer_of_session(session, token) is None
        [row] = people.api_tokens(session, viewer)
        assert (row.name, row.prefix) == ("a script", token[:10])
        assert token.startswith("hone_")
        people.revoke_api_token(session, viewer, row.id)
        assert people.viewer_of_api_token(session, token) is None
        assert people.api_tokens(session, viewer) == []
        with pytest.raises(NotFound):
            people.revoke_api_token(session, viewer, row.id)


def test_nobody_revokes_anothers_token(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        other, _ = _member(session, "Bob")
        token = people.make_api_token(session, viewer, "a script")
        with pytest.raises(NotFound):
            people.revoke_api_token(session, other, people.api_tokens(session, viewer)[0].id)
        assert people.viewer_of_api_token(session, token) == viewer


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\0b"])
def test_a_token_needs_a_name(work: Work, name: str) -> None:
    with work() as session, pytest.raises(Invalid):
        people.make_api_token(session, make.labeler(session), name)


# What is kept


def test_no_secret_is_stored(work: Work) -> None:
    with work() as session:
        link = people.first_admin_link(session)
        assert link is not None
        token, admin = people.use_link(session, link, PASSWORD, "a browser")
        api_token = people.make_api_token(session, admin, "a script")
        _, invitation = people.invite(session, admin, "Bob", Role.LABELER, LabelerKind.HUMAN)
        stored = []
        for table in Table.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, String | LargeBinary) or column.name == "details":
                    stored += [str(value) for value in session.scalars(select(column))]
        for secret in (link, token, api_token, invitation, PASSWORD):
            assert not any(secret in value for value in stored)
        for row in (Invitation, SignIn, ApiToken):
            assert {len(digest) for digest in session.scalars(select(row.token_hash))} == {32}


def test_what_was_done_to_accounts_is_written_down(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        labeler_id, link = people.invite(session, boss, "Ada", Role.LABELER, LabelerKind.HUMAN)
        people.use_link(session, link, PASSWORD, "a browser")
        people.deactivate(session, boss, labeler_id)
        people.activate(session, boss, labeler_id)
        found = session.execute(select(AuditEvent.actor_id, AuditEvent.action).order_by(AuditEvent.id))
        assert [tuple(row) for row in found] == [
            (boss.id, "invited"),
            (boss.id, "made invite link"),
            (labeler_id, "set password"),
            (labeler_id, "signed in"),
            (boss.id, "deactivated"),
            (boss.id, "activated"),
        ]


def test_the_list_of_people_leaves_imported_workers_out(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        make.labeler(session, "import:w1")
        found = {person.labeler.name: person for person in people.everybody(session)}
        assert "import:w1" not in found
        assert (found["Ada"].answers, found["Ada"].invited_until) == (0, None)
        assert found["Ada"].last_seen is not None
        assert viewer.id == found["Ada"].labeler.id


def test_refusals_say_what_to_do(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        tries: list[Callable[[], object]] = [
            lambda: people.sign_in(session, "nobody", PASSWORD, ""),
            lambda: people.link_owner(session, "nothing"),
            lambda: people.deactivate(session, boss, boss.id),
            lambda: people.invite(session, boss, "", Role.LABELER, LabelerKind.HUMAN),
        ]
        for attempt in tries:
            with pytest.raises(Refusal) as caught:
                attempt()
            assert caught.value.what.endswith(".")
            assert caught.value.what_to_do.endswith(".")

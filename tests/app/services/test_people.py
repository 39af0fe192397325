"""Who comes in: one-time links work once, sessions end when they should, and nothing tells names from passwords."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import LargeBinary, String, func, select, update

from app.domain.errors import Conflict, Invalid, NotFound, Refusal, TooManyTries
from app.domain.words import LabelerKind, LinkPurpose, Role, SlotState
from app.services import people
from app.services.passwords import hash_password, verify_password
from app.services.people import Viewer
from app.store.session import Session, Sessions
from app.store.tables import ApiToken, AuditEvent, Invitation, Labeler, SignIn, Table
from tests.conftest import Work
from tests.support import factories as make

PASSWORD = "four unrelated words"
OTHER = "another good secret"
HERE = "10.0.0.7"


def _member(session: Session, name: str = "Ada", role: Role = Role.LABELER) -> tuple[Viewer, str]:
    """Somebody who was invited, came in and has read the guidelines: their viewer and session token."""
    _, link = people.invite(session, make.admin(session), name, role, LabelerKind.HUMAN)
    token, viewer = _use(session, link, PASSWORD)
    make.has_read(session, viewer.id)
    return viewer, token


def _use(session: Session, link: str, password: str) -> tuple[str, Viewer]:
    """Come in by a link that works."""
    came = people.use_link(session, link, password, "a browser", HERE)
    assert came is not None
    return came


def _enter(session: Session, name: str, password: str) -> str:
    """Come in by a name and a password that are right."""
    token = people.sign_in(session, name, password, "a browser", HERE)
    assert token is not None
    return token


# The first admin


def test_the_first_admin_comes_in_by_a_link_and_then_there_is_none_again(work: Work) -> None:
    with work() as session:
        link = people.first_admin_link(session)
        assert link is not None
        assert people.link_owner(session, link, HERE) == ("admin", LinkPurpose.FIRST)
        token, viewer = _use(session, link, PASSWORD)
        assert (viewer.name, viewer.role) == ("admin", Role.ADMIN)
        assert people.viewer_of_session(session, token) == viewer
    with work() as session:
        assert people.first_admin_link(session) is None
        assert people.use_link(session, link, OTHER, "a browser", HERE) is None
        assert people.link_owner(session, link, HERE) is None


def test_the_first_link_is_made_anew_until_one_was_used(work: Work) -> None:
    with work() as session:
        first, second = people.first_admin_link(session), people.first_admin_link(session)
        assert first is not None
        assert second is not None
        assert people.use_link(session, first, PASSWORD, "a browser", HERE) is None
        _use(session, second, PASSWORD)
        assert session.scalar(select(func.count()).select_from(Labeler)) == 1


def test_there_is_no_first_link_where_another_admin_is(work: Work) -> None:
    with work() as session:
        make.admin(session, "boss")
        assert people.first_admin_link(session) is None


# Links


def test_an_invitation_works_once(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), " Ada ", Role.RESEARCHER, LabelerKind.HUMAN)
        assert people.link_owner(session, link, HERE) == ("Ada", LinkPurpose.INVITE)
        _, viewer = _use(session, link, PASSWORD)
        assert (viewer.name, viewer.role, viewer.kind) == ("Ada", Role.RESEARCHER, LabelerKind.HUMAN)
        assert people.use_link(session, link, PASSWORD, "a browser", HERE) is None


def test_an_invitation_runs_out(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), "Ada", Role.LABELER, LabelerKind.HUMAN)
        session.execute(update(Invitation).values(expires_at=func.now()))
        assert people.link_owner(session, link, HERE) is None
        assert people.use_link(session, link, PASSWORD, "a browser", HERE) is None


def test_a_newer_link_replaces_an_older_one(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        labeler_id, old = people.invite(session, boss, "Ada", Role.LABELER, LabelerKind.HUMAN)
        name, new = people.reset(session, boss, labeler_id)
        assert name == "Ada"
        assert people.use_link(session, old, PASSWORD, "a browser", HERE) is None
        assert _use(session, new, PASSWORD)[1].name == "Ada"


def test_a_bad_password_does_not_spend_the_link(work: Work) -> None:
    with work() as session:
        _, link = people.invite(session, make.admin(session), "Ada", Role.LABELER, LabelerKind.HUMAN)
        with pytest.raises(Invalid):
            _use(session, link, "short")
        assert _use(session, link, PASSWORD)[1].name == "Ada"


def test_a_reset_ends_every_session_and_the_old_password(work: Work) -> None:
    with work() as session:
        viewer, token = _member(session)
        _, link = people.reset(session, make.admin(session), viewer.id)
        assert people.viewer_of_session(session, token) == viewer  # asking for a reset throws nobody out
        fresh, _ = _use(session, link, OTHER)
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_session(session, fresh) == viewer
        assert people.sign_in(session, "Ada", PASSWORD, "a browser", HERE) is None
        _enter(session, "Ada", OTHER)


def test_whoever_owns_the_machine_makes_a_link_for_any_active_account(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        assert people.link_owner(session, people.link_for(session, "ada"), HERE) == ("Ada", LinkPurpose.RESET)
        people.deactivate(session, make.admin(session), viewer.id)
        for name in ("Ada", "nobody"):
            with pytest.raises(NotFound):
                people.link_for(session, name)


# Signing in


def test_names_are_found_in_any_case(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session, "Éva Ørsted")
        for name in ("Éva Ørsted", " éva ørsted ", "ÉVA ØRSTED"):
            token = _enter(session, name, PASSWORD)
            assert people.viewer_of_session(session, token) == viewer


def test_an_unknown_name_and_a_wrong_password_are_told_the_same(work: Work) -> None:
    with work() as session:
        _member(session)
        people.invite(session, make.admin(session), "Not yet", Role.LABELER, LabelerKind.HUMAN)
        gone, _ = _member(session, "Gone")
        people.deactivate(session, make.admin(session), gone.id)
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
            assert people.sign_in(session, name, password, "a browser", HERE) is None


def test_every_sign_in_is_a_session_of_its_own(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        one, two = (_enter(session, "Ada", PASSWORD) for _ in range(2))
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
        there = _enter(session, "Ada", PASSWORD)
        assert not people.change_password(session, viewer, OTHER, OTHER, here, HERE)
        with pytest.raises(Invalid):
            people.change_password(session, viewer, PASSWORD, "short", here, HERE)
        assert people.viewer_of_session(session, there) == viewer
        assert people.change_password(session, viewer, PASSWORD, OTHER, here, HERE)
        assert people.viewer_of_session(session, here) == viewer
        assert people.viewer_of_session(session, there) is None
        _enter(session, "Ada", OTHER)


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
        assert people.use_link(session, link, OTHER, "a browser", HERE) is None
        assert people.sign_in(session, "Ada", PASSWORD, "a browser", HERE) is None
        with pytest.raises(Conflict):
            people.reset(session, boss, viewer.id)
        assert people.activate(session, boss, viewer.id) == "Ada"
        assert people.viewer_of_session(session, token) is None
        assert people.viewer_of_api_token(session, api_token) is None
        assert people.use_link(session, link, OTHER, "a browser", HERE) is None
        assert people.viewer_of_session(session, _enter(session, "Ada", PASSWORD)) == viewer


def test_deactivation_gives_leases_back_at_once(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        pairs = make.pairs(session, 3)
        assert len(make.hold(session, viewer, 3)) == 3
        other = make.labeler(session)
        assert make.hold(session, other, 3) == []
        people.deactivate(session, make.admin(session), viewer.id)
        states = {state for comparison in pairs.comparisons for state in make.slot_states(session, comparison)}
        assert states == {SlotState.OPEN}
        assert len(make.hold(session, other, 3)) == 3


def test_deactivation_leaves_what_is_done_and_what_others_hold(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        other = make.labeler(session)
        pairs = make.pairs(session, 2)
        [first] = make.hold(session, viewer)
        make.say(session, viewer, first)
        [second] = make.hold(session, other)
        people.deactivate(session, make.admin(session), viewer.id)
        assert [make.slot_states(session, each) for each in pairs.comparisons] == [[SlotState.DONE], [SlotState.LEASED]]
        assert make.hold(session, other) == [second]


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
        assert people.use_link(session, link, OTHER, "a browser", HERE) is None


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


# Guessing


def test_guesses_at_once_are_counted_one_by_one(own_sessions: Sessions) -> None:
    work = Work(own_sessions, [])
    with work() as session:
        _member(session)
    together = Barrier(14)

    def guess(_: int) -> str:
        together.wait(timeout=30)
        try:
            with work() as session:
                return "in" if people.sign_in(session, "Ada", OTHER, "a browser", HERE) else "wrong"
        except TooManyTries:
            return "too many"

    with ThreadPoolExecutor(14) as pool:
        said = Counter(pool.map(guess, range(14)))
    assert said == {"wrong": 10, "too many": 4}


def test_what_is_typed_where_a_name_belongs_is_not_kept(work: Work) -> None:
    with work() as session:
        viewer, _ = _member(session)
        for name in ("ada", PASSWORD, "x" * 5000, "a\0b", "half \ud83d"):
            assert people.sign_in(session, name, OTHER, "a browser", HERE) is None
        kept = list(session.scalars(select(AuditEvent).where(AuditEvent.action == "sign-in failed")))
        assert [(row.subject_id, row.actor_id) for row in kept] == [(viewer.id, None)] + [(None, None)] * 4
        assert kept[0].details == {"name": "ada", "address": HERE}
        assert not any(PASSWORD in str(row.details) for row in kept)


# What is kept


def test_no_secret_is_stored(work: Work) -> None:
    with work() as session:
        link = people.first_admin_link(session)
        assert link is not None
        token, admin = _use(session, link, PASSWORD)
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
        _use(session, link, PASSWORD)
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
            lambda: people.reset(session, boss, 10**9),
            lambda: people.deactivate(session, boss, boss.id),
            lambda: people.invite(session, boss, "", Role.LABELER, LabelerKind.HUMAN),
        ]
        for attempt in tries:
            with pytest.raises(Refusal) as caught:
                attempt()
            assert caught.value.what.endswith(".")
            assert caught.value.what_to_do.endswith(".")

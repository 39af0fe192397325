"""What labelers are told: published by version, confirmed before they judge."""

import sys

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from app import samples
from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.words import LabelerKind, Role
from app.services import guidelines, judging
from app.services.guidelines import Change
from app.store.tables import AuditEvent, Guideline
from tests.conftest import Work
from tests.support import factories as make


def test_an_install_begins_with_the_guidelines_that_come_with_hone(work: Work) -> None:
    with work() as session:
        found = guidelines.in_force(session)
        assert found is not None
        assert (found.version, found.text, found.author_id) == (1, samples.guidelines(), None)


def test_a_labeler_is_given_pairs_once_they_have_confirmed(work: Work) -> None:
    with work() as session:
        make.pairs(session, 3)
        make.labeler(session, "Somebody who has read them")
        worker = make.labeler(session, reads=False)
        before = judging.leases(session, worker, 1, make.LEASE, make.PAGE)
        assert before.leases == []
        assert before.before is not None
        assert (before.before.href, before.before.label) == ("/guidelines", "Read the guidelines")
        assert guidelines.unread(session, worker) == 1
        guidelines.confirm(session, worker, 1)
        guidelines.confirm(session, worker, 1)
        assert guidelines.unread(session, worker) is None
        assert len(make.hold(session, worker)) == 1


def test_a_new_version_has_to_be_read_by_everybody_and_what_they_hold_can_be_answered(work: Work) -> None:
    with work() as session:
        make.pairs(session, 3)
        boss, worker = make.admin(session), make.labeler(session)
        [showing] = make.hold(session, worker)
        assert guidelines.publish(session, boss, "Be *kind*.", 1) == 2
        waiting = judging.leases(session, worker, 2, make.LEASE, make.PAGE)
        assert [lease.showing_id for lease in waiting.leases] == [showing], "nothing new"
        assert waiting.before is not None
        assert "have changed" in waiting.before.words
        assert make.say(session, worker, showing).version == 1
        with pytest.raises(Conflict, match="newer version"):
            guidelines.confirm(session, worker, 1)
        guidelines.confirm(session, worker, 2)
        assert len(make.hold(session, worker)) == 1
        read = guidelines.last_read(session, worker)
        assert read is not None
        assert read.version == 2


def test_those_who_cannot_read_or_do_not_judge_are_not_asked(work: Work) -> None:
    with work() as session:
        make.pairs(session)
        simulated = make.labeler(session, kind=LabelerKind.SIMULATED, reads=False)
        assert guidelines.unread(session, simulated) is None
        assert len(make.hold(session, simulated)) == 1
        for staff in (make.admin(session), make.labeler(session, role=Role.RESEARCHER)):
            assert guidelines.unread(session, staff) is None
            with pytest.raises(NotAllowed):
                guidelines.confirm(session, staff, 1)


def test_without_any_guidelines_nobody_is_asked(work: Work) -> None:
    with work() as session:
        # A trigger refuses to remove them, as a replica it sleeps.
        session.connection().exec_driver_sql("set local session_replication_role = replica")
        session.execute(delete(Guideline))
        worker = make.labeler(session, reads=False)
        assert guidelines.in_force(session) is None
        assert guidelines.unread(session, worker) is None


def test_two_admins_cannot_publish_over_each_other(work: Work) -> None:
    with work() as session:
        one, two = make.admin(session), make.admin(session)
        guidelines.publish(session, one, "First.", 1)
        with pytest.raises(Conflict, match="another version"):
            guidelines.publish(session, two, "Second.", 1)
        for after in (0, 3, 7):
            with pytest.raises(Conflict, match="another version"):
                guidelines.publish(session, two, "Second.", after)
        assert [each.guideline.text for each in guidelines.versions(session)] == ["First.\n", samples.guidelines()]


def test_publishing_is_audited_and_versions_cannot_be_changed(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        guidelines.publish(session, boss, "First.", 1)
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.actor_id, event.action, event.details) == (boss.id, "published guidelines", {"version": 2})
        with pytest.raises(DBAPIError, match="never changed or removed"), session.begin_nested():
            session.execute(update(Guideline).values(text="Other."))


def test_nothing_and_far_too_much_are_refused_and_so_is_the_same_again(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        for text in ("", " \r\n\0 "):
            with pytest.raises(Invalid, match="nothing to publish"):
                guidelines.publish(session, boss, text, 1)
        with pytest.raises(Invalid, match="more than"):
            guidelines.publish(session, boss, "x" * (guidelines.LONGEST + 1), 1)
        with pytest.raises(Invalid, match="1,000 lines"):
            guidelines.publish(session, boss, "x\n" * (guidelines.MOST_LINES + 1), 1)
        with pytest.raises(Conflict, match="Nothing was changed"):
            guidelines.publish(session, boss, samples.guidelines().replace("\n", "\r\n") + "  ", 1)
        with pytest.raises(NotFound):
            guidelines.one(session, 2)


def test_versions_say_who_confirmed_them(work: Work) -> None:
    with work() as session:
        boss = make.admin(session, "Rosa")
        make.labeler(session)
        guidelines.publish(session, boss, "First.", 1)
        make.labeler(session)
        make.labeler(session)
        found = [(each.guideline.version, each.author, each.confirmed) for each in guidelines.versions(session)]
        assert found == [(2, "Rosa", 2), (1, None, 1)]


def test_changes_are_told_by_line() -> None:
    old = "# One\n\nStays.\n\nGoes.\n\nStays too.\n"
    new = "# One\n\nStays.\n\nComes.\n\nStays too.\n\nNew at the end.\n"
    assert guidelines.changes(old, new) == [
        Change("gap"),
        Change("removed", "Goes."),
        Change("added", "Comes."),
        Change("gap"),
        Change("added", "New at the end."),
    ]
    assert guidelines.changes(old, old.replace("\n\n", "\n\n\n")) == []


def test_many_lines_that_repeat_are_compared_at_once() -> None:
    """Lines that come again and again are no landmarks: holding each against all that say the same takes minutes."""
    old = "".join(f"{number % 3}\n" for number in range(guidelines.MOST_LINES))
    new = "".join(f"{number % 2}\n" for number in range(guidelines.MOST_LINES))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        found = guidelines.changes(old, new)
    finally:
        sys.setprofile(None)
    assert {change.kind for change in found} <= {"removed", "added", "gap"}
    assert calls < 200_000

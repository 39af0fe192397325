"""What labelers ask and report is answered, and they can read it."""

import dataclasses
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from app.domain.errors import Invalid, NotFound
from app.domain.words import BatchKind, FlagReason, Role
from app.services import flags, judging
from app.services.people import Viewer
from app.services.projects import the_project
from app.store.session import Session
from app.store.tables import AuditEvent, Batch, Comparison, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make


def raised(
    session: Session, worker: Viewer, reason: FlagReason = FlagReason.QUESTION, comment: str | None = "Why?"
) -> UUID:
    """A flag on the next pair that the labeler holds. Gives the showing."""
    make.pairs(session)
    [showing] = make.hold(session, worker)
    judging.flag(session, worker, showing_id=showing, key=uuid4(), reason=reason, comment=comment)
    return showing


def test_a_flag_shows_what_its_labeler_saw(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session, "Ada")
        showing = raised(session, worker)
        for swapped in (False, True):
            make.shown(session, showing).swapped = swapped
            session.flush()
            [found], more = flags.listed(session, False, None)
            pair = session.get_one(Comparison, make.slot_of(session, showing).comparison_id)
            texts = [session.get_one(Summary, each).text for each in (pair.first_summary_id, pair.second_summary_id)]
            assert found.texts == (texts[::-1] if swapped else texts)
            assert (found.labeler, found.flag.comment, more) == ("Ada", "Why?", False)
            assert flags.one(session, found.flag.id).texts == found.texts


def test_a_reply_closes_it_and_can_be_replaced(work: Work) -> None:
    with work() as session:
        worker, rosa = make.labeler(session), make.labeler(session, "Rosa", Role.RESEARCHER)
        raised(session, worker)
        [found], _ = flags.listed(session, False, None)
        assert flags.waiting(session) == 1
        for empty in ("", " \0 "):
            with pytest.raises(Invalid, match="asked as a question"):
                flags.close(session, rosa, found.flag.id, empty)
        flags.close(session, rosa, found.flag.id, " Because. ")
        flags.close(session, rosa, found.flag.id, "Because of this.")
        assert flags.waiting(session) == 0
        assert flags.listed(session, False, None) == ([], False)
        [closed], _ = flags.listed(session, True, None)
        assert (closed.flag.reply, closed.closed_by) == ("Because of this.", "Rosa")
        events = session.scalars(select(AuditEvent.details).where(AuditEvent.action == "closed flag")).all()
        assert list(events) == [{"replied": True}] * 2
        with pytest.raises(NotFound):
            flags.close(session, rosa, found.flag.id + 99, "x")


def test_a_report_can_be_closed_without_a_word(work: Work) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        raised(session, worker, FlagReason.CUT_OFF, None)
        [found], _ = flags.listed(session, False, None)
        flags.close(session, boss, found.flag.id, "")
        [own] = flags.of_labeler(session, worker)
        assert (own.reply, own.closed_at is not None) == (None, True)


def test_a_labeler_reads_the_replies_to_their_own_flags_and_nothing_else(work: Work) -> None:
    with work() as session:
        worker, other, boss = make.labeler(session), make.labeler(session), make.admin(session)
        raised(session, worker, comment="First?")
        raised(session, worker, FlagReason.IDENTICAL, None)
        assert flags.of_labeler(session, other) == []
        for found in flags.listed(session, False, None)[0]:
            if found.flag.comment == "First?":
                flags.close(session, boss, found.flag.id, "Because.")
        newest, first = flags.of_labeler(session, worker)
        assert (newest.words, newest.comment, newest.reply) == ("Both summaries say the same", None, None)
        assert (first.words, first.comment, first.reply) == ("A question", "First?", "Because.")
        assert {each.name for each in dataclasses.fields(first)} == {
            *("title", "reason", "words", "comment", "raised_at", "reply", "closed_at")
        }


def test_a_summary_to_rate_can_be_flagged_too(work: Work) -> None:
    with work() as session:
        put_up, worker = make.pairs(session), make.labeler(session)
        pair = session.get_one(Comparison, put_up.comparisons[0])
        batch = Batch(project_id=the_project(session).id, name="to rate", kind=BatchKind.RATE, priority=1)
        session.add(batch)
        session.flush()
        session.add(Slot(batch_id=batch.id, summary_id=pair.second_summary_id, number=1))
        session.flush()
        [showing] = make.hold(session, worker)
        judging.flag(session, worker, showing_id=showing, key=uuid4(), reason=FlagReason.OTHER, comment=None)
        [found], _ = flags.listed(session, False, None)
        assert found.texts == [session.get_one(Summary, pair.second_summary_id).text]
        assert found.flag.comparison_id is None


def test_every_reason_has_its_words() -> None:
    assert set(flags.WORDS) == set(FlagReason)

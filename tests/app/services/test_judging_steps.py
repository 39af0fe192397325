"""Notes before the document, ratings, flags, and answers that are opened again."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.domain.errors import Conflict, Invalid, NotAllowed, NotFound
from app.domain.protocols import Protocol
from app.domain.words import BatchKind, BatchPurpose, FlagReason, Role, SkipReason, SlotState
from app.services import judging
from app.services.judging import Saved, Scores
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import guidelines, standing
from app.store.queueing import Lease
from app.store.session import Session
from app.store.tables import Batch, Comparison, Document, Flag, Note, Preference, Rating, Showing, Skip, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make

OPEN, LEASED, DONE, VOID = SlotState.OPEN, SlotState.LEASED, SlotState.DONE, SlotState.VOID
NOTES_FIRST = Protocol(notes_first=True)


def _hold(session: Session, viewer: Viewer, ahead: int = 1) -> list[Lease]:
    return judging.leases(session, viewer, ahead, make.LEASE, make.PAGE).leases


def _notes(session: Session, viewer: Viewer, showing: UUID, first: str, second: str, key: UUID | None = None) -> Lease:
    return judging.notes(session, viewer, showing_id=showing, key=key or uuid4(), texts=[first, second], seconds=12.5)


def _kept(session: Session) -> list[Note]:
    return list(session.scalars(select(Note).order_by(Note.version, Note.id)))


# Notes first


def test_the_document_is_kept_back_until_both_notes_are_saved(work: Work) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [lease] = _hold(session, worker)
        assert (lease.notes_first, lease.title, lease.community, lease.post) == (True, None, None, None)
        assert (len(lease.texts), lease.notes) == (2, (None, None))
        told = _notes(session, worker, lease.showing_id, " One. ", "Two.")
        document = session.scalars(select(Document)).one()
        assert (told.title, told.community, told.post) == (document.title, document.community, document.post)
        assert told.notes == ("One.", "Two.")
        assert _hold(session, worker) == [told]


@pytest.mark.parametrize("swapped", [False, True])
def test_notes_are_kept_with_the_summaries_they_are_about(work: Work, swapped: bool) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [lease] = _hold(session, worker)
        session.execute(update(Showing).values(swapped=swapped))
        _notes(session, worker, lease.showing_id, "About A.", "About B.")
        comparison = session.get_one(Comparison, pairs.comparisons[0])
        ids = (comparison.first_summary_id, comparison.second_summary_id)
        said = {note.summary_id: note for note in _kept(session)}
        assert [said[one].text for one in (reversed(ids) if swapped else ids)] == ["About A.", "About B."]
        assert {(note.version, note.after_reveal, note.seconds) for note in said.values()} == {(1, False, 12.5)}
        assert [lease.notes for lease in _hold(session, worker)] == [("About A.", "About B.")]


def test_an_answer_before_the_notes_is_refused_and_nothing_is_stored(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [showing] = make.hold(session, worker)
        with pytest.raises(Conflict):
            make.say(session, worker, showing)
        assert make.answers(session, pairs.comparisons[0]) == []
        assert make.slot_states(session, pairs.comparisons[0]) == [LEASED]
        make.note(session, worker, showing)
        assert make.say(session, worker, showing) == Saved(1, False)


def test_notes_that_come_twice_are_kept_once(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [showing] = make.hold(session, worker)
        first = _notes(session, worker, showing, "One.", "Two.", key)
        revealed = session.scalar(select(Showing.revealed_at))
        assert _notes(session, worker, showing, "Other.", "Words.", key) == first
        assert [note.text for note in _kept(session)] == ["One.", "Two."]
        session.expire_all()
        assert session.scalar(select(Showing.revealed_at)) == revealed


def test_notes_changed_after_the_document_was_shown_say_so(work: Work) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [showing] = make.hold(session, worker)
        _notes(session, worker, showing, "One.", "Two.")
        make.say(session, worker, showing)
        assert _notes(session, worker, showing, "Uno.", "Due.").notes == ("Uno.", "Due.")
        assert [(note.version, note.after_reveal) for note in _kept(session)] == [(1, False)] * 2 + [(2, True)] * 2


def test_who_wrote_notes_on_a_pair_once_is_shown_the_document_at_once(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, protocol=NOTES_FIRST)
        [old] = make.hold(session, worker)
        make.note(session, worker, old)
        make.come_back(session)
        [lease] = _hold(session, worker)
        assert lease.showing_id != old
        assert (lease.post is not None, set(lease.notes)) == (True, {"A says this.", "B says that."})
        _notes(session, worker, lease.showing_id, "Uno.", "Due.")
        assert {note.after_reveal for note in _kept(session) if note.version == 2} == {True}
        make.run_out(session)
        assert [lease.post for lease in _hold(session, other)] == [None]


def test_late_notes_are_kept(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, protocol=NOTES_FIRST)
        [old] = make.hold(session, worker)
        make.run_out(session)
        make.hold(session, other)
        assert make.note(session, worker, old).post is not None
        assert make.say(session, worker, old) == Saved(1, True)


@pytest.mark.parametrize(
    ("first", "second"), [("", "Two."), ("One.", " \n "), ("One.", "\0"), ("One.", "x" * 4001), ("x" * 4001, "Two.")]
)
def test_a_note_that_is_empty_or_too_long_reveals_nothing(work: Work, first: str, second: str) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [showing] = make.hold(session, worker)
        with pytest.raises(Invalid):
            _notes(session, worker, showing, first, second)
        assert (_kept(session), [lease.post for lease in _hold(session, worker)]) == ([], [None])


def test_an_odd_sign_never_costs_a_note(work: Work) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session, protocol=NOTES_FIRST)
        [showing] = make.hold(session, worker)
        _notes(session, worker, showing, "x" * 4000, "half \ud83d a\0 sign")
        assert [note.text for note in _kept(session)] == ["x" * 4000, "half ? a sign"]


def test_notes_are_for_pairs_that_ask_for_them_and_for_who_holds_them(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, 2, protocol=NOTES_FIRST, priority=1)
        make.pairs(session)
        make.to_rate(session)
        one, two, plain, rated = make.hold(session, worker, 4)
        with pytest.raises(Conflict):
            make.note(session, worker, plain)
        for viewer, showing in ((worker, rated), (other, one), (worker, uuid4())):
            with pytest.raises(NotFound):
                make.note(session, viewer, showing)
        make.note(session, worker, one, key)
        with pytest.raises(Conflict):
            make.note(session, worker, two, key)
        assert len(_kept(session)) == 2
        assert [lease.post is None for lease in _hold(session, worker, 4)] == [False, True, False, False]


def test_a_pair_stays_as_it_was_shown_when_its_batch_changes_the_protocol(work: Work) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session, 2, protocol=NOTES_FIRST)
        [held] = _hold(session, worker)
        session.execute(update(Batch).where(Batch.id == pairs.batch_id).values(protocol={}))
        [same, new] = _hold(session, worker, 2)
        assert (same, new.notes_first, new.post is None) == (held, False, False)


# Time on each step


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ({"notes": 30.5, "compare": 12.0, "explain": 0.0}, {"notes": 30.5, "compare": 12.0, "explain": 0.0}),
        ({"compare": 3.0, "explain": -1.0, "notes": float("nan")}, {"compare": 3.0}),
        ({"compare": 1e9, "walk": 3.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_time_on_each_step_is_kept_as_far_as_it_can_be(
    work: Work, steps: dict[str, float | None] | None, kept: dict[str, float] | None
) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        judging.answer(
            session, worker, showing_id=showing, key=uuid4(), value=2, explanation=None, seconds=43, steps=steps
        )
        assert session.scalars(select(Preference.steps)).one() == kept


# Ratings


def test_a_summary_is_rated_beside_its_document(work: Work) -> None:
    with work() as session:
        worker, put_up = make.labeler(session), make.to_rate(session)
        [lease] = _hold(session, worker)
        summary = session.get_one(Summary, put_up.comparisons[0])
        assert (lease.task, lease.texts, lease.notes) == (BatchKind.RATE, (summary.text,), (None,))
        assert lease.post == session.get_one(Document, summary.document_id).post
        saved = judging.rate(
            session,
            worker,
            showing_id=lease.showing_id,
            key=uuid4(),
            scores=Scores(7, 5, None, 1),
            comment="  fine  ",
            seconds=8.5,
        )
        assert saved == Saved(1, False)
        [rating] = session.scalars(select(Rating))
        scores = (rating.coherence, rating.accuracy, rating.coverage, rating.overall)
        assert (scores, rating.comment, rating.seconds, rating.summary_id) == ((7, 5, None, 1), "fine", 8.5, summary.id)
        slot = make.slot_of(session, lease.showing_id)
        assert (slot.state, slot.labeler_id, rating.slot_id) == (DONE, worker.id, slot.id)
        assert judging.progress(session, worker) == judging.Progress(1, 1)
        assert _hold(session, worker, 3) == []


def test_as_many_ratings_as_asked_by_as_many_labelers(work: Work) -> None:
    with work() as session:
        one, two, three = (make.labeler(session) for _ in range(3))
        make.to_rate(session, 1, opinions=2)
        [first], [second] = make.hold(session, one, 3), make.hold(session, two, 3)
        assert make.hold(session, three, 3) == []
        assert (make.rate(session, one, first), make.rate(session, two, second)) == (Saved(1, False), Saved(1, False))
        assert set(session.scalars(select(Slot.state))) == {DONE}


def test_a_rating_is_kept_once_changed_by_a_version_and_late_as_surplus(work: Work) -> None:
    key = uuid4()
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        make.to_rate(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        assert make.rate(session, late, old, 2, key) == Saved(1, True)
        assert make.rate(session, late, old, 7, key) == Saved(1, True)
        assert make.rate(session, quick, new) == Saved(1, False)
        assert make.rate(session, quick, new, 3) == Saved(2, False)
        rows = session.execute(select(Rating.labeler_id, Rating.version, Rating.overall).order_by(Rating.id)).all()
        assert [tuple(row) for row in rows] == [(late.id, 1, 2), (quick.id, 1, 6), (quick.id, 2, 3)]


def test_a_surplus_rating_fills_the_slot_that_is_passed_on(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        make.to_rate(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        [new] = make.hold(session, quick)
        make.rate(session, late, old, 2)
        judging.skip(session, quick, showing_id=new, reason=SkipReason.OTHER, comment=None)
        assert make.slot_of(session, new).labeler_id == late.id
        newest = session.scalars(select(Rating).order_by(Rating.id.desc()).limit(1)).one()
        assert (newest.version, newest.surplus, newest.overall) == (2, False, 2)
        assert session.scalars(select(Skip.summary_id)).one() == newest.summary_id


def test_a_skipped_summary_is_not_given_to_this_labeler_again(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.to_rate(session, 1, opinions=2)
        [showing] = make.hold(session, worker, 3)
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.UNREADABLE, comment=None)
        assert make.hold(session, worker, 3) == []
        assert len(make.hold(session, other, 3)) == 1


@pytest.mark.parametrize(
    "scores", [Scores(), Scores(overall=0), Scores(overall=8), Scores(coherence=5, accuracy=-1), Scores(coverage=9)]
)
def test_a_rating_without_a_score_or_off_the_scale_is_refused(work: Work, scores: Scores) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.to_rate(session)
        [showing] = make.hold(session, worker)
        with pytest.raises(Invalid):
            judging.rate(session, worker, showing_id=showing, key=uuid4(), scores=scores, comment=None, seconds=None)
        assert session.scalar(select(func.count()).select_from(Rating)) == 0


def test_a_pair_cannot_be_rated_nor_a_summary_compared(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        make.to_rate(session)
        pair, summary = make.hold(session, worker, 2)
        with pytest.raises(NotFound):
            make.rate(session, worker, pair)
        with pytest.raises(NotFound):
            make.say(session, worker, summary)


# Slots that are made for one labeler


def _addressed(session: Session, worker: Viewer) -> int:
    """A pair that is put before the worker, in a batch where everybody else was asked already."""
    pairs = make.pairs(session)
    session.execute(update(Slot).values(state=VOID))
    slot_id = standing.address(session, pairs.comparisons[0], worker.id)
    assert slot_id is not None
    return slot_id


def test_a_slot_made_for_a_labeler_is_asked_of_nobody_once_they_pass_it_on(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        slot_id = _addressed(session, worker)
        [showing] = make.hold(session, worker, 3)
        assert make.slot_of(session, showing).id == slot_id
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert make.slot_of(session, showing).state == VOID
        assert (make.hold(session, worker, 3), make.hold(session, other, 3)) == ([], [])


def test_a_slot_made_for_a_labeler_waits_for_them_when_the_lease_ran_out(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        slot_id = _addressed(session, worker)
        [showing] = make.hold(session, worker)
        make.run_out(session)
        assert make.hold(session, other, 3) == []
        assert make.slot_of(session, showing).state == OPEN
        [again] = make.hold(session, worker, 3)
        assert (again != showing, make.slot_of(session, again).id) == (True, slot_id)


def test_passing_on_by_an_old_showing_ends_the_slot_that_waits(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        _addressed(session, worker)
        [showing] = make.hold(session, worker)
        make.run_out(session)
        make.hold(session, make.labeler(session))
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert make.slot_of(session, showing).state == VOID


def test_a_gold_pair_asks_for_notes_as_the_pairs_around_it_do(work: Work) -> None:
    for around in (NOTES_FIRST, Protocol()):
        with work() as session:
            worker = make.labeler(session)
            make.standing(session, BatchPurpose.GOLD)
            session.execute(update(Batch).where(Batch.purpose == BatchPurpose.GOLD).values(protocol={}))
            make.pairs(session, 40, protocol=replace(around, gold_share=0.5), priority=9)
            held = _hold(session, worker, 20)
            kinds = {make.slot_of(session, lease.showing_id).for_labeler_id for lease in held}
            assert kinds == {None, worker.id}
            assert {lease.notes_first for lease in held} == {around.notes_first}
            make.judge_all(session, worker)


# Flags


def test_a_flag_is_kept_once_and_changes_nothing_in_the_queue(work: Work) -> None:
    key = uuid4()
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, opinions=2)
        [lease] = _hold(session, worker)

        def flag(showing: UUID, key: UUID) -> None:
            judging.flag(
                session, worker, showing_id=showing, key=key, reason=FlagReason.CUT_OFF, comment="  The end.  "
            )

        flag(lease.showing_id, key)
        flag(lease.showing_id, key)
        assert _hold(session, worker) == [lease]
        make.say(session, worker, lease.showing_id)
        flag(lease.showing_id, uuid4())
        flags = list(session.scalars(select(Flag).order_by(Flag.id)))
        assert [(one.reason, one.comment, one.labeler_id) for one in flags] == [
            (FlagReason.CUT_OFF, "The end.", worker.id)
        ] * 2
        slot = make.slot_of(session, lease.showing_id)
        assert {(one.slot_id, one.comparison_id, one.showing_id) for one in flags} == {
            (slot.id, slot.comparison_id, lease.showing_id)
        }
        assert len(make.hold(session, other)) == 1
        make.pairs(session)
        [second] = make.hold(session, worker)
        with pytest.raises(Conflict):
            flag(second, key)
        with pytest.raises(NotFound):
            judging.flag(session, other, showing_id=second, key=uuid4(), reason=FlagReason.QUESTION, comment=None)


# Opening an answer again


def test_the_last_answer_is_opened_again_as_it_was_shown(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 2)
        make.to_rate(session)
        assert judging.last_answer(session, worker) is None
        one, two, summary = _hold(session, worker, 3)
        session.execute(update(Showing).values(swapped=Showing.id == one.showing_id))
        session.expire_all()
        for lease, value in ((one, 2), (two, 9)):
            judging.answer(
                session,
                worker,
                showing_id=lease.showing_id,
                key=uuid4(),
                value=value,
                explanation=f"I said {value}.",
                seconds=1,
            )
            last = judging.last_answer(session, worker)
            assert last is not None
            assert (last.said, last.words, last.lease.showing_id) == (value, f"I said {value}.", lease.showing_id)
            assert (last.lease.post, last.lease.expires_at) == (lease.post, None)
        make.rate(session, worker, summary.showing_id, 3)
        last = judging.last_answer(session, worker)
        assert last is not None
        assert (last.said, last.lease.texts, last.lease.task) == (Scores(overall=3), summary.texts, BatchKind.RATE)
        make.say(session, worker, one.showing_id, 4)
        last = judging.last_answer(session, worker)
        assert last is not None
        assert (last.said, last.lease.showing_id) == (4, one.showing_id)
        assert judging.answered(session, worker, two.showing_id).said == 9


def test_an_answer_is_opened_again_in_the_order_of_the_showing(work: Work) -> None:
    with work() as session:
        worker, _ = make.labeler(session), make.pairs(session)
        [old] = make.hold(session, worker)
        make.come_back(session)
        [new] = make.hold(session, worker)
        session.execute(update(Showing).values(swapped=Showing.id == old))
        session.expire_all()
        make.say(session, worker, old, 2)
        assert judging.answered(session, worker, old).said == 2
        assert judging.answered(session, worker, new).said == 8


def test_only_what_one_has_answered_oneself_is_opened_again(work: Work) -> None:
    with work() as session:
        worker, other = make.labeler(session), make.labeler(session)
        make.pairs(session, opinions=2)
        make.to_rate(session, opinions=2)
        [pair, summary], [others, _] = make.hold(session, worker, 2), make.hold(session, other, 2)
        make.say(session, other, others)
        for showing in (pair, summary, others, uuid4()):
            with pytest.raises(NotFound):
                judging.answered(session, worker, showing)
        make.run_out(session, pair)
        assert judging.last_answer(session, worker) is None


def test_an_answer_that_is_opened_again_tells_nothing_of_who_holds_the_slot_now(work: Work) -> None:
    with work() as session:
        late, quick = make.labeler(session), make.labeler(session)
        make.pairs(session)
        [old] = make.hold(session, late)
        make.run_out(session)
        make.hold(session, quick)
        make.say(session, late, old)
        assert judging.answered(session, late, old).lease.expires_at is None


@pytest.mark.parametrize("role", [Role.ADMIN, Role.RESEARCHER])
def test_who_may_see_policies_does_none_of_it(work: Work, role: Role) -> None:
    with work() as session:
        worker, seer = make.labeler(session), make.labeler(session, role=role)
        make.pairs(session, protocol=NOTES_FIRST)
        make.to_rate(session)
        pair, summary = make.hold(session, worker, 2)
        with pytest.raises(NotAllowed):
            make.note(session, seer, pair)
        with pytest.raises(NotAllowed):
            make.rate(session, seer, summary)
        with pytest.raises(NotAllowed):
            judging.flag(session, seer, showing_id=pair, key=uuid4(), reason=FlagReason.QUESTION, comment=None)
        with pytest.raises(NotAllowed):
            judging.last_answer(session, seer)
        with pytest.raises(NotAllowed):
            judging.answered(session, seer, pair)


# Before the first pair, and how far one is


def test_who_has_to_read_first_is_given_nothing_new_and_may_answer_what_they_hold(work: Work) -> None:
    with work() as session:
        newcomer = make.labeler(session, reads=False)
        make.pairs(session)
        handed = judging.leases(session, newcomer, 3, make.LEASE, make.PAGE)
        assert (handed.leases, handed.before is not None) == ([], True)
        make.has_read(session, newcomer.id)
        [showing] = make.hold(session, newcomer)
        guidelines.add(session, the_project(session).id, 1_000, "Read this, too.", None)
        make.pairs(session)
        handed = judging.leases(session, newcomer, 3, make.LEASE, make.PAGE)
        assert ([lease.showing_id for lease in handed.leases], handed.before is not None) == ([showing], True)
        assert judging.extend(session, newcomer, [showing], timedelta(hours=1)) is not None
        assert make.say(session, newcomer, showing) == Saved(1, False)


def test_progress_of_today_ends_at_midnight_utc(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session, 2)
        make.to_rate(session)
        one, two, summary = make.hold(session, worker, 3)
        make.say(session, worker, one)
        make.rate(session, worker, summary)
        make.a_day_later(session)
        assert judging.progress(session, worker) == judging.Progress(0, 2)
        make.say(session, worker, one, 5)
        make.say(session, worker, two)
        assert judging.progress(session, worker) == judging.Progress(1, 3)

"""Researchers judge blind, and say what their verdicts are used for."""

import pytest
from sqlalchemy import select

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.preferences import turned
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, Role, SlotState
from app.services import verdicts
from app.services.projects import the_project
from app.store import standing
from app.store.session import Session
from app.store.tables import AuditEvent, Batch, Comparison, Summary, Verdict
from app.store.verdicts import Only
from tests.conftest import Work
from tests.support import factories as make

GOLD, PRACTICE = BatchPurpose.GOLD, BatchPurpose.QUALIFICATION


def actions(session: Session) -> list[str]:
    """What was done about comparisons, in order."""
    return list(
        session.scalars(select(AuditEvent.action).where(AuditEvent.subject == "comparison").order_by(AuditEvent.id))
    )


def judged(session: Session, values: list[int], **more: object) -> int:
    """A comparison that labelers answered with these values in its own frame. Gives its id."""
    put_up = make.pairs(session, 1, opinions=max(1, len(values)), **more)  # type: ignore[arg-type]
    for value in values:
        worker = make.labeler(session)
        [lease] = make.hold(session, worker)
        shown = make.shown(session, lease)
        make.say(session, worker, lease, turned(value, shown.swapped))
    return put_up.comparisons[0]


def test_before_the_verdict_nothing_is_told_and_after_it_everything(work: Work) -> None:
    with work() as session:
        pair = judged(session, [2, 8, 5])
        rosa = make.labeler(session, "Rosa", Role.RESEARCHER)
        before = verdicts.one(session, rosa, pair)
        assert (before.given, before.policies, before.answers, before.copies) == (None, (), [], [])
        verdicts.give(session, rosa, pair, verdicts.seen(rosa, pair, 3), "  It says who.  ", first=True)
        after = verdicts.one(session, rosa, pair)
        assert after.given is not None
        assert (after.given.value, after.given.reason) == (verdicts.seen(rosa, pair, 3), "It says who.")
        assert (after.given.author, after.given.released) == ("Rosa", False)
        assert set(after.policies) == {"ref", "other"}
        assert [verdicts.seen(rosa, pair, each.value) for each in after.answers] == [2, 8, 5]
        assert [each.agrees for each in after.answers] == [True, False, None]


def test_the_sides_are_drawn_per_reader_and_stay(work: Work) -> None:
    with work() as session:
        put_up = make.pairs(session, 12)
        readers = [make.labeler(session, role=Role.RESEARCHER) for _ in range(4)]
        orders = set()
        for pair in put_up.comparisons:
            row = session.get_one(Comparison, pair)
            first = session.get_one(Summary, row.first_summary_id).text
            for reader in readers:
                looks = [verdicts.one(session, reader, pair) for _ in range(2)]
                assert looks[0].texts == looks[1].texts
                straight = looks[0].texts[0] == first
                orders.add(straight)
                assert verdicts.seen(reader, pair, 1) == (1 if straight else 9)
        assert orders == {True, False}


def test_a_verdict_is_kept_in_the_comparisons_frame_whoever_gives_it(work: Work) -> None:
    with work() as session:
        put_up = make.pairs(session, 6)
        rosa = make.labeler(session, role=Role.RESEARCHER)
        for pair in put_up.comparisons:
            before = verdicts.one(session, rosa, pair)
            ref = 1 if "by ref" in before.texts[0] else 9
            verdicts.give(session, rosa, pair, ref, "The reference.", first=True)
            assert session.get_one(Verdict, pair).value == 1
            after = verdicts.one(session, rosa, pair)
            assert [policy in text for policy, text in zip(after.policies, after.texts, strict=True)] == [True, True]


def test_a_verdict_needs_a_point_on_the_scale_and_a_reason(work: Work) -> None:
    with work() as session:
        [pair] = make.pairs(session).comparisons
        rosa = make.labeler(session, role=Role.RESEARCHER)
        for value, reason, words in (
            (None, "x", "Choose a point"),
            (0, "x", "Choose a point"),
            (10, "x", "Choose a point"),
            (3, " \0 ", "Say why"),
            (3, "x" * 5000, "longer than"),
        ):
            with pytest.raises(Invalid, match=words):
                verdicts.give(session, rosa, pair, value, reason, first=True)
        with pytest.raises(NotFound):
            verdicts.give(session, rosa, pair + 99, 3, "x", first=True)
        assert session.get(Verdict, pair) is None


def test_two_researchers_do_not_judge_over_each_other(work: Work) -> None:
    with work() as session:
        [pair] = make.pairs(session).comparisons
        rosa, rolf = make.labeler(session, role=Role.RESEARCHER), make.labeler(session, role=Role.RESEARCHER)
        make.verdict(session, pair, rosa, 2)
        with pytest.raises(Conflict, match="meanwhile"):
            make.verdict(session, pair, rolf, 8)
        assert session.get_one(Verdict, pair).value == 2
        verdicts.give(session, rolf, pair, verdicts.seen(rolf, pair, 7), "We talked.", first=False)
        session.expire_all()
        kept = session.get_one(Verdict, pair)
        assert (kept.value, kept.reason, kept.author_id) == (7, "We talked.", rolf.id)
        changed = session.scalars(select(AuditEvent.details).where(AuditEvent.action == "changed verdict")).one()
        assert changed == {"value": 7, "before": 2}


def test_a_pair_is_used_as_gold_and_as_practice_without_ordinary_slots(work: Work) -> None:
    with work() as session:
        pair = judged(session, [2])
        rosa = make.labeler(session, role=Role.RESEARCHER)
        for purpose in (GOLD, PRACTICE):
            with pytest.raises(Conflict, match="no verdict"):
                verdicts.use(session, rosa, pair, purpose)
        make.verdict(session, pair, rosa, 3)
        made = {purpose: verdicts.use(session, rosa, pair, purpose) for purpose in (GOLD, PRACTICE)}
        source = session.get_one(Comparison, pair)
        for purpose, copy_id in made.items():
            copy = session.get_one(Comparison, copy_id)
            assert (copy.first_summary_id, copy.second_summary_id) == (
                source.first_summary_id,
                source.second_summary_id,
            )
            batch = session.get_one(Batch, copy.batch_id)
            assert (batch.purpose, copy.kind) == (purpose, ComparisonKind(purpose.value))
            assert session.get_one(Verdict, copy_id).value == 3
            assert make.slots(session, copy_id) == []
        with pytest.raises(Conflict, match="in use there already"):
            verdicts.use(session, rosa, pair, GOLD)
        told = verdicts.one(session, rosa, pair).copies
        assert [(each.comparison_id, each.purpose, each.retired) for each in told] == [
            (made[GOLD], GOLD, False),
            (made[PRACTICE], PRACTICE, False),
        ]
        assert actions(session) == ["gave verdict", "used as gold", "used as qualification"]


def test_there_is_one_standing_batch_of_each_purpose(work: Work) -> None:
    with work() as session:
        make.pairs(session, name="Gold pairs")
        make.standing(session, GOLD, 3)
        make.standing(session, PRACTICE, 2)
        found = session.execute(
            select(Batch.name, Batch.purpose).where(Batch.purpose != BatchPurpose.ORDINARY).order_by(Batch.id)
        ).all()
        assert [tuple(each) for each in found] == [("Gold pairs 2", GOLD), ("Qualification pairs", PRACTICE)]


def test_what_cannot_be_told_is_no_gold(work: Work) -> None:
    with work() as session:
        [pair] = make.pairs(session).comparisons
        rosa = make.labeler(session, role=Role.RESEARCHER)
        make.verdict(session, pair, rosa, 5)
        for purpose in (GOLD, PRACTICE):
            with pytest.raises(Invalid, match="cannot tell"):
                verdicts.use(session, rosa, pair, purpose)
        [gold] = make.standing(session, GOLD)
        with pytest.raises(Invalid, match="cannot tell"):
            verdicts.give(session, rosa, gold, 5, "Neither.", first=False)
        assert session.get_one(Verdict, gold).value == 2


def test_a_retired_pair_is_asked_no_more_and_comes_back_with_the_verdict_as_it_is_now(work: Work) -> None:
    with work() as session:
        pair = judged(session, [2])
        rosa, worker = make.labeler(session, role=Role.RESEARCHER), make.labeler(session)
        make.verdict(session, pair, rosa, 3)
        copy = verdicts.use(session, rosa, pair, GOLD)
        standing.address(session, copy, worker.id)
        verdicts.retire(session, rosa, copy)
        assert make.slot_states(session, copy) == [SlotState.VOID]
        assert verdicts.one(session, rosa, pair).copies[0].retired
        other, project = make.labeler(session), the_project(session).id
        assert standing.next_pair(session, project, GOLD, other.id) is None
        verdicts.give(session, rosa, pair, verdicts.seen(rosa, pair, 8), "On second thoughts.", first=False)
        assert verdicts.use(session, rosa, pair, GOLD) == copy
        session.expire_all()
        kept = session.get_one(Verdict, copy)
        assert (kept.value, kept.reason, kept.retired_at) == (8, "On second thoughts.", None)
        assert standing.next_pair(session, project, GOLD, other.id) == copy
        verdicts.retire(session, rosa, copy)
        verdicts.put_back(session, rosa, copy)
        assert standing.next_pair(session, project, GOLD, other.id) == copy
        with pytest.raises(Conflict, match="Only gold and qualification"):
            verdicts.retire(session, rosa, pair)
        assert actions(session)[2:] == ["retired", "changed verdict", "used as gold", "retired", "put back"]


def test_a_verdict_is_shown_to_labelers_when_it_is_released(work: Work) -> None:
    with work() as session:
        [pair] = make.pairs(session).comparisons
        rosa = make.labeler(session, role=Role.RESEARCHER)
        with pytest.raises(Conflict, match="no verdict"):
            verdicts.release(session, rosa, pair)
        make.verdict(session, pair, rosa)
        verdicts.release(session, rosa, pair)
        session.expire_all()
        first = session.get_one(Verdict, pair).released_at
        assert first is not None
        verdicts.withdraw(session, rosa, pair)
        session.expire_all()
        kept = session.get_one(Verdict, pair)
        assert (kept.released_at, kept.first_released_at) == (None, first)
        assert actions(session) == ["gave verdict", "released verdict", "withdrew verdict"]


def test_comparisons_are_found_by_batch_kind_and_what_was_said(work: Work) -> None:
    with work() as session:
        split, agreed, tied = judged(session, [1, 9]), judged(session, [1, 2, 5]), judged(session, [5, 9])
        rosa = make.labeler(session, role=Role.RESEARCHER)
        make.verdict(session, agreed, rosa, 8)
        [gold] = make.standing(session, GOLD, 1)

        def ids(**wanted: object) -> list[int]:
            asked = {"batch_id": None, "kind": None, "only": None, "before": None} | wanted
            return [each.id for each in verdicts.listed(session, **asked)[0]]  # type: ignore[arg-type]

        origin = gold - 1
        assert ids() == [gold, origin, tied, agreed, split]
        assert ids(only=Only.DISAGREED) == [split]
        assert ids(only=Only.GIVEN) == [gold, origin, agreed]
        assert ids(only=Only.WITHOUT) == [tied, split]
        assert ids(only=Only.RELEASED) == []
        assert ids(kind=ComparisonKind.GOLD) == [gold]
        assert ids(batch_id=session.get_one(Comparison, agreed).batch_id) == [agreed]
        assert ids(before=tied) == [agreed, split]
        found = {each.id: each for each in verdicts.listed(session, None, None, None, None)[0]}
        assert (found[split].answers, found[split].disagreed) == (2, True)
        assert (found[agreed].answers, found[agreed].disagreed) == (3, False)
        assert (found[agreed].agreeing, found[agreed].sided) == (0, 2)
        assert (found[tied].answers, found[tied].sided) == (2, 0)


def test_only_what_counts_counts(work: Work) -> None:
    """Newest versions of people; not surplus, not in a void slot."""
    with work() as session:
        put_up = make.pairs(session, 1, opinions=3)
        [pair] = put_up.comparisons
        changed, void = make.labeler(session), make.labeler(session)
        simulated = make.labeler(session, kind=LabelerKind.SIMULATED)
        for worker in (changed, void, simulated):
            [showing] = make.hold(session, worker)
            swapped = make.shown(session, showing).swapped
            make.say(session, worker, showing, turned(9, swapped))
            if worker is changed:
                make.say(session, worker, showing, turned(1, swapped))
            if worker is void:
                slot = make.slot_of(session, showing)
                slot.state, slot.done_at = SlotState.VOID, None
                session.flush()
        [line] = verdicts.listed(session, None, None, None, None)[0]
        assert (line.id, line.answers, line.disagreed) == (pair, 1, False)
        assert verdicts.listed(session, None, None, Only.DISAGREED, None)[0] == []


def test_a_long_list_comes_in_pages(work: Work) -> None:
    with work() as session:
        put_up = make.pairs(session, verdicts.PAGE + 5)
        first, more = verdicts.listed(session, None, None, None, None)
        second, no_more = verdicts.listed(session, None, None, None, first[-1].id)
        assert (len(first), more, len(second), no_more) == (verdicts.PAGE, True, 5, False)
        assert [each.id for each in first + second] == list(reversed(put_up.comparisons))

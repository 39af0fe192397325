"""An opinion is made void, taken back, asked for again: what counts, what is asked, and what a round waits for."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.words import BatchPurpose, ComparisonKind, FlagReason, SkipReason, SlotState
from app.services import comparisons, judging
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, queueing, standing
from app.store import comparisons as store
from app.store.comparisons import Standing
from app.store.session import Session
from app.store.tables import AuditEvent, Comparison
from tests.conftest import Work
from tests.support import factories as make

OPEN, LEASED, DONE, VOID = SlotState.OPEN, SlotState.LEASED, SlotState.DONE, SlotState.VOID
WHY = "It was a wrong click."


def _slot(session: Session, comparison_id: int, number: int = 1) -> int:
    return make.slots(session, comparison_id)[number - 1].id


def _counted(session: Session) -> list[tuple[str, int]]:
    """Who counts, and what they said in the comparison's frame."""
    return [(row.worker, row.value) for row in answers.judged(session, the_project(session).id)]


def _last(session: Session) -> AuditEvent:
    return session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()


def test_a_given_opinion_made_void_is_kept_and_does_not_count_until_it_is_taken_back(work: Work) -> None:
    with work() as session:
        boss, worker = make.admin(session), make.labeler(session, "Ada")
        [pair] = make.pairs(session).comparisons
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing, 2)
        [(_, before)] = _counted(session)
        slot = _slot(session, pair)
        assert "does not count any more" in comparisons.void(session, boss, pair, slot, WHY)
        assert (make.slot_states(session, pair), _counted(session)) == ([VOID], [])
        assert [(each.version, each.surplus) for each in make.answers(session, pair)] == [(1, False)]
        # Changing the answer meanwhile makes a version that does not count either.
        make.say(session, worker, showing, 8)
        assert _counted(session) == []
        assert comparisons.take_back(session, boss, pair, slot, WHY) == "Opinion 1 counts again."
        assert _counted(session) == [("Ada", 10 - before)]
        first = make.answers(session, pair)[0].created_at
        assert (make.slot_states(session, pair), make.slots(session, pair)[0].done_at) == ([DONE], first)


def test_an_open_opinion_made_void_is_asked_of_nobody_until_it_is_taken_back(work: Work) -> None:
    with work() as session:
        boss, worker = make.admin(session), make.labeler(session)
        [pair] = make.pairs(session).comparisons
        slot = _slot(session, pair)
        assert "asked of nobody" in comparisons.void(session, boss, pair, slot, WHY)
        assert make.hold(session, worker) == []
        with pytest.raises(Conflict, match="void already"):
            comparisons.void(session, boss, pair, slot, WHY)
        assert comparisons.take_back(session, boss, pair, slot, WHY) == "Opinion 1 is asked for again."
        assert len(make.hold(session, worker)) == 1
        with pytest.raises(Conflict, match="not void"):
            comparisons.take_back(session, boss, pair, slot, WHY)


def test_a_held_opinion_made_void_keeps_what_is_sent_as_surplus(work: Work) -> None:
    with work() as session:
        boss, worker = make.admin(session), make.labeler(session)
        [pair] = make.pairs(session).comparisons
        [showing] = make.hold(session, worker)
        slot = _slot(session, pair)
        assert "kept as surplus" in comparisons.void(session, boss, pair, slot, WHY)
        assert judging.leases(session, worker, 1, make.LEASE, make.PAGE).leases == []
        assert make.say(session, worker, showing) == judging.Saved(1, True)
        assert _counted(session) == []
        # Taken back, it is filled by the answer that waits: its labeler cannot be asked again.
        comparisons.take_back(session, boss, pair, slot, WHY)
        assert (make.slot_states(session, pair), len(_counted(session))) == ([DONE], 1)


def test_asking_again_gives_the_pair_to_somebody_new(work: Work) -> None:
    with work() as session:
        boss, one, two = make.admin(session), make.labeler(session, "One"), make.labeler(session, "Two")
        [pair] = make.pairs(session).comparisons
        make.judge_all(session, one)
        comparisons.void(session, boss, pair, _slot(session, pair), WHY)
        assert comparisons.ask_again(session, boss, pair, WHY) == 2
        assert (make.judge_all(session, one), make.judge_all(session, two)) == (0, 1)
        assert make.slot_states(session, pair) == [VOID, DONE]
        assert [name for name, _ in _counted(session)] == ["Two"]
        view = comparisons.one(session, pair)
        assert (view.asked, view.live) == (1, 1)
        assert comparisons.ask_again(session, boss, pair, WHY) == 3
        assert comparisons.one(session, pair).live == 2


def test_asking_again_counts_an_answer_that_came_too_late(work: Work) -> None:
    with work() as session:
        boss, late, quick = make.admin(session), make.labeler(session), make.labeler(session)
        [pair] = make.pairs(session).comparisons
        [showing] = make.hold(session, late)
        make.run_out(session)
        make.judge_all(session, quick)
        assert make.say(session, late, showing).surplus
        comparisons.ask_again(session, boss, pair, WHY)
        assert make.slot_states(session, pair) == [DONE, DONE]
        assert len(_counted(session)) == 2


def test_only_the_open_opinions_of_a_pair_are_made_void_together(work: Work) -> None:
    with work() as session:
        boss, one, two = make.admin(session), make.labeler(session), make.labeler(session)
        [pair] = make.pairs(session, opinions=5).comparisons
        make.judge_all(session, one)
        make.hold(session, two)
        assert comparisons.void_open(session, boss, pair, WHY) == 3
        assert make.slot_states(session, pair) == [DONE, LEASED, VOID, VOID, VOID]
        assert (_last(session).action, _last(session).details) == (
            "made open opinions void",
            {"reason": WHY, "voided": 3},
        )
        assert comparisons.void_open(session, boss, pair, WHY) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda session, viewer, pair, slot, why: comparisons.void(session, viewer, pair, slot, why),
        lambda session, viewer, pair, slot, why: comparisons.take_back(session, viewer, pair, slot, why),
        lambda session, viewer, pair, slot, why: comparisons.ask_again(session, viewer, pair, why),
        lambda session, viewer, pair, slot, why: comparisons.void_open(session, viewer, pair, why),
    ],
    ids=["void", "take_back", "ask_again", "void_open"],
)
def test_nothing_is_changed_without_a_reason(work: Work, change: Callable[..., object]) -> None:
    with work() as session:
        boss = make.admin(session)
        [pair] = make.pairs(session, opinions=2).comparisons
        comparisons.void(session, boss, pair, _slot(session, pair), WHY)
        for why in ("", " \n\t ", "x" * 501):
            with pytest.raises(Invalid, match="Say why") as refusal:
                change(session, boss, pair, _slot(session, pair), why)
            assert refusal.value.field == "reason"
        assert make.slot_states(session, pair) == [VOID, OPEN]
        with pytest.raises(NotFound):
            change(session, boss, 10**9, _slot(session, pair), WHY)


def test_a_slot_of_another_pair_is_not_touched(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        one, two = make.pairs(session, 2).comparisons
        for change in (comparisons.void, comparisons.take_back):
            with pytest.raises(Invalid, match="no such opinion"):
                change(session, boss, one, _slot(session, two), WHY)
        assert make.slot_states(session, two) == [OPEN]


def test_every_change_is_written_down_with_its_reason(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        [pair] = make.pairs(session).comparisons
        slot = _slot(session, pair)

        def told() -> tuple[int | None, str, int | None, str, str]:
            event = _last(session)
            return event.actor_id, event.action, event.subject_id, event.subject, event.details["reason"]

        comparisons.void(session, boss, pair, slot, f"  {WHY}\n")
        assert told() == (boss.id, "made opinion void", pair, "comparison", WHY)
        assert _last(session).details["before"] == "open"
        comparisons.take_back(session, boss, pair, slot, WHY)
        assert told() == (boss.id, "took opinion back", pair, "comparison", WHY)
        comparisons.ask_again(session, boss, pair, WHY)
        assert told() == (boss.id, "asked again", pair, "comparison", WHY)


def test_a_gold_pair_is_asked_of_nobody_twice(work: Work) -> None:
    with work() as session:
        [gold] = make.standing(session, BatchPurpose.GOLD)
        with pytest.raises(Conflict, match="once"):
            comparisons.ask_again(session, make.admin(session), gold, WHY)
        assert comparisons.one(session, gold).standing


def test_nobody_can_be_asked_again_who_passed_on_what_was_made_for_them(work: Work) -> None:
    with work() as session:
        [gold], boss, worker = make.standing(session, BatchPurpose.GOLD), make.admin(session), make.labeler(session)
        slot = standing.address(session, gold, worker.id)
        assert slot is not None
        showing = queueing.lease(session, queueing.Terms(worker.id, make.LEASE, make.PAGE), slot, None)
        assert showing is not None
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        with pytest.raises(Conflict, match="passed the pair on"):
            comparisons.take_back(session, boss, gold, slot, WHY)
        assert make.slot_states(session, gold) == [VOID]


def test_a_pair_tells_all_that_was_said_of_it(work: Work) -> None:
    with work() as session:
        one, two, three = make.labeler(session, "One"), make.labeler(session, "Two"), make.labeler(session, "Three")
        pairs = make.pairs(session, opinions=2)
        [pair] = pairs.comparisons
        [first] = make.hold(session, one)
        make.say(session, one, first, 3)
        make.say(session, one, first, 4)
        [second] = make.hold(session, two)
        judging.skip(session, two, showing_id=second, reason=SkipReason.OFFENSIVE, comment="Too much.")
        [third] = make.hold(session, three)
        judging.flag(session, three, showing_id=third, key=second, reason=FlagReason.QUESTION, comment="What is it?")
        view = comparisons.one(session, pair)
        assert [(each.labeler, each.preference.version) for each in view.answers] == [("One", 1), ("One", 2)]
        assert [(name, skip.comment) for skip, name in view.skips] == [("Two", "Too much.")]
        assert [(name, flag.comment) for flag, name in view.flags] == [("Three", "What is it?")]
        assert [(line.slot.number, line.labeler, line.answered) for line in view.slots] == [
            (1, "One", True),
            (2, "Three", False),
        ]
        assert [side.policy.name for side in view.found.sides] == ["ref", "other"]
        assert view.found.document.title.startswith("Title of d")
        with pytest.raises(NotFound):
            comparisons.one(session, 10**9)


# The list


def _listed(session: Session, batch_id: int, **asked: object) -> comparisons.Listed:
    plain: dict[str, object] = {"kind": None, "standing": None, "words": "", "after": None, "before": None}
    return comparisons.listed(session, batch_id, **{**plain, **asked})  # type: ignore[arg-type]


def test_a_batchs_pairs_come_page_by_page_in_both_directions(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "PAGE", 3)
    with work() as session:
        make.pairs(session, 2)
        batch_id, ids = (lambda pairs: (pairs.batch_id, list(pairs.comparisons)))(make.pairs(session, 7))

        def page(**place: int) -> tuple[list[int], bool, bool]:
            found = _listed(session, batch_id, **place)
            return [line.comparison.id for line in found.lines], found.earlier, found.later

        assert page() == (ids[:3], False, True)
        assert page(after=ids[2]) == (ids[3:6], True, True)
        assert page(after=ids[5]) == (ids[6:], True, False)
        assert page(before=ids[6]) == (ids[3:6], True, True)
        assert page(before=ids[3]) == (ids[:3], False, True)
        with pytest.raises(NotFound):
            _listed(session, 10**9)


def test_pairs_are_found_by_kind_state_and_words(work: Work) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        pairs = make.pairs(session, 5, opinions=1)
        ids = list(pairs.comparisons)
        session.get_one(Comparison, ids[4]).kind = ComparisonKind.SENTINEL
        done, held = make.hold(session, worker, 2)
        make.say(session, worker, done)
        comparisons.void(session, boss, ids[2], _slot(session, ids[2]), WHY)

        def found(**asked: object) -> list[int]:
            return [line.comparison.id for line in _listed(session, pairs.batch_id, **asked).lines]

        assert held
        assert found(kind=ComparisonKind.SENTINEL) == [ids[4]]
        assert found(kind=ComparisonKind.GOLD) == []
        assert found(standing=Standing.OPEN) == ids[3:]
        assert found(standing=Standing.HELD) == [ids[1]]
        assert found(standing=Standing.DONE) == [ids[0], ids[2]]
        assert found(standing=Standing.VOID) == [ids[2]]
        document = comparisons.one(session, ids[3]).found.document
        assert found(words=f" {document.source_id} ") == [ids[3]]
        assert found(words=f"TITLE of {document.source_id}") == [ids[3]]
        assert ids[1] in found(words=str(ids[1]))
        assert found(words="%") == found(words="\0%") == []
        [line] = _listed(session, pairs.batch_id, kind=ComparisonKind.SENTINEL).lines
        assert (line.policies, line.slots) == (("ref", "other"), {OPEN: 1})


def test_a_slot_is_numbered_after_the_highest_of_its_pair(work: Work) -> None:
    with work() as session:
        [pair] = make.pairs(session, opinions=3).comparisons
        viewer: Viewer = make.admin(session)
        comparisons.void_open(session, viewer, pair, WHY)
        store.add_slot(session, session.get_one(Comparison, pair))
        assert [(slot.number, slot.state) for slot in make.slots(session, pair)] == [
            (1, VOID),
            (2, VOID),
            (3, VOID),
            (4, OPEN),
        ]

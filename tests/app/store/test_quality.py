"""Which answers the statistics see, and what a labeler may see of verdicts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from app.domain.words import BatchPurpose, ComparisonKind, FlagReason, LabelerKind, PolicyKind, SlotState
from app.services import judging, verdicts
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, quality
from app.store.quality import KINDS, Opinions, Released
from app.store.session import Session
from app.store.tables import Comparison, Flag, Slot, Verdict
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given

BOTH = (BatchPurpose.ORDINARY, BatchPurpose.GOLD)
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def _opinions(
    session: Session,
    labeler_id: int | None = None,
    kinds: Sequence[LabelerKind] = (LabelerKind.HUMAN,),
    purposes: Sequence[BatchPurpose] = BOTH,
) -> Opinions:
    project = the_project(session).id
    return quality.opinions(session, project, kinds=kinds, purposes=purposes, labeler_id=labeler_id)


def _released(session: Session, viewer: Viewer) -> list[Released]:
    return quality.released(session, the_project(session).id, viewer.id)


def _release(session: Session, comparison_id: int, at: datetime | None = None) -> None:
    verdicts.release(session, make.admin(session), comparison_id)
    if at is not None:
        session.execute(
            update(Verdict).where(Verdict.comparison_id == comparison_id).values(released_at=at, first_released_at=at)
        )


def _flag(session: Session, viewer: Viewer, showing: UUID, reason: FlagReason, at: datetime) -> None:
    key = uuid4()
    judging.flag(session, viewer, showing_id=showing, key=key, reason=reason, comment=None)
    session.execute(update(Flag).where(Flag.key == key).values(created_at=at))


def test_an_answer_as_columns(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        [comparison] = make.pairs(session).comparisons
        session.get_one(Comparison, comparison).kind = ComparisonKind.SENTINEL
        given.answer(session, ada, comparison, 3, swapped=True, seconds=12.5, at=NOON)
        found = _opinions(session)
        names = quality.policies(session, the_project(session).id)
        assert (found.comparison, found.labeler) == ([comparison], [ada.id])
        assert (found.value, found.swapped) == ([7], [True])
        assert (found.seconds, found.given_at) == ([12.5], [NOON.timestamp()])
        assert [KINDS[kind] for kind in found.kind] == [ComparisonKind.SENTINEL]
        assert (found.gold, found.told) == ([False], [False])
        assert names[found.first_policy[0]] == ("ref", PolicyKind.REF)
        assert names[found.second_policy[0]][0] == "other"


def test_nothing_gives_empty_columns(work: Work) -> None:
    with work() as session:
        assert set(map(len, vars(_opinions(session)).values())) == {0}
        assert quality.judgements(session, the_project(session).id, purposes=BOTH) == []


def test_the_value_is_of_the_newest_version_and_the_time_of_the_first(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        [comparison] = make.pairs(session).comparisons
        showing = given.answer(session, ada, comparison, 2, seconds=20.0, at=NOON)
        given.change(session, ada, showing, 8, at=NOON + DAY)
        found = _opinions(session)
        assert (found.value, found.seconds, found.given_at) == ([8], [20.0], [NOON.timestamp()])


def test_the_same_answers_count_as_for_training(work: Work) -> None:
    with work() as session:
        people = [make.labeler(session, name) for name in ("Ada", "Bob")]
        robot = make.labeler(session, "robot", kind=LabelerKind.SIMULATED)
        first, second, void, late = make.pairs(session, 4).comparisons
        for value, viewer in enumerate([*people, robot], 1):
            given.answer(session, viewer, first, value)
        given.change(session, people[0], given.answer(session, people[0], second, 4), 6)
        given.answer(session, people[0], void, 9)
        given.answer(session, people[1], late, 9, surplus=True)
        session.execute(update(Slot).where(Slot.comparison_id == void).values(state=SlotState.VOID, done_at=None))
        for kinds in ([LabelerKind.HUMAN], [LabelerKind.SIMULATED], list(LabelerKind)):
            judged = answers.judged(session, the_project(session).id, kinds=kinds)
            found = _opinions(session, kinds=kinds)
            assert sorted(found.value) == sorted(row.value for row in judged)
        assert sorted(_opinions(session).value) == [1, 2, 6]
        assert sorted(_opinions(session, labeler_id=people[0].id).value) == [1, 6]


def test_gold_is_marked_and_practice_only_there_when_asked_for(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        [gold] = make.standing(session, BatchPurpose.GOLD)
        [practice] = make.standing(session, BatchPurpose.QUALIFICATION)
        given.answer(session, ada, gold, 2)
        given.answer(session, ada, practice, 3)
        assert (_opinions(session).value, _opinions(session).gold) == ([2], [True])
        assert _opinions(session, purposes=[BatchPurpose.QUALIFICATION]).value == [3]
        found = quality.judgements(session, the_project(session).id, purposes=[BatchPurpose.GOLD])
        assert [(one.comparison_id, one.value, one.gold, one.released) for one in found] == [(gold, 2, True, False)]


def test_an_answer_changed_after_the_release_is_not_the_labelers_own(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        comparisons = make.pairs(session, 4).comparisons
        before, after, first, never = (make.labeler(session) for _ in range(4))
        for comparison in comparisons[:3]:
            make.verdict(session, comparison, boss)
            _release(session, comparison, NOON)
        given.change(session, before, given.answer(session, before, comparisons[0], 8, at=NOON - DAY), 7, at=NOON - DAY)
        given.change(session, after, given.answer(session, after, comparisons[1], 8, at=NOON - DAY), 2, at=NOON + DAY)
        given.answer(session, first, comparisons[2], 8, at=NOON + DAY)
        given.change(session, never, given.answer(session, never, comparisons[3], 8, at=NOON - DAY), 2, at=NOON + DAY)
        found = _opinions(session)
        told = dict(zip(found.labeler, found.told, strict=True))
        assert told == {before.id: False, after.id: True, first.id: False, never.id: False}


def test_who_has_seen_a_verdict_has_seen_it_also_when_it_is_withdrawn(work: Work) -> None:
    with work() as session:
        ada, boss = make.labeler(session), make.admin(session)
        withdrawn, again = make.pairs(session, 2).comparisons
        for comparison in (withdrawn, again):
            make.verdict(session, comparison, boss, 8)
            showing = given.answer(session, ada, comparison, 2, at=NOON - DAY)
            _release(session, comparison, NOON)
            given.change(session, ada, showing, 8, at=NOON + DAY)
            verdicts.withdraw(session, boss, comparison)
        verdicts.release(session, boss, again)
        assert _opinions(session).told == [True, True]
        assert [(found.reason, found.told) for found in _released(session, ada)] == [(f"Because of {again}.", True)]


def test_a_labeler_sees_released_verdicts_on_their_own_answers(work: Work) -> None:
    with work() as session:
        ada, bob, boss = make.labeler(session), make.labeler(session), make.admin(session)
        shown, kept, unanswered = make.pairs(session, 3).comparisons
        for comparison in (shown, kept, unanswered):
            make.verdict(session, comparison, boss, 7)
        showing = given.answer(session, ada, shown, 2, swapped=True, explanation="Shorter.")
        given.answer(session, ada, kept, 2)
        given.answer(session, bob, unanswered, 2)
        _release(session, shown)
        _release(session, unanswered)
        [found] = _released(session, ada)
        assert (found.showing_id, found.swapped, found.value, found.verdict) == (showing, True, 8, 7)
        assert (found.reason, found.explanation) == (f"Because of {shown}.", "Shorter.")
        assert found.texts[0].endswith(" by ref.") and found.texts[1].endswith(" by other.")
        assert (found.told, found.asked) == (False, False)
        verdicts.withdraw(session, boss, shown)
        assert _released(session, ada) == []


def test_what_is_released_of_what_does_not_count_is_not_shown(work: Work) -> None:
    with work() as session:
        ada, boss = make.labeler(session), make.admin(session)
        late, void, pair = make.pairs(session, 3).comparisons
        [practice] = make.standing(session, BatchPurpose.QUALIFICATION)
        for comparison in (late, void, pair):
            make.verdict(session, comparison, boss)
        given.answer(session, ada, late, 8, surplus=True)
        given.answer(session, ada, void, 8)
        session.execute(update(Slot).where(Slot.comparison_id == void).values(state=SlotState.VOID, done_at=None))
        given.answer(session, ada, practice, 8)
        given.answer(session, ada, pair, 8)
        for comparison in (late, void, pair, practice):
            _release(session, comparison)
        assert [found.reason for found in _released(session, ada)] == [f"Because of {pair}."]


def test_the_newest_release_comes_first_and_what_was_asked_is_known(work: Work) -> None:
    with work() as session:
        ada, bob, boss = make.labeler(session), make.labeler(session), make.admin(session)
        one, two = make.pairs(session, 2).comparisons
        for comparison, at in ((one, NOON + DAY), (two, NOON)):
            make.verdict(session, comparison, boss)
            given.answer(session, bob, comparison, 8)
            showing = given.answer(session, ada, comparison, 8)
            _release(session, comparison, at)
        _flag(session, ada, showing, FlagReason.QUESTION, NOON + DAY)
        assert [(found.released_at, found.asked) for found in _released(session, ada)] == [
            (NOON + DAY, False),
            (NOON, True),
        ]
        assert [found.asked for found in _released(session, bob)] == [False, False]


def test_only_a_question_since_the_release_is_one_about_the_verdict(work: Work) -> None:
    with work() as session:
        ada, boss = make.labeler(session), make.admin(session)
        [comparison] = make.pairs(session).comparisons
        make.verdict(session, comparison, boss)
        showing = given.answer(session, ada, comparison, 8, at=NOON - DAY)
        _flag(session, ada, showing, FlagReason.QUESTION, NOON - DAY)
        _release(session, comparison, NOON)
        _flag(session, ada, showing, FlagReason.CUT_OFF, NOON + DAY)
        assert [found.asked for found in _released(session, ada)] == [False]
        _flag(session, ada, showing, FlagReason.QUESTION, NOON + DAY)
        assert [found.asked for found in _released(session, ada)] == [True]


@pytest.mark.parametrize("calibrates", [True, False])
def test_accounts_that_judge_are_known_by_id(work: Work, calibrates: bool) -> None:
    with work() as session:
        make.admin(session)
        ada = make.labeler(session, "Ada")
        row = quality.accounts(session)[ada.id]
        row.calibrates = calibrates
        assert [(one.name, one.calibrates) for one in quality.accounts(session).values()] == [("Ada", calibrates)]

"""Whose answers are compared with whose, and what labelers are told of their own."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.domain.errors import NotFound
from app.domain.words import BatchPurpose, ComparisonKind, FlagReason, LabelerKind
from app.quality import drift
from app.services import judging, quality, verdicts
from app.services.people import Viewer
from app.services.quality import LabelerLine, Overall
from app.store.session import Session
from app.store.tables import Comparison, Labeler
from tests.conftest import Work
from tests.support import factories as make
from tests.support import given

HUMAN = (LabelerKind.HUMAN,)
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def _line(found: Overall, viewer: Viewer) -> LabelerLine:
    return next(line for line in found.labelers if line.id == viewer.id)


def _calibrating(session: Session, name: str) -> Viewer:
    viewer = make.labeler(session, name)
    session.execute(update(Labeler).where(Labeler.id == viewer.id).values(calibrates=True))
    return viewer


def _kind(session: Session, comparison_id: int, kind: ComparisonKind) -> None:
    session.execute(update(Comparison).where(Comparison.id == comparison_id).values(kind=kind))


def test_nothing_is_judged_yet(work: Work) -> None:
    with work() as session:
        found = quality.overall(session, HUMAN)
        assert (found.answers, found.labelers, found.kinds, found.policies) == (0, [], [], [])
        assert found.among_labelers.raw.value is None and found.watched is None


def test_labelers_researchers_and_the_mode(work: Work) -> None:
    with work() as session:
        ada, bob, cyd, dan = (make.labeler(session, name) for name in ("Ada", "Bob", "Cyd", "Dan"))
        judge, rosa = _calibrating(session, "judge"), _calibrating(session, "Rosa")
        one, two, three = make.pairs(session, 3).comparisons
        for viewer, value in ((ada, 2), (bob, 1), (cyd, 3), (dan, 8), (judge, 4)):
            given.answer(session, viewer, one, value)
        for viewer, value in ((ada, 9), (bob, 5), (judge, 7), (rosa, 2)):
            given.answer(session, viewer, two, value)
        given.answer(session, ada, three, 2)
        found = quality.overall(session, HUMAN)
        # Three of six pairs on the first; Ada and Bob's five on the second are no pair.
        assert (found.among_labelers.raw.value, found.among_labelers.pairings) == (3 / 6, 6)
        # Ada, Bob, Cyd with the judge on the first, Ada with the judge and not with Rosa on the second.
        assert found.with_researchers.raw.value == pytest.approx(4 / 6)
        assert (found.among_researchers.raw.value, found.among_researchers.pairings) == (0.0, 1)
        # The first has four: each of three sees 2 to 1 on their side, Dan 3 to 0 against.
        assert found.mode.value == pytest.approx(3 / 4)
        assert (found.researcher_mode.value, found.researcher_mode.n) == (1.0, 1)
        assert found.answers == 10
        assert [line.name for line in found.labelers] == ["Ada", "Bob", "Cyd", "Dan"]
        line = _line(found, ada)
        assert line.others.value == pytest.approx(2 / 3)
        assert line.researchers.value == pytest.approx(2 / 3)
        assert (line.answers, line.others.n, line.researchers.n) == (3, 1, 2)
        assert (line.mode.value, line.mode.n) == (1.0, 1)
        assert _line(found, dan).mode.value == 0.0
        assert _line(found, bob).researchers.n == 1


def test_a_verdict_beside_a_researchers_answer_may_be_the_same_persons(work: Work) -> None:
    with work() as session:
        ada, judge, boss = make.labeler(session), _calibrating(session, "judge"), make.admin(session)
        both, verdict = make.pairs(session, 2).comparisons
        given.answer(session, judge, both, 8)
        for comparison in (both, verdict):
            given.answer(session, ada, comparison, 2)
            make.verdict(session, comparison, boss, 8 if comparison == both else 2)
        found = quality.overall(session, HUMAN)
        assert found.among_researchers.raw.n == 0
        assert (found.with_researchers.raw.value, found.with_researchers.pairings) == (0.5, 2)


def test_a_mode_of_those_who_saw_the_verdict_is_held_against_nobody(work: Work) -> None:
    with work() as session:
        people, boss = [make.labeler(session, name) for name in ("Ada", "Bob", "Cyd")], make.admin(session)
        [pair] = make.pairs(session).comparisons
        make.verdict(session, pair, boss, 8)
        shown = [given.answer(session, viewer, pair, 2, at=NOON) for viewer in people]
        assert (found := quality.overall(session, HUMAN).researcher_mode).value == 0.0 and found.n == 1
        verdicts.release(session, boss, pair)
        for viewer, showing in zip(people, shown, strict=True):
            given.change(session, viewer, showing, 8, at=datetime.now(UTC) + timedelta(days=1))
        assert quality.overall(session, HUMAN).researcher_mode.n == 0


def test_gold_is_counted_apart_and_practice_nowhere(work: Work) -> None:
    with work() as session:
        ada, bob = make.labeler(session, "Ada"), make.labeler(session, "Bob")
        gold = make.standing(session, BatchPurpose.GOLD, 3, value=2)
        practice = make.standing(session, BatchPurpose.QUALIFICATION, 2, value=2)
        for viewer in (ada, bob):
            for comparison, value in zip(gold, (1, 8, 5), strict=True):
                given.answer(session, viewer, comparison, value)
            for comparison in practice:
                given.answer(session, viewer, comparison, 9)
        found = quality.overall(session, HUMAN)
        assert (found.gold.raw.value, found.gold.raw.n, found.answers) == (0.5, 2, 6)
        assert found.among_labelers.raw.n == found.with_researchers.raw.n == 0
        line = _line(found, ada)
        assert (line.gold.value, line.gold.n, line.researchers.n, line.others.n) == (0.5, 2, 0, 0)
        assert line.scale.counts == [1, 0, 0, 0, 1, 0, 0, 1, 0]


def test_an_answer_changed_after_the_release_agrees_with_nobody(work: Work) -> None:
    with work() as session:
        ada, boss = make.labeler(session), make.admin(session)
        [pair] = make.pairs(session).comparisons
        [gold] = make.standing(session, BatchPurpose.GOLD)
        make.verdict(session, pair, boss)
        for comparison in (pair, gold):
            showing = given.answer(session, ada, comparison, 8, at=NOON)
            verdicts.release(session, boss, comparison)
            given.change(session, ada, showing, 2, at=datetime.now(UTC) + timedelta(days=1))
        found = quality.overall(session, HUMAN)
        assert (found.with_researchers.raw.n, found.gold.raw.n) == (0, 0)
        assert (_line(found, ada).researchers.n, _line(found, ada).gold.n) == (0, 0)
        assert quality.own(session, ada).agreement.n == 0


def test_simulated_labelers_count_when_they_are_asked_for(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session, "Ada")
        robot = make.labeler(session, "robot", kind=LabelerKind.SIMULATED)
        [pair] = make.pairs(session).comparisons
        given.answer(session, ada, pair, 2)
        given.answer(session, robot, pair, 3)
        people = quality.overall(session, HUMAN)
        assert ([line.name for line in people.labelers], people.among_labelers.raw.n) == (["Ada"], 0)
        everybody = quality.overall(session, tuple(LabelerKind))
        assert everybody.among_labelers.raw.value == 1.0
        assert {line.name: line.simulated for line in everybody.labelers} == {"Ada": False, "robot": True}
        detail = quality.of_labeler(session, robot.id, HUMAN)
        assert (detail.line.answers, detail.line.others.value) == (1, 1.0)
        assert quality.of_labeler(session, ada.id, HUMAN).line.others.n == 0


def test_sides_are_those_that_were_shown(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        for place, comparison in enumerate(make.pairs(session, 8).comparisons):
            given.answer(session, ada, comparison, 1, swapped=place % 2 == 0)
        [line] = quality.overall(session, HUMAN).labelers
        assert (line.scale.first_shown.value, line.scale.counts[0], line.scale.counts[8]) == (1.0, 8, 0)
        assert line.skill.bias.value is not None and line.skill.bias.value > 0.3


def test_pace_and_days(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        one, two, three = make.pairs(session, 3).comparisons
        given.answer(session, ada, one, 2, seconds=20, at=NOON)
        given.answer(session, ada, two, 2, seconds=40, at=NOON + timedelta(hours=11, minutes=59))
        given.answer(session, ada, three, 2, seconds=60, at=NOON + timedelta(hours=12, minutes=1))
        detail = quality.of_labeler(session, ada.id, HUMAN)
        assert [(each.day.isoformat(), each.answers, each.seconds) for each in detail.days] == [
            ("2026-11-02", 2, 30.0),
            ("2026-11-03", 1, 60.0),
        ]
        assert (detail.line.pace.seconds, detail.line.pace.per_day) == (40.0, 1.5)


def test_confidence_is_held_against_researchers_and_gold(work: Work) -> None:
    with work() as session:
        ada, judge = make.labeler(session), _calibrating(session, "judge")
        comparisons = make.pairs(session, 14).comparisons
        gold = make.standing(session, BatchPurpose.GOLD, 4, value=2)
        for place, comparison in enumerate(comparisons):
            given.answer(session, judge, comparison, 2)
            # Sure where they agree: ten at distance 4, and four at distance 1 that do not.
            given.answer(session, ada, comparison, 1 if place < 10 else 6)
        for comparison in gold:
            given.answer(session, ada, comparison, 4)
        detail = quality.of_labeler(session, ada.id, HUMAN)
        assert [(step.agreement.value, step.agreement.n) for step in detail.steps] == [
            (14 / 18, 18),
            (1.0, 10),
            (1.0, 10),
            (1.0, 10),
        ]
        assert detail.line.threshold is not None and detail.line.threshold.confidence == 2


def test_who_is_no_labeler_has_no_page(work: Work) -> None:
    with work() as session:
        for account in (make.admin(session).id, _calibrating(session, "judge").id, 10**9):
            with pytest.raises(NotFound):
                quality.of_labeler(session, account, HUMAN)


def test_sentinels_are_watched_after_the_reference(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "REFERENCE", 10)
    with work() as session:
        ada, bob, judge = make.labeler(session, "Ada"), make.labeler(session, "Bob"), _calibrating(session, "judge")
        comparisons = make.pairs(session, 56).comparisons
        for comparison in comparisons[:55]:
            _kind(session, comparison, ComparisonKind.SENTINEL)
        # The reference is first in the comparison, so 2 prefers it, and 8 the baseline.
        for place, comparison in enumerate(comparisons[:10]):
            given.answer(session, ada, comparison, 8 if place < 2 else 2, at=NOON + timedelta(minutes=place))
        assert quality.overall(session, HUMAN).sentinels == 10
        for place, comparison in enumerate(comparisons[10:54]):
            viewer = (ada, bob)[place % 2]
            value = 8 if viewer is bob else 2
            given.answer(session, viewer, comparison, value, swapped=False, at=NOON + timedelta(hours=1, minutes=place))
        given.answer(session, bob, comparisons[54], 5, at=NOON + timedelta(days=1))
        given.answer(session, judge, comparisons[54], 8, at=NOON + timedelta(days=1))
        given.answer(session, bob, comparisons[55], 2, at=NOON + timedelta(days=1))
        found = quality.overall(session, HUMAN)
        assert found.watched is not None and found.sentinels == 54
        assert (found.watched.reference.value, found.watched.since.value, found.watched.since.n) == (0.2, 0.5, 44)
        assert found.watched.at[0] == NOON + timedelta(hours=1)
        of_bob, of_ada = _line(found, bob).watched, _line(found, ada).watched
        assert of_bob is not None and of_ada is not None
        assert (of_bob.since.value, of_bob.since.n) == (1.0, 22)
        assert [alarm.risen for alarm in of_bob.drift.alarms][:1] == [True]
        assert (of_ada.since.value, of_ada.drift.alarms) == (0.0, [])


def test_a_reference_needs_enough_sentinels(work: Work) -> None:
    with work() as session:
        ada = make.labeler(session)
        [pair] = make.pairs(session).comparisons
        _kind(session, pair, ComparisonKind.SENTINEL)
        given.answer(session, ada, pair, 2)
        found = quality.overall(session, HUMAN)
        assert (found.sentinels, found.watched, _line(found, ada).watched) == (1, None, None)


def test_parts_by_kind_and_by_policies(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "LEAST_OF_POLICIES", 3)
    with work() as session:
        ada, bob, judge = make.labeler(session), make.labeler(session), _calibrating(session, "judge")
        comparisons = make.pairs(session, 4).comparisons
        for comparison, kind in zip(
            comparisons, (ComparisonKind.SHARED,) * 3 + (ComparisonKind.CALIBRATION,), strict=True
        ):
            _kind(session, comparison, kind)
        for place, comparison in enumerate(comparisons[:3]):
            given.answer(session, ada, comparison, 2)
            given.answer(session, bob, comparison, 2 if place else 8)
        given.answer(session, ada, comparisons[3], 2)
        given.answer(session, judge, comparisons[3], 1)
        found = quality.overall(session, HUMAN)
        kinds = {part.name: (part.labelers.value, part.researchers.value) for part in found.kinds}
        assert kinds == {"shared": (pytest.approx(2 / 3), None), "calibration": (None, 1.0)}
        [part] = found.policies
        assert (part.name, part.labelers.n, part.researchers.n) == ("other × ref", 3, 1)
        monkeypatch.setattr(quality, "LEAST_OF_POLICIES", 5)
        assert quality.overall(session, HUMAN).policies == []


def test_the_same_rows_give_the_same_figures(work: Work) -> None:
    with work() as session:
        ada, bob = make.labeler(session), make.labeler(session)
        for place, comparison in enumerate(make.pairs(session, 20).comparisons):
            given.answer(session, ada, comparison, 2)
            given.answer(session, bob, comparison, 2 if place % 3 else 8)
        once = quality.overall(session, HUMAN)
        assert once.among_labelers.raw.low is not None
        assert once == quality.overall(session, HUMAN)


# What labelers are told


def test_own_work_is_of_released_pairs_only(work: Work) -> None:
    with work() as session:
        ada, bob, boss = make.labeler(session), make.labeler(session), make.admin(session)
        same, apart, undecided, kept, foreign = make.pairs(session, 5).comparisons
        for comparison in (same, apart, undecided, kept, foreign):
            make.verdict(session, comparison, boss, 2)
        given.answer(session, ada, same, 1)
        showing = given.answer(session, ada, apart, 3, swapped=True, explanation="It is shorter.")
        given.answer(session, ada, undecided, 5)
        given.answer(session, ada, kept, 9)
        given.answer(session, bob, foreign, 9)
        for comparison in (same, apart, undecided, foreign):
            verdicts.release(session, boss, comparison)
        found = quality.own(session, ada)
        assert (found.agreement.value, found.agreement.n, found.released, found.apart) == (0.5, 2, 3, 1)
        [each] = found.disagreements
        assert (each.showing_id, each.reason) == (str(showing), f"Because of {apart}.")
        # As it was shown: the second summary was A, so that 3 said A and the researchers say B.
        assert (each.said, each.verdict, each.explanation) == (3, 8, "It is shorter.")
        assert each.texts[0].endswith(" by other.") and each.texts[1].endswith(" by ref.")
        assert found.pace.answers == 4


def test_own_flags_come_with_their_replies(work: Work) -> None:
    with work() as session:
        ada, bob = make.labeler(session), make.labeler(session)
        make.pairs(session, 2)
        for viewer in (ada, bob):
            [showing] = make.hold(session, viewer)
            judging.flag(session, viewer, showing_id=showing, key=showing, reason=FlagReason.OTHER, comment=viewer.name)
        assert [each.comment for each in quality.own(session, ada).flags] == [ada.name]


def test_more_disagreements_than_are_shown(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "DISAGREEMENTS_SHOWN", 2)
    with work() as session:
        ada, boss = make.labeler(session), make.admin(session)
        for comparison in make.pairs(session, 3).comparisons:
            make.verdict(session, comparison, boss, 2)
            given.answer(session, ada, comparison, 8)
            verdicts.release(session, boss, comparison)
        pages = [quality.own(session, ada, page) for page in (1, 2, 3)]
        assert [(found.apart, len(found.disagreements)) for found in pages] == [(3, 2), (3, 1), (3, 0)]
        assert len({each.showing_id for found in pages for each in found.disagreements}) == 3

"""Gold and calibration pairs are put before one labeler at their turn, and look like any other."""

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.domain.gold import due
from app.domain.protocols import Gate, Protocol
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, Role, SkipReason, SlotState
from app.services import comparisons, judging, onboarding, standing, verdicts
from app.services.people import Viewer
from app.services.projects import entrance, the_project
from app.store import answers, batches, people, queueing
from app.store import standing as store
from app.store.session import Session, Sessions
from app.store.tables import Batch, Comparison, Labeler, Preference, Showing, Slot
from tests.conftest import Work
from tests.support import factories as make
from tests.support.waiting import until_somebody_waits

GOLD = BatchPurpose.GOLD


def ask(session: Session, batch_id: int, **protocol: object) -> None:
    """Judge the batch by this protocol."""
    session.get_one(Batch, batch_id).protocol = Protocol(**protocol).to_dict()  # type: ignore[arg-type]
    session.flush()


def kinds(session: Session, showings: list[UUID]) -> list[ComparisonKind]:
    """The kinds of the pairs that were shown, in this order."""
    rows = session.execute(
        select(Showing.id, Comparison.kind)
        .join(Slot, Slot.id == Showing.slot_id)
        .join(Comparison, Comparison.id == Slot.comparison_id)
        .where(Showing.id.in_(showings))
    )
    found = {row[0]: ComparisonKind(row[1]) for row in rows}
    return [found[showing] for showing in showings]


def judge(session: Session, worker: Viewer, count: int) -> list[ComparisonKind]:
    """Judge so many pairs, one after the other, and give what they were."""
    seen: list[UUID] = []
    for _ in range(count):
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing)
        seen.append(showing)
    return kinds(session, seen)


def researcher(session: Session, name: str) -> Viewer:
    """A researcher's judging account."""
    row = people.add_labeler(session, name, Role.LABELER, LabelerKind.HUMAN, calibrates=True)
    make.has_read(session, row.id)
    return Viewer(row.id, row.name, Role.LABELER, LabelerKind.HUMAN, calibrates=True)


def row(session: Session, viewer: Viewer) -> Labeler:
    return session.get_one(Labeler, viewer.id)


# Gold


def test_the_share_is_kept_over_200_claims_and_each_pair_is_met_once(work: Work) -> None:
    with work() as session:
        gold = make.standing(session, GOLD, 40)
        ask(session, make.pairs(session, 200).batch_id, gold_share=0.1)
        worker = make.labeler(session)
        given = judge(session, worker, 200)
        assert abs(given.count(ComparisonKind.GOLD) - 20) <= 1
        at = [place for place, kind in enumerate(given) if kind is ComparisonKind.GOLD]
        before, seed = list(accumulate([0.1] * 199, initial=0.0)), f"{the_project(session).salt}/{worker.id}"
        assert at == [place for place in range(200) if due(before[place], 0.1, seed)], "from the very first"
        gaps = {later - earlier for earlier, later in pairwise(at)}
        assert len(gaps) > 4, "nobody can count to the next one"
        met = session.execute(
            select(Slot.comparison_id, func.count())
            .where(Slot.labeler_id == worker.id, Slot.comparison_id.in_(gold))
            .group_by(Slot.comparison_id)
        ).all()
        assert {each[0] for each in met} == set(gold[: len(met)])
        assert {each[1] for each in met} == {1}
        assert {each.for_labeler_id for one in gold for each in make.slots(session, one)} == {worker.id}


def test_the_list_ahead_holds_gold_at_the_same_places(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 12)
        ask(session, make.pairs(session, 60).batch_id, gold_share=0.25)
        worker = make.labeler(session)
        given: list[ComparisonKind] = []
        for _ in range(3):
            held = make.hold(session, worker, 12)
            given += kinds(session, held)
            for showing in held:
                make.say(session, worker, showing)
        assert abs(given.count(ComparisonKind.GOLD) - 9) <= 1


def test_without_a_share_or_without_gold_nothing_is_lent(work: Work) -> None:
    with work() as session:
        make.pairs(session, 30)
        gold = make.standing(session, GOLD, 3)
        worker, other = make.labeler(session), make.labeler(session)
        assert set(judge(session, worker, 15)) == {ComparisonKind.ORDINARY}
        for each in gold:
            verdicts.retire(session, make.admin(session), each)
        ask(session, make.pairs(session, 30, priority=5).batch_id, gold_share=0.5)
        assert set(judge(session, other, 15)) == {ComparisonKind.ORDINARY}


def test_a_paused_gold_batch_lends_nothing(work: Work) -> None:
    with work() as session:
        [gold] = make.standing(session, GOLD, 1)
        batches.set_batch_paused(session, session.get_one(Comparison, gold).batch_id, True)
        ask(session, make.pairs(session, 9).batch_id, gold_share=0.5)
        assert set(judge(session, make.labeler(session), 9)) == {ComparisonKind.ORDINARY}


def test_what_was_missing_is_not_made_up_for(work: Work) -> None:
    """Gold that comes after 100 pairs comes at its share, and not all at once."""
    with work() as session:
        ask(session, make.pairs(session, 160).batch_id, gold_share=0.2)
        [first] = make.standing(session, GOLD, 1)
        worker = make.labeler(session)
        judge(session, worker, 100)
        assert len(make.slots(session, first)) == 1
        make.standing(session, GOLD, 40)
        assert abs(judge(session, worker, 50).count(ComparisonKind.GOLD) - 10) <= 1


def test_nobody_judges_the_pair_twice_that_gold_was_copied_from(work: Work) -> None:
    with work() as session:
        source, boss = make.pairs(session, 1), make.admin(session)
        worker, other = make.labeler(session), make.labeler(session)
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing)
        make.verdict(session, source.comparisons[0], boss)
        copy = verdicts.use(session, boss, source.comparisons[0], GOLD)
        project = the_project(session).id
        assert store.next_pair(session, project, GOLD, worker.id) is None
        assert store.next_pair(session, project, GOLD, other.id) == copy


def test_no_copy_of_a_pair_is_given_beside_it_or_after_it_was_passed_on(work: Work) -> None:
    with work() as session:
        source, boss, worker = make.pairs(session, 4), make.admin(session), make.labeler(session)
        ask(session, source.batch_id, gold_share=0.5)
        held = make.hold(session, worker, 2)
        judging.skip(session, worker, showing_id=held[0], reason=SkipReason.OTHER, comment=None)
        copies = []
        for each in source.comparisons:
            make.verdict(session, each, boss)
            copies.append(verdicts.use(session, boss, each, GOLD))
        assert store.next_pair(session, the_project(session).id, GOLD, worker.id) == copies[2]
        pairs = [make.slot_of(session, showing).comparison_id for showing in make.hold(session, worker, 8)]
        documents = [session.get_one(Comparison, each).document_id for each in pairs]
        assert len(set(documents)) == len(documents) == 3


@pytest.mark.parametrize("purpose", [GOLD, BatchPurpose.QUALIFICATION])
def test_the_pair_is_not_asked_of_who_met_its_copy(work: Work, purpose: BatchPurpose) -> None:
    with work() as session:
        source, boss = make.pairs(session, 5, opinions=2), make.admin(session)
        copies = []
        for each in source.comparisons[:4]:
            make.verdict(session, each, boss)
            copies.append(verdicts.use(session, boss, each, purpose))
        worker, other = make.labeler(session), make.labeler(session)
        slots = [store.address(session, copy, worker.id) for copy in copies]
        terms = queueing.Terms(worker.id, make.LEASE, make.PAGE)
        shown = [queueing.lease(session, terms, slot or 0, None) for slot in slots[:3]]
        assert shown[0] and shown[1] and shown[2]
        make.say(session, worker, shown[0])
        judging.skip(session, worker, showing_id=shown[1], reason=SkipReason.OTHER, comment=None)
        # Answered, passed on, held, waiting for them: what is left is the one that has no copy.
        held = [make.slot_of(session, showing).comparison_id for showing in make.hold(session, worker, 9)]
        assert [each for each in held if each in source.comparisons] == [source.comparisons[4]]
        assert len(make.hold(session, other, 9)) == 5


def test_a_gold_pair_that_ran_out_comes_back_in_place_of_the_next_one_and_once(work: Work) -> None:
    with work() as session:
        gold = make.standing(session, GOLD, 6)
        ask(session, make.pairs(session, 60).batch_id, gold_share=0.25)
        worker, project = make.labeler(session), the_project(session)
        before = make.hold(session, worker, 12)
        assert kinds(session, before).count(ComparisonKind.GOLD) >= 2
        make.come_back(session)
        again = make.hold(session, worker, 12)
        seed, sums = f"{project.salt}/{worker.id}", list(accumulate([0.25] * 24, initial=0.0))
        places = [place for place in range(24) if due(sums[place], 0.25, seed)]
        at = [place for place, kind in enumerate(kinds(session, before + again)) if kind is ComparisonKind.GOLD]
        assert at == places, "at its turn, as if there had been no break"
        lost = [make.slot_of(session, each).id for each in before if make.slot_of(session, each).for_labeler_id]
        held = [make.slot_of(session, each).id for each in again if make.slot_of(session, each).for_labeler_id]
        assert held[: len(lost)] == lost, "the slot that was made for them comes back to them"
        showing = next(each for each in again if make.slot_of(session, each).id == lost[0])
        judging.skip(session, worker, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert make.slot_states(session, gold[0]) == [SlotState.VOID]


def test_during_a_break_nothing_changes(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 6)
        ask(session, make.pairs(session, 60).batch_id, gold_share=0.5)
        worker = make.labeler(session)
        held = make.hold(session, worker, 6)
        make.run_out(session)
        assert make.hold(session, worker, 6) == held


def test_who_still_has_to_qualify_is_given_nothing_that_waits_for_them_but_practice(work: Work) -> None:
    with work() as session:
        [gold], worker = make.standing(session, GOLD, 1), make.labeler(session)
        [practice] = make.standing(session, BatchPurpose.QUALIFICATION, 1)
        assert store.address(session, gold, worker.id)
        onboarding.set_gate(session, make.admin(session), Gate(required=True))
        assert [make.slot_of(session, each).comparison_id for each in make.hold(session, worker, 5)] == [practice]
        make.come_back(session)
        onboarding.set_gate(session, make.admin(session), Gate(required=False))
        assert make.hold(session, worker, 5) == [], "and once the gate is open, no practice"


@pytest.mark.parametrize("retired_first", [False, True])
def test_what_is_retired_while_it_is_lent_is_given_to_nobody(own_sessions: Sessions, retired_first: bool) -> None:
    with own_sessions() as session:
        [gold], worker, boss = make.standing(session, GOLD), make.labeler(session), make.admin(session)
        session.commit()

    def retire(session: Session) -> None:
        verdicts.retire(session, boss, gold)

    def lend(session: Session) -> None:
        store.address(session, gold, worker.id)

    first, second = (retire, lend) if retired_first else (lend, retire)

    def follow() -> None:
        with own_sessions() as session:
            second(session)
            session.commit()

    with own_sessions() as session, own_sessions() as other, ThreadPoolExecutor(1) as pool:
        first(session)
        follows = pool.submit(follow)
        until_somebody_waits(other)
        session.commit()
        follows.result(timeout=30)
    with own_sessions() as session:
        assert make.slot_states(session, gold) == ([] if retired_first else [SlotState.VOID])


def test_simulated_labelers_are_lent_nothing(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 5)
        ask(session, make.pairs(session, 10).batch_id, gold_share=0.5)
        simulated = make.labeler(session, kind=LabelerKind.SIMULATED)
        assert set(judge(session, simulated, 10)) == {ComparisonKind.ORDINARY}


@pytest.mark.parametrize("notes_first", [True, False])
def test_gold_is_shown_as_the_pairs_around_it(work: Work, notes_first: bool) -> None:
    with work() as session:
        gold = make.standing(session, GOLD, 6)
        ask(session, session.get_one(Comparison, gold[0]).batch_id, notes_first=not notes_first)
        ask(session, make.pairs(session, 12).batch_id, gold_share=0.5, notes_first=notes_first)
        worker = make.labeler(session)
        held = judging.leases(session, worker, 12, make.LEASE, make.PAGE).leases
        assert ComparisonKind.GOLD in kinds(session, [each.showing_id for each in held])
        assert {each.notes_first for each in held} == {notes_first}
        assert {each.practice for each in held} == {False}
        assert {each.post is None for each in held} == {notes_first}


def test_among_summaries_to_rate_there_is_no_gold(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 5)
        put_up = make.pairs(session, 8)
        summaries = [session.get_one(Comparison, each).first_summary_id for each in put_up.comparisons]
        batches.set_batch_paused(session, put_up.batch_id, True)
        rate = Batch(project_id=the_project(session).id, name="to rate", kind="rate", protocol={"gold_share": 0.5})
        session.add(rate)
        session.flush()
        session.add_all(Slot(batch_id=rate.id, summary_id=each, number=1) for each in summaries)
        session.flush()
        held = judging.leases(session, make.labeler(session), 8, make.LEASE, make.PAGE).leases
        assert [each.task for each in held] == ["rate"] * 8


def test_gold_answers_are_about_the_labeler_and_train_nothing(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 10, value=2)
        ask(session, make.pairs(session, 20).batch_id, gold_share=0.5)
        worker = make.labeler(session)
        given = judge(session, worker, 20)
        counted = list(answers.judged(session, the_project(session).id))
        assert len(counted) == given.count(ComparisonKind.ORDINARY)
        asked_for = list(answers.judged(session, the_project(session).id, purposes=[GOLD]))
        assert len(asked_for) == given.count(ComparisonKind.GOLD)


def test_two_labelers_lent_the_same_gold_at_once_get_two_numbers(own_sessions: Sessions) -> None:
    with own_sessions() as session:
        [gold] = make.standing(session, GOLD, 1)
        workers = [make.labeler(session) for _ in range(8)]
        session.commit()

    def lend(worker: Viewer) -> int:
        with own_sessions() as session:
            pair = store.next_pair(session, the_project(session).id, GOLD, worker.id)
            assert pair == gold
            slot_id = store.address(session, pair, worker.id)
            assert slot_id is not None
            session.commit()
            return slot_id

    with ThreadPoolExecutor(8) as pool:
        slots = list(pool.map(lend, workers))
    with own_sessions() as session:
        made = make.slots(session, gold)
        assert [slot.number for slot in made] == list(range(1, 9))
        assert {slot.id for slot in made} == set(slots)
        assert {slot.for_labeler_id for slot in made} == {worker.id for worker in workers}


def test_many_labelers_at_once_keep_the_share_and_meet_each_gold_pair_once(own_sessions: Sessions) -> None:
    with own_sessions() as session:
        gold = make.standing(session, GOLD, 8)
        ask(session, make.pairs(session, 120).batch_id, gold_share=0.25)
        workers = [make.labeler(session) for _ in range(6)]
        session.commit()

    def work_through(worker: Viewer) -> int:
        given = 0
        for _ in range(5):
            with own_sessions() as session:
                held = make.hold(session, worker, 4)
                for showing in held:
                    make.say(session, worker, showing)
                given += kinds(session, held).count(ComparisonKind.GOLD)
                session.commit()
        return given

    with ThreadPoolExecutor(6) as pool:
        shares = list(pool.map(work_through, workers))
    assert [abs(share - 5) <= 1 for share in shares] == [True] * 6, shares
    with own_sessions() as session:
        for each in gold:
            made = make.slots(session, each)
            assert len({slot.labeler_id for slot in made}) == len(made)


# Calibration


def test_researchers_judge_what_is_for_them_and_what_others_share_and_nothing_else(work: Work) -> None:
    with work() as session:
        make.standing(session, GOLD, 4)
        put_up = make.pairs(session, 6)
        ask(session, put_up.batch_id, gold_share=0.5)
        shared, calibration = put_up.comparisons[1], put_up.comparisons[4]
        session.get_one(Comparison, shared).kind = ComparisonKind.SHARED
        session.get_one(Comparison, calibration).kind = ComparisonKind.CALIBRATION
        session.flush()
        rosa = researcher(session, "Rosa's")
        assert standing.lent_only(session, entrance(session, rosa.id), rosa)
        held = make.hold(session, rosa, 9)
        assert kinds(session, held) == [ComparisonKind.SHARED, ComparisonKind.CALIBRATION]
        for showing in held:
            make.say(session, rosa, showing)
        assert make.hold(session, rosa, 9) == []
        assert make.slot_states(session, shared) == [SlotState.OPEN, SlotState.DONE], "labelers are asked all the same"


def test_pairs_that_the_fewest_researchers_judged_come_first(work: Work) -> None:
    with work() as session:
        put_up = make.pairs(session, 3)
        for each in put_up.comparisons:
            session.get_one(Comparison, each).kind = ComparisonKind.SHARED
        session.flush()
        rosa, rolf, rita = (researcher(session, name) for name in ("Rosa's", "Rolf's", "Rita's"))

        def given(viewer: Viewer, answered: int) -> list[int]:
            held = make.hold(session, viewer, 3)
            for showing in held[:answered]:
                make.say(session, viewer, showing)
            return [put_up.comparisons.index(make.slot_of(session, each).comparison_id or 0) for each in held]

        assert given(rosa, 2) == [0, 1, 2]
        assert given(rolf, 2) == [2, 0, 1]
        assert given(rita, 0) == [1, 2, 0]


def test_a_researchers_answer_takes_no_opinion_from_labelers(work: Work) -> None:
    with work() as session:
        put_up = make.pairs(session, 1, opinions=2)
        session.get_one(Comparison, put_up.comparisons[0]).kind = ComparisonKind.CALIBRATION
        session.flush()
        rosa, workers = researcher(session, "Rosa's"), [make.labeler(session), make.labeler(session)]
        for viewer in (rosa, *workers):
            [showing] = make.hold(session, viewer)
            make.say(session, viewer, showing, 1)
        assert make.slot_states(session, put_up.comparisons[0]) == [SlotState.DONE] * 3
        said = session.scalars(select(Preference.surplus)).all()
        assert list(said) == [False] * 3


def test_a_researcher_is_lent_no_pair_again_whose_opinion_was_made_void(work: Work) -> None:
    with work() as session:
        put_up, rosa, boss = make.pairs(session, 1), researcher(session, "Rosa's"), make.admin(session)
        [pair] = put_up.comparisons
        session.get_one(Comparison, pair).kind = ComparisonKind.CALIBRATION
        session.flush()
        [showing] = make.hold(session, rosa)
        comparisons.void(session, boss, pair, make.slot_of(session, showing).id, "Stop.")
        assert make.hold(session, rosa) == []
        assert make.say(session, rosa, showing).surplus
        assert make.slot_states(session, pair) == [SlotState.OPEN, SlotState.VOID], "labelers are asked all the same"


def test_researchers_are_lent_nothing_of_which_every_opinion_is_void(work: Work) -> None:
    with work() as session:
        put_up, rosa, boss = make.pairs(session, 3), researcher(session, "Rosa's"), make.admin(session)
        for each in put_up.comparisons:
            session.get_one(Comparison, each).kind = ComparisonKind.SHARED
        session.flush()
        comparisons.void_open(session, boss, put_up.comparisons[1], "Stop.")
        held = [make.slot_of(session, each).comparison_id for each in make.hold(session, rosa, 5)]
        assert held == [put_up.comparisons[0], put_up.comparisons[2]]
        batches.void_unfinished(session, [put_up.batch_id])
        assert make.hold(session, researcher(session, "Rolf's"), 5) == []


def test_a_pair_that_is_put_back_waits_again_for_those_who_did_not_get_to_it(work: Work) -> None:
    with work() as session:
        [gold], boss = make.standing(session, GOLD), make.admin(session)
        ask(session, make.pairs(session, 30).batch_id, gold_share=0.5)
        skips, waits = make.labeler(session), make.labeler(session)
        terms = queueing.Terms(skips.id, make.LEASE, make.PAGE)
        showing = queueing.lease(session, terms, store.address(session, gold, skips.id) or 0, None)
        assert showing is not None
        judging.skip(session, skips, showing_id=showing, reason=SkipReason.OTHER, comment=None)
        assert store.address(session, gold, waits.id)
        verdicts.retire(session, boss, gold)
        assert ComparisonKind.GOLD not in judge(session, waits, 6)
        verdicts.put_back(session, boss, gold)
        assert make.slot_states(session, gold) == [SlotState.VOID, SlotState.OPEN]
        assert judge(session, waits, 6).count(ComparisonKind.GOLD) == 1

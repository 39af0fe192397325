"""A round goes from stage to stage, waits for people, and ends once, in every order in which things can happen."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, NotFound, StaleClaim
from app.domain.recipes import NAMED, TINY
from app.domain.words import (
    QUEUE_OF,
    BatchPurpose,
    ComparisonKind,
    LabelerKind,
    RoundState,
    RunState,
    SlotState,
    Split,
    Stage,
    Trouble,
)
from app.jobs import RUN_NAMES, Job
from app.services import batches as put_up
from app.services import comparisons, judging, rounds
from app.services import runs as protocol
from app.services.install import furnish
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import answers, batches
from app.store import rounds as store
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import Batch, Comparison, Recipe, Round, Run, Slot
from tests.conftest import Work
from tests.support import factories as make

LEASE = timedelta(seconds=60)
STAGES = [Stage.SFT, Stage.SAMPLE, Stage.LABEL, Stage.REWARD, Stage.PPO, Stage.EVALUATE, Stage.SAMPLE]


def _launch(session: Session, viewer: Viewer | None = None) -> int:
    make.reference_document(session)
    [tiny] = [row for row in rounds.recipes(session) if row.name == "tiny"]
    return rounds.launch(session, viewer or make.admin(session), tiny.id, with_simulated=False)


def _runs(session: Session) -> list[Run]:
    """The runs of the newest round, as they are now."""
    newest = select(func.max(Round.id)).scalar_subquery()
    query = select(Run).where(Run.round_id == newest).order_by(Run.position)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _states(session: Session) -> list[str]:
    return [run.state.value for run in _runs(session)]


def _claim(session: Session) -> Claim:
    """Take the newest round's queued run."""
    [queued] = [run for run in _runs(session) if run.state == RunState.QUEUED]
    claim = protocol.claim(session, queued.id, "host", 1, LEASE)
    assert claim is not None
    return claim


def _to_labeling(session: Session, count: int = 1, opinions: int = 1) -> make.Pairs:
    """Launch a round and bring it to where it waits for people, over a batch of its own."""
    _launch(session)
    rounds.succeed(session, _claim(session), "Fine-tuned.", {})
    sampling = _claim(session)
    pairs = make.pairs(session, count, opinions=opinions, round_id=sampling.round_id)
    rounds.succeed(session, sampling, "Sampled.", {})
    return pairs


def _round(session: Session) -> Round:
    return session.scalars(
        select(Round).order_by(Round.id.desc()).limit(1).execution_options(populate_existing=True)
    ).one()


# Launching


def test_a_launch_writes_the_runs_and_rings_after_the_commit(work: Work, sent: list[Job]) -> None:
    with work() as session:
        assert _launch(session) == 1
        assert sent == []
    with work() as session:
        found = _runs(session)
        assert [run.stage for run in found] == STAGES
        assert [run.position for run in found] == list(range(1, 8))
        assert _states(session) == ["queued"] + ["pending"] * 6
        assert [run.queue for run in found] == [QUEUE_OF.get(stage) for stage in STAGES]
        assert sent == [Job(RUN_NAMES[Stage.SFT], QUEUE_OF[Stage.SFT], found[0].id)]


def test_a_launch_that_is_rolled_back_rings_nobody(work: Work, sent: list[Job]) -> None:
    with pytest.raises(ZeroDivisionError), work() as session:
        _launch(session)
        raise ZeroDivisionError
    assert sent == []
    with work() as session:
        assert rounds.views(session) == []


def test_a_second_launch_is_refused_while_a_round_goes_on(work: Work) -> None:
    with work() as session:
        _launch(session)
        with pytest.raises(Conflict, match="Round 1 is still going on"):
            _launch(session)
        assert len(rounds.views(session)) == 1


def test_the_database_itself_refuses_a_second_active_round(work: Work) -> None:
    with work() as session:
        _launch(session)
        first = _round(session)
        with pytest.raises(IntegrityError, match="uq_round_active"), session.begin_nested():
            store.add_round(session, first.project_id, first.recipe_id, None, False)


def test_launches_at_once_start_one_round(own_sessions: Sessions) -> None:
    with unit_of_work(own_sessions, lambda job: None) as session:
        boss = make.admin(session)
        make.reference_document(session)
        recipe = rounds.recipes(session)[0].id
    barrier = Barrier(6)

    def launch(_: int) -> str:
        barrier.wait(timeout=30)
        try:
            with unit_of_work(own_sessions, lambda job: None) as session:
                return str(rounds.launch(session, boss, recipe, with_simulated=False))
        except Conflict as refusal:
            return refusal.what

    with ThreadPoolExecutor(6) as pool:
        said = sorted(pool.map(launch, range(6)))
    assert said == ["1"] + ["Round 1 is still going on."] * 5


def test_nothing_is_launched_without_documents_to_learn_from(work: Work) -> None:
    with work() as session:
        make.document(session)
        make.reference_document(session, split=Split.VALIDATION)
        with pytest.raises(Conflict, match="no training documents"):
            rounds.launch(session, make.admin(session), rounds.recipes(session)[0].id, with_simulated=False)


def test_nothing_is_launched_without_a_recipe(work: Work) -> None:
    with work() as session:
        make.reference_document(session)
        with pytest.raises(NotFound):
            rounds.launch(session, make.admin(session), 10**9, with_simulated=False)


def test_a_second_round_starts_from_the_fine_tuned_model_that_is_there(work: Work) -> None:
    with work() as session:
        _launch(session)
        claim = _claim(session)
        make.trained_checkpoint(session, protocol.hold(session, claim), make.base_checkpoint(session))
        rounds.succeed(session, claim, "Fine-tuned.", {})
        rounds.cancel(session, make.admin(session), 1)
        assert _launch(session) == 2
        assert [run.stage for run in _runs(session)] == STAGES[1:]


def test_a_launch_adopts_the_pairs_that_were_sampled_for_it(work: Work) -> None:
    with work() as session:
        sampled, imported = make.pairs(session), make.pairs(session, reason="import")
        _launch(session)
        assert batches.batches_of_round(session, _round(session).id) == [sampled.batch_id]
        # What was put up for a round that ended early is the next one's.
        rounds.cancel(session, make.admin(session), 1)
        _launch(session)
        assert batches.batches_of_round(session, _round(session).id) == [sampled.batch_id]
        assert imported.batch_id != sampled.batch_id


# From stage to stage


def test_a_round_goes_through_its_stages_and_ends(work: Work, sent: list[Job]) -> None:
    with work() as session:
        worker = make.labeler(session)
        _to_labeling(session, 2)
        assert _states(session) == ["succeeded", "succeeded", "waiting", "pending", "pending", "pending", "pending"]
        assert make.judge_all(session, worker) == 2
        assert _states(session) == ["succeeded"] * 3 + ["queued"] + ["pending"] * 3
        for _ in range(4):
            rounds.succeed(session, _claim(session), "Done.", {"n": 1})
        assert _states(session) == ["succeeded"] * 7
        view = rounds.view(session, 1)
        assert (view.state, view.ended_at is not None) == (RoundState.SUCCEEDED, True)
        assert [run.result for run in view.runs if run.stage == Stage.PPO] == [{"n": 1}]
    assert [job.name for job in sent] == [RUN_NAMES[stage] for stage in STAGES if stage != Stage.LABEL]


def test_the_next_round_has_the_next_number(work: Work) -> None:
    with work() as session:
        for number in (1, 2, 3):
            assert _launch(session) == number
            rounds.cancel(session, make.admin(session), number)
        assert [view.number for view in rounds.views(session)] == [3, 2, 1]


def test_a_stale_holder_neither_succeeds_nor_fails_the_run(work: Work) -> None:
    with work() as session:
        _launch(session)
        stale = _claim(session)
        session.execute(update(Run).where(Run.id == stale.run_id).values(lease_expires_at=func.now() - LEASE))
        fresh = protocol.claim(session, stale.run_id, "other", 2, LEASE)
        assert fresh is not None
        assert fresh.fence > stale.fence
        with pytest.raises(StaleClaim):
            rounds.succeed(session, stale, "Done.", {})
        with pytest.raises(StaleClaim):
            rounds.fail(session, stale, Trouble.LASTING, "Broken.", "trace")
        with pytest.raises(StaleClaim):
            rounds.stopped(session, stale)
        assert _states(session)[0] == "running"
        rounds.succeed(session, fresh, "Done.", {})
        with pytest.raises(StaleClaim):
            rounds.succeed(session, fresh, "Done.", {})
        assert _states(session)[:2] == ["succeeded", "queued"]


def test_a_failed_run_ends_the_round_with_words(work: Work, sent: list[Job]) -> None:
    with work() as session:
        _launch(session)
        rounds.fail(session, _claim(session), Trouble.LASTING, "The model is gone. Nothing was lost.", "Traceback: ...")
    with work() as session:
        assert _states(session) == ["failed"] + ["cancelled"] * 6
        view = rounds.view(session, 1)
        assert view.state == RoundState.FAILED
        assert view.runs[0].problem == "The model is gone. Nothing was lost."
        assert view.runs[0].traceback == "Traceback: ..."
        assert {run.words for run in view.runs[1:]} == {"Not begun, because an earlier run failed."}
        assert _launch(session) == 2
    assert len(sent) == 2


# Waiting for people


def test_labeling_waits_for_the_last_opinion(work: Work) -> None:
    with work() as session:
        one, two = make.labeler(session), make.labeler(session)
        _to_labeling(session, 2, opinions=2)
        assert make.judge_all(session, one) == 2
        view = rounds.view(session, 1).runs[2]
        assert (view.state, view.done, view.total) == (RunState.WAITING, 2, 4)
        assert view.words == "Waiting for labelers: 2 of 4 opinions given."
        first, second = make.hold(session, two, 2)
        make.say(session, two, first)
        assert _states(session)[2:4] == ["waiting", "pending"]
        make.say(session, two, second)
        assert _states(session)[2:4] == ["succeeded", "queued"]
        view = rounds.view(session, 1).runs[2]
        assert (view.done, view.total, view.words) == (4, 4, "4 opinions given.")
        assert view.result == {"judged": 4, "last_preference": answers.last_preference(session)}


def test_answers_to_other_batches_and_edits_move_no_round(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        _to_labeling(session, 1, opinions=2)
        make.pairs(session, 1)
        held = make.hold(session, worker, 2)
        for showing in [*held, *held]:
            make.say(session, worker, showing)
        assert _states(session)[2] == "waiting"


def test_labeling_is_over_at_once_where_everything_is_judged_already(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        _launch(session)
        rounds.succeed(session, _claim(session), "Fine-tuned.", {})
        sampling = _claim(session)
        make.pairs(session, 2, round_id=sampling.round_id)
        make.judge_all(session, worker)
        rounds.succeed(session, sampling, "Sampled.", {})
        assert _states(session)[2:4] == ["succeeded", "queued"]


def test_two_last_answers_that_cross_leave_the_rest_to_the_reconciler(own_sessions: Sessions) -> None:
    with unit_of_work(own_sessions, lambda job: None) as session:
        one, two = make.labeler(session), make.labeler(session)
        _to_labeling(session, 2)
        [first], [second] = make.hold(session, one), make.hold(session, two)
    with own_sessions() as here, own_sessions() as there:
        make.say(here, one, first)
        make.say(there, two, second)  # neither sees the other's
        here.commit()
        there.commit()
    sent: list[Job] = []
    with unit_of_work(own_sessions, sent.append) as session:
        assert _states(session)[2] == "waiting"
        assert rounds.look_around(session) == 1
        assert _states(session)[2:4] == ["succeeded", "queued"]
    assert [job.name for job in sent] == [RUN_NAMES[Stage.REWARD]]
    with unit_of_work(own_sessions, sent.append) as session:
        assert rounds.look_around(session) == 0


def test_looking_around_changes_nothing_while_opinions_are_missing(work: Work, sent: list[Job]) -> None:
    with work() as session:
        _to_labeling(session, 2)
        before = list(sent)
        assert rounds.look_around(session) == 1
        assert _states(session)[2] == "waiting"
    assert len(sent) == len(before) + 2  # the stages before


def test_the_last_answer_does_not_wait_for_whoever_ends_the_labeling(own_sessions: Sessions) -> None:
    # The answer holds its slot and looks at the round; who ends the labeling holds the round and voids slots.
    with unit_of_work(own_sessions, lambda job: None) as session:
        worker, boss = make.labeler(session), make.admin(session)
        _to_labeling(session, 2)
        first, last = make.hold(session, worker, 2)
        make.say(session, worker, first)
        project = the_project(session).id
    with own_sessions() as ending, own_sessions() as answering:
        store.lock_project_rounds(ending, project)
        answering.connection().exec_driver_sql("set local lock_timeout = '3s'")
        assert make.say(answering, worker, last) == judging.Saved(1, False)
        answering.commit()
        assert rounds.finish_labeling(ending, boss, 1) == 0
        ending.commit()
    with own_sessions() as session:
        assert _states(session)[2:4] == ["succeeded", "queued"]


def test_labeling_can_be_finished_with_what_there_is(work: Work, sent: list[Job]) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 3)
        done, held = make.hold(session, worker, 2)
        make.say(session, worker, done)
        assert rounds.finish_labeling(session, boss, 1) == 2
        assert [make.slot_states(session, one) for one in pairs.comparisons] == [
            [SlotState.DONE],
            [SlotState.VOID],
            [SlotState.VOID],
        ]
        assert make.hold(session, worker) == []
        assert make.say(session, worker, held) == judging.Saved(1, True)
        assert _states(session)[2:4] == ["succeeded", "queued"]
        assert rounds.view(session, 1).runs[2].result["judged"] == 1
        with pytest.raises(Conflict):
            rounds.finish_labeling(session, boss, 1)
    assert sent[-1].name == RUN_NAMES[Stage.REWARD]


def test_labeling_cannot_be_finished_with_nothing(work: Work) -> None:
    with work() as session:
        pairs = _to_labeling(session, 1)
        with pytest.raises(Conflict, match="Nothing has been judged"):
            rounds.finish_labeling(session, make.admin(session), 1)
        assert make.slot_states(session, pairs.comparisons[0]) == [SlotState.OPEN]


def test_labeling_cannot_be_finished_with_answers_that_do_not_count(work: Work) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 2)
        make.say(session, worker, make.hold(session, worker)[0])
        [slot] = make.slots(session, pairs.comparisons[0])
        comparisons.void(session, boss, pairs.comparisons[0], slot.id, "A wrong click.")
        [gold] = make.standing(session, BatchPurpose.GOLD)
        session.get_one(Batch, pairs.batch_id).protocol = {"gold_share": 0.5}
        session.flush()
        for _ in range(3):
            for showing in make.hold(session, worker, 2):
                if make.slot_of(session, showing).comparison_id == gold:
                    make.say(session, worker, showing)
        assert len(make.answers(session, gold)) == 1
        with pytest.raises(Conflict, match="Nothing has been judged"):
            rounds.finish_labeling(session, boss, 1)


def test_labeling_cannot_be_finished_before_it_began(work: Work) -> None:
    with work() as session:
        _launch(session)
        with pytest.raises(Conflict, match="not waiting"):
            rounds.finish_labeling(session, make.admin(session), 1)
        with pytest.raises(NotFound):
            rounds.finish_labeling(session, make.admin(session), 2)


# More opinions, fewer, and pairs of other kinds


def _of_kinds(session: Session, pairs: make.Pairs, *kinds: ComparisonKind) -> None:
    for comparison_id, kind in zip(pairs.comparisons, kinds, strict=True):
        session.get_one(Comparison, comparison_id).kind = kind
    session.flush()


def test_a_round_waits_for_every_opinion_of_the_shared_pool_and_learns_from_each(work: Work) -> None:
    with work() as session:
        labelers = [make.labeler(session) for _ in range(3)]
        pairs = _to_labeling(session, 3)
        _of_kinds(session, pairs, ComparisonKind.ORDINARY, ComparisonKind.SHARED, ComparisonKind.SENTINEL)
        for number in (2, 3):
            session.add(Slot(batch_id=pairs.batch_id, comparison_id=pairs.comparisons[1], number=number))
        session.flush()
        assert make.judge_all(session, labelers[0]) == 3
        view = rounds.view(session, 1).runs[2]
        assert (view.state, view.done, view.total) == (RunState.WAITING, 3, 5)
        assert make.judge_all(session, labelers[1]) == 1
        assert _states(session)[2] == "waiting"
        assert make.judge_all(session, labelers[2]) == 1
        view = rounds.view(session, 1).runs[2]
        assert (view.state, view.result["judged"]) == (RunState.SUCCEEDED, 5)
        learned = list(answers.judged(session, the_project(session).id))
        assert Counter(row.kind for row in learned) == {
            ComparisonKind.ORDINARY: 1,
            ComparisonKind.SHARED: 3,
            ComparisonKind.SENTINEL: 1,
        }


def test_a_round_does_not_wait_for_what_researchers_are_lent(work: Work) -> None:
    with work() as session:
        worker, researcher = make.labeler(session), make.labeler(session)
        pairs = _to_labeling(session, 2)
        lent = Slot(batch_id=pairs.batch_id, comparison_id=pairs.comparisons[0], number=2, for_labeler_id=researcher.id)
        session.add(lent)
        session.flush()
        assert rounds.view(session, 1).runs[2].total == 2
        first, second = make.hold(session, worker, 2)
        make.say(session, worker, first)
        make.say(session, worker, second)
        assert _states(session)[2:4] == ["succeeded", "queued"]
        assert rounds.view(session, 1).runs[2].result["judged"] == 2
        # Nobody took it from them, either.
        assert make.judge_all(session, researcher) == 1
        assert len(list(answers.judged(session, the_project(session).id))) == 3


def test_finishing_the_labeling_leaves_what_researchers_are_lent(work: Work) -> None:
    with work() as session:
        worker, researcher, boss = make.labeler(session), make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 2)
        session.add(
            Slot(batch_id=pairs.batch_id, comparison_id=pairs.comparisons[0], number=2, for_labeler_id=researcher.id)
        )
        session.flush()
        make.say(session, worker, make.hold(session, worker)[0])
        assert rounds.finish_labeling(session, boss, 1) == 1
        assert make.judge_all(session, researcher) == 1


def test_a_round_waits_for_opinions_that_were_asked_for_later(work: Work) -> None:
    with work() as session:
        one, two, boss = make.labeler(session), make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 2)
        put_up.set_opinions(session, boss, pairs.batch_id, 2)
        assert make.judge_all(session, one) == 2
        view = rounds.view(session, 1).runs[2]
        assert (view.state, view.done, view.total) == (RunState.WAITING, 2, 4)
        assert view.words == "Waiting for labelers: 2 of 4 opinions given."
        assert make.judge_all(session, two) == 2
        assert _states(session)[2:4] == ["succeeded", "queued"]


def test_a_round_goes_on_when_the_last_open_opinions_are_taken_back(work: Work) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 2, opinions=2)
        make.judge_all(session, worker)
        assert put_up.set_opinions(session, boss, pairs.batch_id, 1) == (0, 2)
        assert _states(session)[2:4] == ["succeeded", "queued"]


def test_a_round_goes_on_when_its_last_open_opinion_is_made_void(work: Work) -> None:
    with work() as session:
        worker, boss = make.labeler(session), make.admin(session)
        pairs = _to_labeling(session, 2)
        make.say(session, worker, make.hold(session, worker)[0])
        comparisons.void_open(session, boss, pairs.comparisons[0], "Not this one.")
        assert _states(session)[2] == "waiting"
        [slot] = make.slots(session, pairs.comparisons[1])
        comparisons.void(session, boss, pairs.comparisons[1], slot.id, "Nor this one.")
        assert _states(session)[2:4] == ["succeeded", "queued"]


def test_sentinel_pairs_come_on_top_of_those_that_a_recipe_asks_for(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 3)
        _of_kinds(session, pairs, ComparisonKind.ORDINARY, ComparisonKind.SENTINEL, ComparisonKind.SHARED)
        assert batches.unadopted(session, the_project(session).id) == batches.Unadopted(2, 3, 0)
        _launch(session)
        assert batches.batches_of_round(session, _round(session).id) == [pairs.batch_id]
        assert batches.count_comparisons(session, _round(session).id) == {Split.TRAIN: 2}


def test_summaries_to_rate_belong_to_no_round(work: Work) -> None:
    with work() as session:
        rated = make.to_rate(session, 3)
        _launch(session)
        assert batches.batches_of_round(session, _round(session).id) == []
        assert batches.unadopted(session, the_project(session).id) == batches.Unadopted(0, 0, 0)
        assert batches.open_slots(session, the_project(session).id) == 3
        assert rated.batch_id


# Cancelling


def test_cancelling_before_anything_began_ends_everything(work: Work) -> None:
    with work() as session:
        _launch(session)
        rounds.cancel(session, make.admin(session), 1)
        assert _states(session) == ["cancelled"] * 7
        assert rounds.view(session, 1).state == RoundState.CANCELLED
        assert protocol.claim(session, _runs(session)[0].id, "host", 1, LEASE) is None
        with pytest.raises(Conflict, match="over already"):
            rounds.cancel(session, make.admin(session), 1)
        with pytest.raises(NotFound):
            rounds.cancel(session, make.admin(session), 2)


def test_cancelling_while_a_worker_runs_asks_it_to_stop(work: Work) -> None:
    with work() as session:
        _launch(session)
        claim = _claim(session)
        assert protocol.beat(session, claim, LEASE) is False
        rounds.cancel(session, make.admin(session), 1)
        assert _states(session) == ["running"] + ["cancelled"] * 6
        assert protocol.beat(session, claim, LEASE) is True
        rounds.stopped(session, claim)
        assert _states(session) == ["cancelled"] * 7
        assert rounds.view(session, 1).state == RoundState.CANCELLED


def test_a_run_that_succeeds_in_spite_of_a_cancel_starts_nothing(work: Work, sent: list[Job]) -> None:
    with work() as session:
        _launch(session)
        claim = _claim(session)
        rounds.cancel(session, make.admin(session), 1)
        assert _launch(session) == 2
        rounds.succeed(session, claim, "Done after all.", {})
        assert rounds.view(session, 1).state == RoundState.CANCELLED
        assert [run.state for run in rounds.view(session, 1).runs[1:]] == [RunState.CANCELLED] * 6
        assert rounds.view(session, 2).state == RoundState.ACTIVE
    assert len(sent) == 2


def test_a_run_that_fails_after_a_cancel_does_not_touch_the_next_round(work: Work) -> None:
    with work() as session:
        _launch(session)
        claim = _claim(session)
        rounds.cancel(session, make.admin(session), 1)
        _launch(session)
        rounds.fail(session, claim, Trouble.LASTING, "Broken.", "trace")
        assert rounds.view(session, 1).state == RoundState.CANCELLED
        assert rounds.view(session, 2).state == RoundState.ACTIVE
        assert _states(session) == ["queued"] + ["pending"] * 6


def test_cancelling_while_people_judge_keeps_what_they_said(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        pairs = _to_labeling(session, 2)
        first, second = make.hold(session, worker, 2)
        make.say(session, worker, first)
        rounds.cancel(session, make.admin(session), 1)
        assert _states(session) == ["succeeded"] * 2 + ["cancelled"] * 5
        assert make.say(session, worker, second) == judging.Saved(1, False)
        assert sum(len(make.answers(session, one)) for one in pairs.comparisons) == 2
        assert rounds.look_around(session) == 0


# Recipes


def test_recipes_are_versions_and_the_newest_is_shown(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        first = rounds.recipe(session, rounds.add_recipe(session, boss, TINY))
        assert first[1] == TINY
        assert [row.version for row in rounds.recipes(session) if row.name == "tiny"] == [2]


def test_a_restart_does_not_bury_a_recipe_that_somebody_saved(work: Work) -> None:
    with work() as session:
        mine = rounds.add_recipe(session, make.admin(session), replace(TINY, seed=7))
        furnish(session)
        assert [row.id for row in rounds.recipes(session) if row.name == "tiny"] == [mine]


def test_a_changed_default_is_a_new_version(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    with work() as session:
        before = session.scalar(select(func.count()).select_from(Recipe))
        monkeypatch.setitem(NAMED, "tiny", replace(TINY, seed=99))
        furnish(session)
        furnish(session)
        assert session.scalar(select(func.count()).select_from(Recipe)) == (before or 0) + 1
        [newest] = [row for row in rounds.recipes(session) if row.name == "tiny"]
        assert (newest.version, newest.body["seed"]) == (2, 99)


def test_a_round_for_people_leaves_alone_what_simulated_labelers_answered(work: Work) -> None:
    with work() as session:
        mixed, untouched = make.pairs(session), make.pairs(session)
        session.execute(update(Batch).values(for_kind=None))
        robot = make.labeler(session, kind=LabelerKind.SIMULATED)
        make.say(session, robot, make.hold(session, robot)[0])
        _launch(session)
        assert batches.batches_of_round(session, _round(session).id) == [untouched.batch_id]
        assert mixed.batch_id != untouched.batch_id
        # From now on only people are asked, also where simulated labelers might have answered before.
        assert session.get_one(Batch, untouched.batch_id).for_kind == LabelerKind.HUMAN


def test_what_was_judged_for_a_round_that_failed_is_not_judged_again(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        _to_labeling(session, 2)
        make.judge_all(session, worker)
        claim = protocol.claim(session, _runs(session)[3].id, "host", 1, LEASE)
        assert claim is not None
        rounds.fail(session, claim, Trouble.LASTING, "Broken.", "trace")
        _launch(session)
        assert store.round_by_number(session, the_project(session).id, 2) is not None
        assert sum(batches.count_comparisons(session, _round(session).id).values()) == 2

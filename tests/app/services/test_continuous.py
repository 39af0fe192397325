"""Continuous mode over real rows: it keeps the queue filled, launches at the number, and stops in words."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, Invalid
from app.domain.recipes import TINY, ContinuousRecipe
from app.domain.words import CheckpointKind, LabelerKind, RoundState, RunState, Split, Stage, Trouble
from app.jobs import RUN_NAMES, Job
from app.services import batches as assignments
from app.services import continuous, people, rounds
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import answers, batches
from app.store import continuous as store
from app.store import rounds as rounds_store
from app.store import runs as runs_store
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import AuditEvent, Continuous, Round, Run
from tests.conftest import Work
from tests.support import factories as make

LEASE = timedelta(seconds=60)
RULE = ContinuousRecipe(least_open=2, pairs=3, launch_after=4, most_opinions=40, most_rounds=2)


def fine_tune(session: Session, split: Split = Split.TRAIN) -> None:
    """A document with a reference, and a policy that an earlier round fine-tuned."""
    make.reference_document(session, split=split)
    run = make.own_run(session, Stage.SFT)
    runs_store.end(session, run, RunState.SUCCEEDED, words="Fine-tuned.")
    make.trained_checkpoint(session, run, make.base_checkpoint(session), CheckpointKind.POLICY)


def turn_on(session: Session, rule: ContinuousRecipe = RULE, *, with_simulated: bool = False) -> Viewer:
    """Continuous mode by this rule, turned on a while ago. Gives who did."""
    boss = make.admin(session)
    recipe_id = rounds.add_recipe(session, boss, replace(TINY, name="mine", continuous=rule))
    continuous.turn_on(session, boss, recipe_id, with_simulated=with_simulated)
    # The clock stands still within a test; rounds that end in it are later ones all the same.
    session.execute(update(Continuous).values(created_at=func.now() - timedelta(hours=1)))
    return boss


def tick(session: Session, times: int = 3) -> int:
    """The reconciler comes by a few times. Gives how many steps it took."""
    return sum(continuous.look_around(session) for _ in range(times))


def samplings(session: Session) -> list[Run]:
    """Runs by which the mode sampled, oldest first."""
    found = select(Run).where(Run.payload["continuous"].astext.is_not(None)).order_by(Run.id)
    return list(session.scalars(found.execution_options(populate_existing=True)))


def newest_round(session: Session) -> Round | None:
    found = select(Round).order_by(Round.id.desc()).limit(1)
    return session.scalar(found.execution_options(populate_existing=True))


def stages(session: Session) -> list[tuple[Stage, str]]:
    """The newest round's stages and their states."""
    turn = newest_round(session)
    assert turn is not None
    return [(run.stage, run.state.value) for run in rounds.view(session, turn.number).runs]


def take(session: Session, run_id: int) -> Claim:
    claim = protocol.claim(session, run_id, "host", 1, LEASE)
    assert claim is not None
    return claim


def put_up(session: Session, run: Run, count: int = 3) -> None:
    """What a worker does with a sampling: so many pairs, by a batch of their own."""
    claim = take(session, run.id)
    if count:
        make.pairs(session, count, for_kind=None if run.payload["with_simulated"] else LabelerKind.HUMAN)
    rounds.succeed(session, claim, f"{count} pairs are up.", {"pairs": count})


def learn(session: Session) -> None:
    """Carry the newest round from where it learns to its end."""
    turn = newest_round(session)
    assert turn is not None
    while newest_round(session).state == RoundState.ACTIVE:  # type: ignore[union-attr]
        [queued] = [run for run in rounds.view(session, turn.number).runs if run.state == RunState.QUEUED]
        rounds.succeed(session, take(session, queued.id), "Done.", {})


def stopped(session: Session) -> str:
    """Why the mode is off, by itself."""
    mode = continuous.view(session)
    assert mode is not None
    assert mode.stopped_by_itself, "it is on, or somebody turned it off"
    assert mode.end_words is not None
    told = session.scalars(select(AuditEvent).where(AuditEvent.action == "stopped continuous mode")).one()
    assert told.actor_id is None and told.details == {"why": mode.end_words}
    return mode.end_words


# On and off


def test_it_is_turned_on_and_off_by_somebody_and_both_are_written_down(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        mode = continuous.view(session)
        assert mode is not None and mode.counts is not None
        assert (mode.recipe_name, mode.turned_on_by, mode.with_simulated) == ("mine", boss.name, False)
        with pytest.raises(Conflict, match="is on already"):
            turn_on(session)
        continuous.turn_off(session, boss)
        off = continuous.view(session)
        assert off is not None and off.counts is None and not off.stopped_by_itself
        assert (off.ended_by, off.end_words) == (boss.name, f"Turned off by {boss.name}.")
        with pytest.raises(Conflict, match="is off already"):
            continuous.turn_off(session, boss)
        assert tick(session) == 0, "what is off does nothing"
        done = select(AuditEvent.action).where(AuditEvent.actor_id == boss.id, AuditEvent.subject == "continuous")
        assert list(session.scalars(done.order_by(AuditEvent.id))) == [
            "turned on continuous mode",
            "turned off continuous mode",
        ]
        turn_on(session)


def test_the_database_itself_refuses_a_second_one(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        recipe = rounds.recipes(session)[0].id
        with pytest.raises(IntegrityError, match="uq_continuous_on"), session.begin_nested():
            store.add(session, the_project(session).id, recipe, boss.id, 0, False)
        with pytest.raises(IntegrityError, match="end_says_why"), session.begin_nested():
            session.execute(update(Continuous).values(ended_at=func.now()))


def test_a_budget_that_the_first_round_alone_would_use_is_refused(work: Work) -> None:
    with work() as session:
        make.reference_document(session)
        small = replace(RULE, most_opinions=11)
        with pytest.raises(Invalid, match="first round asks for 12 opinions"):
            turn_on(session, small)
        fine_tune(session)
        turn_on(session, small)


# Sampling


def test_pairs_are_sampled_once_when_labelers_run_out(work: Work, sent: list[Job]) -> None:
    with work() as session:
        fine_tune(session)
        pairs = make.pairs(session, 2)
        turn_on(session)
        assert tick(session) == 0, "two opinions are needed, which is not fewer than two"
        batches.set_batch_paused(session, pairs.batch_id, True)
        assert tick(session) == 1, "what lies in a paused batch is not given out"
        [run] = samplings(session)
        assert (run.state, run.round_id, run.asked_by) == (RunState.QUEUED, None, None)
        assert (run.payload["pairs"], run.payload["with_simulated"], run.payload["for"]) == (3, False, "queue")
        claim = take(session, run.id)
        assert tick(session) == 0, "it is being sampled"
        rounds.succeed(session, claim, "Nothing is open yet.", {"pairs": 3})
        assert tick(session) == 1, "and it was not enough"
    assert [job.name for job in sent] == [RUN_NAMES[Stage.SAMPLE]] * 2


def test_two_reconcilers_at_once_ask_once(own_sessions: Sessions) -> None:
    with unit_of_work(own_sessions, lambda job: None) as session:
        fine_tune(session)
        turn_on(session)
    barrier, sent = Barrier(6), list[Job]()

    def look(_: int) -> int:
        barrier.wait(timeout=30)
        with unit_of_work(own_sessions, sent.append) as session:
            return continuous.look_around(session)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(look, range(6))) == [0, 0, 0, 0, 0, 1]
    with unit_of_work(own_sessions, lambda job: None) as session:
        assert len(samplings(session)) == len(sent) == 1
        put_up(session, samplings(session)[0], 4)
        make.judge_all(session, make.labeler(session))
        make.pairs(session, 2)
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(look, range(6))) == 1
    with unit_of_work(own_sessions, lambda job: None) as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 1


def test_what_somebody_else_samples_counts_as_coming(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        recipe = rounds.recipes(session)[0].id
        run_id = rounds.sample_pairs(session, boss, recipe, 5, with_simulated=False)
        assert tick(session) == 0
        protocol.cancel(session, boss, run_id)
        assert tick(session) == 1, "somebody else's sampling may be cancelled without trouble"


def test_pairs_for_others_do_not_keep_it_from_sampling(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session)
        make.pairs(session, 9, for_kind=LabelerKind.SIMULATED)
        make.to_rate(session, 9)
        assert tick(session) == 1


def test_opinions_that_nobody_can_give_do_not_keep_it_from_sampling(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session)
        judge = make.labeler(session)
        make.pairs(session, 3, opinions=2)
        assert tick(session) == 0, "the one labeler has three to give"
        make.judge_all(session, judge)
        assert tick(session) == 1, "three are needed, of somebody else"
        mode = continuous.view(session)
        assert mode is not None and mode.counts is not None
        assert (mode.counts.open, mode.counts.needed, mode.counts.asked) == (0, 3, 6)
        put_up(session, samplings(session)[0], 1)
        other = make.labeler(session)
        assert tick(session) == 0, "somebody else is there now"
        assert make.judge_all(session, other) == 4


def test_pairs_for_somebody_else_are_not_there_for_the_others(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        gone = make.labeler(session)
        make.labeler(session)
        assigned = make.pairs(session, 4)
        assignments.assign(session, boss, assigned.batch_id, [gone.id])
        assert tick(session) == 0
        people.deactivate(session, boss, gone.id)
        assert tick(session) == 1, "who is left has nothing to judge"


def test_the_last_sampling_takes_what_the_budget_leaves(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session, replace(RULE, most_opinions=5, launch_after=5))
        tick(session)
        put_up(session, samplings(session)[0])
        judge = make.labeler(session)
        make.judge_all(session, judge)
        tick(session)
        assert [run.payload["pairs"] for run in samplings(session)] == [3, 2]
        put_up(session, samplings(session)[1], 1)
        make.judge_all(session, judge)
        tick(session)
        assert samplings(session)[-1].payload["pairs"] == 1
        put_up(session, samplings(session)[-1], 1)
        assert tick(session) == 0, "the last opinion is still needed"
        assert len(samplings(session)) == 3


# Rounds


def test_the_first_round_fine_tunes_and_puts_up_its_own_pairs(work: Work) -> None:
    with work() as session:
        make.reference_document(session)
        turn_on(session)
        assert tick(session) == 1, "nothing is sampled beside a round that is about to put up its own"
        assert [stage for stage, _ in stages(session)] == [
            Stage.SFT,
            Stage.SAMPLE,
            Stage.LABEL,
            Stage.REWARD,
            Stage.PPO,
            Stage.EVALUATE,
        ]
        turn = newest_round(session)
        assert turn is not None
        assert (turn.launched_by, turn.continuous_id is not None, turn.with_simulated) == (None, True, False)
        assert samplings(session) == []
        told = session.scalars(select(AuditEvent).where(AuditEvent.action == "launched round")).one()
        assert told.actor_id is None and told.details["mode"] == turn.continuous_id


def test_a_round_begins_at_the_number_and_waits_for_nobody(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        done = make.pairs(session, 3)
        make.judge_all(session, judge)
        turn_on(session)
        begun = make.pairs(session, 4)
        assert tick(session) == 0, "three are there, four are asked for"
        make.say(session, judge, make.hold(session, judge)[0])
        assert tick(session) == 1
        assert stages(session) == [
            (Stage.LABEL, "succeeded"),
            (Stage.REWARD, "queued"),
            (Stage.PPO, "pending"),
            (Stage.EVALUATE, "pending"),
        ]
        turn = newest_round(session)
        assert turn is not None
        assert rounds.view(session, turn.number).runs[0].result["judged"] == 4
        assert batches.batches_of_round(session, turn.id) == [done.batch_id], "what is not judged is the next one's"
        assert begun.batch_id != done.batch_id
        assert tick(session) == 0


def test_the_queue_is_kept_filled_while_a_round_learns_and_the_next_one_counts_from_there(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, judge)
        assert tick(session) == 2, "a sampling, and a round"
        [run] = samplings(session)
        put_up(session, run)
        make.judge_all(session, judge)
        assert tick(session) == 1, "while the reward model learns"
        put_up(session, samplings(session)[1])
        make.judge_all(session, judge)
        mode = continuous.view(session)
        assert mode is not None and mode.counts is not None
        assert (mode.counts.new, mode.counts.rounds, mode.counts.asked) == (6, 1, 10)
        learn(session)
        make.pairs(session, 2)
        assert tick(session) == 1
        turn = newest_round(session)
        assert turn is not None and turn.number == 2
        assert rounds.view(session, 2).runs[0].result["judged"] == 6


def test_what_a_reward_model_learned_from_is_not_new_to_the_next_round(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, judge)
        tick(session)
        make.pairs(session, 3)
        make.judge_all(session, judge)
        turn = newest_round(session)
        assert turn is not None
        run = session.scalars(select(Run).where(Run.round_id == turn.id, Run.stage == Stage.REWARD)).one()
        claim = take(session, run.id)
        written = make.trained_checkpoint(session, run, make.base_checkpoint(session), CheckpointKind.REWARD)
        written.snapshot = {"up_to_preference": answers.last_preference(session)}
        make.pairs(session, 1)
        make.judge_all(session, judge)
        before = continuous.view(session)
        assert before is not None and before.counts is not None and before.counts.new == 4, "it may still fail"
        rounds.succeed(session, claim, "Learned.", {})
        after = continuous.view(session)
        assert after is not None and after.counts is not None and after.counts.new == 1


def test_an_edited_answer_counts_once_and_imported_or_simulated_ones_as_they_should(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session)
        make.pairs(session, 2)
        judge = make.labeler(session)
        showing = make.hold(session, judge)[0]
        for value in (2, 8, 3):
            make.say(session, judge, showing, value)
        make.judge_all(session, make.labeler(session, kind=LabelerKind.SIMULATED))
        make.pairs(session, 2, reason="import")
        make.judge_all(session, judge)
        mode = continuous.view(session)
        assert mode is not None and mode.counts is not None
        assert mode.counts.new == 3, "one by a person here, two that were imported"
        assert mode.counts.asked == 1, "the budget counts what was asked here"


def test_simulated_labelers_count_where_somebody_asked_for_it(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session, with_simulated=True)
        make.pairs(session, 2)
        make.pairs(session, 4, for_kind=LabelerKind.SIMULATED)
        assert tick(session) == 0
        make.judge_all(session, make.labeler(session, kind=LabelerKind.SIMULATED))
        assert tick(session) == 2
        assert samplings(session)[0].payload["with_simulated"] is True
        turn = newest_round(session)
        assert turn is not None and turn.with_simulated
        assert rounds.view(session, 1).runs[0].result["judged"] == 6


def test_a_round_of_its_own_is_run_again_as_it_was(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, make.labeler(session))
        tick(session)
        make.pairs(session, 5)
        rounds.cancel(session, boss, 1)
        rounds.run_again(session, boss, 1, 1)
        assert stages(session)[:2] == [(Stage.LABEL, "succeeded"), (Stage.REWARD, "queued")], "it waits for nobody"


# Stopping


def test_after_its_rounds_it_stops_and_says_so(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        turn_on(session, replace(RULE, most_rounds=1))
        make.pairs(session, 6)
        for showing in make.hold(session, judge, 4):
            make.say(session, judge, showing)
        assert tick(session) == 1
        make.judge_all(session, judge)
        assert tick(session) == 0, "no pairs for a round that will not come"
        learn(session)
        assert tick(session) == 1
        assert stopped(session) == "It made the one round of its budget (continuous.most_rounds)."
        assert tick(session) == 0


def test_with_its_opinions_used_it_stops_and_says_so(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        make.pairs(session, 1)
        make.judge_all(session, judge)
        turn_on(session, replace(RULE, most_opinions=3, launch_after=3))
        tick(session)
        put_up(session, samplings(session)[0])
        for _ in range(2):
            assert tick(session) == 0
            make.say(session, judge, make.hold(session, judge)[0])
        assert tick(session) == 1, "three came in, the one from before among them: a round"
        learn(session)
        make.judge_all(session, judge)
        assert tick(session) == 1
        assert "budget of 3 opinions (continuous.most_opinions) is used" in stopped(session)
        assert "New preferences: 1; the next round would have begun at 3." in stopped(session)
        assert len(samplings(session)) == 1


def test_a_failed_round_stops_it_with_the_reason(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        judge = make.labeler(session)
        turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, judge)
        tick(session)
        [reward] = [run for run in rounds.view(session, 1).runs if run.stage == Stage.REWARD]
        rounds.fail(session, take(session, reward.id), Trouble.LASTING, "No memory is left.", "Traceback: ...")
        make.pairs(session, 4)
        make.judge_all(session, judge)
        assert tick(session) == 1
        assert stopped(session) == "Round 1 failed. No memory is left."
        assert tick(session) == 0
        assert len(rounds.views(session)) == 1, "no second round fails the same way"
        turn_on(session)
        session.execute(update(Continuous).values(created_at=func.now()))
        assert tick(session) == 1, "whoever turns it on again has seen it"
        assert newest_round(session).number == 2  # type: ignore[union-attr]


def test_a_cancelled_round_stops_it(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, make.labeler(session))
        tick(session)
        rounds.cancel(session, boss, 1)
        tick(session)
        assert stopped(session) == "Round 1 was cancelled."


def test_the_monitors_pause_stops_it_and_somebodys_pause_makes_it_wait(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        make.pairs(session, 4)
        make.judge_all(session, make.labeler(session))
        tick(session)
        put_up(session, samplings(session)[0], 1)
        rounds.pause(session, boss, 1)
        assert tick(session) == 0, "it stands still with the round"
        rounds.resume(session, boss, 1)
        assert tick(session) == 1
        rounds.pause(session, None, 1, "The over-optimisation monitor paused it. 60 nats.")
        assert tick(session) == 1
        assert stopped(session) == "Round 1 is paused. The over-optimisation monitor paused it. 60 nats."


@pytest.mark.parametrize("how", ["failed", "cancelled", "empty"])
def test_a_sampling_that_brings_nothing_stops_it(work: Work, how: str) -> None:
    with work() as session:
        fine_tune(session)
        boss = turn_on(session)
        tick(session)
        [run] = samplings(session)
        if how == "failed":
            rounds.fail(session, take(session, run.id), Trouble.LASTING, "There are no documents.", "")
        elif how == "cancelled":
            protocol.cancel(session, boss, run.id)
        else:
            put_up(session, run, 0)
        assert tick(session) == 1
        assert (
            stopped(session)
            == {
                "failed": "Sampling pairs failed. There are no documents.",
                "cancelled": "Its sampling of pairs was cancelled.",
                "empty": "Sampling put up no pairs. 0 pairs are up.",
            }[how]
        )
        assert len(samplings(session)) == 1


def test_a_sampling_that_is_tried_again_is_waited_for(work: Work) -> None:
    with work() as session:
        fine_tune(session)
        turn_on(session)
        tick(session)
        rounds.fail(session, take(session, samplings(session)[0].id), Trouble.PASSING, "The disk is full.", "")
        assert tick(session) == 0


def test_a_round_that_cannot_be_launched_stops_it(work: Work) -> None:
    with work() as session:
        fine_tune(session, Split.VALIDATION)
        turn_on(session)
        make.pairs(session, 4, split=Split.VALIDATION)
        make.judge_all(session, make.labeler(session))
        make.pairs(session, 2, split=Split.VALIDATION)
        assert tick(session) == 1
        assert stopped(session).startswith("No round could be launched. There are no training documents")


def test_pairs_are_refused_only_while_a_round_is_about_to_put_up_its_own(work: Work) -> None:
    with work() as session:
        make.reference_document(session)
        boss, recipe = make.admin(session), rounds.recipes(session)[0].id
        rounds.launch(session, boss, recipe, with_simulated=False)
        for _ in range(2):
            with pytest.raises(Conflict, match="Round 1 is about to put up its own pairs"):
                rounds.sample_pairs(session, boss, recipe, 2, with_simulated=False)
            [queued] = [run for run in rounds.view(session, 1).runs if run.state == RunState.QUEUED]
            claim = take(session, queued.id)
            if claim.stage == Stage.SAMPLE:
                make.pairs(session, 1, round_id=claim.round_id)
            rounds.succeed(session, claim, "Done.", {})
        rounds.sample_pairs(session, boss, recipe, 2, with_simulated=False)
        more = make.pairs(session, 1)
        turn = rounds_store.active_round(session, the_project(session).id)
        assert turn is not None
        assert more.batch_id not in batches.batches_of_round(session, turn.id), "the next round adopts them"

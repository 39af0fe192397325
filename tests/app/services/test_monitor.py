"""The over-optimisation monitor over rows: whose figures it reads, and of which run, policy and answers."""

from collections.abc import Callable
from dataclasses import asdict, replace

from app.domain import intervals
from app.domain.recipes import TINY
from app.domain.words import LabelerKind, RunState, Stage
from app.services import monitor, rounds
from app.services.monitor import NOTHING, Monitor
from app.store import runs
from app.store.session import Session
from tests.app.services.test_promotions import finish, judge
from tests.conftest import Work
from tests.support import pretended

FURTHER = {"kl": [20.0, 22.0], "predicted_preference": [0.8, 0.9]}


def seen(session: Session, number: int) -> Monitor:
    """The monitor of a round as it is now."""
    return monitor.look(session, rounds.view(session, number))


def to_ppo(session: Session) -> int:
    """A round whose PPO waits for a worker. Gives its number."""
    number = pretended.launch(session, pretended.boss(session))
    pretended.carry_out(session, number, Stage.SFT, Stage.SAMPLE, Stage.REWARD)
    return number


def test_a_round_that_has_not_begun_has_nothing_to_see(work: Work) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        assert seen(session, number) == Monitor([], 45.0, NOTHING, [], [], [])


def test_rollouts_are_those_of_ppo_in_order(work: Work) -> None:
    with work() as session:
        number = to_ppo(session)
        claim = pretended.take(session, number)
        points = [("ppo/kl", 1, 2.0), ("ppo/score", 1, 0.5), ("ppo/kl", 0, 0.1), ("ppo/score", 0, 0.2)]
        runs.add_points(session, claim.run_id, [*points, ("ppo/score_at_first_length", 1, 0.3), ("ppo/kl", 2, 9.0)])
        found = seen(session, number)
        assert [(each.step, each.kl, each.score, each.at_first_length) for each in found.rollouts] == [
            (0, 0.1, 0.2, None),
            (1, 2.0, 0.5, 0.3),
        ], "the third is being written"
        assert found.accuracy == intervals.rate(11, 16)
        assert found.alarms == []


def test_a_policy_that_runs_away_is_told_while_it_runs(work: Work) -> None:
    with work() as session:
        number = to_ppo(session)
        claim = pretended.take(session, number)
        points = [
            (name, step, value) for step in range(9) for name, value in (("ppo/kl", 6.0 * step), ("ppo/score", 1.0))
        ]
        runs.add_points(session, claim.run_id, points)
        assert seen(session, number).alarms == []
        runs.add_points(session, claim.run_id, [("ppo/kl", 9, 54.0), ("ppo/score", 9, 1.0)])
        [alarm] = seen(session, number).alarms
        assert "48.0 nats over the last 3 rollouts, above 45" in alarm
        running = next(run for run in rounds.view(session, number).runs if run.stage is Stage.PPO)
        assert running.state is RunState.RUNNING


def test_length_alone_is_told(work: Work) -> None:
    with work() as session:
        number = to_ppo(session)
        claim = pretended.take(session, number)
        values: dict[str, Callable[[int], float]] = {
            "ppo/kl": lambda step: 0.1 * step,
            "ppo/score": lambda step: 0.1 * step + 0.01 * (step % 2),
            "ppo/score_at_first_length": lambda step: -0.01 * step,
            "ppo/length": lambda step: 30.0 + step,
        }
        points = [(name, step, value(step)) for name, value in values.items() for step in range(12)]
        runs.add_points(session, claim.run_id, points)
        [alarm] = seen(session, number).alarms
        assert "only writes longer" in alarm


def test_what_people_say_stands_beside_what_is_predicted_round_by_round(work: Work) -> None:
    with work() as session:
        first = pretended.improve(session, pretended.launch(session, pretended.boss(session)))
        finish(session, 1)
        judge(session, first, 60, 90)
        judge(session, first, 0, 30, LabelerKind.SIMULATED)
        pretended.launch(session, pretended.boss(session))
        second = pretended.improve(session, 2, **{name: asdict(intervals.mean(held)) for name, held in FURTHER.items()})
        [one, two] = seen(session, 2).measured
        assert (one.round_number, one.policy, one.people) == (1, "round1-ppo", intervals.rate(60, 90))
        assert (two.round_number, two.people, two.predicted) == (2, NOTHING, intervals.mean([0.8, 0.9]))
        assert [each.policy for each in seen(session, 1).measured] == ["round1-ppo"], "later rounds are not looked at"
        finish(session, 2)
        judge(session, second, 20, 90)
        [alarm] = seen(session, 2).alarms
        assert "22% of 90 pairs" in alarm and "67% of 90 for round1-ppo" in alarm
        assert seen(session, 1).alarms == []


def test_results_that_are_strange_do_no_harm(work: Work) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        pretended.improve(session, number, kl="far", predicted_preference={"value": "much", "n": 3})
        [measured] = seen(session, number).measured
        assert measured.kl == NOTHING and measured.predicted.value is None


def running_away(session: Session, *, pause: bool) -> int:
    """A round whose PPO runs and has gone too far. Gives its number."""
    boss = pretended.boss(session)
    recipe = replace(TINY, name="watched", promotion=replace(TINY.promotion, pause_on_alarm=pause))
    rounds.add_recipe(session, boss, recipe)
    number = pretended.launch(session, boss, "watched")
    pretended.carry_out(session, number, Stage.SFT, Stage.SAMPLE, Stage.REWARD)
    claim = pretended.take(session, number)
    assert monitor.look_around(session) == 0
    runs.add_points(session, claim.run_id, [("ppo/kl", 0, 90.0), ("ppo/score", 0, 1.0)])
    return number


def test_an_alarm_pauses_the_round_once_where_the_recipe_asks_for_it(work: Work) -> None:
    with work() as session:
        number = running_away(session, pause=True)
        assert monitor.look_around(session) == 1
        paused = rounds.view(session, number)
        assert paused.paused_at is not None
        assert (paused.pause_words or "").startswith("The over-optimisation monitor paused it. The policy is far")
        assert monitor.look_around(session) == 0, "it stands still already"
        rounds.resume(session, pretended.boss(session), number)
        assert monitor.look_around(session) == 0, "somebody has looked, and let it go on"


def test_an_alarm_only_tells_where_the_recipe_does_not_ask(work: Work) -> None:
    with work() as session:
        number = running_away(session, pause=False)
        assert len(seen(session, number).alarms) == 1
        assert monitor.look_around(session) == 0
        assert rounds.view(session, number).paused_at is None


def test_without_a_round_there_is_nothing_to_pause(work: Work) -> None:
    with work() as session:
        assert monitor.look_around(session) == 0

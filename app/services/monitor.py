"""The over-optimisation monitor: what a round's policy earns against how far it has gone, and what people say of it.

Knows where the figures of the rules are (app.quality.overoptimisation) and whose answers count; never commits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from app.domain.intervals import Estimate
from app.domain.words import PolicyKind, RoundState, RunState, Stage
from app.quality import overoptimisation
from app.quality.overoptimisation import Standing
from app.services import rounds, winrates
from app.services.projects import the_project
from app.services.rounds import RoundView
from app.store import promotions, quality, runs
from app.store.session import Session

SCORE, KL, LENGTH, AT_FIRST_LENGTH = "ppo/score", "ppo/kl", "ppo/length", "ppo/score_at_first_length"
NOTHING = Estimate(None, 0, None, None)


def estimate(held: object) -> Estimate:
    """An Estimate as a run's result holds it; without a value where there is none."""
    if not isinstance(held, Mapping) or not isinstance(held.get("n"), int):
        return NOTHING
    value, low, high = (
        float(each) if isinstance(each, int | float) else None for each in (held.get(name) for name in _FIGURES)
    )
    return Estimate(value, held["n"], low, high)


_FIGURES = ("value", "low", "high")


@dataclass(frozen=True)
class Rollout:
    """One rollout: KL in nats from the fine-tuned policy, mean score, and the score at the length of the first one."""

    step: int
    kl: float
    score: float
    at_first_length: float | None


@dataclass(frozen=True)
class Measured:
    """A round's policy among those of other rounds. `people`: how often people prefer it to the references."""

    round_number: int
    policy: str
    kl: Estimate
    predicted: Estimate
    people: Estimate


@dataclass(frozen=True)
class Monitor:
    """What there is to see of over-optimisation in a round; `limit` of the KL is the recipe's.

    `accuracy` is how often the round's reward model agrees with labelers on held-out pairs, `by_policies` the same for
    each pair of policies. `measured` has the policies of this round and of earlier ones that were evaluated.
    """

    rollouts: list[Rollout]
    limit: float
    accuracy: Estimate
    by_policies: list[tuple[str, Estimate]]
    measured: list[Measured]
    alarms: list[str]


def look(session: Session, found: RoundView, evaluation: Mapping[str, Any] | None = None) -> Monitor:
    """The monitor of a round. `evaluation`: what is about to become the result of its evaluation."""
    ppo = next((run for run in found.runs if run.stage is Stage.PPO), None)
    series: dict[str, dict[int, float]] = {}
    for point in [] if ppo is None else runs.points(session, [ppo.id]):
        series.setdefault(point.name, {})[point.step] = point.value
    kl, score, length, at = (series.get(name, {}) for name in (KL, SCORE, LENGTH, AT_FIRST_LENGTH))
    rollouts = [Rollout(step, kl[step], score[step], at.get(step)) for step in sorted(kl.keys() & score.keys())]
    whole = sorted(score.keys() & at.keys() & length.keys())
    reward = next((run.result for run in found.runs if run.stage is Stage.REWARD), {})
    accuracy = estimate(reward.get("accuracy"))
    by_policies = cast(Mapping[str, object], reward.get("accuracy_by_policies") or {})
    limit = found.recipe.promotion.most_kl
    measured = _measured(session, found, evaluation)
    said = (
        overoptimisation.too_far([each.kl for each in rollouts], limit),
        overoptimisation.only_longer(*([held[step] for step in whole] for held in (score, at, length))),
        overoptimisation.against_people(accuracy),
        _fallen(found.number, measured),
    )
    return Monitor(
        rollouts=rollouts,
        limit=limit,
        accuracy=accuracy,
        by_policies=[(name, estimate(held)) for name, held in by_policies.items()],
        measured=measured,
        alarms=[sentence for sentence in said if sentence is not None],
    )


def look_around(session: Session) -> int:
    """The reconciler's part: pause the active round where its recipe asks for that and an alarm is given, once.

    Gives how many rounds were paused.
    """
    active = next((each for each in rounds.views(session) if each.state is RoundState.ACTIVE), None)
    if active is None or active.paused_at is not None or not active.recipe.promotion.pause_on_alarm:
        return 0
    if not any(run.stage is Stage.PPO and run.state is RunState.RUNNING for run in active.runs):
        return 0
    alarms = look(session, active).alarms
    # Who lets the round go on has seen the alarm: the same one would only stop it again.
    if not alarms or promotions.paused_by_itself(session, the_project(session).id, active.number):
        return 0
    rounds.pause(session, None, active.number, f"The over-optimisation monitor paused it. {alarms[0]}")
    return 1


def _measured(session: Session, found: RoundView, evaluation: Mapping[str, Any] | None) -> list[Measured]:
    project = the_project(session)
    made = [each for each in promotions.improved(session, project.id) if each.round_number <= found.number]
    if evaluation is not None:
        made = [
            replace(each, measured=dict(evaluation)) if each.round_number == found.number else each for each in made
        ]
    made = [each for each in made if each.measured]
    if not made:
        return []
    reference = next(
        policy_id for policy_id, (_, kind) in quality.policies(session, project.id).items() if kind is PolicyKind.REF
    )
    standings = winrates.standings(session)
    return [
        Measured(
            round_number=each.round_number,
            policy=each.policy,
            kl=estimate((each.measured or {}).get("kl")),
            predicted=estimate((each.measured or {}).get("predicted_preference")),
            people=NOTHING if rate is None else rate.raw,
        )
        for each in made
        for rate in [standings.of(each.policy_id, reference)]
    ]


def _fallen(number: int, measured: list[Measured]) -> str | None:
    standings = {
        each.round_number: Standing(each.policy, each.kl.value, each.predicted.value, each.people)
        for each in measured
        if each.kl.value is not None and each.predicted.value is not None and each.people.value is not None
    }
    now = standings.pop(number, None)
    return None if now is None else overoptimisation.fallen(now, list(standings.values()))

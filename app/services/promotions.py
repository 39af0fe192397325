"""Which policy writes the next pairs: decided by a recipe's gate when a round's policy is measured, or by an admin.

Knows that every change is a decision with its evidence, and that the last one can be undone. Never commits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.intervals import Estimate
from app.domain.promotion import objections
from app.domain.words import Decided, PolicyKind
from app.services import monitor, rounds, winrates
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import corpus, people, promotions
from app.store.promotions import Decision as Row
from app.store.session import Session
from app.store.tables import Policy, Promotion

DECISIONS_SHOWN = 20
LONGEST_REASON = 500
MEASURES = ("kl", "score", "reference_score", "predicted_preference", "length", "rouge_l", "without_eos")
NOTHING_AGAINST = "Nothing in the recipe's gate speaks against it."
BY_HAND = "By hand."


@dataclass(frozen=True)
class Evidence:
    """What was known of a policy when it was decided on. Figures that were not there have no value.

    `measures` are those of the round's evaluation by name; `win_rates` by the name of the other policy: as they are,
    and at equal length.
    """

    round_number: int | None
    measures: dict[str, Estimate]
    accuracy: Estimate
    alarms: list[str]
    win_rates: list[tuple[str, Estimate, Estimate]]

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the decision."""
        return {
            "round": self.round_number,
            "measures": {name: asdict(held) for name, held in self.measures.items()},
            "accuracy": asdict(self.accuracy),
            "alarms": self.alarms,
            "win_rates": [
                {"against": against, "raw": asdict(raw), "controlled": asdict(controlled)}
                for against, raw, controlled in self.win_rates
            ],
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> "Evidence":
        """As it was kept."""
        return cls(
            round_number=held.get("round"),
            measures={name: monitor.estimate(each) for name, each in held.get("measures", {}).items()},
            accuracy=monitor.estimate(held.get("accuracy")),
            alarms=list(held.get("alarms", [])),
            win_rates=[
                (str(each["against"]), monitor.estimate(each["raw"]), monitor.estimate(each["controlled"]))
                for each in held.get("win_rates", [])
            ],
        )


@dataclass(frozen=True)
class Decision:
    """A decision on a policy; `decided_by` is None where nobody did. `before` was current until then."""

    policy_id: int
    policy: str
    before_id: int | None
    before: str | None
    outcome: Decided
    reason: str
    evidence: Evidence
    decided_by: str | None
    at: datetime


def _view(found: Row) -> Decision:
    row = found.row
    return Decision(
        policy_id=row.policy_id,
        policy=found.policy,
        before_id=row.before_id,
        before=found.before,
        outcome=Decided(row.outcome),
        reason=row.reason,
        evidence=Evidence.from_json(row.evidence),
        decided_by=found.decided_by,
        at=row.created_at,
    )


def decisions(session: Session) -> list[Decision]:
    """The newest decisions, newest first."""
    return [_view(row) for row in promotions.decisions(session, the_project(session).id, DECISIONS_SHOWN)]


def decisions_on(session: Session, policy_id: int) -> list[Decision]:
    """Decisions on one policy, newest first."""
    return [_view(row) for row in promotions.decisions_on(session, the_project(session).id, policy_id)]


def of_round(session: Session, number: int) -> list[Decision]:
    """Decisions on the policy that a round made, newest first."""
    made = promotions.improved(session, the_project(session).id)
    return [each for one in made if one.round_number == number for each in decisions_on(session, one.policy_id)]


def waiting(session: Session) -> list[Decision]:
    """Policies that wait for an admin, newest first."""
    return [_view(row) for row in promotions.waiting(session, the_project(session).id)]


def undoable(session: Session) -> Decision | None:
    """The change that a roll back undoes; None where nothing was current before it."""
    found = promotions.last_change(session, the_project(session).id)
    return None if found is None or found.row.before_id is None else _view(found)


def evidence(session: Session, policy_id: int, evaluation: Mapping[str, Any] | None = None) -> Evidence:
    """What is known of a policy now. `evaluation`: what is about to become the result of its round's evaluation."""
    project = the_project(session)
    made = next((each for each in promotions.improved(session, project.id) if each.policy_id == policy_id), None)
    standings = winrates.standings(session)
    rates = [
        (each.second, each.rate.raw, each.rate.controlled)
        for each in standings.with_policy(policy_id)
        if each.first_id == policy_id
    ]
    if made is None:
        return Evidence(None, {}, monitor.NOTHING, [], rates)
    seen = monitor.look(session, rounds.view(session, made.round_number), evaluation)
    measured = evaluation or made.measured or {}
    return Evidence(
        round_number=made.round_number,
        measures={name: monitor.estimate(measured[name]) for name in MEASURES if name in measured},
        accuracy=seen.accuracy,
        alarms=seen.alarms,
        win_rates=rates,
    )


def begin_with(session: Session, policy_id: int, reason: str) -> None:
    """Let this policy write while there is none but a base model: later ones have to pass a gate or an admin."""
    project = the_project(session)
    before = promotions.lock_current(session, project.id)
    if not promotions.current_is_trained(session, project.id):
        _decide(session, project.id, policy_id, before, Decided.PROMOTED, reason, {}, None)


def weigh(session: Session, policy_id: int, evaluation: Mapping[str, Any]) -> Decided:
    """A round's policy was measured: it becomes current, or waits for an admin, as the recipe's gate says."""
    project = the_project(session)
    before = promotions.lock_current(session, project.id)
    if before == policy_id:
        # Measured again by a stage that was run again: what somebody decided since stays.
        return Decided.PROMOTED
    known = evidence(session, policy_id, evaluation)
    assert known.round_number is not None, "a round made it"
    gate = rounds.view(session, known.round_number).recipe.promotion
    kl = known.measures.get("kl", monitor.NOTHING)
    against = objections(gate, kl, known.accuracy, known.alarms)
    outcome = Decided.WAITS if against else Decided.PROMOTED
    reason = " ".join(against) or NOTHING_AGAINST
    held = known.to_json() | {"gate": gate.to_dict()}
    _decide(session, project.id, policy_id, before, outcome, reason, held, None)
    return outcome


def promote(session: Session, viewer: Viewer, policy_id: int, reason: str = "") -> str:
    """Let this policy write the next pairs. Gives its name.

    Raises NotFound, Conflict for one that cannot write or is current already, Invalid for too long a reason.
    """
    project = the_project(session)
    row = corpus.policy(session, policy_id)
    if row is None or row.project_id != project.id:
        raise NotFound("There is no such policy.", "Go back to the list of policies.")
    if row.kind == PolicyKind.BEST_OF_N:
        by = corpus.policy(session, row.settings["policy"])
        assert by is not None, "policies are never deleted"
        raise Conflict(
            f"{row.name} has no weights of its own: it is the best of several summaries by {by.name}.",
            f"Promote {by.name}.",
        )
    if row.kind != PolicyKind.CHECKPOINT:
        raise Conflict(f"{row.name} has no weights, so it cannot write pairs.", "Choose a policy with a checkpoint.")
    if len(reason) > LONGEST_REASON:
        raise Invalid("The reason is too long.", f"Say it in {LONGEST_REASON} characters.", "reason")
    before = promotions.lock_current(session, project.id)
    if before == row.id:
        raise Conflict(f"{row.name} writes the next pairs already.", "Nothing was changed.")
    held = evidence(session, row.id).to_json()
    _decide(session, project.id, row.id, before, Decided.PROMOTED, reason.strip() or BY_HAND, held, viewer)
    return row.name


def roll_back(session: Session, viewer: Viewer, policy_id: int) -> str:
    """Undo the last change: `policy_id`, which was current before it, is current again. Gives its name.

    Rolling back twice is going forward again. Raises Conflict when something else was changed in the meantime.
    """
    project = the_project(session)
    before = promotions.lock_current(session, project.id)
    last = promotions.last_change(session, project.id)
    if last is None or last.row.before_id != policy_id:
        raise Conflict("Another policy has become current in the meantime.", "Look at the decisions again.")
    row: Policy | None = corpus.policy(session, policy_id)
    assert row is not None, "the decision refers to it"
    held = evidence(session, row.id).to_json()
    reason = f"Undoes the decision for {last.policy}."
    _decide(session, project.id, row.id, before, Decided.ROLLED_BACK, reason, held, viewer)
    return row.name


def _decide(
    session: Session,
    project_id: int,
    policy_id: int,
    before: int | None,
    outcome: Decided,
    reason: str,
    evidence: dict[str, Any],
    viewer: Viewer | None,
) -> None:
    row = promotions.add(
        session,
        Promotion(
            project_id=project_id,
            policy_id=policy_id,
            before_id=before,
            outcome=outcome,
            reason=reason,
            evidence=evidence,
            decided_by=None if viewer is None else viewer.id,
        ),
    )
    if outcome is not Decided.WAITS:
        corpus.set_current_policy(session, project_id, policy_id)
    actor = None if viewer is None else viewer.id
    people.audit(session, actor, f"policy {outcome.value}", "policy", policy_id, before=before, decision=row.id)

"""Promotion is a decision: by the recipe's gate, by an admin, undone, and each with what was known at that moment."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from app.domain import intervals
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.recipes import NAMED, Recipe
from app.domain.words import Decided, LabelerKind, PolicyKind, Stage
from app.services import promotions, rounds
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.promotions import LONGEST_REASON
from app.store import batches, corpus
from app.store import promotions as promotions_store
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import AuditEvent, Comparison, Policy, Promotion, Summary
from tests.conftest import Work
from tests.support import factories, given, pretended


def finish(session: Session, number: int) -> None:
    """The sampling for the next round, after which the round is over."""
    pretended.carry_out(session, number, Stage.SAMPLE)


def a_round(session: Session, promotion: dict[str, Any] | None = None, **measured: Any) -> int:
    """A whole round of a tiny recipe with this gate. Gives the policy it made."""
    boss = pretended.boss(session)
    body = NAMED["tiny"].to_dict() | {"name": "gated", "promotion": {"least_accuracy": 0} | (promotion or {})}
    rounds.add_recipe(session, boss, Recipe.from_dict(body))
    number = pretended.launch(session, boss, "gated")
    made = pretended.improve(session, number, **measured)
    finish(session, number)
    return made


def current(session: Session) -> int | None:
    """Which policy writes next."""
    session.expire_all()
    return the_project(session).current_policy_id


def judge(session: Session, policy_id: int, won: int, of: int, kind: LabelerKind = LabelerKind.HUMAN) -> None:
    """So many of so many pairs of this policy against the reference are won by it."""
    put_up = factories.pairs(session, of)
    batches.void_unfinished(session, [put_up.batch_id])
    other = select(Policy.id).where(Policy.name == "other").scalar_subquery()
    session.execute(update(Summary).where(Summary.policy_id == other).values(policy_id=policy_id))
    person = factories.labeler(session, kind=kind)
    for place, comparison_id in enumerate(put_up.comparisons):
        sides = session.get_one(Comparison, comparison_id)
        first = session.get_one(Summary, sides.first_summary_id, populate_existing=True).policy_id == policy_id
        given.answer(session, person, comparison_id, 2 if (place < won) == first else 8)


def test_the_first_policies_become_current_without_a_gate_and_a_trained_one_keeps_its_place(work: Work) -> None:
    with work() as session:
        project = the_project(session)
        base, other = factories.base_checkpoint(session), factories.base_checkpoint(session)
        first, second = (
            corpus.add_policy(session, project.id, name, PolicyKind.CHECKPOINT, checkpoint.id, {})
            for name, checkpoint in (("base", base), ("another", other))
        )
        promotions.begin_with(session, first.id, "The base.")
        assert current(session) == first.id
        promotions.begin_with(session, second.id, "It is no worse.")
        assert current(session) == second.id, "a base model gives way"
        number = pretended.launch(session, pretended.boss(session))
        pretended.improve(session, number)
        ppo = current(session)
        promotions.begin_with(session, first.id, "Again.")
        assert current(session) == ppo
        told = [(each.policy, each.before, each.reason) for each in promotions.decisions(session)][::-1]
        assert told[:3] == [
            ("base", None, "The base."),
            ("another", "base", "It is no worse."),
            ("round1-sft", "another", "The first policy that was fine-tuned."),
        ]


def test_a_policy_that_passes_the_gate_becomes_current_and_writes_the_next_pairs(work: Work) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        made = pretended.improve(session, number)
        assert current(session) == made, "before the pairs of the next round are sampled"
        newest = promotions.decisions(session)[0]
        assert (newest.policy, newest.before, newest.outcome) == ("round1-ppo", "round1-sft", Decided.PROMOTED)
        assert newest.decided_by is None and newest.reason == promotions.NOTHING_AGAINST
        assert newest.evidence.round_number == 1
        assert newest.evidence.measures["kl"] == intervals.mean([3.1, 4.2, 2.8, 5.0])
        assert newest.evidence.accuracy == intervals.rate(11, 16)
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.actor_id, event.action, event.subject_id) == (None, "policy promoted", made)
        assert promotions.waiting(session) == []


@pytest.mark.parametrize(
    ("gate", "measured", "why"),
    [
        ({"by": "hand"}, {}, "asks an admin"),
        ({}, {"kl": asdict(intervals.mean([50.0, 60.0]))}, "55.0 nats"),
        ({}, {"kl": None}, "not measured"),
        ({"least_accuracy": 0.7}, {}, "68.8%"),
    ],
)
def test_what_the_gate_holds_back_waits_for_an_admin(
    work: Work, gate: dict[str, Any], measured: dict[str, Any], why: str
) -> None:
    with work() as session:
        made = a_round(session, gate, **measured)
        [waits] = promotions.waiting(session)
        assert (waits.policy_id, waits.outcome) == (made, Decided.WAITS)
        assert why in waits.reason
        assert current(session) == waits.before_id != made
        kept = session.scalars(select(Promotion.evidence).order_by(Promotion.id.desc()).limit(1)).one()
        assert kept["gate"]["by"] == gate.get("by", "gate")
        promotions.promote(session, pretended.boss(session), made, "I read forty of its summaries.")
        assert current(session) == made
        assert promotions.waiting(session) == []
        assert promotions.decisions(session)[0].reason == "I read forty of its summaries."


def test_an_alarm_of_the_monitor_holds_a_policy_back(work: Work) -> None:
    with work() as session:
        first = a_round(session)
        judge(session, first, 70, 90)
        number = pretended.launch(session, pretended.boss(session), "gated")
        further = {"kl": asdict(intervals.mean([20.0, 21.0]))}
        second = pretended.improve(session, number, **further)
        assert current(session) == second, "nobody judged it yet"
        finish(session, number)
        judge(session, second, 20, 90)
        known = promotions.evidence(session, second)
        assert len(known.alarms) == 1 and "People like it less" in known.alarms[0]
        assert known.win_rates[0][0] == "ref" and known.win_rates[0][1] == intervals.rate(20, 90)


def test_measuring_again_changes_no_decision(work: Work) -> None:
    with work() as session:
        made = a_round(session)
        before = len(promotions.decisions(session))
        promotions.weigh(session, made, pretended.result(Stage.EVALUATE) | {"kl": None})
        assert len(promotions.decisions(session)) == before
        assert current(session) == made


def test_an_admin_promotes_and_it_is_undone_and_done_again(work: Work) -> None:
    with work() as session:
        boss = pretended.boss(session)
        made = a_round(session, {"by": "hand"})
        before = current(session)
        assert before is not None
        assert promotions.promote(session, boss, made) == "round1-ppo"
        undoable = promotions.undoable(session)
        assert undoable is not None and (undoable.before_id, undoable.decided_by) == (before, boss.name)
        assert promotions.roll_back(session, boss, before) == "round1-sft"
        assert current(session) == before
        assert promotions.roll_back(session, boss, made) == "round1-ppo"
        assert current(session) == made
        told = [(each.outcome, each.policy, each.decided_by) for each in promotions.decisions(session)[:3]]
        assert told == [
            (Decided.ROLLED_BACK, "round1-ppo", boss.name),
            (Decided.ROLLED_BACK, "round1-sft", boss.name),
            (Decided.PROMOTED, "round1-ppo", boss.name),
        ]
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(2)).all()
        assert [(each.action, each.actor_id) for each in events] == [("policy rolled_back", boss.id)] * 2


def test_a_roll_back_that_comes_too_late_changes_nothing(work: Work) -> None:
    with work() as session:
        boss = pretended.boss(session)
        made = a_round(session)
        sft = promotions.decisions(session)[0].before_id
        assert sft is not None
        promotions.promote(session, boss, sft)
        with pytest.raises(Conflict, match="in the meantime"):
            promotions.roll_back(session, boss, sft)
        assert current(session) == sft
        assert promotions.roll_back(session, boss, made) == "round1-ppo"


def test_what_cannot_be_promoted(work: Work) -> None:
    with work() as session:
        boss = pretended.boss(session)
        made = a_round(session)
        ref = session.scalars(select(Policy.id).where(Policy.kind == PolicyKind.REF)).one()
        before = len(promotions.decisions(session))
        refusals: list[tuple[type[Exception], int, str]] = [
            (NotFound, 999, ""),
            (Conflict, ref, ""),
            (Conflict, made, ""),
            (Invalid, promotions.decisions(session)[0].before_id or 0, "x" * (LONGEST_REASON + 1)),
        ]
        for kind, policy_id, reason in refusals:
            with pytest.raises(kind):
                promotions.promote(session, boss, policy_id, reason)
        assert len(promotions.decisions(session)) == before
        with pytest.raises(Conflict):
            promotions.roll_back(session, boss, made)


def test_answers_of_simulated_labelers_are_no_evidence(work: Work) -> None:
    with work() as session:
        made = a_round(session)
        judge(session, made, 30, 30, LabelerKind.SIMULATED)
        assert promotions.evidence(session, made).win_rates == []


@pytest.mark.parametrize(
    "change", ["update promotion set reason = 'other'", "delete from promotion", "truncate promotion"]
)
def test_a_decision_is_never_changed(work: Work, change: str) -> None:
    with work() as session:
        a_round(session)
        with pytest.raises(IntegrityError, match="never changed"), session.begin_nested():
            session.execute(text(change))


def test_two_admins_at_once_make_one_decision(own_sessions: Sessions) -> None:
    def unit() -> AbstractContextManager[Session]:
        return unit_of_work(own_sessions, lambda job: None)

    with unit() as session:
        made = a_round(session, {"by": "hand"})
        bosses = [pretended.boss(session), factories.admin(session, "another")]

    def promote(boss: Viewer) -> str:
        try:
            with unit() as session:
                return promotions.promote(session, boss, made)
        except Conflict:
            return "already"

    with unit() as holding, ThreadPoolExecutor(2) as pool:
        promotions_store.lock_current(holding, the_project(holding).id)
        asked = [pool.submit(promote, boss) for boss in bosses]
        while holding.scalar(text("select count(*) from pg_locks where not granted")) < 2:
            pass
        holding.commit()
        assert sorted(each.result() for each in asked) == ["already", "round1-ppo"]
    with unit() as session:
        assert [each.outcome for each in promotions.decisions(session)].count(Decided.PROMOTED) == 2, "and the first"

"""What an evaluation leaves: summaries that can be read side by side, samples of all writers, and a decision."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from app.domain.recipes import TINY, PromotionRecipe
from app.domain.words import Decided, RoundState, Stage
from app.services import promotions
from app.services.people import Viewer
from app.services.projects import the_project
from tests.conftest import Work
from tests.worker.stages.test_ppo import finish

# PPO that hardly moves: a tiny model that learned anything from it may have nothing to say.
QUICK = replace(
    TINY,
    name="quick",
    ppo=replace(TINY.ppo, learning_rate=1e-9),
    evaluation=replace(TINY.evaluation, documents=3),
)
CAREFUL = replace(QUICK, name="careful", promotion=PromotionRecipe(by="hand"))


def test_two_evaluations_and_what_they_decide(work: Work, material: None, admin: Viewer, artifacts: Path) -> None:
    first, second = finish(work, admin, QUICK), finish(work, admin, CAREFUL)
    assert (first.state, second.state) == (RoundState.SUCCEEDED, RoundState.SUCCEEDED)
    with work() as session:
        decisions = promotions.decisions(session)[::-1]
        assert [(each.policy, each.outcome) for each in decisions] == [
            ("round1-sft", Decided.PROMOTED),
            ("round1-ppo", Decided.PROMOTED),
            ("round2-ppo", Decided.WAITS),
        ]
        assert the_project(session).current_policy_id == decisions[1].policy_id
        evidence = decisions[1].evidence
        assert evidence.round_number == 1 and evidence.measures["kl"].n == 3
        assert 0 < (evidence.measures["predicted_preference"].value or 0) < 1
        written = session.execute(
            text(
                "select policy.name, summary.decoding from summary join policy on policy.id = policy_id "
                "join run on run.id = summary.run_id where run.stage = 'evaluate'"
            )
        ).all()
        writers = session.scalars(
            text(
                "select distinct policy.name from summary join policy on policy.id = policy_id "
                "join run on run.id = summary.run_id join round on round.id = round_id "
                "where round.number = 2 and run.stage = 'sample'"
            )
        ).all()
    assert {row.decoding["temperature"] for row in written} == {0.0}
    assert {row.name for row in written} == {"round1-ppo", "round2-ppo"}
    assert writers == ["round1-ppo"], "what waits writes no pairs"
    shown = [
        next(run for run in view.runs if run.stage is Stage.EVALUATE).result["samples"][0] for view in (first, second)
    ]
    assert shown[0]["previous"] == "", "the fine-tuned one was current"
    assert shown[1]["previous"] == shown[0]["after"]

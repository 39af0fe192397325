"""PPO as a round runs it: by adapters and without a value network, stopped early, and what is written down of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.recipes import TINY, Recipe
from app.domain.words import RoundState, RunState, Stage
from app.services import rounds
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.rounds import RoundView
from tests.conftest import Work
from worker import tasks
from worker.stages import ppo
from worker.stages.task import CannotRun
from worker.training import adapters

RECIPE = replace(
    TINY,
    name="stopped",
    ppo=replace(
        TINY.ppo,
        advantage="rloo",
        samples_per_query=2,
        episodes=64,
        learning_rate=3e-2,
        lora_rank=2,
        lora_merge=False,
        stop_kl=0.05,
        stop_preference_drop=1,
        preference_every=1,
        preference_documents=2,
    ),
)


def finish(work: Work, admin: Viewer, recipe: Recipe) -> RoundView:
    """A whole round of the recipe, or as much of it as runs before one fails."""
    with work() as session:
        number = rounds.launch(session, admin, rounds.add_recipe(session, admin, recipe), with_simulated=False)
    while True:
        with work() as session:
            view = rounds.view(session, number)
        run = next((run for run in view.runs if run.state is not RunState.SUCCEEDED), None)
        if view.state is not RoundState.ACTIVE or run is None or run.state is RunState.FAILED:
            return view
        if run.stage is Stage.LABEL:
            with work() as session:
                rounds.finish_labeling(session, admin, number)
        else:
            tasks.execute(run.id)


def test_a_policy_that_stopped_early_by_adapters_is_measured_and_kept(
    work: Work, material: None, admin: Viewer, artifacts: Path
) -> None:
    view = finish(work, admin, RECIPE)
    assert view.state is RoundState.SUCCEEDED
    run = next(run for run in view.runs if run.stage is Stage.PPO)
    assert run.result["stopped"].startswith("stopped before learning from rollout ")
    assert run.words == f"Learned from {run.result['episodes']} summaries of its own; {run.result['stopped']}."
    assert run.result["episodes"] < 64 and run.result["kl_last"] > 0.05
    with work() as session:
        written = session.execute(
            text("select kind, path, snapshot from checkpoint where run_id = :run"), {"run": run.id}
        ).all()
        evaluated = session.scalars(text("select source_id from document where split = 'validation'")).all()
    assert [row.kind for row in written] == ["policy"], "no value network was trained"
    assert adapters.is_apart(artifacts / written[0].path)
    assert len(written[0].snapshot["held_out"]) == min(2, len(evaluated))


def test_a_stop_by_preference_without_held_out_documents_is_said(work: Work) -> None:
    with work() as session:
        task: Any = SimpleNamespace(recipe=RECIPE, claim=SimpleNamespace(project_id=the_project(session).id))
        with pytest.raises(CannotRun, match=r"\(ppo.stop_preference_drop\), and there are none"):
            ppo._held_out(session, task)

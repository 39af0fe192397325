"""Runs whose worker died, was cancelled or failed: what the next one goes on from, and what stays in the end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text
from transformers import AutoModelForCausalLM

from app.domain.words import RoundState, RunState, Stage, Trouble
from app.services import rounds, runs
from app.services.people import Viewer
from app.services.rounds import RoundView, RunView
from app.store.session import DatabaseUnreachable
from tests.conftest import Work
from worker import progress, tasks
from worker.progress import RunSink
from worker.training import checkpoints, resuming, sft
from worker.training.metrics import NullSink


class Died(BaseException):
    """Nothing catches it, as nothing catches a SIGKILL: the row stays claimed, the files stay as they are."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "MOST_OF_THE_TIME", float("inf"))
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    monkeypatch.setenv("HONE_THREADS", "1")


@pytest.fixture
def launched(material: None, work: Work, admin: Viewer) -> int:
    """A round in which every stage has something to do."""
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        return rounds.launch(session, admin, tiny, with_simulated=False)


def the_round(work: Work, number: int) -> RoundView:
    with work() as session:
        return rounds.view(session, number)


def of(stage: Stage, view: RoundView) -> RunView:
    return next(run for run in view.runs if run.stage is stage)


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, what: BaseException) -> None:
    """The `at`-th report of progress ends the stage like this, once."""
    told: list[str] = []
    real = RunSink.progress

    def spoiled(self: RunSink, done: int, total: int, words: str) -> None:
        real(self, done, total, words)
        told.append(words)
        if len(told) == at:
            raise what

    monkeypatch.setattr(RunSink, "progress", spoiled)


def die(monkeypatch: pytest.MonkeyPatch, work: Work, run_id: int, at: int) -> None:
    with monkeypatch.context() as patched:
        interrupt(patched, at, Died())
        with pytest.raises(Died):
            tasks.execute(run_id)
    with work() as session:
        session.execute(text("update run set lease_expires_at = now() - interval '1 second' where state = 'running'"))


def test_a_run_whose_worker_died_goes_on_where_it_stood(
    work: Work, launched: int, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []
    real = sft.train

    def watched(*arguments: Any, **named: Any) -> sft.SftResult:
        calls.append((arguments, named))
        return real(*arguments, **named)

    monkeypatch.setattr(sft, "train", watched)
    run_id = of(Stage.SFT, the_round(work, launched)).id
    for at in (3, 2):
        die(monkeypatch, work, run_id, at)
    tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert run.state is RunState.SUCCEEDED
    assert run.conditions["start"] == "resumed from step 2 of 6"
    assert (run.conditions["threads"], run.conditions["precision"]) == ("1", "fp32")
    with work() as session:
        points = runs.points(session, [run_id])[run_id]
        digest, path = session.execute(text("select digest, path from checkpoint where kind = 'policy'")).one()
    assert {name: [step for step, _ in curve] for name, curve in points.items()} == {
        "sft/learning_rate": [0, 1, 2, 3, 4, 5],
        "sft/loss": [0, 1, 2, 3, 4, 5],
        "sft/tokens_per_second": [0, 1, 2, 3, 4, 5],
        "sft/validation_loss": [0, 6],
    }
    assert path == f"runs/{run_id}-3/policy"
    assert [place.name for place in (artifacts / "runs").iterdir()] == [f"{run_id}-3"]
    assert [place.name for place in (artifacts / "runs" / f"{run_id}-3").iterdir()] == ["policy"]
    arguments, named = calls[-1]
    alone = {"state_dir": None, "out_dir": tmp_path / "undisturbed", "sink": NullSink()}
    undisturbed = real(*arguments, **named | alone)
    assert checkpoints.digest_directory(undisturbed.directory) == digest


def test_every_stage_of_a_round_goes_on_after_its_worker_died(
    work: Work, launched: int, admin: Viewer, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: dict[Stage, str] = {}
    while (view := the_round(work, launched)).state is RoundState.ACTIVE:
        run = next(run for run in view.runs if run.state is not RunState.SUCCEEDED)
        if run.stage is Stage.LABEL:
            with work() as session:
                rounds.finish_labeling(session, admin, launched)
            continue
        if run.stage not in starts:
            # The first stage prepares the base model; PPO writes and scores a rollout before its first step.
            die(monkeypatch, work, run.id, 3 if run.stage in (Stage.SFT, Stage.PPO) else 2)
        tasks.execute(run.id)
        ended = next(each for each in the_round(work, launched).runs if each.id == run.id)
        assert ended.state is RunState.SUCCEEDED, ended.problem
        starts.setdefault(run.stage, ended.conditions["start"])
    assert view.state is RoundState.SUCCEEDED
    assert starts.keys() == {Stage.SFT, Stage.SAMPLE, Stage.REWARD, Stage.PPO, Stage.EVALUATE}
    assert all(start.startswith("resumed from") for start in starts.values()), starts
    assert not list(artifacts.glob("runs/*/states"))


def test_a_cancelled_run_stops_within_an_update_and_says_where_its_model_is(
    work: Work, launched: int, admin: Viewer, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunSink.progress

    def asked(self: RunSink, done: int, total: int, words: str) -> None:
        real(self, done, total, words)
        if done == 3:
            with work() as session:
                rounds.cancel(session, admin, launched)

    monkeypatch.setattr(RunSink, "progress", asked)
    run_id = of(Stage.SFT, the_round(work, launched)).id
    tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    left = f"runs/{run_id}-1/policy-unfinished"
    assert (run.state, run.done) == (RunState.CANCELLED, 3)
    assert run.words == f"Cancelled. The model as it was then is kept in {left}."
    AutoModelForCausalLM.from_pretrained(str(artifacts / left))
    assert {path.name for path in (artifacts / left).parent.iterdir()} == {"policy-unfinished", "states"}


def test_a_failed_run_keeps_its_states_and_goes_on_when_it_runs_again(
    work: Work, launched: int, admin: Viewer, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = of(Stage.SFT, the_round(work, launched)).id
    with monkeypatch.context() as patched:
        interrupt(patched, 4, torch.OutOfMemoryError("CUDA out of memory."))
        tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert run.state is RunState.FAILED
    assert run.problem is not None and "Lower sft.micro_batch or sampling.max_query_tokens in the recipe" in run.problem
    assert {path.name for path in (artifacts / "runs" / f"{run_id}-1").iterdir()} == {"states"}
    with work() as session:
        rounds.run_again(session, admin, launched, position=1)
    again = of(Stage.SFT, the_round(work, launched))
    assert again.id != run_id
    tasks.execute(again.id)
    again = of(Stage.SFT, the_round(work, launched))
    assert (again.state, again.conditions["start"]) == (RunState.SUCCEEDED, "resumed from step 2 of 6")
    # The failed try keeps its own.
    assert {path.name for path in (artifacts / "runs" / f"{run_id}-1").iterdir()} == {"states"}


def test_a_paused_stage_stops_within_an_update_and_goes_on_from_there(
    work: Work,
    launched: int,
    admin: Viewer,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []
    real, told = sft.train, RunSink.progress

    def watched(*arguments: Any, **named: Any) -> sft.SftResult:
        calls.append((arguments, named))
        return real(*arguments, **named)

    def asked(self: RunSink, done: int, total: int, words: str) -> None:
        told(self, done, total, words)
        if done == 3:
            with work() as session:
                rounds.pause(session, admin, launched)

    monkeypatch.setattr(sft, "train", watched)
    run_id = of(Stage.SFT, the_round(work, launched)).id
    with monkeypatch.context() as patched:
        patched.setattr(RunSink, "progress", asked)
        tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert (run.state, run.done, run.stopping) == (RunState.PENDING, 3, False)
    # A doorbell that comes now is nothing to anybody.
    tasks.execute(run_id)
    tasks.reconcile()
    assert of(Stage.SFT, the_round(work, launched)).state is RunState.PENDING
    with work() as session:
        rounds.resume(session, admin, launched)
    tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert (run.state, run.conditions["start"]) == (RunState.SUCCEEDED, "resumed from step 3 of 6")
    with work() as session:
        digest = session.execute(text("select digest from checkpoint where kind = 'policy'")).scalar_one()
    arguments, named = calls[-1]
    alone = {"state_dir": None, "out_dir": tmp_path / "undisturbed", "sink": NullSink()}
    assert checkpoints.digest_directory(real(*arguments, **named | alone).directory) == digest
    assert [place.name for place in (artifacts / "runs").iterdir()] == [f"{run_id}-2"]


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), DatabaseUnreachable("it restarts")])
def test_what_passes_by_itself_is_tried_again_from_where_it_stood(
    work: Work, launched: int, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = of(Stage.SFT, the_round(work, launched)).id
    with monkeypatch.context() as patched:
        interrupt(patched, 4, trouble)
        tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert (run.state, run.trouble, run.attempt) == (RunState.QUEUED, Trouble.PASSING, 2)
    assert run.traceback is not None and type(trouble).__name__ in run.traceback
    tasks.execute(run_id)
    assert of(Stage.SFT, the_round(work, launched)).state is RunState.QUEUED, "it is not due yet"
    with work() as session:
        session.execute(text("update run set due_at = now() where due_at is not null"))
    tasks.execute(run_id)
    run = of(Stage.SFT, the_round(work, launched))
    assert (run.state, run.problem, run.conditions["start"]) == (RunState.SUCCEEDED, None, "resumed from step 2 of 6")


@pytest.mark.parametrize(
    ("error", "stage", "named"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), Stage.PPO, "ppo.micro_batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), Stage.REWARD, "reward.micro_batch"),
        (MemoryError(), Stage.SAMPLE, "sampling.batch"),
        (MemoryError(), Stage.EVALUATE, "evaluation.batch"),
        (MemoryError(), Stage.IMPORT, "Give it more memory and ask again."),
        (OSError(28, "No space left on device"), Stage.SFT, "The disk is full."),
        (DatabaseUnreachable("it restarts"), Stage.SFT, "The database could not be reached: it restarts."),
    ],
)
def test_what_is_missing_is_said_in_words_that_name_what_to_change(error: Exception, stage: Stage, named: str) -> None:
    assert named in tasks._in_words(error, stage)

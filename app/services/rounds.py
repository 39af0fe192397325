"""The life of a round: launch, one run after another, wait for people, stand still and go on, end, run again.

Knows the order of the stages and what follows a run's end. Knows nothing of models; never commits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.recipes import MOST_PAIRS, NAMED, Recipe
from app.domain.words import UNFINISHED, CheckpointKind, LabelerKind, RoundState, RunState, Split, Stage, Trouble
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import answers, batches, corpus, people, rounds, runs
from app.store.rounds import RoundWithRecipe
from app.store.session import Session
from app.store.tables import Checkpoint, Continuous, Round, Run
from app.store.tables import Recipe as RecipeRow

# Whose answers count in a round, by whether it was launched with simulated labelers (invariant 10).
LABELERS_OF: dict[bool, tuple[LabelerKind, ...]] = {
    False: (LabelerKind.HUMAN,),
    True: (LabelerKind.HUMAN, LabelerKind.SIMULATED),
}
FOR_ROUND = "round"
FOR_NEXT = "next"
FOR_QUEUE = "queue"
# In the payload of a label run that waits for nobody: the newest preference that an earlier round has counted.
AFTER = "after"
# How long a run waits before its second, third, ... attempt, when the one before failed for what passes by itself.
BACK_OFF = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=30))
MOST_ATTEMPTS = len(BACK_OFF) + 1

_Stages = list[tuple[Stage, dict[str, Any]]]
_JUDGED_IN_IT: _Stages = [(Stage.SAMPLE, {"for": FOR_ROUND}), (Stage.LABEL, {})]
_LEARNING: _Stages = [(Stage.REWARD, {}), (Stage.PPO, {}), (Stage.EVALUATE, {})]


def ensure_recipes(session: Session, project_id: int) -> None:
    """The named recipes as rows; a changed default becomes a new version, so that past rounds keep theirs."""
    for name, recipe in NAMED.items():
        if not rounds.has_recipe(session, project_id, name, recipe.digest()):
            rounds.add_recipe(session, project_id, name, recipe.to_dict(), recipe.digest(), None)


def add_recipe(session: Session, viewer: Viewer, recipe: Recipe) -> int:
    """Save a recipe under its name, as a new version if the name is taken. Gives its id."""
    project = the_project(session)
    row = rounds.add_recipe(session, project.id, recipe.name, recipe.to_dict(), recipe.digest(), viewer.id)
    people.audit(session, viewer.id, "saved recipe", "recipe", row.id, name=recipe.name, version=row.version)
    return row.id


def recipes(session: Session) -> list[RecipeRow]:
    """The newest version of every recipe."""
    return rounds.recipes(session, the_project(session).id)


def recipe(session: Session, recipe_id: int) -> tuple[RecipeRow, Recipe]:
    """A recipe's row and what it says. Raises NotFound."""
    row = rounds.recipe(session, the_project(session).id, recipe_id)
    if row is None:
        raise NotFound("There is no such recipe.", "Choose one from the list.")
    return row, Recipe.from_dict(row.body)


def launch(session: Session, viewer: Viewer, recipe_id: int, *, with_simulated: bool) -> int:
    """Start the next round: its runs are written, the first is rung after the commit. Gives the round's number.

    Raises Conflict when a round is active or there is nothing to learn from.
    """
    project = the_project(session)
    row, chosen = recipe(session, recipe_id)
    _lock_launchable(session, project.id)
    new = rounds.add_round(session, project.id, row.id, viewer.id, with_simulated)
    last: _Stages = [(Stage.SAMPLE, {"for": FOR_NEXT})]
    _begin(session, new, chosen, _JUDGED_IN_IT + _LEARNING + last)
    batches.adopt_batches(session, project.id, new.id, LABELERS_OF[with_simulated])
    people.audit(session, viewer.id, "launched round", "round", new.id, number=new.number, recipe=row.name)
    _advance(session, new)
    return new.number


def launch_by_itself(session: Session, mode: Continuous, after: int) -> int:
    """Start a round of continuous mode, which samples between rounds. Gives the round's number.

    It waits for nobody: it counts the preferences after this id that are there when its judging begins. Only the first,
    which makes the policy worth judging, puts up pairs of its own. Raises Conflict as `launch` does.
    """
    row, chosen = recipe(session, mode.recipe_id)
    _lock_launchable(session, mode.project_id)
    judged = _sft(session, mode.project_id) is not None
    new = rounds.add_round(session, mode.project_id, row.id, None, mode.with_simulated, mode.id)
    counted: _Stages = [(Stage.LABEL, {AFTER: after})]
    _begin(session, new, chosen, (counted if judged else _JUDGED_IN_IT) + _LEARNING)
    batches.adopt_batches(session, mode.project_id, new.id, LABELERS_OF[mode.with_simulated], judged=judged)
    people.audit(session, None, "launched round", "round", new.id, number=new.number, recipe=row.name, mode=mode.id)
    _advance(session, new)
    return new.number


def _sft(session: Session, project_id: int) -> Checkpoint | None:
    return rounds.newest_checkpoint(session, project_id, Stage.SFT, CheckpointKind.POLICY)


def _lock_launchable(session: Session, project_id: int) -> None:
    rounds.lock_launch(session, project_id)
    active = rounds.lock_project_rounds(session, project_id)
    if active is not None:
        raise Conflict(f"Round {active.number} is still going on.", "Wait for its end, or cancel it.")
    if not corpus.documents_for_training(session, project_id, Split.TRAIN, limit=1, with_reference=True):
        raise Conflict(
            "There are no training documents with a reference summary.",
            "Import documents first; `hone run` ships some.",
        )


def _begin(session: Session, new: Round, chosen: Recipe, stages: _Stages) -> None:
    """Write the runs of a new round: these stages, after a fine-tuning where one is due."""
    if chosen.sft.when == "always" or _sft(session, new.project_id) is None:
        stages = [(Stage.SFT, {}), *stages]
    for position, (stage, payload) in enumerate(stages, start=1):
        runs.add_run(
            session,
            new.project_id,
            stage,
            RunState.PENDING,
            payload,
            asked_by=new.launched_by,
            round_id=new.id,
            position=position,
        )


def sample_pairs(
    session: Session,
    viewer: Viewer,
    recipe_id: int,
    pairs: int,
    *,
    with_simulated: bool,
    notes_first: bool | None = None,
) -> int:
    """Ask for pairs from the current policy outside of rounds; the next round adopts them. Gives the run's id.

    `notes_first` overrides what the project's protocol says when they are put up; None leaves it.
    Raises Invalid for a number out of range, Conflict while a round is about to put up its own.
    """
    project = the_project(session)
    if not 1 <= pairs <= MOST_PAIRS:
        raise Invalid(f"{pairs} pairs cannot be sampled at once.", f"Ask for 1 to {MOST_PAIRS}.", "pairs")
    row, _ = recipe(session, recipe_id)
    active = rounds.lock_project_rounds(session, project.id)
    if active is not None and puts_up_pairs(session, active.id):
        raise Conflict(f"Round {active.number} is about to put up its own pairs.", "Wait until they are there.")
    payload = {
        "for": FOR_QUEUE,
        "recipe_id": row.id,
        "pairs": pairs,
        "with_simulated": with_simulated,
        "notes_first": notes_first,
    }
    return protocol.ask(session, viewer, Stage.SAMPLE, payload).id


def sample_by_itself(session: Session, mode: Continuous, pairs: int) -> int:
    """Ask for pairs from the current policy for continuous mode. Gives the run's id."""
    payload = {
        "for": FOR_QUEUE,
        "recipe_id": mode.recipe_id,
        "pairs": pairs,
        "with_simulated": mode.with_simulated,
        "notes_first": None,
        "continuous": mode.id,
    }
    return protocol.ask(session, None, Stage.SAMPLE, payload).id


def puts_up_pairs(session: Session, round_id: int) -> bool:
    """Whether the round samples pairs that it will wait for, or is about to."""
    for run in runs.runs_of_round(session, round_id):
        if run.stage == Stage.LABEL:
            return False
        if run.stage == Stage.SAMPLE and run.state in UNFINISHED:
            return True
    return False


def cancel(session: Session, viewer: Viewer, number: int) -> None:
    """End a round: waiting runs at once, a running one at its next look. What was judged stays."""
    active = _active(session, number)
    _stop_the_rest(session, active.id, "Cancelled.")
    _end_early(session, active.id, RoundState.CANCELLED)
    people.audit(session, viewer.id, "cancelled round", "round", active.id, number=number)


def pause(session: Session, viewer: Viewer | None, number: int, why: str | None = None) -> None:
    """Let a round stand still: a stage that runs stops at its next look, and nothing that follows is begun.

    What labelers are asked stays open. `why` says in a sentence what paused it where no `viewer` did. Raises Conflict.
    """
    active = _active(session, number)
    if active.paused_at is not None:
        raise Conflict(f"Round {number} is paused already.", "Nothing was changed.")
    rounds.set_paused(session, active, why or f"Paused by {viewer.name if viewer else 'nobody'}.")
    for run in runs.runs_of_round(session, active.id, lock=True):
        if run.state == RunState.RUNNING:
            runs.ask_to_pause(session, run, pause=True)
        elif run.state == RunState.QUEUED:
            runs.set_aside(session, run)
    people.audit(
        session, None if viewer is None else viewer.id, "paused round", "round", active.id, number=number, why=why
    )


def resume(session: Session, viewer: Viewer, number: int) -> None:
    """Let a paused round go on where it stands. Raises Conflict."""
    active = _active(session, number)
    if active.paused_at is None:
        raise Conflict(f"Round {number} is not paused.", "Nothing was changed.")
    rounds.set_paused(session, active, None)
    for run in runs.runs_of_round(session, active.id, lock=True):
        if run.state == RunState.RUNNING:
            runs.ask_to_pause(session, run, pause=False)
    people.audit(session, viewer.id, "resumed round", "round", active.id, number=number)
    _advance(session, active)


def run_again(session: Session, viewer: Viewer, number: int, position: int) -> None:
    """Run the stage at this place of a round that is over, and those that follow it, once more.

    New runs take the places of the old ones, which stay as earlier tries, with every checkpoint they wrote. What had
    begun and did not succeed goes on from its resume state; what had succeeded is done anew. Raises Conflict unless the
    round is the newest and over, everything before the stage is done, and nothing still stops.
    """
    found = _found(session, number)
    project_id = found.round.project_id
    rounds.lock_launch(session, project_id)
    active = rounds.lock_project_rounds(session, project_id)
    if active is not None:
        raise Conflict(f"Round {active.number} is still going on.", "Wait for its end, or cancel it.")
    if rounds.rounds(session, project_id)[0].round.id != found.round.id:
        raise Conflict(
            f"Round {number} is not the newest: later rounds stand on what it made.", "Launch a new round instead."
        )
    held = runs.runs_of_round(session, found.round.id, lock=True)
    again = [run for run in held if run.position >= position]
    if not again or again[0].position != position:
        raise NotFound("There is no such stage in this round.", "Go back to the round.")
    if any(run.state != RunState.SUCCEEDED for run in held if run.position < position):
        raise Conflict("A stage before this one is not done.", "Run the round again from there.")
    if any(run.state == RunState.RUNNING for run in again):
        raise Conflict("A worker is still stopping a stage of this round.", "Try again in a minute.")
    runs.supersede(session, again)
    ended_early = found.round.state != RoundState.SUCCEEDED
    rounds.open_again(session, found.round)
    for old in again:
        runs.add_run(
            session,
            project_id,
            Stage(old.stage),
            RunState.PENDING,
            old.payload if old.state == RunState.SUCCEEDED or not old.fence else protocol.gone_on_from(old),
            asked_by=viewer.id,
            round_id=found.round.id,
            position=old.position,
        )
    if ended_early:
        kinds, judged = LABELERS_OF[found.round.with_simulated], any(AFTER in run.payload for run in held)
        batches.adopt_batches(session, project_id, found.round.id, kinds, judged=judged)
    stage = again[0].stage
    people.audit(
        session, viewer.id, "ran round again", "round", found.round.id, number=number, stage=stage, position=position
    )
    _advance(session, found.round)


def finish_labeling(session: Session, viewer: Viewer, number: int) -> int:
    """Go on with what is judged: stop asking for the opinions still open. Gives how many are no longer asked for."""
    found = _found(session, number)
    active = rounds.lock_project_rounds(session, found.round.project_id)
    waiting = None if active is None else runs.waiting_run_of_round(session, found.round.id)
    if active is None or active.id != found.round.id or waiting is None:
        raise Conflict(f"Round {number} is not waiting for answers.", "Reload the page to see where it is.")
    batch_ids = batches.batches_of_round(session, active.id)
    if not answers.any_counted(session, active.project_id, LABELERS_OF[active.with_simulated]):
        raise Conflict("Nothing has been judged that counts.", "A reward model needs at least one preference.")
    voided = batches.void_unfinished(session, batch_ids)
    people.audit(session, viewer.id, "finished labeling", "round", active.id, number=number, voided=voided)
    _labeling_done(session, active, waiting, batches.done_slots(session, batch_ids))
    return voided


def opinion_given(session: Session, batch_id: int) -> None:
    """Called with every answer: when it was the last one its round waited for, the round goes on."""
    round_id = batches.round_judged(session, batch_id)
    if round_id is not None:
        # The answer has its slot locked, and who ends the labeling locks the round first: waiting could be for ever.
        _look_at_labeling(session, round_id, wait=False)


def look_around(session: Session) -> int:
    """The reconciler's part in labeling: rounds whose last two answers crossed. Gives how many rounds wait."""
    waiting = runs.waiting_runs(session)
    for run in waiting:
        if run.round_id is not None:
            _look_at_labeling(session, run.round_id, wait=True)
    return len(waiting)


def _look_at_labeling(session: Session, round_id: int, *, wait: bool) -> None:
    batch_ids = batches.batches_of_round(session, round_id)
    if batches.has_unfinished_slots(session, batch_ids):
        return
    found = rounds.round_by_id(session, round_id)
    active = rounds.lock_project_rounds(session, found.round.project_id, wait=wait)
    waiting = None if active is None else runs.waiting_run_of_round(session, round_id)
    if active is not None and active.id == round_id and waiting is not None:
        _labeling_done(session, active, waiting, batches.done_slots(session, batch_ids))


def _labeling_done(session: Session, active: Round, waiting: Run, judged: int) -> None:
    runs.set_progress(session, waiting, judged, "")
    runs.end(
        session,
        waiting,
        RunState.SUCCEEDED,
        words=f"{judged} opinions given.",
        result={"judged": judged, "last_preference": answers.last_preference(session)},
    )
    _advance(session, active)


def _advance(session: Session, active: Round) -> None:
    """Start the first run that has not begun, unless the round is paused; end the round when there is none.

    The caller holds the round's lock.
    """
    if active.paused_at is not None:
        return
    for run in runs.runs_of_round(session, active.id, lock=True):
        if run.state == RunState.SUCCEEDED:
            continue
        if run.state != RunState.PENDING:
            return
        if run.stage != Stage.LABEL:
            protocol.queue(session, run)
            return
        if AFTER in run.payload:
            needed, kinds = 0, LABELERS_OF[active.with_simulated]
            judged = answers.came_in(session, active.project_id, kinds, run.payload[AFTER])
        else:
            batch_ids = batches.batches_of_round(session, active.id)
            needed, judged = batches.unfinished_slots(session, batch_ids), batches.done_slots(session, batch_ids)
        runs.set_waiting(session, run, needed + judged, "Waiting for labelers.")
        if needed:
            return
        _labeling_done(session, active, run, judged)
        return
    rounds.end_round(session, active.id, RoundState.SUCCEEDED)


def succeed(session: Session, claim: Claim, words: str, result: dict[str, Any]) -> None:
    """The claimed run did what was asked; the round goes on. Raises StaleClaim."""
    run = hold_with_round(session, claim)
    runs.end(session, run, RunState.SUCCEEDED, words=words, result=result)
    if run.round_id is not None:
        active = rounds.lock_project_rounds(session, run.project_id)
        if active is not None and active.id == run.round_id:
            _advance(session, active)


def fail(session: Session, claim: Claim, trouble: Trouble, problem: str, traceback: str) -> bool:
    """The claimed run could not do what was asked: whether it is tried again. Otherwise the round ends with it.

    What passes by itself is tried again, later each time; what would fail the same way is not. Raises StaleClaim.
    """
    run = hold_with_round(session, claim)
    if run.cancel_asked_at is not None:
        runs.end(session, run, RunState.CANCELLED, words="Cancelled.")
        return False
    if trouble is Trouble.PASSING and run.attempt < MOST_ATTEMPTS:
        runs.postpone(session, run, BACK_OFF[run.attempt - 1], problem, traceback)
        if run.pause_asked_at is not None:
            runs.set_aside(session, run)
        return True
    words = (
        f"Failed {MOST_ATTEMPTS} times; it was not tried again."
        if trouble is Trouble.PASSING
        else "Failed. It was not tried again, because the same would happen."
    )
    runs.end(session, run, RunState.FAILED, words=words, trouble=trouble, problem=problem, traceback=traceback)
    if run.round_id is not None:
        _fail_round(session, run.round_id)
    return False


def stopped(session: Session, claim: Claim, kept: str = "") -> None:
    """The claimed run stopped because it was asked to, for ever or until its round goes on. Raises StaleClaim.

    `kept` says what a cancelled run leaves.
    """
    run = hold_with_round(session, claim)
    if run.cancel_asked_at is not None:
        runs.end(session, run, RunState.CANCELLED, words=f"Cancelled. {kept}".strip())
        return
    runs.set_aside(session, run)
    active = rounds.lock_project_rounds(session, run.project_id)
    if active is not None and active.id == run.round_id:
        # Unless it is still paused: somebody may have let it go on while the stage was stopping.
        _advance(session, active)


def hold_with_round(session: Session, claim: Claim) -> Run:
    """The run's row, locked, while the claim is good. Raises StaleClaim.

    The round is locked first, then its runs: everybody locks in this order.
    """
    rounds.lock_project_rounds(session, claim.project_id)
    return protocol.hold(session, claim)


def give_up(session: Session) -> int:
    """Let go of runs whose holder went silent and that nobody should take: cancelled ones, paused ones, deadly ones.

    A stage that is killed each time at the same place (most likely for want of memory) would else start again for
    ever. Gives how many.
    """
    lost = runs.lost(session, protocol.MOST_DEATHS)
    for run_id, project_id in lost:
        rounds.lock_project_rounds(session, project_id)
        run = runs.lock_run(session, run_id)
        if run is None or not runs.is_lost(session, run_id, protocol.MOST_DEATHS):
            continue
        if run.cancel_asked_at is not None:
            runs.end(session, run, RunState.CANCELLED, words="Cancelled.")
            continue
        if run.pause_asked_at is not None:
            runs.set_aside(session, run)
            continue
        problem = (
            f"The worker died {protocol.MOST_DEATHS} times while it was here: {run.words or 'starting'}. Most likely "
            "it ran out of memory. What was judged and every earlier checkpoint is safe. Lower micro_batch (it changes "
            "memory only) or max_query_tokens in the recipe and launch a round again: what was judged is taken in."
        )
        words = "Failed. It was not tried again, because the same would happen."
        runs.end(session, run, RunState.FAILED, words=words, trouble=Trouble.LASTING, problem=problem)
        if run.round_id is not None:
            _fail_round(session, run.round_id)
    return len(lost)


def _fail_round(session: Session, round_id: int) -> None:
    _stop_the_rest(session, round_id, "Not begun, because an earlier run failed.")
    _end_early(session, round_id, RoundState.FAILED)


def _end_early(session: Session, round_id: int, state: RoundState) -> None:
    rounds.end_round(session, round_id, state)
    batches.release_batches(session, round_id)


def _stop_the_rest(session: Session, round_id: int, words: str) -> None:
    for run in runs.runs_of_round(session, round_id, lock=True):
        if run.state == RunState.RUNNING:
            runs.ask_to_cancel(session, run)
        elif run.state in UNFINISHED:
            runs.end(session, run, RunState.CANCELLED, words=words)


def _active(session: Session, number: int) -> Round:
    """The round with this number, locked, while it goes on. Raises NotFound, Conflict."""
    found = _found(session, number)
    active = rounds.lock_project_rounds(session, found.round.project_id)
    if active is None or active.id != found.round.id:
        raise Conflict(f"Round {number} is over already.", "Nothing was changed.")
    return active


def _found(session: Session, number: int) -> RoundWithRecipe:
    found = rounds.round_by_number(session, the_project(session).id, number)
    if found is None:
        raise NotFound(f"There is no round {number}.", "Go back to the list of rounds.")
    return found


@dataclass(frozen=True)
class RunView:
    """A run as pages and programs see it. `done` and `total` of a waiting run are opinions given and asked for.

    `due_at` and `trouble` of a queued one say that it waits for what passes by itself; `stopping`, that a running one
    was asked to stop and is still on its way.
    """

    id: int
    position: int
    stage: Stage
    state: RunState
    words: str
    done: int
    total: int
    problem: str | None
    traceback: str | None
    result: dict[str, Any]
    conditions: dict[str, Any]
    worker: str | None
    attempt: int
    due_at: datetime | None
    trouble: Trouble | None
    stopping: bool
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class RoundView:
    """A round with its recipe and its runs in order; `earlier` are tries that were run again since, oldest first.

    `by_itself`: continuous mode launched it.
    """

    number: int
    state: RoundState
    recipe_id: int
    recipe_name: str
    recipe_version: int
    recipe: Recipe
    with_simulated: bool
    by_itself: bool
    created_at: datetime
    ended_at: datetime | None
    paused_at: datetime | None
    pause_words: str | None
    newest: bool
    runs: list[RunView]
    earlier: list[RunView]


def run_view(session: Session, run: Run) -> RunView:
    """A run's row as a value."""
    done, total, words = run.done, run.total, run.words
    if run.state == RunState.WAITING and run.round_id is not None:
        batch_ids = batches.batches_of_round(session, run.round_id)
        done = batches.done_slots(session, batch_ids)
        # An admin may have asked for more opinions, or for fewer, since it began to wait.
        total = done + batches.unfinished_slots(session, batch_ids)
        words = f"Waiting for labelers: {done} of {total} opinions given."
    return RunView(
        id=run.id,
        position=run.position,
        stage=Stage(run.stage),
        state=RunState(run.state),
        words=words,
        done=done,
        total=total,
        problem=run.problem,
        traceback=run.traceback,
        result=run.result or {},
        conditions=run.conditions or {},
        worker=run.worker,
        attempt=run.attempt,
        due_at=run.due_at,
        trouble=None if run.trouble is None else Trouble(run.trouble),
        stopping=run.state == RunState.RUNNING and (run.cancel_asked_at or run.pause_asked_at) is not None,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def view(session: Session, number: int) -> RoundView:
    """The round with this number. Raises NotFound."""
    found = _found(session, number)
    last = rounds.rounds(session, found.round.project_id)[0]
    return _view(session, found, newest=last.round.id == found.round.id)


def views(session: Session) -> list[RoundView]:
    """All rounds, newest first."""
    listed = rounds.rounds(session, the_project(session).id)
    return [_view(session, found, newest=place == 0) for place, found in enumerate(listed)]


def _view(session: Session, found: RoundWithRecipe, *, newest: bool) -> RoundView:
    return RoundView(
        number=found.round.number,
        state=RoundState(found.round.state),
        recipe_id=found.recipe.id,
        recipe_name=found.recipe.name,
        recipe_version=found.recipe.version,
        recipe=Recipe.from_dict(found.recipe.body),
        with_simulated=found.round.with_simulated,
        by_itself=found.round.continuous_id is not None,
        created_at=found.round.created_at,
        ended_at=found.round.ended_at,
        paused_at=found.round.paused_at,
        pause_words=found.round.pause_words,
        newest=newest,
        runs=[run_view(session, run) for run in runs.runs_of_round(session, found.round.id)],
        earlier=[run_view(session, run) for run in runs.earlier_runs_of_round(session, found.round.id)],
    )

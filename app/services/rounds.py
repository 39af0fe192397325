"""The life of a round: launch, one run after another, wait for people, end.

Knows the order of the stages and what follows a run's end. Knows nothing of models; never commits.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.recipes import NAMED, Recipe
from app.domain.words import UNFINISHED, CheckpointKind, LabelerKind, RoundState, RunState, Split, Stage
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import answers, batches, corpus, people, rounds, runs
from app.store.rounds import RoundWithRecipe
from app.store.session import Session
from app.store.tables import Recipe as RecipeRow
from app.store.tables import Round, Run

# Whose answers count in a round, by whether it was launched with simulated labelers (invariant 10).
LABELERS_OF: dict[bool, tuple[LabelerKind, ...]] = {
    False: (LabelerKind.HUMAN,),
    True: (LabelerKind.HUMAN, LabelerKind.SIMULATED),
}
FOR_ROUND = "round"
FOR_NEXT = "next"
FOR_QUEUE = "queue"
MOST_PAIRS = 100_000


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
    rounds.lock_launch(session, project.id)
    active = rounds.lock_project_rounds(session, project.id)
    if active is not None:
        raise Conflict(f"Round {active.number} is still going on.", "Wait for its end, or cancel it.")
    if not corpus.documents_for_training(session, project.id, Split.TRAIN, limit=1, with_reference=True):
        raise Conflict(
            "There are no training documents with a reference summary.",
            "Import documents first; `hone run` ships some.",
        )
    new = rounds.add_round(session, project.id, row.id, viewer.id, with_simulated)
    sft = rounds.newest_checkpoint(session, project.id, Stage.SFT, CheckpointKind.POLICY)
    stages: list[tuple[Stage, dict[str, Any]]] = [
        (Stage.SAMPLE, {"for": FOR_ROUND}),
        (Stage.LABEL, {}),
        (Stage.REWARD, {}),
        (Stage.PPO, {}),
        (Stage.EVALUATE, {}),
        (Stage.SAMPLE, {"for": FOR_NEXT}),
    ]
    if sft is None or chosen.sft.when == "always":
        stages.insert(0, (Stage.SFT, {}))
    for position, (stage, payload) in enumerate(stages, start=1):
        runs.add_run(
            session,
            project.id,
            stage,
            RunState.PENDING,
            payload,
            asked_by=viewer.id,
            round_id=new.id,
            position=position,
        )
    batches.adopt_batches(session, project.id, new.id, LABELERS_OF[with_simulated])
    people.audit(session, viewer.id, "launched round", "round", new.id, number=new.number, recipe=row.name)
    _advance(session, new)
    return new.number


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
    Raises Invalid for a number out of range, Conflict while a round is active (it samples its own).
    """
    project = the_project(session)
    if not 1 <= pairs <= MOST_PAIRS:
        raise Invalid(f"{pairs} pairs cannot be sampled at once.", f"Ask for 1 to {MOST_PAIRS}.", "pairs")
    row, _ = recipe(session, recipe_id)
    active = rounds.lock_project_rounds(session, project.id)
    if active is not None:
        raise Conflict(f"Round {active.number} is going on and samples its own pairs.", "Wait for its end.")
    payload = {
        "for": FOR_QUEUE,
        "recipe_id": row.id,
        "pairs": pairs,
        "with_simulated": with_simulated,
        "notes_first": notes_first,
    }
    return protocol.ask(session, viewer, Stage.SAMPLE, payload).id


def cancel(session: Session, viewer: Viewer, number: int) -> None:
    """End a round: waiting runs at once, a running one at its next look. What was judged stays."""
    found = _found(session, number)
    active = rounds.lock_project_rounds(session, found.round.project_id)
    if active is None or active.id != found.round.id:
        raise Conflict(f"Round {number} is over already.", "Nothing was changed.")
    _stop_the_rest(session, active.id, "Cancelled.")
    _end_early(session, active.id, RoundState.CANCELLED)
    people.audit(session, viewer.id, "cancelled round", "round", active.id, number=number)


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
    _labeling_done(session, active, waiting, batch_ids)
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
        _labeling_done(session, active, waiting, batch_ids)


def _labeling_done(session: Session, active: Round, waiting: Run, batch_ids: list[int]) -> None:
    judged = batches.done_slots(session, batch_ids)
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
    """Start the first run that has not begun; end the round when there is none. The caller holds the round's lock."""
    for run in runs.runs_of_round(session, active.id, lock=True):
        if run.state == RunState.SUCCEEDED:
            continue
        if run.state != RunState.PENDING:
            return
        if run.stage != Stage.LABEL:
            protocol.queue(session, run)
            return
        batch_ids = batches.batches_of_round(session, active.id)
        needed = batches.unfinished_slots(session, batch_ids)
        runs.set_waiting(session, run, needed + batches.done_slots(session, batch_ids), "Waiting for labelers.")
        if needed:
            return
        _labeling_done(session, active, run, batch_ids)
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


def fail(session: Session, claim: Claim, problem: str, traceback: str) -> None:
    """The claimed run could not do what was asked; the round ends with it. Raises StaleClaim."""
    run = hold_with_round(session, claim)
    runs.end(session, run, RunState.FAILED, words="Failed.", problem=problem, traceback=traceback)
    if run.round_id is not None:
        _fail_round(session, run.round_id)


def cancelled(session: Session, claim: Claim) -> None:
    """The claimed run stopped because it was asked to. Raises StaleClaim."""
    run = hold_with_round(session, claim)
    runs.end(session, run, RunState.CANCELLED, words="Cancelled.")


def hold_with_round(session: Session, claim: Claim) -> Run:
    """The run's row, locked, while the claim is good. Raises StaleClaim.

    The round is locked first, then its runs: everybody locks in this order.
    """
    rounds.lock_project_rounds(session, claim.project_id)
    return protocol.hold(session, claim)


def give_up(session: Session) -> int:
    """End runs whose holder went silent for good: cancelled ones, and those that took too many workers with them.

    A stage that is killed each time (most likely for want of memory) would else start again for ever. Gives how many.
    """
    lost = runs.lost(session, protocol.MOST_CLAIMS)
    for run_id, project_id in lost:
        rounds.lock_project_rounds(session, project_id)
        run = runs.lock_run(session, run_id)
        if run is None or not runs.is_lost(session, run_id, protocol.MOST_CLAIMS):
            continue
        if run.cancel_asked_at is not None:
            runs.end(session, run, RunState.CANCELLED, words="Cancelled.")
            continue
        problem = (
            f"The worker died {run.fence} times while it was here: {run.words or 'starting'}. Most likely it ran out "
            "of memory. What was judged and every earlier checkpoint is safe. Lower micro_batch (it changes memory "
            "only) or max_query_tokens in the recipe and launch a round again: what was judged is taken in."
        )
        runs.end(session, run, RunState.FAILED, words="Failed.", problem=problem)
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


def _found(session: Session, number: int) -> RoundWithRecipe:
    found = rounds.round_by_number(session, the_project(session).id, number)
    if found is None:
        raise NotFound(f"There is no round {number}.", "Go back to the list of rounds.")
    return found


@dataclass(frozen=True)
class RunView:
    """A run as pages and programs see it. `done` and `total` of a waiting run are opinions given and asked for."""

    id: int
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
    """A round with its recipe and its runs in order."""

    number: int
    state: RoundState
    recipe_id: int
    recipe_name: str
    recipe_version: int
    recipe: Recipe
    with_simulated: bool
    created_at: datetime
    ended_at: datetime | None
    runs: list[RunView]


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
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def view(session: Session, number: int) -> RoundView:
    """The round with this number. Raises NotFound."""
    return _view(session, _found(session, number))


def views(session: Session) -> list[RoundView]:
    """All rounds, newest first."""
    return [_view(session, found) for found in rounds.rounds(session, the_project(session).id)]


def _view(session: Session, found: RoundWithRecipe) -> RoundView:
    return RoundView(
        number=found.round.number,
        state=RoundState(found.round.state),
        recipe_id=found.recipe.id,
        recipe_name=found.recipe.name,
        recipe_version=found.recipe.version,
        recipe=Recipe.from_dict(found.recipe.body),
        with_simulated=found.round.with_simulated,
        created_at=found.round.created_at,
        ended_at=found.round.ended_at,
        runs=[run_view(session, run) for run in runs.runs_of_round(session, found.round.id)],
    )

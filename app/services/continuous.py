"""Continuous mode: turned on and off by an admin; in between it samples pairs and launches rounds by itself.

Knows where the counts of its rule are (the rule is app.domain.continuous) and that two reconcilers take no step twice.
Never commits.
"""

from dataclasses import dataclass
from datetime import datetime

from app.domain import continuous as rule
from app.domain.continuous import Counts, Launch, Sample, Stop
from app.domain.errors import Conflict, Invalid, Refusal
from app.domain.recipes import Recipe
from app.domain.words import CheckpointKind, RoundState, RunState, Stage
from app.services import rounds as life
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, continuous, people, rounds, runs
from app.store.session import Session
from app.store.tables import Continuous, Round, Run


@dataclass(frozen=True)
class Mode:
    """Continuous mode, on or off again, with the counts that it decides by; None when it is off.

    `ended_by` is None while it is on, and when it stopped by itself.
    """

    recipe_id: int
    recipe_name: str
    recipe_version: int
    recipe: Recipe
    with_simulated: bool
    turned_on_by: str
    since: datetime
    ended_at: datetime | None
    ended_by: str | None
    end_words: str | None
    counts: Counts | None

    @property
    def stopped_by_itself(self) -> bool:
        """Whether nobody turned it off."""
        return self.ended_at is not None and self.ended_by is None


def turn_on(session: Session, viewer: Viewer, recipe_id: int, *, with_simulated: bool) -> None:
    """Keep the queue filled and launch rounds from now on, as the recipe says.

    Raises NotFound, Conflict when it is on already, Invalid where the first round alone would use up the budget.
    """
    project = the_project(session)
    row, recipe = life.recipe(session, recipe_id)
    rounds.lock_launch(session, project.id)
    if continuous.is_on(session, project.id) is not None:
        raise Conflict("Continuous mode is on already.", "Turn it off first.")
    first = recipe.pairing.pairs * recipe.pairing.opinions
    if not _fine_tuned(session, project.id) and first > recipe.continuous.most_opinions:
        raise Invalid(
            f"The first round asks for {first:,} opinions (pairing), and all of them together may ask for "
            f"{recipe.continuous.most_opinions:,} (continuous.most_opinions).",
            "Choose another recipe, or edit this one.",
            "recipe",
        )
    last = answers.last_preference(session)
    mode = continuous.add(session, project.id, row.id, viewer.id, last, with_simulated)
    people.audit(
        session,
        viewer.id,
        "turned on continuous mode",
        "continuous",
        mode.id,
        recipe=row.name,
        version=row.version,
        with_simulated=with_simulated,
    )


def turn_off(session: Session, viewer: Viewer) -> None:
    """Sample and launch nothing more. What was asked for already goes on. Raises Conflict when it is off."""
    project = the_project(session)
    rounds.lock_launch(session, project.id)
    mode = continuous.is_on(session, project.id)
    if mode is None:
        raise Conflict("Continuous mode is off already.", "Nothing was changed.")
    continuous.end(session, mode, viewer.id, f"Turned off by {viewer.name}.")
    people.audit(session, viewer.id, "turned off continuous mode", "continuous", mode.id)


def look_around(session: Session) -> int:
    """The reconciler's part: take the step that the rule asks for now, if any. Gives how many steps were taken."""
    project = the_project(session)
    if continuous.is_on(session, project.id) is None:
        return 0
    # Another reconciler, an admin who launches, or one who turns it off may have been quicker: look again, alone.
    rounds.lock_launch(session, project.id)
    mode = continuous.is_on(session, project.id)
    if mode is None:
        return 0
    _, recipe = life.recipe(session, mode.recipe_id)
    match rule.step(recipe.continuous, recipe.pairing, _counts(session, mode)):
        case Sample(pairs):
            life.sample_by_itself(session, mode, pairs)
        case Launch():
            try:
                life.launch_by_itself(session, mode, continuous.last_counted(session, project.id))
            except Refusal as refusal:
                _stop(session, mode, f"No round could be launched. {refusal.what} {refusal.what_to_do}".strip())
        case Stop(because):
            _stop(session, mode, because)
        case _:
            return 0
    return 1


def view(session: Session) -> Mode | None:
    """The mode that is on, or the last that was; None when there was none."""
    found = continuous.newest(session, the_project(session).id)
    if found is None:
        return None
    row = found.row
    return Mode(
        recipe_id=row.recipe_id,
        recipe_name=found.recipe.name,
        recipe_version=found.recipe.version,
        recipe=Recipe.from_dict(found.recipe.body),
        with_simulated=row.with_simulated,
        turned_on_by=found.turned_on_by,
        since=row.created_at,
        ended_at=row.ended_at,
        ended_by=found.ended_by,
        end_words=row.end_words,
        counts=_counts(session, row) if row.ended_at is None else None,
    )


def _stop(session: Session, mode: Continuous, because: str) -> None:
    continuous.end(session, mode, None, because)
    people.audit(session, None, "stopped continuous mode", "continuous", mode.id, why=because)


def _fine_tuned(session: Session, project_id: int) -> bool:
    return rounds.newest_checkpoint(session, project_id, Stage.SFT, CheckpointKind.POLICY) is not None


def _counts(session: Session, mode: Continuous) -> Counts:
    project_id, kinds = mode.project_id, life.LABELERS_OF[mode.with_simulated]
    active = rounds.active_round(session, project_id)
    # Before the opinions: a sampling that commits in between would be seen neither as coming nor as what it put up.
    coming = continuous.is_sampling(session, project_id) or (
        active is not None and life.puts_up_pairs(session, active.id)
    )
    needed, given_out = continuous.needed(session, project_id, kinds)
    given = answers.came_in(session, project_id, kinds, mode.after_preference, imported=False)
    return Counts(
        open=given_out,
        needed=needed,
        asked=given + needed,
        new=answers.came_in(session, project_id, kinds, continuous.last_counted(session, project_id)),
        rounds=continuous.rounds_launched(session, mode.id),
        fine_tuned=_fine_tuned(session, project_id),
        active=active is not None,
        paused=active is not None and active.paused_at is not None,
        coming=coming,
        trouble=_trouble(session, mode, active),
    )


def _trouble(session: Session, mode: Continuous, active: Round | None) -> str | None:
    """Why somebody should look before anything more is asked for."""
    if active is not None and active.paused_at is not None and continuous.paused_by_itself(session, active.id):
        return f"Round {active.number} is paused. {active.pause_words}"
    ended = continuous.ended_early_since(session, mode)
    if ended is not None:
        failed = [run for run in runs.runs_of_round(session, ended.id) if run.state == RunState.FAILED]
        if ended.state == RoundState.CANCELLED:
            return f"Round {ended.number} was cancelled."
        return " ".join([f"Round {ended.number} failed.", *(run.problem or "" for run in failed)]).strip()
    sampling = continuous.last_sampling(session, mode.project_id, mode.id)
    return None if sampling is None else _trouble_with_sampling(sampling)


def _trouble_with_sampling(run: Run) -> str | None:
    if run.state == RunState.FAILED:
        return f"Sampling pairs failed. {run.problem}"
    if run.state == RunState.CANCELLED:
        return "Its sampling of pairs was cancelled."
    if run.state == RunState.SUCCEEDED and not (run.result or {}).get("pairs"):
        return f"Sampling put up no pairs. {run.words}"
    return None

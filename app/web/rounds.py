"""Rounds: the list, the launch, continuous mode, one round while it goes on and afterwards, and the same as JSON.

Knows routes and forms. How a round is told in words is in app.web.telling; what it does, in app.services.rounds.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Response
from pydantic import BaseModel, Field, StrictInt

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.recipes import Recipe
from app.domain.words import Role, RoundState, RunState
from app.services import continuous, forecasts, monitor, overview, promotions, rounds, runs, watching
from app.services.rounds import RoundView
from app.web import continuous as keeping_on
from app.web import events, monitors, telling
from app.web.contexts import (
    ForecastPart,
    KeepGoingForm,
    LaunchForm,
    PromotionLine,
    RecipeOption,
    RecipePage,
    RoundPage,
    RoundsPage,
    RunCurves,
)
from app.web.curves import curves
from app.web.door import ADMIN, STAFF, Desk, Door, DoorDep
from app.web.policies import decision_line
from app.web.rendering import Tone, page, redirect
from app.web.runs import RunAnswer, run_answer

router = APIRouter()
router.include_router(events.router)

PREFERRED = "demo"
LARGEST = 2**31 - 1

Number = Annotated[int, Path(ge=1, le=LARGEST)]


def _now() -> datetime:
    return datetime.now(UTC)


# Pages


def _disk_free(door: Door) -> int:
    """Bytes free where artifacts will lie, whether the directory is there yet or not."""
    place = door.settings.artifacts
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _forecast(desk: Desk, disk_free: int, recipe: Recipe, with_simulated: bool) -> ForecastPart:
    told = forecasts.forecast(desk.session, recipe, with_simulated=with_simulated, disk_free=disk_free)
    return telling.forecast(told, recipe.name)


def _launch(door: Door, desk: Desk, recipe_id: int, *, with_simulated: bool) -> int:
    _, recipe = rounds.recipe(desk.session, recipe_id)
    forecasts.refuse(desk.session, recipe, with_simulated=with_simulated, disk_free=_disk_free(door))
    return rounds.launch(desk.session, desk.viewer, recipe_id, with_simulated=with_simulated)


def _launch_form(
    desk: Desk,
    disk_free: int,
    chosen: int | None = None,
    with_simulated: bool = False,
    problem: str | None = None,
) -> LaunchForm:
    there = overview.outlook(desk.session)
    rows = rounds.recipes(desk.session)
    offered = {row.id: Recipe.from_dict(row.body) for row in rows}
    options = [RecipeOption(row.id, row.name, row.version, telling.recipe_line(offered[row.id])) for row in rows]
    if chosen is None:
        chosen = next((option.id for option in options if option.name == PREFERRED), None)
    return LaunchForm(
        recipes=options,
        recipe=chosen,
        with_simulated=with_simulated,
        happens=telling.happens(there),
        facts=telling.facts(there),
        forecast=_forecast(desk, disk_free, offered[chosen], with_simulated) if chosen in offered else None,
        blocked=telling.blocked(there),
        problem=problem,
    )


def _rounds_page(desk: Desk, launch: LaunchForm | None, keep_going: KeepGoingForm | None = None) -> RoundsPage:
    now = _now()
    return RoundsPage(
        rounds=[telling.round_line(found, now) for found in rounds.views(desk.session)],
        launch=launch,
        continuous=keeping_on.box(desk, keep_going or keeping_on.form(desk, PREFERRED)),
    )


@router.get("/rounds")
def rounds_page(
    door: DoorDep,
    recipe: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    with_simulated: Annotated[str, Query()] = "",
) -> Response:
    """All rounds, and for admins the form that launches the next, with what the chosen recipe would do."""
    simulated = with_simulated == "yes"
    with door.enter(*STAFF) as desk:
        admin = desk.viewer.role is Role.ADMIN
        form = _launch_form(desk, _disk_free(door), recipe, simulated) if admin else None
        context = _rounds_page(desk, form)
    return page(door.request, "rounds/rounds.html", context)


def _from_form(
    door: Door, recipe: int | None, begin: Callable[[Desk, int], Response], again: Callable[[Desk, str], RoundsPage]
) -> Response:
    """Begin what a form asks with this recipe, or show the page again with the problem beside the form."""
    try:
        with door.enter(*ADMIN) as desk:
            if recipe is None:
                raise Invalid("No recipe was chosen.", "Choose one of the list.", "recipe")
            return begin(desk, recipe)
    except (Conflict, Invalid, NotFound) as refusal:
        with door.enter(*ADMIN) as desk:
            context = again(desk, f"{refusal.what} {refusal.what_to_do}".strip())
        return page(door.request, "rounds/rounds.html", context, 409 if isinstance(refusal, Conflict) else 422)


@router.post("/rounds")
def launch(
    door: DoorDep,
    recipe: Annotated[int | None, Form(ge=1, le=LARGEST)] = None,
    with_simulated: Annotated[str, Form()] = "",
) -> Response:
    """Launch a round."""
    simulated = with_simulated == "yes"

    def begin(desk: Desk, chosen: int) -> Response:
        number = _launch(door, desk, chosen, with_simulated=simulated)
        return redirect(f"/rounds/{number}", f"Round {number} is launched.")

    def again(desk: Desk, problem: str) -> RoundsPage:
        return _rounds_page(desk, _launch_form(desk, _disk_free(door), recipe, simulated, problem))

    return _from_form(door, recipe, begin, again)


def _keep_going(door: Door, desk: Desk, recipe_id: int, *, with_simulated: bool) -> None:
    _, recipe = rounds.recipe(desk.session, recipe_id)
    forecasts.refuse(desk.session, recipe, with_simulated=with_simulated, disk_free=_disk_free(door))
    continuous.turn_on(desk.session, desk.viewer, recipe_id, with_simulated=with_simulated)


@router.post("/rounds/continuous")
def keep_going(
    door: DoorDep,
    recipe: Annotated[int | None, Form(ge=1, le=LARGEST)] = None,
    with_simulated: Annotated[str, Form()] = "",
) -> Response:
    """Turn continuous mode on."""
    simulated = with_simulated == "yes"

    def begin(desk: Desk, chosen: int) -> Response:
        _keep_going(door, desk, chosen, with_simulated=simulated)
        return redirect("/rounds#continuous", "Continuous mode is on.")

    def again(desk: Desk, problem: str) -> RoundsPage:
        filled = keeping_on.form(desk, PREFERRED, recipe, simulated, problem)
        return _rounds_page(desk, _launch_form(desk, _disk_free(door)), filled)

    return _from_form(door, recipe, begin, again)


@router.post("/rounds/continuous/off")
def turn_off(door: DoorDep) -> Response:
    """Turn continuous mode off."""
    try:
        with door.enter(*ADMIN) as desk:
            continuous.turn_off(desk.session, desk.viewer)
    except Conflict as refusal:
        return redirect("/rounds#continuous", f"{refusal.what} {refusal.what_to_do}", "warn")
    return redirect("/rounds#continuous", "Continuous mode is off. What was asked for goes on.", "info")


@router.get("/rounds/recipes/{recipe_id}")
def recipe_page(door: DoorDep, recipe_id: Number) -> Response:
    """Every field of a recipe with its explanation."""
    with door.enter(*STAFF) as desk:
        row, recipe = rounds.recipe(desk.session, recipe_id)
        newest = any(each.id == row.id for each in rounds.recipes(desk.session))
        context = RecipePage(
            id=row.id,
            name=row.name,
            version=row.version,
            digest=row.digest,
            made=row.created_at,
            summary=telling.recipe_summary(recipe),
            parts=telling.recipe_parts(recipe),
            can_launch=newest and desk.viewer.role is Role.ADMIN,
        )
    return page(door.request, "rounds/recipe.html", context)


@router.get("/rounds/{number}")
def round_page(door: DoorDep, number: Number) -> Response:
    """One round, while it goes on and afterwards."""
    with door.enter(*STAFF) as desk:
        # The points of this look are not used: the page shows all of them, and its stream goes on from the cursor.
        look = watching.look(desk.session, number, watching.NOW)
        found = look.round
        series = runs.points(desk.session, [run.id for run in found.runs])
        named = telling.titles(found)
        state, state_words = telling.round_state(found)
        admin = desk.viewer.role is Role.ADMIN
        waiting = next((run for run in found.runs if run.state is RunState.WAITING), None)
        drawn = [RunCurves(run.id, named[run.id], curves(run.stage, series.get(run.id, {}))) for run in found.runs]
        context = RoundPage(
            number=number,
            state=state,
            state_words=state_words,
            recipe_id=found.recipe_id,
            recipe=f"{found.recipe_name}, version {found.recipe_version}",
            with_simulated=found.with_simulated,
            by_itself=found.by_itself,
            started=found.created_at,
            ended=found.ended_at,
            seconds=max(0.0, ((found.ended_at or look.at) - found.created_at).total_seconds()),
            going_on=not look.over,
            cursor=look.cursor,
            can_cancel=admin and found.state is RoundState.ACTIVE,
            can_pause=admin and found.state is RoundState.ACTIVE and found.paused_at is None,
            can_resume=admin and found.paused_at is not None,
            pause_words=found.pause_words,
            missing=[telling.missing(each, look.at) for each in look.missing],
            can_finish=admin and waiting is not None and waiting.done > 0,
            failures=telling.failures(found),
            stages=telling.stage_lines(found, look.at),
            earlier=telling.earlier_tries(found),
            results=telling.result_lines(found),
            samples=telling.samples(found),
            monitor=monitors.box(monitor.look(desk.session, found)),
            decision=_decision(desk, number),
            curves=[each for each in drawn if each.curves],
            conditions=telling.conditions(found),
        )
    return page(door.request, "rounds/round.html", context)


def _decision(desk: Desk, number: int) -> PromotionLine | None:
    """The newest decision on what the round made."""
    decided = promotions.of_round(desk.session, number)
    return decision_line(decided[0]) if decided else None


def _changed(door: Door, number: int, change: Callable[[Desk], None], said: str, tone: Tone) -> Response:
    """Do what a button of the round's page asks, and say so there, or why not."""
    try:
        with door.enter(*ADMIN) as desk:
            change(desk)
    except Conflict as refusal:
        return redirect(f"/rounds/{number}", f"{refusal.what} {refusal.what_to_do}", "warn")
    return redirect(f"/rounds/{number}", said, tone)


@router.post("/rounds/{number}/cancel")
def cancel(door: DoorDep, number: Number) -> Response:
    """End a round."""
    said = f"Round {number} is cancelled. What was judged stays."
    return _changed(door, number, lambda desk: rounds.cancel(desk.session, desk.viewer, number), said, "info")


@router.post("/rounds/{number}/pause")
def pause(door: DoorDep, number: Number) -> Response:
    """Let a round stand still."""
    said = f"Round {number} is paused. Labelers are still asked."
    return _changed(door, number, lambda desk: rounds.pause(desk.session, desk.viewer, number), said, "info")


@router.post("/rounds/{number}/resume")
def resume(door: DoorDep, number: Number) -> Response:
    """Let a paused round go on."""
    said = f"Round {number} goes on."
    return _changed(door, number, lambda desk: rounds.resume(desk.session, desk.viewer, number), said, "good")


@router.post("/rounds/{number}/again")
def run_again(door: DoorDep, number: Number, position: Annotated[int, Form(ge=1, le=LARGEST)] = LARGEST) -> Response:
    """Run a round again from a stage."""

    def again(desk: Desk) -> None:
        rounds.run_again(desk.session, desk.viewer, number, position)

    return _changed(door, number, again, f"Round {number} runs again. What it made before stays.", "good")


@router.post("/rounds/{number}/finish-labeling")
def finish_labeling(door: DoorDep, number: Number) -> Response:
    """Go on with what is judged."""
    try:
        with door.enter(*ADMIN) as desk:
            voided = rounds.finish_labeling(desk.session, desk.viewer, number)
    except Conflict as refusal:
        return redirect(f"/rounds/{number}", f"{refusal.what} {refusal.what_to_do}", "warn")
    left = "1 opinion is no longer asked for." if voided == 1 else f"{voided:,} opinions are no longer asked for."
    return redirect(f"/rounds/{number}", f"The round goes on with what is judged; {left}")


# The same for programs


class LaunchRequest(BaseModel):
    """Which recipe, by name or id, and whether answers of simulated labelers count (invariant 10)."""

    recipe: Annotated[StrictInt, Field(ge=1, le=LARGEST)] | Annotated[str, Field(max_length=60)]
    with_simulated: bool = False


class Launched(BaseModel):
    """The new round."""

    number: int


class RoundAnswer(BaseModel):
    """A round and its stages in order."""

    number: int
    state: RoundState
    recipe: str
    recipe_version: int
    with_simulated: bool
    created_at: datetime
    ended_at: datetime | None
    paused_at: datetime | None
    pause_words: str | None
    runs: list[RunAnswer]


class Cancelled(BaseModel):
    """The state the round is in now."""

    state: RoundState


class Again(BaseModel):
    """From which place in the round on its stages are run again; the first is 1."""

    position: Annotated[StrictInt, Field(ge=1, le=LARGEST)]


class ContinuousAnswer(BaseModel):
    """Continuous mode as it is, or as it was last. The counts are there while it is on; see app.domain.continuous."""

    on: bool
    recipe: str | None
    recipe_version: int | None
    with_simulated: bool | None
    turned_on_by: str | None
    since: datetime | None
    ended_at: datetime | None
    end_words: str | None
    open: int | None
    asked: int | None
    new: int | None
    rounds: int | None


def _continuous(desk: Desk) -> ContinuousAnswer:
    mode = continuous.view(desk.session)
    now = None if mode is None else mode.counts
    return ContinuousAnswer(
        on=now is not None,
        recipe=None if mode is None else mode.recipe_name,
        recipe_version=None if mode is None else mode.recipe_version,
        with_simulated=None if mode is None else mode.with_simulated,
        turned_on_by=None if mode is None else mode.turned_on_by,
        since=None if mode is None else mode.since,
        ended_at=None if mode is None else mode.ended_at,
        end_words=None if mode is None else mode.end_words,
        open=None if now is None else now.open,
        asked=None if now is None else now.asked,
        new=None if now is None else now.new,
        rounds=None if now is None else now.rounds,
    )


def _answer(found: RoundView) -> RoundAnswer:
    return RoundAnswer(
        number=found.number,
        state=found.state,
        recipe=found.recipe_name,
        recipe_version=found.recipe_version,
        with_simulated=found.with_simulated,
        created_at=found.created_at,
        ended_at=found.ended_at,
        paused_at=found.paused_at,
        pause_words=found.pause_words,
        runs=[run_answer(run) for run in found.runs],
    )


def _recipe_id(desk: Desk, wanted: int | str) -> int:
    if isinstance(wanted, int):
        return wanted
    there = {row.name: row.id for row in rounds.recipes(desk.session)}
    if wanted not in there:
        raise NotFound(f"There is no recipe named {wanted!r}.", f"There are {', '.join(sorted(there))}.")
    return there[wanted]


@router.post("/api/rounds", status_code=201)
def launch_for_programs(door: DoorDep, wanted: LaunchRequest) -> Launched:
    """Launch a round."""
    with door.enter(*ADMIN) as desk:
        recipe_id = _recipe_id(desk, wanted.recipe)
        return Launched(number=_launch(door, desk, recipe_id, with_simulated=wanted.with_simulated))


@router.get("/api/rounds/{number}")
def round_for_programs(door: DoorDep, number: Number) -> RoundAnswer:
    """The whole round."""
    with door.enter(*STAFF) as desk:
        return _answer(rounds.view(desk.session, number))


@router.post("/api/rounds/{number}/cancel")
def cancel_for_programs(door: DoorDep, number: Number) -> Cancelled:
    """End a round; a running stage stops at its next look."""
    with door.enter(*ADMIN) as desk:
        rounds.cancel(desk.session, desk.viewer, number)
        return Cancelled(state=RoundState.CANCELLED)


@router.post("/api/rounds/{number}/pause")
def pause_for_programs(door: DoorDep, number: Number) -> RoundAnswer:
    """Let a round stand still; a running stage stops at its next look."""
    with door.enter(*ADMIN) as desk:
        rounds.pause(desk.session, desk.viewer, number)
        return _answer(rounds.view(desk.session, number))


@router.post("/api/rounds/{number}/resume")
def resume_for_programs(door: DoorDep, number: Number) -> RoundAnswer:
    """Let a paused round go on."""
    with door.enter(*ADMIN) as desk:
        rounds.resume(desk.session, desk.viewer, number)
        return _answer(rounds.view(desk.session, number))


@router.post("/api/rounds/{number}/again")
def run_again_for_programs(door: DoorDep, number: Number, wanted: Again) -> RoundAnswer:
    """Run a round that is over again from a stage."""
    with door.enter(*ADMIN) as desk:
        rounds.run_again(desk.session, desk.viewer, number, wanted.position)
        return _answer(rounds.view(desk.session, number))


@router.get("/api/continuous")
def continuous_for_programs(door: DoorDep) -> ContinuousAnswer:
    """Whether continuous mode is on, and how it stands."""
    with door.enter(*STAFF) as desk:
        return _continuous(desk)


@router.post("/api/continuous", status_code=201)
def keep_going_for_programs(door: DoorDep, wanted: LaunchRequest) -> ContinuousAnswer:
    """Turn continuous mode on."""
    with door.enter(*ADMIN) as desk:
        recipe_id = _recipe_id(desk, wanted.recipe)
        _keep_going(door, desk, recipe_id, with_simulated=wanted.with_simulated)
        return _continuous(desk)


@router.post("/api/continuous/off")
def turn_off_for_programs(door: DoorDep) -> ContinuousAnswer:
    """Turn continuous mode off."""
    with door.enter(*ADMIN) as desk:
        continuous.turn_off(desk.session, desk.viewer)
        return _continuous(desk)

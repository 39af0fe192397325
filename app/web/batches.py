"""Batches: which pairs are given out, to whom, in which order; and pairs sampled outside of rounds.

Knows forms. Knows nothing of how a slot is chosen or a pair is written (app.services.batches, app.services.rounds).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from app.domain.errors import Conflict, Invalid
from app.domain.words import LabelerKind, Split
from app.services import batches, documents, rounds
from app.services.batches import HIGHEST_PRIORITY, BatchView
from app.store.tables import Recipe, Run
from app.web import runs
from app.web.contexts import BatchesPage, BatchLine, BatchPage, Candidate, SampleForm, SampleLine
from app.web.door import ADMIN, Desk, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]

DEFAULT_RECIPE = "demo"
DEFAULT_PAIRS = 64


def _whole(text: str, field: str, noun: str) -> int:
    """The whole number that was typed. Raises Invalid."""
    try:
        return int(text) if len(text) <= 12 else int("")
    except ValueError as error:
        raise Invalid(f"{noun} is not a whole number.", "Use digits only.", field) from error


def _line(batch: BatchView) -> BatchLine:
    kinds = {LabelerKind.HUMAN: "people", LabelerKind.SIMULATED: "simulated labelers"}
    return BatchLine(
        id=batch.id,
        name=batch.name,
        comparisons=batch.comparisons,
        given=batch.given,
        open=batch.open,
        priority=batch.priority,
        whom="everybody" if batch.for_kind is None else f"all {kinds[batch.for_kind]}",
        people=batch.people,
        paused=batch.paused,
        round=batch.round_number,
    )


def _sample(run: Run, recipes: dict[int, Recipe]) -> SampleLine:
    recipe = recipes.get(run.payload.get("recipe_id", 0))
    return SampleLine(
        id=run.id,
        pairs=int(run.payload.get("pairs", 0)),
        recipe=recipe.name if recipe else "an earlier recipe",
        simulated=bool(run.payload.get("with_simulated", False)),
        state=runs.shown_state(run),
        words=runs.shown_words(run),
        done=run.done,
        total=run.total,
        problem=run.problem,
        asked=run.created_at,
        can_cancel=runs.can_cancel(run),
    )


def _page(desk: Desk, form: SampleForm | None = None, errors: dict[str, str] | None = None) -> BatchesPage:
    recipes = {row.id: row for row in rounds.recipes(desk.session)}
    asked = batches.samples(desk.session)
    chosen = next((row.id for row in recipes.values() if row.name == DEFAULT_RECIPE), "")
    return BatchesPage(
        batches=[_line(batch) for batch in batches.listed(desk.session)],
        recipes=[(str(row.id), f"{row.name}, version {row.version}") for row in recipes.values()],
        form=form or SampleForm(str(chosen), str(DEFAULT_PAIRS), False),
        errors=errors or {},
        samples=[_sample(run, recipes) for run in asked],
        live=any(runs.unfinished(run) for run in asked),
        trainable=documents.counts(desk.session)[Split.TRAIN],
    )


@router.get("/batches")
def listed(door: DoorDep) -> Response:
    """All batches, and the form that asks for more pairs."""
    with door.enter(*ADMIN) as desk:
        context = _page(desk)
    return page(door.request, "batches/batches.html", context)


@router.post("/batches/samples")
def sample(door: DoorDep, recipe: Text = "", pairs: Text = "", simulated: Text = "") -> Response:
    """Ask for pairs from the current policy."""
    try:
        with door.enter(*ADMIN) as desk:
            rounds.sample_pairs(
                desk.session,
                desk.viewer,
                _whole(recipe, "recipe", "The recipe"),
                _whole(pairs.strip(), "pairs", "The number of pairs"),
                with_simulated=simulated == "yes",
            )
    except (Invalid, Conflict) as refusal:
        field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "pairs"
        with door.enter(*ADMIN) as desk:
            form = SampleForm(recipe, pairs, simulated == "yes")
            context = _page(desk, form, {field: f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batches.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return redirect("/batches", "The pairs are being written. They reach the labelers when they are there.", "info")


@router.post("/batches/samples/{run_id}/cancel")
def cancel_sample(door: DoorDep, run_id: Id) -> Response:
    """Stop writing pairs."""
    with door.enter(*ADMIN) as desk:
        batches.cancel_sample(desk.session, desk.viewer, run_id)
    return redirect("/batches", "The sampling stops.", "info")


def _batch(desk: Desk, batch_id: int, priority: str | None = None, errors: dict[str, str] | None = None) -> BatchPage:
    batch = batches.one(desk.session, batch_id)
    hints = {LabelerKind.HUMAN: None, LabelerKind.SIMULATED: "simulated"}
    return BatchPage(
        batch=_line(batch),
        opinions=batch.opinions,
        made=batch.created_at,
        priority=str(batch.priority) if priority is None else priority,
        highest=HIGHEST_PRIORITY,
        candidates=[
            Candidate(each.id, each.name, hints[each.kind] if each.active else "deactivated", each.assigned)
            for each in batches.assignable(desk.session, batch)
        ],
        errors=errors or {},
    )


@router.get("/batches/{batch_id}")
def one(door: DoorDep, batch_id: Id) -> Response:
    """One batch: its priority and its people."""
    with door.enter(*ADMIN) as desk:
        context = _batch(desk, batch_id)
    return page(door.request, "batches/batch.html", context)


@router.post("/batches/{batch_id}/pause")
def pause(door: DoorDep, batch_id: Id) -> Response:
    """Give out no more pairs of the batch."""
    with door.enter(*ADMIN) as desk:
        name = batches.pause(desk.session, desk.viewer, batch_id, True)
    return redirect(f"/batches/{batch_id}", f"{name} is paused. Pairs that labelers hold may still be answered.")


@router.post("/batches/{batch_id}/continue")
def go_on(door: DoorDep, batch_id: Id) -> Response:
    """Give out pairs of the batch again."""
    with door.enter(*ADMIN) as desk:
        name = batches.pause(desk.session, desk.viewer, batch_id, False)
    return redirect(f"/batches/{batch_id}", f"{name} goes on.")


@router.post("/batches/{batch_id}/priority")
def prioritize(door: DoorDep, batch_id: Id, priority: Text = "") -> Response:
    """Give the batch out earlier or later than others."""
    try:
        with door.enter(*ADMIN) as desk:
            number = _whole(priority.strip(), "priority", "The priority")
            name = batches.set_priority(desk.session, desk.viewer, batch_id, number)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            context = _batch(desk, batch_id, priority, {"priority": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batch.html", context, 422)
    return redirect(f"/batches/{batch_id}", f"{name} has the priority {number}.")


@router.post("/batches/{batch_id}/people")
def assign(door: DoorDep, batch_id: Id, people: Annotated[list[str] | None, Form()] = None) -> Response:
    """Say whom the batch is for."""
    try:
        with door.enter(*ADMIN) as desk:
            wanted = [_whole(each, "people", "An account") for each in people or []]
            name = batches.assign(desk.session, desk.viewer, batch_id, wanted)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            context = _batch(desk, batch_id, errors={"people": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batch.html", context, 422)
    whom = "those you chose" if wanted else "everybody again"
    return redirect(f"/batches/{batch_id}", f"{name} is for {whom}.")

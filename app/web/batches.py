"""Batches: which pairs and summaries are given out, to whom, in which order; and how more of them are put up.

Knows forms. Knows nothing of how a slot is chosen or a pair is written (app.services.batches, app.services.rounds).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from app.domain.errors import Conflict, Invalid
from app.domain.protocols import MOST_OPINIONS
from app.domain.words import BatchKind, BatchPurpose, ComparisonKind, LabelerKind, Split
from app.services import batches, documents, policies, protocols, rounds
from app.services.batches import HIGHEST_PRIORITY, BatchView
from app.store.tables import Recipe, Run
from app.web import runs
from app.web.contexts import BatchesPage, BatchLine, BatchPage, Candidate, RateForm, SampleForm, SampleLine
from app.web.door import ADMIN, Desk, DoorDep, Id
from app.web.protocols import percent, share, whole
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]

DEFAULT_RECIPE = "demo"
DEFAULT_PAIRS = 64
DEFAULT_RATED = 50
_WHOM = {LabelerKind.HUMAN: "all people", LabelerKind.SIMULATED: "all simulated labelers"}
_PURPOSES = {BatchPurpose.GOLD: "gold pairs", BatchPurpose.QUALIFICATION: "practice pairs"}
KINDS = {
    ComparisonKind.ORDINARY: "ordinary",
    ComparisonKind.SHARED: "shared pool",
    ComparisonKind.GOLD: "gold",
    ComparisonKind.SENTINEL: "sentinel",
    ComparisonKind.CALIBRATION: "calibration",
    ComparisonKind.QUALIFICATION: "practice",
}
_KINDS_ABOUT = {
    ComparisonKind.SENTINEL: "the fixed baseline against the reference",
    ComparisonKind.CALIBRATION: "put before researchers' judging accounts, too",
    ComparisonKind.GOLD: "put before each labeler once",
    ComparisonKind.QUALIFICATION: "put before each newcomer once",
}


def counted(number: int, one: str, many: str) -> str:
    """A number with the words that go with it."""
    return f"{number:,} {one if number == 1 else many}"


def _line(batch: BatchView) -> BatchLine:
    standing = batch.purpose is not BatchPurpose.ORDINARY
    return BatchLine(
        id=batch.id,
        name=batch.name,
        about=_PURPOSES.get(batch.purpose, "pairs" if batch.kind is BatchKind.COMPARE else "summaries to rate"),
        rating=batch.kind is BatchKind.RATE,
        standing=standing,
        subjects=batch.subjects,
        given=batch.given,
        open=batch.open,
        priority=batch.priority,
        whom="each labeler once" if standing else "everybody" if batch.for_kind is None else _WHOM[batch.for_kind],
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
        notes_first=bool(run.payload.get("notes_first", False)),
        state=runs.shown_state(run),
        words=runs.shown_words(run),
        done=run.done,
        total=run.total,
        problem=runs.shown_problem(run),
        asked=run.created_at,
        can_cancel=runs.can_cancel(run),
    )


def _page(
    desk: Desk,
    before: int | None = None,
    form: SampleForm | None = None,
    rate: RateForm | None = None,
    errors: dict[str, str] | None = None,
) -> BatchesPage:
    recipes = {row.id: row for row in rounds.recipes(desk.session)}
    asked = batches.samples(desk.session)
    chosen = next((row.id for row in recipes.values() if row.name == DEFAULT_RECIPE), "")
    found = batches.listed(desk.session, before)
    default = protocols.default(desk.session)
    writers = [each for each in policies.policies(desk.session) if each.summaries]
    first = writers[0].id if writers else ""
    return BatchesPage(
        batches=[_line(batch) for batch in found.batches],
        newer=None if found.newer is None else f"/batches?before={found.newer}" if found.newer else "/batches",
        older=None if found.older is None else f"/batches?before={found.older}",
        recipes=[(str(row.id), f"{row.name}, version {row.version}") for row in recipes.values()],
        form=form or SampleForm(str(chosen), str(DEFAULT_PAIRS), False, default.protocol.notes_first),
        policies=[(str(each.id), f"{each.name} ({each.summaries:,} summaries)") for each in writers],
        rate=rate or RateForm(str(first), str(DEFAULT_RATED), "1", False),
        errors=errors or {},
        samples=[_sample(run, recipes) for run in asked],
        live=any(runs.unfinished(run) for run in asked),
        trainable=documents.counts(desk.session)[Split.TRAIN],
        adds=_adds(default),
    )


def _adds(default: protocols.Default) -> list[str]:
    """What the protocol adds to pairs that are sampled now."""
    protocol = default.protocol
    lines = []
    if protocol.shared_share:
        lines.append(f"{percent(protocol.shared_share)} % ask {protocol.shared_opinions} people each.")
    if protocol.sentinel_share:
        lines.append(f"{percent(protocol.sentinel_share)} % more set the fixed baseline against the reference.")
    if protocol.calibration_share:
        lines.append(f"{percent(protocol.calibration_share)} % are put before researchers' accounts, too.")
    if protocol.gold_share:
        lines.append(f"{percent(protocol.gold_share)} % of what labelers are given meanwhile are gold pairs.")
    return lines


@router.get("/batches")
def listed(door: DoorDep, before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None) -> Response:
    """Batches, newest first, and the forms that ask for more."""
    with door.enter(*ADMIN) as desk:
        context = _page(desk, before)
    return page(door.request, "batches/batches.html", context)


@router.post("/batches/samples")
def sample(
    door: DoorDep, recipe: Text = "", pairs: Text = "", simulated: Text = "", notes_first: Text = ""
) -> Response:
    """Ask for pairs from the current policy."""
    try:
        with door.enter(*ADMIN) as desk:
            rounds.sample_pairs(
                desk.session,
                desk.viewer,
                whole(recipe, "recipe", "The recipe"),
                whole(pairs.strip(), "pairs", "The number of pairs"),
                with_simulated=simulated == "yes",
                notes_first=notes_first == "yes",
            )
    except (Invalid, Conflict) as refusal:
        field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "pairs"
        with door.enter(*ADMIN) as desk:
            form = SampleForm(recipe, pairs, simulated == "yes", notes_first == "yes")
            context = _page(desk, form=form, errors={field: f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batches.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return redirect("/batches", "The pairs are being written. They reach the labelers when they are there.", "info")


@router.post("/batches/samples/{run_id}/cancel")
def cancel_sample(door: DoorDep, run_id: Id) -> Response:
    """Stop writing pairs."""
    with door.enter(*ADMIN) as desk:
        batches.cancel_sample(desk.session, desk.viewer, run_id)
    return redirect("/batches", "The sampling stops.", "info")


@router.post("/batches/ratings")
def rate(door: DoorDep, policy: Text = "", documents: Text = "", opinions: Text = "", simulated: Text = "") -> Response:
    """Put summaries up for rating."""
    try:
        with door.enter(*ADMIN) as desk:
            batch_id, number = batches.put_up_ratings(
                desk.session,
                desk.viewer,
                whole(policy, "policy", "The policy"),
                whole(documents.strip(), "documents", "The number of summaries"),
                whole(opinions.strip(), "opinions", "The number of opinions"),
                with_simulated=simulated == "yes",
            )
    except (Invalid, Conflict) as refusal:
        field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "policy"
        with door.enter(*ADMIN) as desk:
            form = RateForm(policy, documents, opinions, simulated == "yes")
            context = _page(desk, rate=form, errors={field: f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batches.html", context, 422 if isinstance(refusal, Invalid) else 409)
    return redirect(
        f"/batches/{batch_id}", counted(number, "summary is up for rating.", "summaries are up for rating.")
    )


def _batch(
    desk: Desk,
    batch_id: int,
    *,
    priority: str | None = None,
    opinions: str | None = None,
    judged: tuple[bool, str] | None = None,
    errors: dict[str, str] | None = None,
) -> BatchPage:
    batch = batches.one(desk.session, batch_id)
    hints = {LabelerKind.HUMAN: None, LabelerKind.SIMULATED: "simulated"}
    notes_first, gold = judged or (batch.protocol.notes_first, percent(batch.protocol.gold_share))
    return BatchPage(
        batch=_line(batch),
        lent=batch.lent,
        kinds=_kinds(desk, batch),
        made=batch.created_at,
        opinions=str(batch.opinions) if opinions is None else opinions,
        most_opinions=MOST_OPINIONS,
        notes_first=notes_first,
        gold=gold,
        priority=str(batch.priority) if priority is None else priority,
        highest=HIGHEST_PRIORITY,
        candidates=[
            Candidate(each.id, each.name, hints[each.kind] if each.active else "deactivated", each.assigned)
            for each in batches.assignable(desk.session, batch)
        ],
        errors=errors or {},
    )


def _kinds(desk: Desk, batch: BatchView) -> list[tuple[str, int, str]]:
    found = batches.kinds(desk.session, batch)
    asked = {kind: batch.protocol.opinions_on(kind, batch.opinions) for kind in found}
    return [
        (
            KINDS[kind],
            found[kind],
            _KINDS_ABOUT.get(kind, f"{counted(asked[kind], 'opinion', 'opinions')} each"),
        )
        for kind in ComparisonKind
        if kind in found
    ]


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
            number = whole(priority.strip(), "priority", "The priority")
            name = batches.set_priority(desk.session, desk.viewer, batch_id, number)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            errors = {"priority": f"{refusal.what} {refusal.what_to_do}"}
            context = _batch(desk, batch_id, priority=priority, errors=errors)
        return page(door.request, "batches/batch.html", context, 422)
    return redirect(f"/batches/{batch_id}", f"{name} has the priority {number}.")


@router.post("/batches/{batch_id}/opinions")
def ask_more_or_fewer(door: DoorDep, batch_id: Id, opinions: Text = "") -> Response:
    """Ask more labelers, or fewer, for each pair or summary of the batch."""
    try:
        with door.enter(*ADMIN) as desk:
            number = whole(opinions.strip(), "opinions", "The number of opinions")
            added, voided = batches.set_opinions(desk.session, desk.viewer, batch_id, number)
            judges = protocols.judges(desk.session)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            errors = {"opinions": f"{refusal.what} {refusal.what_to_do}"}
            context = _batch(desk, batch_id, opinions=opinions, errors=errors)
        return page(door.request, "batches/batch.html", context, 422)
    words = [f"It asks for {counted(number, 'opinion', 'opinions')} each."]
    if added:
        words.append(counted(added, "more is open.", "more are open."))
    if voided:
        words.append(counted(voided, "open one became void.", "open ones became void."))
    if added and judges < number:
        words.append(f"The rest waits: {counted(judges, 'person judges', 'people judge')} at present.")
    return redirect(f"/batches/{batch_id}", " ".join(words), "warn" if added and judges < number else "good")


@router.post("/batches/{batch_id}/protocol")
def set_protocol(door: DoorDep, batch_id: Id, notes_first: Text = "", gold_share: Text = "") -> Response:
    """Say how pairs of the batch are judged from now on."""
    try:
        with door.enter(*ADMIN) as desk:
            name = batches.set_protocol(
                desk.session,
                desk.viewer,
                batch_id,
                notes_first=notes_first == "yes",
                gold_share=share(gold_share, "gold_share", "The share of gold pairs"),
            )
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            errors = {"gold_share": f"{refusal.what} {refusal.what_to_do}"}
            context = _batch(desk, batch_id, judged=(notes_first == "yes", gold_share), errors=errors)
        return page(door.request, "batches/batch.html", context, 422)
    return redirect(f"/batches/{batch_id}", f"{name} is judged so from the next pair on that a labeler is given.")


@router.post("/batches/{batch_id}/people")
def assign(door: DoorDep, batch_id: Id, people: Annotated[list[str] | None, Form()] = None) -> Response:
    """Say whom the batch is for."""
    try:
        with door.enter(*ADMIN) as desk:
            wanted = [whole(each, "people", "An account") for each in people or []]
            name = batches.assign(desk.session, desk.viewer, batch_id, wanted)
    except Invalid as refusal:
        with door.enter(*ADMIN) as desk:
            context = _batch(desk, batch_id, errors={"people": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "batches/batch.html", context, 422)
    whom = "those you chose" if wanted else "everybody again"
    return redirect(f"/batches/{batch_id}", f"{name} is for {whom}.")

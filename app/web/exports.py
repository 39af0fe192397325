"""Preferences as files: asked for here, written by a worker, downloaded here.

Knows the form, and where a file may lie. Knows nothing of what a row looks like (app.services.exports). The files name
policies, so they are for staff (invariant 3).
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import FileResponse

from app.domain.errors import Invalid, NotFound
from app.domain.words import Split
from app.services import exports
from app.services.exports import Filters
from app.store import runs as store
from app.web import runs
from app.web.contexts import ExportLine, ExportsPage
from app.web.door import STAFF, Desk, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]

ABOUT = {
    Split.TRAIN: "what the reward model learns from",
    Split.VALIDATION: "held out, for measuring",
    Split.TEST: "held out to the end",
}


def _line(line: store.ExportLine) -> ExportLine:
    run, export = line.run, line.export
    return ExportLine(
        id=run.id,
        export_id=None if export is None else export.id,
        holds=_holds(Filters.from_dict(run.payload)),
        asked=run.created_at,
        asked_by=line.asked_by or "the command line",
        state=runs.shown_state(run),
        words=runs.shown_words(run),
        done=run.done,
        total=run.total,
        problem=runs.shown_problem(run),
        rows=0 if export is None else export.rows,
        bytes=0 if export is None else export.bytes,
        digest="" if export is None else export.digest,
        can_cancel=runs.can_cancel(run),
    )


def _holds(filters: Filters) -> str:
    splits = "all splits" if set(filters.splits) == set(Split) else ", ".join(filters.splits)
    return splits + (", with ties" if filters.with_ties else "") + (", with simulated" * filters.with_simulated)


def _page(desk: Desk, filters: Filters, errors: dict[str, str]) -> ExportsPage:
    lines = [_line(line) for line in exports.listed(desk.session)]
    return ExportsPage(
        exports=lines,
        splits=[(split.value, ABOUT[split], split in filters.splits) for split in Split],
        ties=filters.with_ties,
        simulated=filters.with_simulated,
        errors=errors,
        live=any(line.can_cancel or line.state == runs.CANCELLING for line in lines),
    )


@router.get("/exports")
def listed(door: DoorDep) -> Response:
    """Exports that were asked for, and the form that asks for one."""
    with door.enter(*STAFF) as desk:
        context = _page(desk, Filters(), {})
    return page(door.request, "exports/exports.html", context)


@router.post("/exports")
def ask(
    door: DoorDep,
    splits: Annotated[list[str] | None, Form()] = None,
    ties: Text = "",
    simulated: Text = "",
) -> Response:
    """Ask for a file of what is there now."""
    chosen = tuple(split for split in Split if split.value in (splits or []))
    filters = Filters(chosen, ties == "yes", simulated == "yes")
    try:
        with door.enter(*STAFF) as desk:
            exports.ask(desk.session, desk.viewer, filters)
    except Invalid as refusal:
        with door.enter(*STAFF) as desk:
            context = _page(desk, filters, {refusal.field or "splits": f"{refusal.what} {refusal.what_to_do}"})
        return page(door.request, "exports/exports.html", context, 422)
    return redirect("/exports", "The file is being written; it appears below.", "info")


@router.post("/exports/runs/{run_id}/cancel")
def cancel(door: DoorDep, run_id: Id) -> Response:
    """Stop writing a file."""
    with door.enter(*STAFF) as desk:
        exports.cancel(desk.session, desk.viewer, run_id)
    return redirect("/exports", "The export stops.", "info")


@router.get("/exports/{export_id}/preferences.jsonl")
def download(door: DoorDep, export_id: Id) -> Response:
    """The file."""
    with door.enter(*STAFF) as desk:
        path = Path(exports.the_export(desk.session, export_id).path)
    artifacts = door.settings.artifacts
    file = (artifacts / path).resolve()
    if not file.is_relative_to(artifacts) or not file.is_file():
        raise NotFound("The file of this export is gone from the artifact directory.", "Ask for a new export.")
    return FileResponse(file, media_type="application/jsonl", filename=f"hone-preferences-{export_id}.jsonl")

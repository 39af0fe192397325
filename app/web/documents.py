"""Documents, what was written about them, and the files they come in.

Knows pages, searches and uploads. Knows nothing of file forms or of how rows are added (app.services.imports).
Everything here names policies, so it is for staff (invariant 3).
"""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile

from app.domain.errors import Invalid, Refusal
from app.domain.words import PolicyKind, Split
from app.services import documents
from app.services.imports import SHOWN_PROBLEMS
from app.store.corpus import DocumentWithReference
from app.store.tables import Document, Policy, Run, Summary
from app.web import runs, uploads
from app.web.contexts import (
    DocumentLine,
    DocumentPage,
    DocumentsPage,
    ImportLine,
    ImportPage,
    ImportRunPage,
    WrittenText,
)
from app.web.door import STAFF, Desk, Door, DoorDep, Id
from app.web.errors import for_programs
from app.web.rendering import page, redirect

router = APIRouter()

OPENING = 160
WRITERS = {
    PolicyKind.REF: "the human reference",
    PolicyKind.CHECKPOINT: "a checkpoint",
    PolicyKind.BEST_OF_N: "a checkpoint, best of several",
    PolicyKind.FEW_SHOT: "a few-shot prompt",
    PolicyKind.IMPORTED: "imported",
}


@router.get("/documents")
def listed(
    door: DoorDep,
    words: Annotated[str, Query(max_length=200)] = "",
    split: Annotated[str, Query(max_length=20)] = "",
    start: Annotated[int, Query(alias="from", ge=0, le=10**9)] = 0,
) -> Response:
    """Documents, newest first, found by words and split."""
    chosen = Split(split) if split in list(Split) else None
    with door.enter(*STAFF) as desk:
        found, total = documents.listed(desk.session, words, chosen, start)
        counts = documents.counts(desk.session)

    def at(offset: int) -> str:
        asked = {"words": words, "split": chosen or "", "from": str(offset) if offset else ""}
        return "/documents?" + urlencode({name: value for name, value in asked.items() if value})

    end = start + len(found)
    context = DocumentsPage(
        documents=[_line(each) for each in found],
        words=words,
        split=chosen or "",
        splits=[(name.value, count) for name, count in counts.items()],
        everything=sum(counts.values()),
        found=f"{start + 1:,} to {end:,} of {total:,}" if found else f"0 of {total:,}",
        newer=at(max(0, start - documents.PAGE)) if start else None,
        older=at(end) if found and end < total else None,
    )
    return page(door.request, "documents/documents.html", context)


def _line(each: DocumentWithReference) -> DocumentLine:
    document = each.document
    flat = " ".join(document.post[: 4 * OPENING].split())
    return DocumentLine(
        id=document.id,
        title=document.title or _cut(flat, OPENING // 2),
        opening=_cut(flat, OPENING),
        community=document.community,
        split=Split(document.split).value,
        referenced=each.reference is not None,
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


@router.get("/documents/import")
def import_page(door: DoorDep) -> Response:
    """Where a file is sent, and what was imported lately."""
    with door.enter(*STAFF) as desk:
        context = _import_page(door, desk, "documents", False, {})
    return page(door.request, "documents/import.html", context)


def _import_page(door: Door, desk: Desk, holds: str, stop: bool, errors: dict[str, str]) -> ImportPage:
    asked = documents.imports(desk.session)
    return ImportPage(
        holds=holds,
        stop=stop,
        megabytes=door.settings.upload_megabytes,
        errors=errors,
        imports=[
            ImportLine(
                id=run.id,
                name=str(run.payload.get("name", "")),
                holds=str(run.payload.get("form", "")),
                state=runs.shown_state(run),
                words=runs.shown_problem(run) or runs.shown_words(run),
                asked=run.created_at,
            )
            for run in asked
        ],
        live=any(runs.unfinished(run) for run in asked),
    )


@router.post("/documents/import")
def import_file(door: DoorDep) -> Response:
    """Keep the file and ask for its import."""
    with door.enter(*STAFF):
        # Before a byte of the file is read, and without a connection while it comes.
        pass
    with uploads.form_of(door.request) as form:
        holds, stop = str(form.get("form", "")), form.get("stop") == "yes"
        try:
            run_id = _ask(door, form, holds, stop)
        except Refusal as refusal:
            if for_programs(door.request):
                raise
            field = refusal.field if isinstance(refusal, Invalid) and refusal.field else "file"
            with door.enter(*STAFF) as desk:
                errors = {field: f"{refusal.what} {refusal.what_to_do}"}
                context = _import_page(door, desk, holds, stop, errors)
            return page(door.request, "documents/import.html", context, 422)
    if for_programs(door.request):
        return JSONResponse({"run": run_id})
    return redirect(f"/documents/imports/{run_id}")


def _ask(door: Door, form: FormData, holds: str, stop: bool) -> int:
    documents.check_form(holds)
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Invalid("There is no file.", "Choose one.", "file")
    if not file.size:
        raise Invalid(f"{uploads.shown_name(file.filename)} is empty.", "Choose another file.", "file")
    artifacts = door.settings.artifacts
    path = uploads.keep(artifacts, file.file)
    try:
        with door.enter(*STAFF) as desk:
            return documents.ask_import(
                desk.session,
                desk.viewer,
                form=holds,
                path=path,
                name=uploads.shown_name(file.filename),
                stop=stop,
            )
    except BaseException:
        uploads.forget(artifacts, path)
        raise


@router.get("/documents/imports/{run_id}")
def import_run(door: DoorDep, run_id: Id) -> Response:
    """One import: how far it is, and what it found."""
    with door.enter(*STAFF) as desk:
        context = _import_run(documents.the_import(desk.session, run_id))
    return page(door.request, "documents/import_run.html", context)


def _import_run(run: Run) -> ImportRunPage:
    result: dict[str, Any] = run.result or {}
    problems = [str(problem) for problem in result.get("problems", [])]
    counts = [
        (words, int(result[name]), hint)
        for name, words, hint in (
            ("read", "Lines read", None),
            ("added", "Added", _by_split(result.get("splits") or {})),
            ("already", "There already", "left as they were"),
            ("references", "References added", "to documents that had none"),
            ("bad", "Bad lines", "left out"),
            ("clashes", "Clashes", "the first one stays"),
        )
        if name in result and (name != "references" or result[name])
    ]
    told = int(result.get("bad", 0)) + int(result.get("clashes", 0))
    return ImportRunPage(
        id=run.id,
        name=str(run.payload.get("name", "")),
        holds=str(run.payload.get("form", "")),
        stop=bool(run.payload.get("stop", False)),
        state=runs.shown_state(run),
        words=runs.shown_words(run),
        done=run.done,
        total=run.total,
        live=runs.unfinished(run),
        can_cancel=runs.can_cancel(run),
        problem=runs.shown_problem(run),
        counts=counts,
        problems=problems,
        more_problems=max(0, told - len(problems)) if len(problems) >= SHOWN_PROBLEMS else 0,
        asked=run.created_at,
        seconds=runs.seconds(run),
    )


def _by_split(splits: dict[str, int]) -> str | None:
    return ", ".join(f"{splits[split]:,} {split}" for split in Split if splits.get(split)) or None


@router.post("/documents/imports/{run_id}/cancel")
def cancel_import(door: DoorDep, run_id: Id) -> Response:
    """Stop an import."""
    with door.enter(*STAFF) as desk:
        documents.cancel_import(desk.session, desk.viewer, run_id)
    return redirect(f"/documents/imports/{run_id}", "The import stops. What was added until then stays.", "info")


@router.get("/documents/{document_id}")
def one(door: DoorDep, document_id: Id) -> Response:
    """A document and everything written about it."""
    with door.enter(*STAFF) as desk:
        document, written = documents.one(desk.session, document_id)
        context = DocumentPage(
            title=document.title,
            community=document.community,
            text=document.post,
            facts=_facts(document),
            written=[_written(summary, policy) for summary, policy in written],
        )
    return page(door.request, "documents/document.html", context)


def _facts(document: Document) -> list[tuple[str, str]]:
    split = Split(document.split).value
    if document.source_split is not None and document.source_split != split:
        split = f"{split} (the file says {document.source_split})"
    facts = [
        ("Split", split),
        ("Source id", document.source_id),
        ("Length", f"{len(document.post.split()):,} words"),
        ("Imported", f"{document.created_at:%Y-%m-%d %H:%M UTC}"),
    ]
    facts += [(name, _cut(str(value), 400)) for name, value in document.info.items()]
    return [(term, value) for term, value in facts if value]


def _written(summary: Summary, policy: Policy) -> WrittenText:
    how: list[tuple[str, str]] = [("Length", f"{len(summary.text.split())} words")]
    if summary.tokens is not None:
        ended = "ended by itself" if summary.finished else "cut at the limit"
        how[0] = ("Length", f"{how[0][1]}, {summary.tokens} tokens, {ended}")
    if summary.decoding:
        how.append(("Decoding", ", ".join(f"{name} {value}" for name, value in summary.decoding.items())))
    if summary.seed is not None:
        how.append(("Seed", str(summary.seed)))
    how.append(("Added", f"{summary.created_at:%Y-%m-%d %H:%M UTC}"))
    return WrittenText(policy.name, WRITERS[PolicyKind(policy.kind)], summary.text.strip(), how)

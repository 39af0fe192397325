"""Looking at documents and what was written about them, and asking for files to be imported.

Knows which page of documents is wanted and what an import is asked with. Knows nothing of file forms
(app.services.imports) or of where an upload is kept; never commits.
"""

from app.domain.errors import Invalid, NotFound
from app.domain.words import Split, Stage
from app.services import runs as protocol
from app.services.imports import FORMS
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import corpus, runs
from app.store.corpus import DocumentWithReference
from app.store.session import Session
from app.store.tables import Document, Policy, Run, Summary

PAGE = 50


def listed(session: Session, words: str, split: Split | None, offset: int) -> tuple[list[DocumentWithReference], int]:
    """One page of PAGE documents whose title, community or id matches, newest first, and how many match in all."""
    visible = "".join(sign for sign in words if sign.isprintable()).strip()
    return corpus.documents_page(session, the_project(session).id, visible, split, offset, PAGE)


def counts(session: Session) -> dict[Split, int]:
    """How many documents are in each split."""
    return corpus.counts_by_split(session, the_project(session).id)


def one(session: Session, document_id: int) -> tuple[Document, list[tuple[Summary, Policy]]]:
    """A document and everything written about it, oldest first. Raises NotFound."""
    found = corpus.document(session, the_project(session).id, document_id)
    if found is None:
        raise NotFound("There is no such document.", "Go back to the list of documents.")
    return found, corpus.summaries_of(session, found.id)


def check_form(form: str) -> None:
    """Raise Invalid for a file form that Hone cannot read."""
    if form not in FORMS:
        raise Invalid("Say what the file holds.", f"Choose {' or '.join(FORMS)}.", "form")


def ask_import(session: Session, viewer: Viewer, *, form: str, path: str, name: str, stop: bool) -> int:
    """Let a worker import a stored file: `path` relative to the artifacts, `name` for people. Gives the run's id."""
    check_form(form)
    payload = {"form": form, "path": path, "name": name, "stop": stop}
    return protocol.ask(session, viewer, Stage.IMPORT, payload).id


def imports(session: Session) -> list[Run]:
    """Imports that were asked for, newest first."""
    return runs.runs_on_their_own(session, the_project(session).id, [Stage.IMPORT])


def the_import(session: Session, run_id: int) -> Run:
    """The import with this id. Raises NotFound."""
    run = runs.run(session, run_id)
    if run is None or run.stage != Stage.IMPORT:
        raise NotFound("There is no such import.", "Go back to the list of imports.")
    return run


def cancel_import(session: Session, viewer: Viewer, run_id: int) -> None:
    """Stop an import: what was added stays. Raises NotFound."""
    protocol.cancel(session, viewer, the_import(session, run_id).id)

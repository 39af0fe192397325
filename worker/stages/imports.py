"""Imports that were asked for in the browser: an uploaded file becomes rows, chunk by chunk.

Knows the file and the progress. The forms are in app.services.imports.
"""

from typing import Any

from app.domain.errors import Invalid
from app.services import imports, runs
from app.services.imports import Report
from worker.stages.task import CannotRun, Outcome, Task


def run(task: Task) -> Outcome:
    """Read the file. Every chunk is committed on its own, and importing again adds only what is missing."""
    payload = task.claim.payload
    form: Any = imports.FORMS[payload["form"]]
    path = task.artifacts.path(payload["path"])
    if not path.is_file():
        raise CannotRun("The uploaded file is gone. Nothing was imported; upload it again.")
    size = path.stat().st_size
    report = Report()
    with path.open("rb") as source:
        try:
            for chunk in imports.chunks(source, form, report, stop=payload["stop"]):
                task.sink.check()
                with task.work() as session:
                    runs.hold(session, task.claim)
                    form.add(session, chunk, report, task.claim.run_id)
                task.sink.progress(source.tell(), size, report.sentence(form.noun))
        except Invalid as refusal:
            raise CannotRun(f"{refusal.what} {refusal.what_to_do} So far: {report.sentence(form.noun)}") from refusal
    with task.work() as session:
        imports.finish(session)
    return Outcome(report.sentence(form.noun), report.to_dict())

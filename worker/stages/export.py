"""Exports that were asked for in the browser: a snapshot of preferences becomes a file with a digest.

Knows the file. What a row looks like is in app.services.exports.
"""

from hashlib import sha256

from app.services import exports
from app.services.exports import Filters
from app.store import runs
from app.store.session import Session
from app.store.tables import Export
from worker.stages.task import Outcome, Task

REPORT_EVERY = 500


def run(task: Task) -> Outcome:
    """Write the file, whole or not at all."""
    payload = task.claim.payload
    path = task.directory / "preferences.jsonl"
    digest, rows = sha256(), 0
    with task.work() as session, path.open("wb") as out:
        for line in exports.preferences(session, Filters.from_dict(payload), payload["up_to"]):
            data = line.encode() + b"\n"
            digest.update(data)
            out.write(data)
            rows += 1
            if rows % REPORT_EVERY == 0:
                task.sink.check()
                task.sink.progress(rows, 0, f"{rows} preferences written")

    def record(session: Session) -> None:
        runs.add_export(
            session,
            Export(
                project_id=task.claim.project_id,
                run_id=task.claim.run_id,
                path=task.artifacts.relative(path),
                digest=digest.hexdigest(),
                rows=rows,
                bytes=path.stat().st_size,
            ),
        )

    return Outcome(f"{rows} preferences written.", {"rows": rows, "digest": digest.hexdigest()}, record)

"""The workers of an install: who is there, what each has and does, and whether something waits in vain.

Knows routes and words. Knows nothing of how a worker says that it is there (app.services.workers).
"""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from app.services import workers
from app.services.workers import WorkerView
from app.web import telling
from app.web.contexts import DoingLine, WorkerLine, WorkersPage
from app.web.door import ADMIN, DoorDep
from app.web.rendering import page
from app.web.runs import span

router = APIRouter()


def _line(view: WorkerView) -> WorkerLine:
    state, words = ("succeeded", "alive") if view.alive else ("failed", "silent")
    if view.ended:
        state, words = "cancelled", "stopped"
    return WorkerLine(
        host=view.host,
        process=view.process,
        state=state,
        state_words=words,
        queues=f"{', '.join(view.queues)}; {view.at_once} at a time",
        device=view.device or telling.NONE,
        memory=telling.NONE if view.memory is None else f"{view.memory / 1e9:.1f} GB",
        versions=[
            f"Hone {view.code}",
            f"Python {view.python}",
            *([] if view.torch is None else [f"PyTorch {view.torch}"]),
            *([] if view.transformers is None else [f"transformers {view.transformers}"]),
        ],
        started=view.started_at,
        heard=f"{span(view.silent.total_seconds())} ago",
        doing=[
            DoingLine(
                title=telling.title(doing.stage),
                round=doing.round_number,
                since=doing.since,
                words=f"{doing.done} of {doing.total}: {doing.words}" if doing.total else doing.words,
            )
            for doing in view.doing
        ],
    )


@router.get("/workers")
def workers_page(door: DoorDep) -> Response:
    """Workers that were heard of within a day."""
    with door.enter(*ADMIN) as desk:
        now = datetime.now(UTC)
        context = WorkersPage(
            workers=[_line(view) for view in workers.views(desk.session)],
            missing=[telling.missing(each, now) for each in workers.missing(desk.session)],
        )
    return page(door.request, "workers/workers.html", context)

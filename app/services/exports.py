"""Preferences go out, in the released form; one definition for the worker, the download and the command line.

Knows which answers count (invariants 7 and 10) and what a row looks like. Knows nothing of files; never commits.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.domain.errors import Invalid, NotFound
from app.domain.preferences import MIDDLE, turned
from app.domain.records import SummaryRecord, write_comparison
from app.domain.words import LabelerKind, Split, Stage
from app.services import runs as protocol
from app.services.imports import CHOICE_ONLY
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import answers, runs
from app.store.answers import Judged
from app.store.runs import ExportLine
from app.store.session import Session
from app.store.tables import Export

IMPORT_PREFIX = "import:"


@dataclass(frozen=True)
class Filters:
    """What an export holds. The defaults give the newest, counted answers of people that prefer a side."""

    splits: tuple[Split, ...] = tuple(Split)
    with_ties: bool = False
    with_simulated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For a run's payload."""
        return {
            "splits": [split.value for split in self.splits],
            "with_ties": self.with_ties,
            "with_simulated": self.with_simulated,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Filters":
        """From a run's payload."""
        return Filters(tuple(Split(split) for split in values["splits"]), values["with_ties"], values["with_simulated"])


def preferences(session: Session, filters: Filters, up_to: int | None = None) -> Iterator[str]:
    """JSON lines in the released form, in displayed order, each without its newline.

    Reads in chunks, so that memory does not grow with the number of rows. `up_to`: a preference id that ends the
    snapshot.
    """
    kinds = (LabelerKind.HUMAN, LabelerKind.SIMULATED) if filters.with_simulated else (LabelerKind.HUMAN,)
    for row in answers.judged(session, the_project(session).id, kinds=kinds, splits=filters.splits, up_to=up_to):
        if row.value != MIDDLE or filters.with_ties:
            yield json.dumps(_record(row), ensure_ascii=False)


def _record(row: Judged) -> dict[str, Any]:
    sides = [
        SummaryRecord(text, policy, note) for text, policy, note in zip(row.texts, row.policies, row.notes, strict=True)
    ]
    first, second = reversed(sides) if row.swapped else sides
    record = write_comparison(
        source_id=row.source_id,
        community=row.community,
        title=row.title,
        post=row.post,
        cnndm=row.info.get("form") == "cnndm",
        split=row.source_split or {"validation": "valid1"}.get(row.split, row.split),
        summaries=(first, second),
        value=turned(row.value, row.swapped),
        worker=row.worker.removeprefix(IMPORT_PREFIX),
        batch=row.batch,
    )
    if row.page_version == CHOICE_ONLY:
        record["extra"] = {}
    return record


def ask(session: Session, viewer: Viewer, filters: Filters) -> int:
    """Let a worker write the file: a snapshot of what is there now. Gives the run's id; raises Invalid."""
    if not filters.splits:
        raise Invalid("An export of no split would be empty.", "Choose at least one.", "splits")
    payload = {**filters.to_dict(), "up_to": answers.last_preference(session)}
    return protocol.ask(session, viewer, Stage.EXPORT, payload).id


def listed(session: Session) -> list[ExportLine]:
    """Exports that were asked for, newest first."""
    return runs.exports(session, the_project(session).id)


def cancel(session: Session, viewer: Viewer, run_id: int) -> None:
    """Stop an export that is not written yet. Raises NotFound."""
    run = runs.run(session, run_id)
    if run is None or run.stage != Stage.EXPORT:
        raise NotFound("There is no such export.", "Go back to the list of exports.")
    protocol.cancel(session, viewer, run.id)


def the_export(session: Session, export_id: int) -> Export:
    """The export with this id. Raises NotFound."""
    found = runs.export(session, the_project(session).id, export_id)
    if found is None:
        raise NotFound("There is no such export.", "Go back to the list of exports.")
    return found

"""Which comparisons are given out, to whom, and in which order.

Knows that a pause stops new leases only, and whom a batch may be assigned to. Knows nothing of how a slot is chosen
(app.store.queueing); never commits.
"""

from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Invalid, NotFound
from app.domain.words import LabelerKind, Role, Stage
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, people, rounds, runs
from app.store.batches import BatchCounts
from app.store.people import Person
from app.store.session import Session
from app.store.tables import Batch, Run

HIGHEST_PRIORITY = 1000


@dataclass(frozen=True)
class BatchView:
    """A batch with its counts. `people` names those it is assigned to; empty: everybody of its kind."""

    id: int
    name: str
    comparisons: int
    given: int
    open: int
    opinions: int
    priority: int
    for_kind: LabelerKind | None
    people: list[str]
    paused: bool
    round_number: int | None
    created_at: datetime


@dataclass(frozen=True)
class Assignable:
    """Somebody to whom a batch may be assigned, or is."""

    id: int
    name: str
    kind: LabelerKind
    active: bool
    assigned: bool


def listed(session: Session) -> list[BatchView]:
    """All batches, newest first."""
    project_id = the_project(session).id
    numbers = {found.round.id: found.round.number for found in rounds.rounds(session, project_id)}
    assigned = people.assigned(session)
    return [
        _view(counts, assigned.get(counts.batch.id, []), numbers) for counts in batches.batches(session, project_id)
    ]


def one(session: Session, batch_id: int) -> BatchView:
    """The batch with this id. Raises NotFound."""
    found = next((view for view in listed(session) if view.id == batch_id), None)
    if found is None:
        raise _unknown()
    return found


def _view(counts: BatchCounts, assigned: list[str], numbers: dict[int, int]) -> BatchView:
    batch = counts.batch
    return BatchView(
        id=batch.id,
        name=batch.name,
        comparisons=counts.comparisons,
        given=counts.done,
        open=counts.open + counts.leased,
        opinions=batch.opinions,
        priority=batch.priority,
        for_kind=None if batch.for_kind is None else LabelerKind(batch.for_kind),
        people=assigned,
        paused=batch.paused_at is not None,
        round_number=None if batch.round_id is None else numbers.get(batch.round_id),
        created_at=batch.created_at,
    )


def assignable(session: Session, batch: BatchView) -> list[Assignable]:
    """Whom the batch may be assigned to, by name: labelers of its kind who can sign in, and whoever has it already."""
    found = [
        Assignable(
            person.labeler.id,
            person.labeler.name,
            LabelerKind(person.labeler.kind),
            person.labeler.deactivated_at is None,
            person.labeler.name in batch.people,
        )
        for person in people.people(session)
        if person.labeler.name in batch.people or _may_judge(person, batch.for_kind)
    ]
    return sorted(found, key=lambda each: each.name.lower())


def _may_judge(person: Person, for_kind: LabelerKind | None) -> bool:
    labeler = person.labeler
    return (
        labeler.role == Role.LABELER
        and labeler.deactivated_at is None
        and (for_kind is None or labeler.kind == for_kind)
    )


def pause(session: Session, viewer: Viewer, batch_id: int, paused: bool) -> str:
    """Stop giving out pairs of the batch, or go on; what is held may still be answered. Gives the name."""
    batch = _locked(session, batch_id)
    batches.set_batch_paused(session, batch.id, paused)
    people.audit(session, viewer.id, "paused" if paused else "continued", "batch", batch.id)
    return batch.name


def set_priority(session: Session, viewer: Viewer, batch_id: int, priority: int) -> str:
    """Batches with a higher priority are given out first. Gives the name; raises Invalid for one off the scale."""
    if not -HIGHEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise Invalid(
            f"The priority {priority} is off the scale.",
            f"Use a whole number from {-HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}.",
            "priority",
        )
    batch = _locked(session, batch_id)
    batches.set_batch_priority(session, batch.id, priority)
    people.audit(session, viewer.id, "set priority", "batch", batch.id, priority=priority)
    return batch.name


def assign(session: Session, viewer: Viewer, batch_id: int, labeler_ids: list[int]) -> str:
    """Make the batch be for exactly these people; for everybody of its kind when none is named. Gives the name."""
    batch = _locked(session, batch_id)
    wanted = sorted(set(labeler_ids))
    allowed = {each.id for each in assignable(session, one(session, batch_id))}
    if not allowed.issuperset(wanted):
        raise Invalid("Somebody in the list can no longer be given this batch.", "Look at the list again.", "people")
    people.assign_batch(session, batch.id, wanted)
    people.audit(session, viewer.id, "assigned", "batch", batch.id, labelers=wanted)
    return batch.name


def _locked(session: Session, batch_id: int) -> Batch:
    batch = batches.batch(session, the_project(session).id, batch_id)
    if batch is None:
        raise _unknown()
    return batch


def _unknown() -> NotFound:
    return NotFound("There is no such batch.", "Go back to the list of batches.")


def samples(session: Session) -> list[Run]:
    """Runs that sample pairs outside of rounds, newest first."""
    return runs.runs_on_their_own(session, the_project(session).id, [Stage.SAMPLE], limit=5)


def cancel_sample(session: Session, viewer: Viewer, run_id: int) -> None:
    """Stop sampling outside of rounds. Raises NotFound, or Conflict for a run of a round."""
    run = runs.run(session, run_id)
    if run is None or run.stage != Stage.SAMPLE:
        raise NotFound("There is no such run.", "Go back to the list of batches.")
    protocol.cancel(session, viewer, run.id)

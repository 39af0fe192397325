"""Which pairs and summaries are given out, to whom, in which order, and to how many labelers each.

Knows that a pause stops new leases only, whom a batch may be assigned to, and what can be changed while people are at
it. Knows nothing of how a slot is chosen (app.store.queueing); never commits.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.protocols import MOST_OPINIONS, Protocol
from app.domain.words import BatchKind, BatchPurpose, ComparisonKind, LabelerKind, Stage
from app.services import judging
from app.services import rounds as loop
from app.services import runs as protocol
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, corpus, people, rounds, runs
from app.store.batches import BatchCounts
from app.store.session import Session
from app.store.tables import Batch, Run

HIGHEST_PRIORITY = 1000
PAGE = 50
MOST_RATED = 10_000
MOST_RATINGS = 50_000


@dataclass(frozen=True)
class BatchView:
    """A batch with its counts. `people` names those it is assigned to; empty: everybody of its kind.

    `subjects`: pairs, or summaries to rate. `lent`: opinions of researchers' accounts, which come on top of `given`.
    """

    id: int
    name: str
    kind: BatchKind
    purpose: BatchPurpose
    protocol: Protocol
    subjects: int
    given: int
    open: int
    lent: int
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


@dataclass(frozen=True)
class Listed:
    """A page of batches, newest first. `newer` is the `before` of the page above: 0 for the first, None for none."""

    batches: list[BatchView]
    newer: int | None
    older: int | None


def listed(session: Session, before: int | None = None) -> Listed:
    """PAGE batches with ids below `before`."""
    project_id = the_project(session).id
    found = batches.batches(session, project_id, before=before, limit=PAGE + 1)
    shown = found[:PAGE]
    newer = None
    if before is not None:
        above = batches.newer_batches(session, project_id, before - 1, PAGE + 1)
        newer = above[PAGE] if len(above) > PAGE else 0
    return Listed(_views(session, shown), newer, shown[-1].batch.id if len(found) > PAGE else None)


def one(session: Session, batch_id: int) -> BatchView:
    """The batch with this id. Raises NotFound."""
    found = batches.counted(session, the_project(session).id, batch_id)
    if found is None:
        raise _unknown()
    return _views(session, [found])[0]


def _views(session: Session, found: list[BatchCounts]) -> list[BatchView]:
    assigned = people.assigned(session, [each.batch.id for each in found])
    numbers = rounds.numbers(session, {each.batch.round_id for each in found if each.batch.round_id is not None})
    return [_view(each, assigned.get(each.batch.id, []), numbers.get(each.batch.round_id or 0)) for each in found]


def _view(counts: BatchCounts, assigned: list[str], round_number: int | None) -> BatchView:
    batch = counts.batch
    standing = batch.purpose != BatchPurpose.ORDINARY
    return BatchView(
        id=batch.id,
        name=batch.name,
        kind=BatchKind(batch.kind),
        purpose=BatchPurpose(batch.purpose),
        protocol=Protocol.of(batch.protocol),
        subjects=counts.subjects,
        given=counts.lent if standing else counts.done,
        open=counts.open + counts.leased,
        lent=0 if standing else counts.lent,
        opinions=batch.opinions,
        priority=batch.priority,
        for_kind=None if batch.for_kind is None else LabelerKind(batch.for_kind),
        people=assigned,
        paused=batch.paused_at is not None,
        round_number=round_number,
        created_at=batch.created_at,
    )


def kinds(session: Session, batch: BatchView) -> dict[ComparisonKind, int]:
    """How many pairs of each kind the batch holds."""
    return batches.kinds_in(session, batch.id)


def assignable(session: Session, batch: BatchView) -> list[Assignable]:
    """Whom the batch may be assigned to, by name: labelers of its kind who can sign in, and whoever has it already."""
    return [
        Assignable(
            row.id, row.name, LabelerKind(row.kind), row.deactivated_at is None, assigned=row.name in batch.people
        )
        for row in batches.assignable(session, batch.for_kind, batch.people)
    ]


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


def set_opinions(session: Session, viewer: Viewer, batch_id: int, opinions: int) -> tuple[int, int]:
    """Ask so many labelers for each pair, or summary, of the batch. Gives how many opinions were added and made void.

    Pairs of the shared pool ask at least as many as their protocol says. What is done or held stays. Raises Invalid for
    a number off the limits, Conflict for gold and qualification pairs.
    """
    if not 1 <= opinions <= MOST_OPINIONS:
        raise Invalid(f"{opinions} opinions cannot be asked for.", f"Use 1 to {MOST_OPINIONS}.", "opinions")
    batch = _locked(session, batch_id)
    _not_standing(batch)
    before = batch.opinions
    if opinions == before:
        return 0, 0
    changed = batches.set_batch_opinions(session, batch, opinions)
    judging.count_surplus(session, changed.fillable)
    people.audit(
        session,
        viewer.id,
        "set opinions",
        "batch",
        batch.id,
        opinions=opinions,
        before=before,
        added=changed.added,
        voided=changed.voided,
    )
    # What was voided may be the last that a round waited for.
    loop.opinion_given(session, batch.id)
    return changed.added, changed.voided


def set_protocol(session: Session, viewer: Viewer, batch_id: int, *, notes_first: bool, gold_share: float) -> str:
    """How the batch's pairs are given out from now on; what labelers hold stays as it is. Gives the name.

    Raises Invalid, and Conflict for a batch of ratings, and for gold and qualification pairs.
    """
    batch = _locked(session, batch_id)
    _not_standing(batch)
    if batch.kind != BatchKind.COMPARE:
        raise Conflict("Summaries are rated beside their document.", "Nothing was changed.")
    wanted = replace(Protocol.of(batch.protocol), notes_first=notes_first, gold_share=gold_share)
    batches.set_batch_protocol(session, batch.id, wanted)
    people.audit(session, viewer.id, "set protocol", "batch", batch.id, notes_first=notes_first, gold_share=gold_share)
    return batch.name


def put_up_ratings(
    session: Session, viewer: Viewer, policy_id: int, documents: int, opinions: int, *, with_simulated: bool
) -> tuple[int, int]:
    """Put summaries by a policy up for rating, one for each of so many documents. Gives the batch and their number.

    Those that were put up before are left out. Raises Invalid, and Conflict when nothing is left to rate.
    """
    if not 1 <= documents <= MOST_RATED:
        raise Invalid(f"{documents} summaries cannot be put up at once.", f"Use 1 to {MOST_RATED:,}.", "documents")
    if not 1 <= opinions <= MOST_OPINIONS:
        raise Invalid(f"{opinions} opinions cannot be asked for.", f"Use 1 to {MOST_OPINIONS}.", "opinions")
    if documents * opinions > MOST_RATINGS:
        raise Invalid(
            f"{documents * opinions:,} ratings cannot be asked for at once.",
            f"Use up to {MOST_RATINGS:,}: fewer summaries, or fewer opinions on each.",
            "opinions",
        )
    project = the_project(session)
    policy = corpus.policy(session, policy_id)
    if policy is None or policy.project_id != project.id:
        raise Invalid("There is no such policy.", "Choose one from the list.", "policy")
    # Two who ask at once would put the same summaries up under the same name.
    rounds.lock_launch(session, project.id)
    summaries = batches.unrated(session, policy.id, documents)
    if not summaries:
        raise Conflict(
            f"{policy.name} has written no summary that was not put up for rating before.",
            "Choose another policy, or ask for more opinions on the earlier batch.",
        )
    name, number = f"ratings of {policy.name}", 1
    while batches.name_is_taken(session, project.id, name):
        number += 1
        name = f"ratings of {policy.name}, {number}"
    batch = batches.add_batch(
        session,
        project.id,
        name,
        kind=BatchKind.RATE,
        opinions=opinions,
        for_kind=None if with_simulated else LabelerKind.HUMAN,
    )
    batches.add_ratings(session, batch, summaries)
    people.audit(session, viewer.id, "put up ratings", "batch", batch.id, policy=policy.id, summaries=len(summaries))
    return batch.id, len(summaries)


def _not_standing(batch: Batch) -> None:
    if batch.purpose != BatchPurpose.ORDINARY:
        raise Conflict("These pairs are put before each labeler once.", "They follow the protocol of new batches.")


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

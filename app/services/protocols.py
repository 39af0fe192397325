"""What is asked of labelers: the project's default for new batches, and the kinds of pairs that a batch is put up with.

Knows how a protocol becomes rows: the shared pool, pairs for researchers, pairs of the fixed baseline. Knows nothing of
who is given which (app.services.standing, app.store.queueing); never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from app.domain import pairing
from app.domain.errors import Invalid
from app.domain.protocols import Protocol
from app.domain.words import ComparisonKind, LabelerKind, PolicyKind
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, corpus, people, protocols
from app.store.session import Session


@dataclass(frozen=True)
class Default:
    """What new batches ask. `usable`: on how many documents a sentinel pair can be made of the chosen baseline."""

    protocol: Protocol
    sentinel_policy_id: int | None
    usable: int


def default(session: Session) -> Default:
    """The project's protocol for new batches."""
    project = the_project(session)
    chosen = project.sentinel_policy_id
    usable = 0 if chosen is None else protocols.count_baselines(session, project.id, chosen)
    return Default(Protocol.of(project.protocol), chosen, usable)


def proposed_baseline(session: Session) -> tuple[int, str] | None:
    """The policy that the study would set against the reference, by id and name: the first that was fine-tuned."""
    found = protocols.first_fine_tuned(session, the_project(session).id)
    return None if found is None else (found.id, found.name)


def set_default(session: Session, viewer: Viewer, protocol: Protocol, sentinel_policy_id: int | None) -> None:
    """What new batches ask from now on; gold and qualification pairs follow at once. Raises Invalid.

    Batches that are there keep what they were put up with.
    """
    project = the_project(session)
    if sentinel_policy_id is None:
        if protocol.sentinel_share:
            raise Invalid("Sentinel pairs need a baseline.", "Choose its policy, or set their share to 0.", "sentinel")
    else:
        row = corpus.policy(session, sentinel_policy_id)
        if row is None or row.project_id != project.id or row.kind == PolicyKind.REF:
            raise Invalid("This policy cannot be the baseline.", "Choose one from the list.", "sentinel")
    protocols.set_default(session, project.id, protocol, sentinel_policy_id)
    batches.set_standing_protocol(session, project.id, protocol)
    people.audit(
        session, viewer.id, "set protocol", "project", project.id, **protocol.to_dict(), baseline=sentinel_policy_id
    )


def judges(session: Session) -> int:
    """How many people may be given ordinary pairs. A pair that asks more labelers than there are waits for them."""
    return protocols.active_judges(session)


@dataclass(frozen=True)
class Order:
    """The kinds of the pairs of a new batch, in the order in which they are put up, and its sentinel pairs.

    `words` say what the protocol adds, and what of it there is nothing to make of.
    """

    protocol: Protocol
    kinds: list[ComparisonKind]
    sentinels: list[dict[str, Any]]
    words: list[str]

    def counts(self) -> dict[str, int]:
        """How many pairs there are of each kind."""
        return {kind.value: self.kinds.count(kind) for kind in ComparisonKind if kind in self.kinds}


def order(session: Session, pairs: int, random: Random, *, notes_first: bool | None = None) -> Order:
    """How so many pairs are to be put up by the project's protocol. `notes_first` overrides its own; None leaves it."""
    project = the_project(session)
    protocol = Protocol.of(project.protocol)
    if notes_first is not None:
        protocol = replace(protocol, notes_first=notes_first)
    wanted = pairing.sentinels(protocol, pairs)
    policy_id = project.sentinel_policy_id
    found = protocols.baselines(session, project.id, policy_id, wanted) if wanted and policy_id is not None else []
    sentinels = []
    for each in found:
        sides = [each.summary_id, each.reference_id]
        random.shuffle(sides)
        sentinels.append(
            {
                "document_id": each.document_id,
                "first_summary_id": sides[0],
                "second_summary_id": sides[1],
                "reason": pairing.SENTINEL,
            }
        )
    kinds = pairing.kinds(protocol, pairs, len(sentinels), random)
    return Order(protocol, kinds, sentinels, _words(protocol, kinds, wanted))


def _words(protocol: Protocol, kinds: Sequence[ComparisonKind], wanted: int) -> list[str]:
    words = []
    if shared := kinds.count(ComparisonKind.SHARED):
        words.append(f"In the shared pool, for {protocol.shared_opinions} labelers each: {shared}.")
    if calibration := kinds.count(ComparisonKind.CALIBRATION):
        words.append(f"For researchers, too: {calibration}.")
    made = kinds.count(ComparisonKind.SENTINEL)
    if made:
        words.append(f"Sentinel pairs added: {made}.")
    if made < wanted:
        words.append(
            f"Sentinel pairs missing: {wanted - made}, because the fixed baseline has written about too few documents "
            "that have a reference."
        )
    return words


def put_up(
    session: Session,
    name: str,
    pairs: Sequence[dict[str, Any]],
    order: Order,
    *,
    opinions: int,
    for_kind: LabelerKind | None,
    round_id: int | None,
) -> int:
    """A new batch of these pairs, as ordered for so many, with the sentinel pairs among them. Gives its id."""
    batch = batches.add_batch(
        session,
        the_project(session).id,
        name,
        protocol=order.protocol,
        opinions=opinions,
        for_kind=for_kind,
        round_id=round_id,
    )
    ordinary, sentinels = iter(pairs), iter(order.sentinels)
    rows = [{**next(sentinels if kind is ComparisonKind.SENTINEL else ordinary), "kind": kind} for kind in order.kinds]
    batches.add_comparisons(session, batch.id, rows)
    return batch.id

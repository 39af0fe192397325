"""Policies: where each comes from, what it wrote, and which one writes the next pairs.

Knows lineage and the decision which policy is current. Knows nothing of pages; never commits.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.errors import Conflict, NotFound
from app.domain.words import CheckpointKind, PolicyKind
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import corpus, people, rounds
from app.store.rounds import PolicyLine
from app.store.session import Session
from app.store.tables import Checkpoint

SUMMARIES_SHOWN = 6
LONGEST_LINEAGE = 1000


@dataclass(frozen=True)
class CheckpointView:
    """A directory of weights."""

    id: int
    kind: CheckpointKind
    digest: str
    bytes: int
    path: str
    recipe: dict[str, Any]
    code_revision: str
    snapshot: dict[str, Any]
    parent_id: int | None
    created_at: datetime


@dataclass(frozen=True)
class PolicyView:
    """A policy with its origin. `parent` is the policy whose weights it was trained from."""

    id: int
    name: str
    kind: PolicyKind
    current: bool
    round_number: int | None
    checkpoint: CheckpointView | None
    parent: tuple[int, str] | None
    summaries: int
    created_at: datetime

    @property
    def can_write(self) -> bool:
        """Whether it can write the next pairs."""
        return self.kind is PolicyKind.CHECKPOINT


def _checkpoint_view(row: Checkpoint) -> CheckpointView:
    return CheckpointView(
        row.id,
        CheckpointKind(row.kind),
        row.digest,
        row.bytes,
        row.path,
        row.recipe,
        row.code_revision,
        row.snapshot,
        row.parent_id,
        row.created_at,
    )


def policies(session: Session) -> list[PolicyView]:
    """All policies, newest first."""
    project = the_project(session)
    lines = rounds.policy_lines(session, project.id)
    counts = corpus.count_summaries(session, [line.policy.id for line in lines])
    by_checkpoint = {
        line.policy.checkpoint_id: (line.policy.id, line.policy.name)
        for line in lines
        if line.policy.checkpoint_id is not None
    }

    def view(line: PolicyLine) -> PolicyView:
        checkpoint = None if line.checkpoint is None else _checkpoint_view(line.checkpoint)
        parent_id = None if checkpoint is None else checkpoint.parent_id
        return PolicyView(
            id=line.policy.id,
            name=line.policy.name,
            kind=PolicyKind(line.policy.kind),
            current=line.policy.id == project.current_policy_id,
            round_number=line.round_number,
            checkpoint=checkpoint,
            parent=None if parent_id is None else by_checkpoint.get(parent_id),
            summaries=counts.get(line.policy.id, 0),
            created_at=line.policy.created_at,
        )

    return [view(line) for line in lines]


@dataclass(frozen=True)
class WrittenSummary:
    """A summary with the document it is about."""

    document_id: int
    title: str
    text: str
    finished: bool | None


@dataclass(frozen=True)
class PolicyDetail:
    """A policy, the checkpoints it descends from (base first, its own last) and what it wrote last."""

    policy: PolicyView
    lineage: list[tuple[CheckpointView, tuple[int, str] | None]]
    written: list[WrittenSummary]


def policy(session: Session, policy_id: int) -> PolicyDetail:
    """The policy with this id. Raises NotFound."""
    found = next((each for each in policies(session) if each.id == policy_id), None)
    if found is None:
        raise NotFound("There is no such policy.", "Go back to the list of policies.")
    return PolicyDetail(
        policy=found,
        lineage=_lineage(session, found),
        written=[
            WrittenSummary(document.id, document.title, summary.text.strip(), summary.finished)
            for summary, document in corpus.newest_summaries(session, policy_id, SUMMARIES_SHOWN)
        ],
    )


def _lineage(session: Session, of: PolicyView) -> list[tuple[CheckpointView, tuple[int, str] | None]]:
    chain: list[tuple[CheckpointView, tuple[int, str] | None]] = []
    step = None if of.checkpoint is None else of.checkpoint.id
    while step is not None and len(chain) < LONGEST_LINEAGE:
        row = rounds.checkpoint(session, step)
        if row is None:
            break
        writer = rounds.policy_of_checkpoint(session, row.id)
        chain.append((_checkpoint_view(row), None if writer is None else (writer.id, writer.name)))
        step = row.parent_id
    return chain[::-1]


def make_current(session: Session, viewer: Viewer, policy_id: int) -> str:
    """Let this policy write the next pairs. Gives its name. Raises NotFound, or Conflict for one that cannot write."""
    project = the_project(session)
    row = corpus.policy(session, policy_id)
    if row is None or row.project_id != project.id:
        raise NotFound("There is no such policy.", "Go back to the list of policies.")
    if row.kind != PolicyKind.CHECKPOINT:
        raise Conflict(f"{row.name} has no weights, so it cannot write pairs.", "Choose a policy with a checkpoint.")
    before = project.current_policy_id
    corpus.set_current_policy(session, project.id, row.id)
    people.audit(session, viewer.id, "made policy current", "policy", row.id, name=row.name, before=before)
    return row.name

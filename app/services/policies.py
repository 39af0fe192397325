"""Policies and checkpoints: where each comes from, what was measured of it, and what it wrote.

Knows lineage, and which texts can be read side by side. Which policy is current is decided in app.services.promotions.
Knows nothing of pages; never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.errors import NotFound
from app.domain.words import CheckpointKind, PolicyKind, Stage
from app.services.projects import the_project
from app.store import corpus, promotions, rounds
from app.store.promotions import Origin
from app.store.rounds import PolicyLine
from app.store.session import Session
from app.store.tables import Checkpoint

SUMMARIES_SHOWN = 6
CHECKPOINTS_SHOWN = 30
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


@dataclass(frozen=True)
class Card:
    """What there is to say of a checkpoint. `result` is of the run that wrote it, `measured` of its round's evaluation.

    `policy` writes with it, `parent` is the checkpoint that it was trained from with what writes with that or its kind.
    """

    checkpoint: CheckpointView
    stage: Stage | None
    round_number: int | None
    policy: tuple[int, str] | None
    parent: tuple[int, str] | None
    conditions: dict[str, Any]
    result: dict[str, Any]
    measured: dict[str, Any]
    prompt_template: str

    @property
    def name(self) -> str:
        """What it is called: as the policy that writes with it, or by its kind and round."""
        if self.policy is not None:
            return self.policy[1]
        made = f"round{self.round_number}-" if self.round_number is not None else ""
        return f"{made}{self.checkpoint.kind.value}"


def _card(session: Session, origin: Origin) -> Card:
    project = the_project(session)
    run, row = origin.run, origin.checkpoint
    own = next((each for each in promotions.improved(session, project.id) if each.policy_id == origin.policy_id), None)
    return Card(
        checkpoint=_checkpoint_view(row),
        stage=None if run is None else Stage(run.stage),
        round_number=origin.round_number,
        policy=None if origin.policy_id is None else (origin.policy_id, origin.policy or ""),
        parent=None if row.parent_id is None else (row.parent_id, origin.parent_policy or origin.parent_kind or ""),
        conditions={} if run is None else run.conditions or {},
        result={} if run is None else run.result or {},
        measured={} if own is None else own.measured or {},
        prompt_template=project.prompt_template,
    )


def checkpoints(session: Session) -> list[Origin]:
    """The newest checkpoints of every kind, newest first."""
    return promotions.checkpoints(session, the_project(session).id, CHECKPOINTS_SHOWN)


def card(session: Session, checkpoint_id: int) -> Card:
    """The checkpoint with this id. Raises NotFound."""
    found = promotions.checkpoint(session, the_project(session).id, checkpoint_id)
    if found is None:
        raise NotFound("There is no such checkpoint.", "Go back to the list of policies.")
    return _card(session, found)


@dataclass(frozen=True)
class Side:
    """What a policy wrote about a document: its texts, the newest first; none where it has written nothing."""

    policy_id: int
    policy: str
    texts: list[str]


@dataclass(frozen=True)
class SideBySide:
    """Policies on one document. `place` of `count` documents that all of them wrote about; 0: it is none of them."""

    document_id: int
    title: str
    community: str
    post: str
    sides: list[Side]
    place: int
    count: int
    before: int | None
    after: int | None


def side_by_side(session: Session, policy_ids: Sequence[int], document_id: int | None) -> SideBySide | None:
    """What these policies wrote about a document, or about the first that all of them wrote about; None without one.

    Raises NotFound for a document or a policy that is not there.
    """
    project = the_project(session)
    chosen = [row for policy_id in policy_ids if (row := corpus.policy(session, policy_id)) is not None]
    if len(chosen) < len(policy_ids) or any(row.project_id != project.id for row in chosen):
        raise NotFound("There is no such policy.", "Choose from the list.")
    at = document_id or corpus.written_by_all(session, project.id, policy_ids, 0).after
    if at is None:
        return None
    document = corpus.document(session, project.id, at)
    if document is None:
        raise NotFound("There is no such document.", "Go back to the documents and choose one.")
    near = corpus.written_by_all(session, project.id, policy_ids, at)
    written = corpus.summaries_by(session, at, policy_ids)
    among = all(written[policy_id] for policy_id in policy_ids)
    return SideBySide(
        document_id=document.id,
        title=document.title,
        community=document.community,
        post=document.post,
        sides=[Side(row.id, row.name, [each.text.strip() for each in written[row.id]]) for row in chosen],
        place=near.place if among else 0,
        count=near.count,
        before=near.before,
        after=near.after,
    )

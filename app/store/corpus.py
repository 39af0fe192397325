"""Projects, documents, policies and summaries.

Knows how texts are stored once, however often a file is imported. Knows nothing of file forms (app.domain.records).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.words import PolicyKind, Split
from app.store.session import Session
from app.store.slices import slices
from app.store.tables import Document, Policy, Project, Summary


def project(session: Session) -> Project | None:
    """The install's project. Everything asks for it, so a unit of work reads it once."""
    found: Project | None = session.info.get(Project)
    if found is None:
        found = session.info[Project] = session.scalar(_PROJECT)
    return found


_PROJECT = select(Project).order_by(Project.id).limit(1)


def add_project(session: Session, name: str, prompt_template: str, salt: str) -> Project:
    """A new project with its policy `ref`."""
    row = Project(name=name, prompt_template=prompt_template, salt=salt)
    session.add(row)
    session.flush()
    session.add(Policy(project_id=row.id, name="ref", kind=PolicyKind.REF))
    session.flush()
    return row


def set_current_policy(session: Session, project_id: int, policy_id: int) -> None:
    """The policy that writes the next pairs."""
    session.execute(update(Project).where(Project.id == project_id).values(current_policy_id=policy_id))


def policy(session: Session, policy_id: int) -> Policy | None:
    """The policy with this id."""
    return session.get(Policy, policy_id)


def policies_by_name(
    session: Session, project_id: int, names: Iterable[str], kind: PolicyKind = PolicyKind.IMPORTED
) -> dict[str, Policy]:
    """Policies by name; those not there yet are made with `kind`."""
    wanted = sorted(set(names))
    if wanted:
        session.execute(
            insert(Policy)
            .values([{"project_id": project_id, "name": name, "kind": kind} for name in wanted])
            .on_conflict_do_nothing(index_elements=["project_id", "name"])
        )
    rows = session.scalars(select(Policy).where(Policy.project_id == project_id, Policy.name.in_(wanted)))
    return {row.name: row for row in rows}


def add_policy(
    session: Session, project_id: int, name: str, kind: PolicyKind, checkpoint_id: int | None, settings: dict[str, Any]
) -> Policy:
    """A new policy."""
    row = Policy(project_id=project_id, name=name, kind=kind, checkpoint_id=checkpoint_id, settings=settings)
    session.add(row)
    session.flush()
    return row


def policy_once(
    session: Session, project_id: int, name: str, kind: PolicyKind, checkpoint_id: int | None, settings: dict[str, Any]
) -> Policy:
    """The policy with this name, made when it is not there yet, however many ask for it at the same time."""
    session.execute(
        insert(Policy)
        .values(project_id=project_id, name=name, kind=kind, checkpoint_id=checkpoint_id, settings=settings)
        .on_conflict_do_nothing(index_elements=["project_id", "name"])
    )
    return session.scalars(select(Policy).where(Policy.project_id == project_id, Policy.name == name)).one()


def documents_by_source(session: Session, project_id: int, source_ids: Iterable[str]) -> dict[str, Document]:
    """Documents already there, by source id."""
    rows = session.scalars(
        select(Document).where(Document.project_id == project_id, Document.source_id.in_(list(source_ids)))
    )
    return {row.source_id: row for row in rows}


def add_documents(session: Session, rows: list[dict[str, Any]]) -> dict[str, Document]:
    """Insert documents; those whose source id is there already stay as they are. The inserted ones by source id."""
    if not rows:
        return {}
    added = session.scalars(
        insert(Document)
        .values(rows)
        .on_conflict_do_nothing(index_elements=["project_id", "source_id"])
        .returning(Document)
    )
    return {row.source_id: row for row in added}


def add_summaries(session: Session, rows: list[dict[str, Any]]) -> dict[tuple[int, int, str, int], int]:
    """Insert summaries; the same text by the same policy with the same seed is one row.

    Gives the id of each, by (document, policy, text, seed or -1).
    """
    found: dict[tuple[int, int, str, int], int] = {}
    for part in slices(rows):
        found |= _add_summaries(session, part)
    return found


def _add_summaries(session: Session, rows: Sequence[dict[str, Any]]) -> dict[tuple[int, int, str, int], int]:
    columns = ("checkpoint_id", "run_id", "prompt", "decoding", "seed", "tokens", "finished")
    full = [{**dict.fromkeys(columns), **row} for row in rows]
    session.execute(insert(Summary).values(full).on_conflict_do_nothing())
    found = session.execute(
        select(Summary.document_id, Summary.policy_id, Summary.text, func.coalesce(Summary.seed, -1), Summary.id).where(
            Summary.document_id.in_({row["document_id"] for row in rows}),
            Summary.policy_id.in_({row["policy_id"] for row in rows}),
        )
    )
    return {(row[0], row[1], row[2], row[3]): row[4] for row in found}


@dataclass(frozen=True)
class DocumentWithReference:
    """A document and the human summary that came with it, if any."""

    document: Document
    reference_id: int | None
    reference: str | None


def _with_reference(project_id: int) -> Any:
    return (
        select(Document, Summary.id, Summary.text)
        .outerjoin(Policy, (Policy.project_id == Document.project_id) & (Policy.kind == PolicyKind.REF))
        # Imported comparisons can bring a second spelling of a reference: the first that came is the one.
        .outerjoin(
            Summary,
            Summary.id
            == select(func.min(Summary.id))
            .where(Summary.document_id == Document.id, Summary.policy_id == Policy.id)
            .correlate(Document, Policy)
            .scalar_subquery(),
        )
        .where(Document.project_id == project_id)
    )


def documents_for_training(
    session: Session, project_id: int, split: Split, *, limit: int | None = None, with_reference: bool = False
) -> list[DocumentWithReference]:
    """Documents of one split in a fixed, shuffled order (by a hash of the source id), so that a prefix is a sample."""
    query = _with_reference(project_id).where(Document.split == split)
    if with_reference:
        query = query.where(Summary.id.is_not(None))
    rows = session.execute(query.order_by(func.md5(Document.source_id), Document.id).limit(limit))
    return [DocumentWithReference(row[0], row[1], row[2]) for row in rows]


def _matching(words: str, split: Split | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if split is not None:
        conditions.append(Document.split == split)
    if words:
        conditions.append(
            or_(
                Document.title.icontains(words, autoescape=True),
                Document.community.icontains(words, autoescape=True),
                Document.source_id == words,
            )
        )
    return conditions


def documents_page(
    session: Session, project_id: int, words: str, split: Split | None, offset: int, limit: int
) -> tuple[list[DocumentWithReference], int]:
    """One page of documents, newest first, and how many match in all."""
    conditions = _matching(words, split)
    rows = session.execute(
        _with_reference(project_id).where(*conditions).order_by(Document.id.desc()).offset(offset).limit(limit)
    )
    total = session.scalar(
        select(func.count()).select_from(Document).where(Document.project_id == project_id, *conditions)
    )
    return [DocumentWithReference(row[0], row[1], row[2]) for row in rows], total or 0


def document(session: Session, project_id: int, document_id: int) -> Document | None:
    """The document with this id."""
    return session.scalar(select(Document).where(Document.project_id == project_id, Document.id == document_id))


def summaries_of(session: Session, document_id: int) -> list[tuple[Summary, Policy]]:
    """Everything written about a document, oldest first."""
    rows = session.execute(
        select(Summary, Policy)
        .join(Policy, Policy.id == Summary.policy_id)
        .where(Summary.document_id == document_id)
        .order_by(Summary.id)
    )
    return [(row[0], row[1]) for row in rows]


def counts_by_split(session: Session, project_id: int) -> dict[Split, int]:
    """How many documents are in each split."""
    rows = session.execute(
        select(Document.split, func.count()).where(Document.project_id == project_id).group_by(Document.split)
    )
    found = {Split(row[0]): row[1] for row in rows}
    return {split: found.get(split, 0) for split in Split}


def count_summaries(session: Session, policy_ids: list[int]) -> dict[int, int]:
    """How many summaries each policy has written."""
    rows = session.execute(
        select(Summary.policy_id, func.count()).where(Summary.policy_id.in_(policy_ids)).group_by(literal_column("1"))
    )
    return {row[0]: row[1] for row in rows}


def newest_summaries(session: Session, policy_id: int, limit: int) -> list[tuple[Summary, Document]]:
    """What a policy wrote last, with what it is about."""
    rows = session.execute(
        select(Summary, Document)
        .join(Document, Document.id == Summary.document_id)
        .where(Summary.policy_id == policy_id)
        .order_by(Summary.id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def summaries_by(session: Session, document_id: int, policy_ids: Sequence[int]) -> dict[int, list[Summary]]:
    """What these policies wrote about a document, by policy, the newest first."""
    rows = session.scalars(
        select(Summary)
        .where(Summary.document_id == document_id, Summary.policy_id.in_(policy_ids))
        .order_by(Summary.id.desc())
    )
    found: dict[int, list[Summary]] = {policy_id: [] for policy_id in policy_ids}
    for row in rows:
        found[row.policy_id].append(row)
    return found


@dataclass(frozen=True)
class Neighbours:
    """Documents that all of some policies wrote about: how many, how many up to one of them, and those beside it."""

    count: int
    place: int
    before: int | None
    after: int | None


def written_by_all(session: Session, project_id: int, policy_ids: Sequence[int], document_id: int) -> Neighbours:
    """Where a document (or 0: before the first) stands among those that every one of these policies wrote about."""
    shared = (
        select(Summary.document_id.label("id"))
        .join(Document, Document.id == Summary.document_id)
        .where(Summary.policy_id.in_(policy_ids), Document.project_id == project_id)
        .group_by(Summary.document_id)
        .having(func.count(Summary.policy_id.distinct()) == len(set(policy_ids)))
        .subquery()
    )
    row = session.execute(
        select(
            func.count(),
            func.count().filter(shared.c.id <= document_id),
            func.max(shared.c.id).filter(shared.c.id < document_id),
            func.min(shared.c.id).filter(shared.c.id > document_id),
        )
    ).one()
    return Neighbours(row[0], row[1], row[2], row[3])

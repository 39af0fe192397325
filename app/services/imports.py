"""Files come in: documents with their references, and comparisons that were judged elsewhere.

Knows how a chunk of records becomes rows, safely repeated, and what is reported about it. Knows nothing of where the
bytes come from; never commits (the caller commits chunk by chunk, so that a broken file keeps what came before).
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Generic, TypeVar
from uuid import UUID

from app.domain.errors import Invalid
from app.domain.records import (
    BadRecord,
    ComparisonRecord,
    PostRecord,
    read_comparison,
    read_post,
)
from app.domain.splits import split_by_hash, split_by_name
from app.domain.words import LabelerKind, PolicyKind, Role, Split
from app.services.projects import the_project
from app.store import answers, batches, corpus, importing, people
from app.store.answers import Given
from app.store.session import Session
from app.store.tables import Document, Project

CHUNK = 500
LONGEST_LINE = 4_000_000
SHOWN_PROBLEMS = 50
CHOICE_ONLY = "import:choice"
WITH_CONFIDENCE = "import:confidence"

R = TypeVar("R")


@dataclass
class Report:
    """What an import did so far. `problems` names lines and fields, at most SHOWN_PROBLEMS of them.

    `references` were added to documents that were there without one.
    """

    read: int = 0
    added: int = 0
    already: int = 0
    references: int = 0
    bad: int = 0
    clashes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def problem(self, words: str) -> None:
        """Note a problem in words; past SHOWN_PROBLEMS only counts tell."""
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(words)

    def to_dict(self) -> dict[str, object]:
        """For a run's result."""
        return {
            "read": self.read,
            "added": self.added,
            "already": self.already,
            "references": self.references,
            "bad": self.bad,
            "clashes": self.clashes,
            "splits": dict(self.splits),
            "problems": self.problems,
        }

    def sentence(self, noun: str) -> str:
        """The report in a sentence."""
        parts = [f"{self.added} {noun} added", f"{self.already} already there"]
        if self.references:
            parts.append(f"{self.references} references added to documents that had none")
        if self.bad:
            parts.append(f"{self.bad} bad lines left out")
        if self.clashes:
            parts.append(f"{self.clashes} clashes (the first stays)")
        return f"{self.read} lines read: {', '.join(parts)}."


def lines(source: IO[bytes]) -> Iterator[tuple[int, str | BadRecord]]:
    """Numbered, non-empty lines of a plain or gzip stream, read piece by piece.

    What is wrong with a line that is not UTF-8 or longer than LONGEST_LINE comes in its place, so that those after it
    can still be read. Raises Invalid for a broken gzip stream.
    """
    head = source.read(2)
    source.seek(-len(head), 1)
    stream: IO[bytes] = gzip.GzipFile(fileobj=source) if head == b"\x1f\x8b" else source  # type: ignore[assignment]
    number = 0
    try:
        while raw := stream.readline(LONGEST_LINE):
            number += 1
            if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(LONGEST_LINE)
                yield number, BadRecord(number, "record", f"longer than {LONGEST_LINE} bytes")
                continue
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                yield number, BadRecord(number, "record", f"not UTF-8 at byte {error.start}")
                continue
            if text.strip():
                yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Invalid(
            f"The compressed file is broken after line {number}. What came before is imported.",
            "Get the file again; importing it anew adds only what is missing.",
        ) from error


@dataclass(frozen=True)
class Form(Generic[R]):
    """One of the file forms: how a line is read, how a chunk becomes rows, and what the rows are called."""

    noun: str
    read: Callable[[int, str], R]
    add: Callable[[Session, list[R], Report, int | None], None]


def chunks(source: IO[bytes], form: Form[R], report: Report, *, stop: bool) -> Iterator[list[R]]:
    """Records of the file, CHUNK at a time. A bad line is reported and left out, or ends the file when `stop`.

    Raises Invalid at the first bad line when `stop`, after the chunk before it was given out.
    """
    chunk: list[R] = []
    try:
        for number, text in lines(source):
            report.read += 1
            try:
                if isinstance(text, BadRecord):
                    raise text
                chunk.append(form.read(number, text))
            except BadRecord as error:
                report.bad += 1
                report.problem(str(error))
                if stop:
                    raise Invalid(
                        f"The import stopped at {error}. What came before is imported.",
                        "Mend the line and import the file again: what is there already is not added twice.",
                    ) from error
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except Invalid:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _documents(
    session: Session, project: Project, records: list[PostRecord], report: Report, run_id: int | None
) -> dict[str, Document]:
    """Find or add the records' documents, by source id."""
    firsts: dict[str, PostRecord] = {}
    for record in records:
        firsts.setdefault(record.source_id, record)
    there = corpus.documents_by_source(session, project.id, firsts)
    rows = []
    for source_id, record in firsts.items():
        if source_id in there:
            continue
        by_hash = split_by_hash(project.salt, source_id, project.validation_share, project.test_share)
        rows.append(
            {
                "project_id": project.id,
                "source_id": source_id,
                "community": record.community,
                "title": record.title,
                "post": record.post,
                "info": record.info,
                "split": _named_split(record, report) or by_hash,
                "source_split": record.split,
                "run_id": run_id,
            }
        )
    added = corpus.add_documents(session, rows)
    report.splits.update(document.split for document in added.values())
    missed = [source_id for source_id in firsts if source_id not in there and source_id not in added]
    found = there | added | corpus.documents_by_source(session, project.id, missed)
    for record in records:
        document = found[record.source_id]
        wanted = _named_split(record, None)
        if wanted is not None and wanted != document.split:
            report.clashes += 1
            report.problem(
                f"line {record.line}, split: {record.split}, but the document is in {document.split} for ever"
            )
        elif document.post.strip() != record.post.strip():
            report.clashes += 1
            report.problem(
                f"line {record.line}, post: differs from the document that is there with id {record.source_id}"
            )
    return found


def _named_split(record: PostRecord, report: Report | None) -> Split | None:
    if record.split is None:
        return None
    try:
        return split_by_name(record.split)
    except KeyError:
        if report is not None:
            report.problem(f"line {record.line}, split: {record.split[:40]!r} is unknown; decided by the id's hash")
        return None


def add_posts(session: Session, records: list[PostRecord], report: Report, run_id: int | None) -> None:
    """Documents and their reference summaries.

    A document that is there already stays as it is. One that has no reference yet, because it came with comparisons,
    gets the record's, unless the record is about another text.
    """
    project = the_project(session)
    importing.lock_imports(session, project.id)
    before = corpus.documents_by_source(session, project.id, {record.source_id for record in records})
    found = _documents(session, project, records, report, run_id)
    ref = corpus.policies_by_name(session, project.id, ["ref"], PolicyKind.REF)["ref"]
    referenced = importing.documents_written_about(session, ref.id, {document.id for document in before.values()})
    references = []
    seen = set(before)
    for record in records:
        document, new = found[record.source_id], record.source_id not in seen
        seen.add(record.source_id)
        report.added += new
        report.already += not new
        if record.summary is None or document.id in referenced or document.post.strip() != record.post.strip():
            continue
        referenced.add(document.id)
        report.references += not new
        references.append({"document_id": document.id, "policy_id": ref.id, "text": " " + record.summary})
    corpus.add_summaries(session, references)


def add_comparisons(session: Session, records: list[ComparisonRecord], report: Report, run_id: int | None) -> None:
    """Comparisons that were judged elsewhere, as done slots with showings, preferences and notes.

    Two records about the same two texts in the same batch are one comparison with two opinions. A record that is there
    already changes nothing; another answer by the same worker on the same pair is a new version of it.
    """
    project = the_project(session)
    importing.lock_imports(session, project.id)
    report.already += len(records)
    known = answers.preference_keys(session, [record.key for record in records])
    fresh: dict[UUID, ComparisonRecord] = {}
    for record in records:
        if record.key not in known:
            fresh.setdefault(record.key, record)
    report.already -= len(fresh)
    if not fresh:
        return
    found = _documents(session, project, [record.document for record in fresh.values()], report, run_id)
    policies = corpus.policies_by_name(
        session, project.id, {side.policy for record in fresh.values() for side in record.summaries}
    )
    summaries = corpus.add_summaries(
        session,
        list(
            {
                (document_id, policy_id, side.text): {
                    "document_id": document_id,
                    "policy_id": policy_id,
                    "text": side.text,
                }
                for record in fresh.values()
                for side in record.summaries
                for document_id, policy_id in [(found[record.document.source_id].id, policies[side.policy].id)]
            }.values()
        ),
    )
    workers = _workers(session, {record.worker for record in fresh.values()})
    batch_ids = batches.import_batches(session, project.id, {record.batch for record in fresh.values()})
    opinions = []
    for record in fresh.values():
        document = found[record.document.source_id]
        first, second = (summaries[document.id, policies[side.policy].id, side.text, -1] for side in record.summaries)
        opinions.append(
            Given(
                batch_id=batch_ids[record.batch],
                document_id=document.id,
                first=first,
                second=second,
                labeler_id=workers[record.worker],
                page_version=WITH_CONFIDENCE if record.confidence_given else CHOICE_ONLY,
                value=record.value,
                key=record.key,
                notes=(record.summaries[0].note, record.summaries[1].note),
            )
        )
    answers.add_given(session, opinions, "import")
    report.added += len(opinions)


def _workers(session: Session, names: set[str]) -> dict[str, int]:
    """Accounts for workers of other sites: they hold answers and can never sign in."""
    wanted = {f"import:{name}": name for name in names}
    there = people.labelers_by_name(session, list(wanted))
    return {
        name: (there.get(full) or people.add_labeler(session, full, Role.LABELER, LabelerKind.HUMAN, active=False)).id
        for full, name in sorted(wanted.items())
    }


DOCUMENTS = Form("documents", read_post, add_posts)
COMPARISONS = Form("comparisons", read_comparison, add_comparisons)
FORMS: dict[str, Form[PostRecord] | Form[ComparisonRecord]] = {"documents": DOCUMENTS, "comparisons": COMPARISONS}


def finish(session: Session) -> None:
    """Everything is in: what asks for it now (an export, a round) should not take minutes for seconds."""
    importing.take_stock(session)


def documents_there(session: Session) -> dict[Split, int]:
    """How many documents are in each split."""
    return corpus.counts_by_split(session, the_project(session).id)

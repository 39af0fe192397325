"""Files come in whole, once, however broken and however often, and what came in is said as it was."""

import gzip
import io
import itertools
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select

from app.domain.errors import Invalid
from app.domain.preferences import turned
from app.domain.splits import split_by_hash
from app.domain.words import LabelerKind, PolicyKind, SlotState, Split
from app.services import imports
from app.services.imports import COMPARISONS, DOCUMENTS, Form, Report
from app.services.projects import the_project
from app.store import answers, corpus, people
from app.store.session import Session, Sessions
from app.store.tables import Comparison, Document, Labeler, Note, Policy, Preference, Showing, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make

R = TypeVar("R")

DATA = Path(__file__).parents[4] / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not there: {DATA}")


def _post(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "subreddit": "cats",
        "title": f"Title {name}",
        "post": f"Post {name}.",
        "summary": f"S {name}.",
    } | more


def _comparison(name: str = "d1", *, worker: str = "w1", batch: str = "batch1", **more: Any) -> dict[str, Any]:
    return {
        "info": {"id": name, "post": f"Post {name}.", "title": f"Title {name}", "subreddit": "cats"},
        "split": "valid1",
        "summaries": [
            {"text": f" One of {name}.", "policy": "ref", "note": f"Note on one of {name}."},
            {"text": f" Two of {name}.", "policy": "sup", "note": None},
        ],
        "choice": 1,
        "worker": worker,
        "batch": batch,
        "extra": {"confidence": 8},
    } | more


def _turned_round(record: dict[str, Any]) -> dict[str, Any]:
    return record | {
        "summaries": record["summaries"][::-1],
        "choice": 1 - record["choice"],
        "extra": {"confidence": 10 - record["extra"]["confidence"]},
    }


def _bytes(*records: dict[str, Any] | str) -> bytes:
    return b"".join((one if isinstance(one, str) else json.dumps(one)).encode() + b"\n" for one in records)


def _import(work: Work, form: Form[R], content: bytes, *, stop: bool = True) -> Report:
    """Import as the command and the worker do: a unit of work for each chunk."""
    report = Report()
    for chunk in imports.chunks(io.BytesIO(content), form, report, stop=stop):
        with work() as session:
            form.add(session, chunk, report, None)
    with work() as session:
        imports.finish(session)
    return report


def _documents(session: Session) -> dict[str, Document]:
    return {row.source_id: row for row in session.scalars(select(Document))}


# Lines


def test_a_plain_and_a_compressed_file_say_the_same() -> None:
    content = _bytes(_post("a"), _post("b"))
    assert list(imports.lines(io.BytesIO(content))) == list(imports.lines(io.BytesIO(gzip.compress(content))))


def test_empty_lines_are_left_out_and_numbers_stay() -> None:
    assert [number for number, _ in imports.lines(io.BytesIO(b"\n{}\n  \n\r\n{}"))] == [2, 5]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert list(imports.lines(io.BytesIO(b"\xef\xbb\xbf{}\n{}"))) == [(1, "{}\n"), (2, "{}")]


@pytest.mark.parametrize("content", [b"", b"\n", b"x", gzip.compress(b"", mtime=0)])
def test_a_file_with_hardly_anything_in_it_is_read(content: bytes) -> None:
    assert [text for _, text in imports.lines(io.BytesIO(content))] == (["x"] if content == b"x" else [])


def test_other_line_breaks_of_unicode_end_no_line() -> None:
    assert len(list(imports.lines(io.BytesIO("a\u2028b\u0085c\x0bd\n".encode())))) == 1


# Documents


def test_documents_and_their_references_come_in(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a"), _post("b", summary=None), _post("c", meta={"score": 3})))
    assert (report.read, report.added, report.already, report.bad) == (3, 3, 0, 0)
    with work() as session:
        rows = _documents(session)
        assert {name: (row.title, row.post, row.community) for name, row in rows.items()} == {
            name: (f"Title {name}", f"Post {name}.", "cats") for name in "abc"
        }
        assert rows["c"].info == {"meta": {"score": 3}}
        found = {
            one.document.source_id: one.reference
            for split in Split
            for one in corpus.documents_for_training(session, the_project(session).id, split)
        }
        assert found == {"a": " S a.", "b": None, "c": " S c."}


def test_the_shipped_form_is_told_in_a_sentence(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a"), _post("a"), "{"), stop=False)
    assert report.sentence("documents") == "3 lines read: 1 documents added, 1 already there, 1 bad lines left out."
    assert json.loads(json.dumps(report.to_dict()))["problems"] == report.problems


def test_importing_again_adds_nothing(work: Work) -> None:
    content = _bytes(*(_post(str(number)) for number in range(7)))
    _import(work, DOCUMENTS, content)
    with work() as session:
        before = {name: (row.id, row.split) for name, row in _documents(session).items()}
    report = _import(work, DOCUMENTS, content)
    assert (report.read, report.added, report.already, report.clashes, report.bad) == (7, 0, 7, 0, 0)
    with work() as session:
        assert {name: (row.id, row.split) for name, row in _documents(session).items()} == before
        assert session.scalar(select(func.count()).select_from(Summary)) == 7


def test_a_document_twice_in_one_file_is_added_once(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a"), _post("a"), _post("b")))
    assert (report.read, report.added, report.already, report.clashes) == (3, 2, 1, 0)
    with work() as session:
        assert session.scalar(select(func.count()).select_from(Summary)) == 2


def test_documents_without_ids_are_found_again_by_their_text(work: Work) -> None:
    nameless = {name: value for name, value in _post("a").items() if name != "id"}
    assert _import(work, DOCUMENTS, _bytes(nameless, nameless)).added == 1
    assert _import(work, DOCUMENTS, _bytes(nameless)).added == 0


@pytest.mark.parametrize("per_chunk", [1, 2, 3])
def test_chunks_change_nothing(work: Work, monkeypatch: pytest.MonkeyPatch, per_chunk: int) -> None:
    monkeypatch.setattr(imports, "CHUNK", per_chunk)
    report = _import(work, DOCUMENTS, _bytes(*(_post(name) for name in "abcab")))
    assert (report.read, report.added, report.already) == (5, 3, 2)


def test_splits_follow_the_ids_hash(work: Work) -> None:
    _import(work, DOCUMENTS, _bytes(*(_post(str(number)) for number in range(120))))
    with work() as session:
        project = the_project(session)
        rows = _documents(session)
        assert {name: row.split for name, row in rows.items()} == {
            name: split_by_hash(project.salt, name, project.validation_share, project.test_share) for name in rows
        }
        assert set(Counter(row.split for row in rows.values())) == set(Split)


@pytest.mark.parametrize(
    ("spelling", "split"),
    [("train", "train"), ("valid", "validation"), ("valid1", "validation"), ("valid2", "validation"), ("test", "test")],
)
def test_a_files_own_split_is_kept(work: Work, spelling: str, split: str) -> None:
    report = _import(work, DOCUMENTS, _bytes(*(_post(str(number), split=spelling) for number in range(20))))
    assert report.splits == {split: 20}
    with work() as session:
        assert {(row.split, row.source_split) for row in _documents(session).values()} == {(Split(split), spelling)}


def test_an_unknown_split_is_reported_and_the_hash_decides(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a", split="holdout")))
    assert (report.added, report.bad) == (1, 0)
    assert report.problems == ["line 1, split: 'holdout' is unknown; decided by the id's hash"]


def test_a_split_that_clashes_is_reported_and_the_first_stays(work: Work) -> None:
    _import(work, DOCUMENTS, _bytes(_post("a", split="train")))
    report = _import(work, DOCUMENTS, _bytes(_post("b"), _post("a", split="valid1")))
    assert report.clashes == 1
    assert report.problems == ["line 2, split: valid1, but the document is in train for ever"]
    with work() as session:
        assert _documents(session)["a"].split == Split.TRAIN


def test_a_split_that_clashes_within_one_file_is_reported_and_the_first_stays(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a", split="train"), _post("a", split="test")))
    assert (report.added, report.clashes) == (1, 1)
    with work() as session:
        assert _documents(session)["a"].split == Split.TRAIN


def test_a_text_that_clashes_is_reported_and_the_first_stays(work: Work) -> None:
    _import(work, DOCUMENTS, _bytes(_post("a")))
    report = _import(work, DOCUMENTS, _bytes(_post("a", post="Another text.")))
    assert (report.clashes, report.already) == (1, 1)
    assert report.problems == ["line 1, post: differs from the document that is there with id a"]
    with work() as session:
        assert _documents(session)["a"].post == "Post a."


BAD = [
    "{",
    json.dumps(_post("x", post="")),
    json.dumps(_post("x", post="a\0b")),
    json.dumps(_post("x", post="\ud800")),
    json.dumps(_post("x", meta="\0")),
    json.dumps(_post("x", meta=float("nan"))),
    json.dumps(_post("x" * 3000)),
    '{"post": "x", "n": ' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_left_out_and_the_rest_comes_in(work: Work, bad: str) -> None:
    report = _import(work, DOCUMENTS, _bytes(_post("a"), bad, _post("b")), stop=False)
    assert (report.read, report.added, report.bad) == (3, 2, 1)
    assert len(report.problems) == 1
    assert report.problems[0].startswith("line 2, ")


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_ends_the_import_where_it_is_told_to_stop(work: Work, bad: str) -> None:
    with pytest.raises(Invalid, match="line 2, "):
        _import(work, DOCUMENTS, _bytes(_post("a"), bad, _post("b")), stop=True)
    with work() as session:
        assert set(_documents(session)) == {"a"}


@pytest.mark.parametrize("stop", [False, True])
def test_bytes_that_are_no_text_are_one_bad_line(work: Work, stop: bool) -> None:
    content = _bytes(_post("a")) + b'{"post": "\xff"}\n' + _bytes(_post("b"))
    if stop:
        with pytest.raises(Invalid, match="line 2, record: not UTF-8"):
            _import(work, DOCUMENTS, content)
    else:
        report = _import(work, DOCUMENTS, content, stop=False)
        assert (report.read, report.added, report.bad) == (3, 2, 1)
        assert report.problems == ["line 2, record: not UTF-8 at byte 10"]
    with work() as session:
        assert set(_documents(session)) == ({"a"} if stop else {"a", "b"})


def test_a_huge_line_is_one_bad_line(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "LONGEST_LINE", 300)
    content = _bytes(_post("a"), _post("huge", post="x" * 1000), _post("b"))
    report = _import(work, DOCUMENTS, content, stop=False)
    assert (report.read, report.added, report.bad) == (3, 2, 1)
    assert report.problems == ["line 2, record: longer than 300 bytes"]


def test_many_problems_are_counted_and_the_first_are_named(work: Work) -> None:
    report = _import(work, DOCUMENTS, _bytes(*["{"] * 80), stop=False)
    assert report.bad == 80
    assert len(report.problems) == imports.SHOWN_PROBLEMS


@pytest.mark.parametrize("harm", ["cut", "flipped", "rubbish after it"])
def test_a_broken_compressed_file_keeps_what_came_before(work: Work, harm: str) -> None:
    # Text that does not compress, so that much of it can be read before the harm.
    whole = gzip.compress(_bytes(*(_post(f"{number * 7919:x}" * 5) for number in range(400))), compresslevel=1)
    content = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:-8] + b"\0\0\0\0" + whole[-4:],
        "rubbish after it": whole + b"rubbish",
    }[harm]
    with pytest.raises(Invalid, match=r"broken after line \d+\. What came before is imported"):
        _import(work, DOCUMENTS, content)
    with work() as session:
        assert len(_documents(session)) > 50


# Comparisons


def _said(session: Session) -> list[tuple[Any, ...]]:
    """Every judged pair as it was displayed."""
    said = []
    for row in answers.judged(session, the_project(session).id):
        order = (1, 0) if row.swapped else (0, 1)
        said.append(
            (
                row.source_id,
                tuple(row.texts[side] for side in order),
                tuple(row.policies[side] for side in order),
                tuple(row.notes[side] for side in order),
                turned(row.value, row.swapped),
                row.worker.removeprefix("import:"),
                row.batch,
                row.source_split,
                row.post,
            )
        )
    return said


def _told(record: dict[str, Any]) -> tuple[Any, ...]:
    """A released record as `_said` would give it."""
    info = record["info"]
    return (
        info["id"],
        tuple(side["text"] for side in record["summaries"]),
        tuple(side["policy"] for side in record["summaries"]),
        tuple(side["note"] or None for side in record["summaries"]),
        (record.get("extra") or {}).get("confidence") or (7 if record["choice"] else 3),
        record["worker"],
        record["batch"],
        record["split"],
        info.get("post") or info["article"],
    )


def test_an_imported_record_is_given_back_as_it_was(work: Work) -> None:
    records = [
        _comparison("d1"),
        _comparison("d2", choice=0, extra={"confidence": 1}),
        _comparison("d3", extra={}),
        _comparison("d3", worker="w2", choice=0, extra=None),
        _comparison("d4", batch="batch2", extra={"confidence": 5}),
    ]
    report = _import(work, COMPARISONS, _bytes(*records))
    assert (report.read, report.added, report.already, report.bad, report.clashes) == (5, 5, 0, 0, 0)
    with work() as session:
        assert sorted(_said(session)) == sorted(_told(record) for record in records)
        versions = {row.source_id: row.page_version for row in answers.judged(session, the_project(session).id)}
        assert (versions["d1"], versions["d3"]) == (imports.WITH_CONFIDENCE, imports.CHOICE_ONLY)


def test_importing_comparisons_again_adds_nothing(work: Work) -> None:
    content = _bytes(_comparison("d1"), _comparison("d1", worker="w2"), _turned_round(_comparison("d2")))
    _import(work, COMPARISONS, content)
    tables = (Document, Summary, Comparison, Slot, Showing, Preference, Note, Labeler)
    with work() as session:
        before = [session.scalar(select(func.count()).select_from(table)) for table in tables]
    report = _import(work, COMPARISONS, content)
    assert (report.read, report.added, report.already) == (3, 0, 3)
    with work() as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in tables] == before


def test_the_same_pair_shown_the_other_way_is_the_same_comparison(work: Work) -> None:
    one, other = _comparison("d1"), _turned_round(_comparison("d1", worker="w2"))
    _import(work, COMPARISONS, _bytes(one, other))
    with work() as session:
        assert session.scalar(select(func.count()).select_from(Comparison)) == 1
        assert [row.value for row in answers.judged(session, the_project(session).id)] == [8, 8]
        assert sorted(_said(session)) == sorted([_told(one), _told(other)])


def test_a_record_twice_in_one_file_is_one_opinion(work: Work) -> None:
    report = _import(work, COMPARISONS, _bytes(_comparison("d1"), _comparison("d1")))
    assert (report.read, report.added, report.already) == (2, 1, 1)


def test_another_answer_by_the_same_worker_on_the_same_pair_is_a_new_version(work: Work) -> None:
    first, second = _comparison("d1"), _turned_round(_comparison("d1", extra={"confidence": 6}))
    _import(work, COMPARISONS, _bytes(first, second))
    with work() as session:
        assert _said(session) == [_told(second)]
        [slot] = session.scalars(select(Slot))
        assert slot.state == SlotState.DONE
        assert [(row.version, row.surplus) for row in make.answers(session, slot.comparison_id or 0)] == [
            (1, False),
            (2, False),
        ]


def test_imported_opinions_are_done_slots_and_ask_nobody(work: Work) -> None:
    _import(work, COMPARISONS, _bytes(_comparison("d1"), _comparison("d1", worker="w2"), _comparison("d2")))
    with work() as session:
        assert set(session.scalars(select(Slot.state))) == {SlotState.DONE}
        assert make.hold(session, make.labeler(session), 3) == []


def test_workers_of_other_sites_hold_their_answers_and_cannot_sign_in(work: Work) -> None:
    _import(work, COMPARISONS, _bytes(_comparison("d1", worker="aB"), _comparison("d2", worker="Ab")))
    with work() as session:
        found = people.labelers_by_name(session, ["import:aB", "import:Ab"])
        assert len(found) == 2
        assert all(row.deactivated_at is not None and row.password_hash is None for row in found.values())
        assert {row.kind for row in found.values()} == {LabelerKind.HUMAN}
        assert people.people(session) == []


def test_policies_of_other_sites_are_known_by_name_and_the_reference_is_ours(work: Work) -> None:
    _import(work, COMPARISONS, _bytes(_comparison("d1")))
    with work() as session:
        kinds = {row.name: row.kind for row in session.scalars(select(Policy))}
        assert kinds == {"ref": PolicyKind.REF, "sup": PolicyKind.IMPORTED}


def test_comparisons_of_known_documents_use_them(work: Work) -> None:
    _import(work, DOCUMENTS, _bytes(_post("d1", split="train")))
    report = _import(work, COMPARISONS, _bytes(_comparison("d1")))
    assert report.clashes == 1
    with work() as session:
        assert {name: row.split for name, row in _documents(session).items()} == {"d1": Split.TRAIN}


def test_a_confidence_against_the_choice_is_named_with_line_and_field(work: Work) -> None:
    bad = _comparison("d2", choice=0)
    report = _import(work, COMPARISONS, _bytes(_comparison("d1"), bad, _comparison("d3")), stop=False)
    assert (report.added, report.bad) == (2, 1)
    assert report.problems == ["line 2, extra.confidence: 8 contradicts choice 0"]
    with pytest.raises(Invalid, match=r"line 1, extra\.confidence: 8 contradicts choice 0"):
        _import(work, COMPARISONS, _bytes(bad))


# Posts after comparisons, and two at once


def _references(session: Session) -> dict[str, list[str]]:
    """What the policy `ref` wrote, by the document's source id, in the order it came."""
    rows = session.execute(
        select(Document.source_id, Summary.text)
        .join(Summary, Summary.document_id == Document.id)
        .join(Policy, Policy.id == Summary.policy_id)
        .where(Policy.kind == PolicyKind.REF)
        .order_by(Summary.id)
    )
    found: dict[str, list[str]] = {}
    for source_id, text in rows:
        found.setdefault(source_id, []).append(text)
    return found


def _without_reference(name: str, **more: Any) -> dict[str, Any]:
    record = _comparison(name, **more)
    record["summaries"][0]["policy"] = "other"
    return record


def test_a_document_that_came_with_comparisons_gets_the_reference_of_the_posts(work: Work) -> None:
    _import(work, COMPARISONS, _bytes(_without_reference("d1"), _comparison("d2")))
    report = _import(work, DOCUMENTS, _bytes(_post("d1"), _post("d2"), _post("d3")))
    assert (report.read, report.added, report.already, report.references, report.clashes) == (3, 1, 2, 1, 0)
    assert report.to_dict()["references"] == 1
    assert "1 references added to documents that had none" in report.sentence("documents")
    with work() as session:
        assert _references(session) == {"d1": [" S d1."], "d2": [" One of d2."], "d3": [" S d3."]}
    again = _import(work, DOCUMENTS, _bytes(_post("d1", summary="Another."), _post("d2", summary="Another.")))
    assert (again.added, again.already, again.references, again.clashes) == (0, 2, 0, 0)
    with work() as session:
        assert _references(session)["d1"] == [" S d1."]


def test_the_first_reference_of_a_file_is_taken_wherever_it_stands(work: Work) -> None:
    report = _import(
        work, DOCUMENTS, _bytes(_post("a", summary=None), _post("a", summary="One."), _post("a", summary="Two."))
    )
    assert (report.added, report.already, report.references) == (1, 2, 1)
    with work() as session:
        assert _references(session) == {"a": [" One."]}


def test_the_reference_of_another_text_is_not_taken(work: Work) -> None:
    _import(work, COMPARISONS, _bytes(_without_reference("d1")))
    report = _import(work, DOCUMENTS, _bytes(_post("d1", post="Quite another text.")))
    assert (report.already, report.references, report.clashes) == (1, 0, 1)
    with work() as session:
        assert _references(session) == {}


@pytest.mark.parametrize("form", [DOCUMENTS, COMPARISONS], ids=["documents", "comparisons"])
def test_the_same_file_twice_at_once_comes_in_once(own_sessions: Sessions, form: Form[Any]) -> None:
    both = Work(own_sessions, [])
    names = [f"d{number}" for number in range(60)]
    content = _bytes(
        *(_post(name) for name in names)
        if form is DOCUMENTS
        else (_comparison(name, worker=f"w{number % 7}") for number, name in enumerate(names))
    )
    together = Barrier(2)

    def bring(_: int) -> Report:
        together.wait(timeout=30)
        return _import(both, form, content)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(bring, range(2)))
    assert sorted((report.added, report.already, report.clashes) for report in reports) == [(0, 60, 0), (60, 0, 0)]
    with both() as session:
        assert session.scalar(select(func.count()).select_from(Document)) == 60
        assert session.scalar(select(func.count()).select_from(Preference)) == (0 if form is DOCUMENTS else 60)


# The real files, which are not part of the project


def _lines(name: str, limit: int | None = None) -> list[bytes]:
    with gzip.open(DATA / name) as source:
        return list(itertools.islice(source, limit))


@real_data
def test_real_posts_come_in_with_their_own_splits(work: Work) -> None:
    lines = _lines("tldr_posts.jsonl.gz", 600)
    records = [json.loads(line) for line in lines]
    report = _import(work, DOCUMENTS, gzip.compress(b"".join(lines)))
    assert (report.read, report.added, report.bad, report.clashes) == (600, 600, 0, 0)
    named = {"train": "train", "valid": "validation", "test": "test"}
    assert report.splits == Counter(named[record["split"]] for record in records)
    again = _import(work, DOCUMENTS, b"".join(lines))
    assert (again.added, again.already, again.clashes) == (0, 600, 0)


@real_data
@pytest.mark.parametrize(("name", "limit"), [("tldr_comparisons", 120), ("cnndm_comparisons", 60)])
def test_real_comparisons_are_given_back_as_they_were(work: Work, name: str, limit: int) -> None:
    lines = _lines(f"{name}.jsonl.gz", limit)
    report = _import(work, COMPARISONS, b"".join(lines))
    assert (report.read, report.bad) == (limit, 0)
    assert report.added + report.already == limit
    with work() as session:
        # Only the newest version of an answer is said; sets, so that no text of a private person is printed here.
        said = set(_said(session))
        told = {_told(json.loads(line)) for line in lines}
        assert said <= told
        newest = session.scalar(select(func.count(Preference.id.distinct())).where(Preference.version == 1))
        assert len(said) == newest
    assert _import(work, COMPARISONS, b"".join(lines)).added == 0


@real_data
def test_real_edits_without_ids_come_in(work: Work) -> None:
    report = _import(work, COMPARISONS, b"".join(_lines("tldr_comparisons_edit.jsonl.gz")))
    assert (report.read, report.added, report.bad) == (4, 4, 0)
    with work() as session:
        assert all(name.startswith("sha256_") for name in _documents(session))


@real_data
def test_another_form_of_the_same_feedback_is_refused_in_words(work: Work) -> None:
    content = b"".join(_lines("carper_comparisons.jsonl.gz", 20))
    with pytest.raises(Invalid, match="line 1, info: missing"):
        _import(work, COMPARISONS, content)
    report = _import(work, COMPARISONS, content, stop=False)
    assert (report.read, report.bad, report.added) == (20, 20, 0)
    with work() as session:
        assert _documents(session) == {}

"""Runs as a worker executes them: what it reads and writes, and that a message is only a doorbell."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app import samples
from app.domain.errors import StaleClaim
from app.domain.protocols import Protocol
from app.domain.words import PolicyKind, RunState, Stage, Trouble
from app.services import continuous, exports, imports, protocols, rounds, runs
from app.services.exports import Filters
from app.services.people import Viewer
from app.services.projects import the_project
from app.services.runs import Claim
from app.store import corpus
from app.store.session import DatabaseUnreachable, Send, Session, Sessions, unit_of_work
from app.store.tables import Run
from tests.conftest import Work
from tests.support import factories as make
from worker import tasks
from worker.progress import RunSink
from worker.training.metrics import Cancelled

LEASE = timedelta(seconds=60)


def _import_samples(work: Work) -> None:
    with samples.path().open("rb") as source:
        for chunk in imports.chunks(source, imports.DOCUMENTS, imports.Report(), stop=True):
            with work() as session:
                imports.DOCUMENTS.add(session, chunk, imports.Report(), None)


def test_an_upload_becomes_documents_and_its_bad_lines_are_named(artifacts: Path, work: Work, admin: Viewer) -> None:
    good = {"id": "t3_1", "subreddit": "cats", "title": "A cat", "post": "It sleeps.", "summary": "Cat sleeps."}
    (artifacts / "uploads").mkdir(parents=True)
    file = artifacts / "uploads" / "one.jsonl.gz"
    file.write_bytes(gzip.compress(f"{json.dumps(good)}\n{{\n{json.dumps({'id': 'x'})}\n".encode()))
    with work() as session:
        payload = {"form": "documents", "path": "uploads/one.jsonl.gz", "name": "one.jsonl.gz", "stop": False}
        run_id = runs.ask(session, admin, Stage.IMPORT, payload).id
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
        assert run.state == RunState.SUCCEEDED
        assert run.result is not None
        assert (run.result["added"], run.result["bad"]) == (1, 2)
        assert [problem.split(":")[0] for problem in run.result["problems"]] == ["line 2, record", "line 3, post"]
        assert session.execute(text("select source_id, run_id from document")).all() == [("t3_1", run_id)]
    assert not file.exists()


def test_an_import_that_stops_keeps_what_came_before_and_says_where(artifacts: Path, work: Work, admin: Viewer) -> None:
    (artifacts / "uploads").mkdir(parents=True)
    (artifacts / "uploads" / "two.jsonl").write_text(
        '{"id": "a", "post": "One."}\nnot json\n{"id": "b", "post": "Two."}\n'
    )
    with work() as session:
        payload = {"form": "documents", "path": "uploads/two.jsonl", "name": "two.jsonl", "stop": True}
        run_id = runs.ask(session, admin, Stage.IMPORT, payload).id
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
        assert run.state == RunState.FAILED
        assert run.problem is not None and "line 2" in run.problem and "1 documents added" in run.problem
        assert session.scalar(text("select count(*) from document")) == 1


def test_a_run_that_cannot_do_what_is_asked_ends_failed_with_words(artifacts: Path, work: Work, admin: Viewer) -> None:
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        run_id = rounds.sample_pairs(session, admin, tiny, 4, with_simulated=False)
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
    assert run.state == RunState.FAILED
    assert run.problem == "There are no documents to summarize. Import some, then ask again."
    assert run.traceback is not None and "CannotRun" in run.traceback
    assert not list(artifacts.glob("runs/*"))


def test_pairs_are_sampled_with_all_that_is_needed_to_write_them_again(
    artifacts: Path, work: Work, admin: Viewer
) -> None:
    _import_samples(work)
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        run_id = rounds.sample_pairs(session, admin, tiny, 4, with_simulated=False)
    tasks.execute(run_id)
    # Delivered again: there is nothing to claim, and nothing is written twice.
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
        assert (run.state, run.fence) == (RunState.SUCCEEDED, 1)
        assert run.conditions is not None and run.conditions["device"] == "cpu"
        assert session.scalar(text("select count(*) from comparison")) == 4
        waiting = "select count(*) from slot join batch on batch.id = batch_id where state = 'open'"
        assert session.scalar(text(waiting + " and for_kind = 'human'")) == 4
        written = session.execute(
            text(
                "select s.prompt, s.seed, s.decoding->>'temperature', s.tokens, c.digest, c.kind from summary s "
                "join checkpoint c on c.id = s.checkpoint_id"
            )
        ).all()
    assert len(written) == 6
    assert len({row[1] for row in written}) == 6
    for prompt, _, temperature, tokens, digest, kind in written:
        assert prompt.endswith("TL;DR:")
        assert (temperature, kind) == ("0.7", "base")
        assert 0 < tokens <= 24
        assert len(digest) == 64


def test_pairs_are_put_up_by_the_protocol_of_new_batches(artifacts: Path, work: Work, admin: Viewer) -> None:
    _import_samples(work)
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        baseline = corpus.policies_by_name(session, the_project(session).id, ["sup1"])["sup1"]
        told = Protocol(shared_share=0.5, calibration_share=0.25, sentinel_share=0.5, gold_share=0.1)
        protocols.set_default(session, admin, told, baseline.id)
        first = rounds.sample_pairs(session, admin, tiny, 4, with_simulated=False)
    tasks.execute(first)
    with work() as session:
        run = runs.the_run(session, first)
        assert run.result is not None and run.result["kinds"] == {"ordinary": 1, "shared": 2, "calibration": 1}
        assert "Sentinel pairs missing: 2, because the fixed baseline has written about too few documents" in run.words
        documents = session.scalars(text("select id from document where split = 'train' order by id limit 3")).all()
        rows = [{"document_id": each, "policy_id": baseline.id, "text": f" About {each}."} for each in documents]
        corpus.add_summaries(session, rows)
        second = rounds.sample_pairs(session, admin, tiny, 4, with_simulated=False, notes_first=True)
    tasks.execute(second)
    with work() as session:
        run = runs.the_run(session, second)
        assert run.result is not None
        assert run.result["kinds"] == {"ordinary": 1, "shared": 2, "sentinel": 2, "calibration": 1}
        assert run.words.endswith(
            " are up for judging. In the shared pool, for 3 labelers each: 2. For researchers, too: 1. "
            "Sentinel pairs added: 2."
        )
        found = session.execute(
            text(
                "select b.protocol->>'notes_first', c.kind, count(*) from slot s join comparison c "
                "on c.id = s.comparison_id join batch b on b.id = c.batch_id group by b.id, 1, 2 order by b.id, 1, 2"
            )
        ).all()
    assert [tuple(row) for row in found] == [
        ("false", "calibration", 1),
        ("false", "ordinary", 1),
        ("false", "shared", 6),
        ("true", "calibration", 1),
        ("true", "ordinary", 1),
        ("true", "sentinel", 2),
        ("true", "shared", 6),
    ]


def test_an_import_that_is_tried_again_still_has_its_upload(
    artifacts: Path, work: Work, admin: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (artifacts / "uploads").mkdir(parents=True)
    file = artifacts / "uploads" / "one.jsonl"
    file.write_text('{"id": "a", "post": "One."}\n')
    with work() as session:
        payload = {"form": "documents", "path": "uploads/one.jsonl", "name": "one.jsonl", "stop": True}
        run_id = runs.ask(session, admin, Stage.IMPORT, payload).id

    def away(self: RunSink, done: int, total: int, words: str) -> None:
        raise DatabaseUnreachable("it restarts")

    with monkeypatch.context() as patched:
        patched.setattr(RunSink, "progress", away)
        tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
        assert (run.state, run.trouble, run.attempt) == (RunState.QUEUED, Trouble.PASSING, 2)
        session.execute(text("update run set due_at = now()"))
    assert file.exists()
    tasks.execute(run_id)
    with work() as session:
        assert runs.the_run(session, run_id).state == RunState.SUCCEEDED
        assert session.scalar(text("select count(*) from document")) == 1
    assert not file.exists()


def test_an_export_is_the_snapshot_that_was_asked_for(artifacts: Path, work: Work, admin: Viewer) -> None:
    record = {
        "info": {"id": "t3_1", "post": "It sleeps.", "title": "A cat", "subreddit": "cats"},
        "split": "train",
        "summaries": [
            {"text": " Cat sleeps.", "policy": "ref", "note": None},
            {"text": " Dog.", "policy": "sup1", "note": "a dog"},
        ],
        "choice": 0,
        "worker": "w1",
        "batch": "batch3",
        "extra": {"confidence": 2},
    }
    with work() as session:
        imports.COMPARISONS.add(session, [imports.COMPARISONS.read(1, json.dumps(record))], imports.Report(), None)
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    later = record | {"worker": "w2"}
    with work() as session:
        imports.COMPARISONS.add(session, [imports.COMPARISONS.read(1, json.dumps(later))], imports.Report(), None)
    tasks.execute(run_id)
    with work() as session:
        [line] = exports.listed(session)
        assert line.export is not None and line.export.rows == 1
        file = artifacts / line.export.path
    assert [json.loads(each) for each in file.read_text().splitlines()] == [record]


def test_a_run_cancelled_while_it_waits_is_never_begun(artifacts: Path, work: Work, admin: Viewer) -> None:
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    with work() as session:
        runs.cancel(session, admin, run_id)
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
    assert (run.state, run.fence) == (RunState.CANCELLED, 0)


def test_a_second_model_is_not_loaded_on_a_host_that_trains(work: Work, admin: Viewer) -> None:
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        one = rounds.sample_pairs(session, admin, tiny, 1, with_simulated=False)
        two = rounds.sample_pairs(session, admin, tiny, 1, with_simulated=False)
        light = exports.ask(session, admin, Filters())
    with work() as session:
        assert runs.claim(session, one, "host", 1, LEASE) is not None
    with work() as session:
        assert runs.claim(session, two, "host", 2, LEASE) is None
        assert runs.claim(session, light, "host", 3, LEASE) is not None
        assert runs.claim(session, two, "host2", 4, LEASE) is not None


def test_a_sink_stops_its_stage_when_the_run_is_cancelled_or_taken_over(
    sessions: Sessions, work: Work, admin: Viewer
) -> None:
    with work() as session:
        tiny = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        run_id = rounds.sample_pairs(session, admin, tiny, 1, with_simulated=False)
    with work() as session:
        claim = runs.claim(session, run_id, "host", 1, LEASE)
    assert claim is not None
    sink = RunSink(sessions, lambda job: None, claim, LEASE)
    sink.progress(1, 3, "one of three")
    sink.metric("sample/tokens_per_second", 0, 12.5)
    sink.note("start", "from the beginning")
    sink.note("precision", "bf16")
    sink.flush()
    sink.check()
    with work() as session:
        run = runs.the_run(session, run_id)
        assert (run.done, run.total, run.words) == (1, 3, "one of three")
        assert run.conditions == {"start": "from the beginning", "precision": "bf16"}
        assert runs.points(session, [run_id]) == {run_id: {"sample/tokens_per_second": [(0, 12.5)]}}
    with work() as session:
        runs.cancel(session, admin, run_id)
    sink.flush()
    with pytest.raises(Cancelled, match="asked to stop"):
        sink.check()
    with unit_of_work(sessions, lambda job: None) as session:
        session.execute(text("update run set lease_expires_at = now() - interval '1 second'"))
    with work() as session:
        assert runs.claim(session, run_id, "other", 2, LEASE) is not None
    stale = RunSink(sessions, lambda job: None, claim, LEASE)
    stale.progress(3, 3, "all three")
    stale.flush()
    with pytest.raises(StaleClaim, match="taken over"):
        stale.check()
    with work() as session:
        assert runs.the_run(session, run_id).words == "one of three"


def test_a_run_that_takes_every_worker_with_it_is_given_up_with_words(
    artifacts: Path, work: Work, admin: Viewer
) -> None:
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    for _ in range(runs.MOST_DEATHS):
        with work() as session:
            assert runs.claim(session, run_id, "host", 1, LEASE) is not None
            session.execute(text("update run set lease_expires_at = now() - interval '1 second'"))
    with work() as session:
        assert runs.claim(session, run_id, "host", 1, LEASE) is None
    tasks.reconcile()
    with work() as session:
        run = runs.the_run(session, run_id)
    assert run.state == RunState.FAILED
    assert run.problem is not None and "ran out of memory" in run.problem


def test_a_run_whose_worker_died_after_a_cancel_ends_cancelled(artifacts: Path, work: Work, admin: Viewer) -> None:
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    with work() as session:
        assert runs.claim(session, run_id, "host", 1, LEASE) is not None
        runs.cancel(session, admin, run_id)
        session.execute(text("update run set lease_expires_at = now() - interval '1 second'"))
    tasks.reconcile()
    with work() as session:
        assert runs.the_run(session, run_id).state == RunState.CANCELLED


def test_the_reconciler_takes_the_steps_of_continuous_mode(artifacts: Path, work: Work, admin: Viewer) -> None:
    with work() as session:
        make.reference_document(session)
        recipe = next(row.id for row in rounds.recipes(session) if row.name == "tiny")
        continuous.turn_on(session, admin, recipe, with_simulated=False)
    tasks.reconcile()
    with work() as session:
        assert [each.number for each in rounds.views(session)] == [1]
        continuous.turn_off(session, admin)
        rounds.cancel(session, admin, 1)
    tasks.reconcile()
    with work() as session:
        assert [each.number for each in rounds.views(session)] == [1]


def test_files_stay_when_the_commit_that_ends_a_run_is_not_acknowledged(
    artifacts: Path, work: Work, admin: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    cut: list[bool] = []

    @contextmanager
    def acknowledged_the_second_time(sessions: Sessions, send: Send) -> Iterator[Session]:
        with unit_of_work(sessions, send) as session:
            yield session
            ended = session.scalar(text("select state from run where id = :id"), {"id": run_id}) == "succeeded"
        if ended and not cut:
            cut.append(True)
            raise DatabaseUnreachable("the connection broke after the commit")

    monkeypatch.setattr(tasks, "unit_of_work", acknowledged_the_second_time)
    tasks.execute(run_id)
    assert cut
    with work() as session:
        [line] = exports.listed(session)
        assert line.run.state == RunState.SUCCEEDED
        assert line.export is not None and (artifacts / line.export.path).exists()


def test_nothing_of_a_run_takes_effect_once_a_cancel_was_asked(
    artifacts: Path, work: Work, admin: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work() as session:
        run_id = exports.ask(session, admin, Filters())
    real = rounds.hold_with_round

    def cancelled_at_the_last_moment(session: Session, claim: Claim) -> Run:
        run = real(session, claim)
        session.execute(text("update run set cancel_asked_at = now()"))
        session.refresh(run)
        return run

    monkeypatch.setattr(rounds, "hold_with_round", cancelled_at_the_last_moment)
    tasks.execute(run_id)
    with work() as session:
        [line] = exports.listed(session)
        assert (line.run.state, line.export) == (RunState.CANCELLED, None)
    assert not list(artifacts.glob("runs/*"))


def test_thousands_of_summaries_and_points_are_written_in_pieces(work: Work, admin: Viewer) -> None:
    _import_samples(work)
    with work() as session:
        project = the_project(session)
        policy = corpus.add_policy(session, project.id, "many", PolicyKind.IMPORTED, None, {})
        document_id = session.scalar(text("select min(id) from document"))
        assert document_id is not None
        rows = [{"document_id": document_id, "policy_id": policy.id, "text": f" {n}"} for n in range(7000)]
        assert len(corpus.add_summaries(session, rows)) == 7000
        run_id = exports.ask(session, admin, Filters())
    with work() as session:
        claim = runs.claim(session, run_id, "host", 1, LEASE)
        assert claim is not None
        runs.measure(session, claim, [("sft/loss", step, 1.0) for step in range(20_000)])
    with work() as session:
        assert len(runs.points(session, [run_id])[run_id]["sft/loss"]) == 20_000

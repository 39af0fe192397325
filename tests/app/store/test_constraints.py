"""What the schema itself refuses, whatever the code above it does."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, insert, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from app.domain.words import CheckpointKind, ComparisonKind, LabelerKind, PolicyKind, Role, SlotState, Split
from app.services.projects import the_project
from app.store import batches, corpus, people
from app.store.session import Session
from app.store.tables import (
    AuditEvent,
    Checkpoint,
    Comparison,
    Document,
    Note,
    Policy,
    Preference,
    Rating,
    Recipe,
    Showing,
    Skip,
    Slot,
    Summary,
    Table,
)
from tests.conftest import Work
from tests.support import factories as make

APPEND_ONLY: list[type[Table]] = [Preference, Note, Rating, Skip, AuditEvent, Recipe]


def _refused(session: Session, statement: Any, words: str) -> None:
    with pytest.raises(IntegrityError, match=words), session.begin_nested():
        session.execute(statement)


# Rows that stay


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_was_said_or_done_is_never_changed_or_removed(work: Work, table: type[Table]) -> None:
    with work() as session:
        make.everything(session)
        before = list(session.execute(select(table.__table__)))
        assert before
        column = next(column for column in table.__table__.columns if not column.primary_key)
        _refused(session, update(table).values({column.name: column}), "never changed or removed")
        _refused(session, delete(table), "never changed or removed")
        assert list(session.execute(select(table.__table__))) == before


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_was_said_or_done_is_not_swept_away_together(work: Work, table: type[Table]) -> None:
    with work() as session:
        make.everything(session)
        _refused(session, text(f"truncate {table.__tablename__} cascade"), "never changed or removed")


@pytest.mark.parametrize(
    "change", [{"split": Split.TEST}, {"source_id": "another"}, {"project_id": 10**9}, {"split": None}]
)
def test_a_document_is_in_one_split_for_ever(work: Work, change: dict[str, Any]) -> None:
    with work() as session:
        document = make.document(session)
        _refused(session, update(Document).where(Document.id == document.id).values(change), "never changed or removed")


def test_the_rest_of_a_document_may_be_mended(work: Work) -> None:
    with work() as session:
        document = make.document(session)
        session.execute(update(Document).where(Document.id == document.id).values(title="Mended", split=document.split))
        session.expire_all()
        assert document.title == "Mended"


# Comparisons


def _comparison(pairs: make.Pairs, **values: Any) -> Any:
    return insert(Comparison).values(batch_id=pairs.batch_id, reason="test", **values)


def test_summaries_of_two_documents_are_never_compared(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session)
        here, there = make.document(session), make.document(session)
        ours, theirs = make.summary(session, here.id), make.summary(session, there.id)
        for first, second, document in [(ours, theirs, here.id), (theirs, ours, here.id), (ours, ours + 0, there.id)]:
            statement = _comparison(pairs, document_id=document, first_summary_id=first, second_summary_id=second)
            _refused(session, statement, "fk_comparison_|two_summaries")


def test_a_summary_is_not_compared_with_itself(work: Work) -> None:
    with work() as session:
        pairs, document = make.pairs(session), make.document(session)
        one = make.summary(session, document.id)
        statement = _comparison(pairs, document_id=document.id, first_summary_id=one, second_summary_id=one)
        _refused(session, statement, "two_summaries")


def test_a_pair_is_in_a_batch_once_whatever_its_order(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, opinions=2)
        there = session.get_one(Comparison, pairs.comparisons[0])
        row = {
            "document_id": there.document_id,
            "first_summary_id": there.second_summary_id,
            "second_summary_id": there.first_summary_id,
        }
        _refused(session, _comparison(pairs, **row), "uq_comparison_pair")
        assert batches.add_comparisons(session, pairs.batch_id, [{**row, "reason": "again"}]) == 0
        assert len(make.slots(session, pairs.comparisons[0])) == 2


def test_comparisons_are_put_up_with_a_slot_for_each_opinion(work: Work) -> None:
    with work() as session:
        pairs = make.pairs(session, 2, opinions=3, priority=4, for_kind=LabelerKind.SIMULATED)
        for comparison in pairs.comparisons:
            rows = make.slots(session, comparison)
            assert [(row.number, row.state) for row in rows] == [(number, SlotState.OPEN) for number in (1, 2, 3)]
            assert session.get_one(Comparison, comparison).kind is ComparisonKind.ORDINARY


# Slots


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"state": SlotState.LEASED}, "lease_has_an_end|held_by_somebody"),
        ({"state": SlotState.DONE}, "done_has_a_time|held_by_somebody"),
        ({"state": SlotState.DONE, "done_at": func.now()}, "held_by_somebody"),
        ({"lease_expires_at": func.now()}, "lease_has_an_end"),
        ({"done_at": func.now()}, "done_has_a_time"),
        ({"number": 0}, "number_from_one"),
        ({"comparison_id": None}, "one_subject"),
        ({"state": literal_column("'lost'")}, "state_known"),
    ],
)
def test_a_slot_cannot_be_half_way(work: Work, change: dict[str, Any], constraint: str) -> None:
    with work() as session:
        make.pairs(session)
        _refused(session, update(Slot).values(change), constraint)


def test_an_open_slot_belongs_to_nobody(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        make.pairs(session)
        _refused(session, update(Slot).values(labeler_id=worker.id), "open_is_free")


def test_nobody_fills_two_slots_of_one_comparison(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        pairs = make.pairs(session, opinions=2)
        [showing] = make.hold(session, worker)
        [other] = [slot for slot in make.slots(session, pairs.comparisons[0]) if slot.state == SlotState.OPEN]
        for values in (
            {"state": SlotState.LEASED, "lease_expires_at": func.now()},
            {"state": SlotState.DONE, "done_at": func.now()},
        ):
            statement = update(Slot).where(Slot.id == other.id)
            statement = statement.values(labeler_id=worker.id, showing_id=showing, **values)
            _refused(session, statement, "uq_slot_comparison_labeler")


# Preferences


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"value": 0}, "value_on_the_scale"),
        ({"value": 10}, "value_on_the_scale"),
        ({"version": 0}, "version_from_one"),
        ({"version": 1}, "uq_preference_comparison_id_labeler_id_version"),
        ({"seconds": -1}, "seconds_not_negative"),
        ({"key": None}, "uq_preference_key"),
    ],
)
def test_a_preference_cannot_be_impossible(work: Work, change: dict[str, Any], constraint: str) -> None:
    with work() as session:
        worker, pairs = make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        key = uuid4()
        make.say(session, worker, showing, 2, key)
        row = {
            "comparison_id": pairs.comparisons[0],
            "labeler_id": worker.id,
            "slot_id": make.slot_of(session, showing).id,
            "showing_id": showing,
            "version": 2,
            "value": 3,
            "surplus": False,
            "key": uuid4(),
        } | change
        _refused(session, insert(Preference).values({**row, "key": row["key"] or key}), constraint)


def test_a_slot_counts_one_labeler(work: Work) -> None:
    with work() as session:
        worker, other, pairs = make.labeler(session), make.labeler(session), make.pairs(session)
        [showing] = make.hold(session, worker)
        make.say(session, worker, showing)
        slot = make.slot_of(session, showing)
        statement = insert(Preference).values(
            comparison_id=pairs.comparisons[0],
            labeler_id=other.id,
            slot_id=slot.id,
            showing_id=showing,
            version=1,
            value=3,
            surplus=False,
            key=uuid4(),
        )
        _refused(session, statement, "uq_preference_slot_version")


# People, policies, checkpoints


def test_names_differ_in_more_than_case(work: Work) -> None:
    with work() as session:
        make.labeler(session, "Ada")
        with pytest.raises(IntegrityError, match="uq_labeler_sign_in_name"), session.begin_nested():
            make.labeler(session, "aDA")


def test_a_simulated_labeler_is_a_labeler(work: Work) -> None:
    with work() as session, pytest.raises(IntegrityError, match="simulated_is_labeler"), session.begin_nested():
        people.add_labeler(session, "robot", Role.ADMIN, LabelerKind.SIMULATED)


def test_a_trained_checkpoint_has_its_lineage(work: Work) -> None:
    with work() as session:
        base = make.base_checkpoint(session)
        row = {
            "project_id": the_project(session).id,
            "kind": CheckpointKind.POLICY,
            "path": "x",
            "digest": "",
            "bytes": 1,
        }
        for missing in ({}, {"run_id": make.own_run(session).id}, {"parent_id": base.id}):
            _refused(session, insert(Checkpoint).values({**row, **missing}), "trained_has_lineage")


@pytest.mark.parametrize("kind", [PolicyKind.CHECKPOINT, PolicyKind.BEST_OF_N, PolicyKind.FEW_SHOT])
def test_a_policy_that_is_a_model_has_its_checkpoint(work: Work, kind: PolicyKind) -> None:
    with work() as session:
        row = {"project_id": the_project(session).id, "name": "x", "kind": kind}
        _refused(session, insert(Policy).values(row), "writes_by_checkpoint")


@pytest.mark.parametrize("missing", ["run_id", "prompt", "decoding", "seed", "tokens", "finished"])
def test_a_models_summary_says_how_to_write_it_again(work: Work, missing: str) -> None:
    with work() as session:
        run = make.own_run(session)
        policy = corpus.policies_by_name(session, the_project(session).id, ["other"])["other"]
        row = {
            "document_id": make.document(session).id,
            "policy_id": policy.id,
            "text": " By a model.",
            "checkpoint_id": make.base_checkpoint(session).id,
            "run_id": run.id,
            "prompt": "TL;DR:",
            "decoding": {"temperature": 0.7},
            "seed": 1,
            "tokens": 3,
            "finished": True,
        }
        with pytest.raises(IntegrityError, match="model_text_has_provenance"), session.begin_nested():
            corpus.add_summaries(session, [{name: value for name, value in row.items() if name != missing}])
        assert len(corpus.add_summaries(session, [row])) == 1


def test_an_absent_value_is_null_and_not_json(work: Work) -> None:
    with work() as session:
        make.everything(session)
        for table in Table.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, JSONB):
                    null = select(func.count()).where(func.jsonb_typeof(column) == "null")
                    assert session.scalar(null) == 0, f"{table.name}.{column.name}"


def test_the_same_text_by_the_same_policy_with_the_same_seed_is_one_summary(work: Work) -> None:
    with work() as session:
        document = make.document(session)
        assert make.summary(session, document.id, " Same.") == make.summary(session, document.id, " Same.")
        assert make.summary(session, document.id, " Same.", "other") != make.summary(session, document.id, " Same.")
        assert session.scalar(select(func.count()).select_from(Summary)) == 2


def test_a_showing_cannot_be_made_up(work: Work) -> None:
    with work() as session:
        worker = make.labeler(session)
        pair = make.pairs(session)
        [showing] = make.hold(session, worker)
        assert session.get_one(Showing, showing).labeler_id == worker.id
        assert make.slot_states(session, pair.comparisons[0]) == [SlotState.LEASED]

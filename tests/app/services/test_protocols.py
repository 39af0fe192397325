"""The protocol of new batches becomes pairs of every kind, and sentinel pairs of summaries that are there."""

from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import select

from app.domain.errors import Invalid
from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, CheckpointKind, ComparisonKind, LabelerKind, PolicyKind, Role, Split, Stage
from app.services import protocols
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, corpus, people
from app.store.session import Session
from app.store.tables import AuditEvent, Batch, Comparison, Summary
from tests.conftest import Work
from tests.support import factories as make

FULL = Protocol(notes_first=True, shared_share=0.2, sentinel_share=0.2, calibration_share=0.1, gold_share=0.05)


def _baseline(session: Session, documents: int, split: Split = Split.TRAIN) -> int:
    """A policy that has written about so many documents with a reference. Gives its id."""
    for _ in range(documents):
        make.summary(session, make.reference_document(session, split=split).id, policy="sup1")
    return corpus.policies_by_name(session, the_project(session).id, ["sup1"])["sup1"].id


def _rows(session: Session, count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for _ in range(count):
        document = make.document(session)
        sides = [make.summary(session, document.id, policy=name) for name in ("new", "ref")]
        rows.append(
            {
                "document_id": document.id,
                "first_summary_id": sides[0],
                "second_summary_id": sides[1],
                "reason": "test",
            }
        )
    return rows


def _put_up(session: Session, count: int, seed: int = 1, opinions: int = 1) -> int:
    order = protocols.order(session, count, Random(seed))
    return protocols.put_up(
        session,
        f"batch {count} {seed}",
        _rows(session, count),
        order,
        opinions=opinions,
        for_kind=LabelerKind.HUMAN,
        round_id=None,
    )


def test_a_batch_holds_the_kinds_that_the_protocol_asks_for(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        protocols.set_default(session, boss, FULL, _baseline(session, 6))
        batch_id = _put_up(session, 20)
        assert batches.kinds_in(session, batch_id) == {
            ComparisonKind.ORDINARY: 14,
            ComparisonKind.SHARED: 4,
            ComparisonKind.CALIBRATION: 2,
            ComparisonKind.SENTINEL: 4,
        }
        batch = session.get_one(Batch, batch_id)
        assert Protocol.of(batch.protocol) == FULL
        found = session.scalars(select(Comparison).where(Comparison.batch_id == batch_id)).all()
        for comparison in found:
            assert len(make.slots(session, comparison.id)) == (3 if comparison.kind == ComparisonKind.SHARED else 1)
        sentinels = [each for each in found if each.kind == ComparisonKind.SENTINEL]
        ref = session.scalars(select(Summary.id).where(Summary.policy_id == _policy(session, "ref"))).all()
        own = session.scalars(select(Summary.id).where(Summary.policy_id == _policy(session, "sup1"))).all()
        for each in sentinels:
            sides = {each.first_summary_id, each.second_summary_id}
            assert len(sides & set(ref)) == len(sides & set(own)) == 1
            assert each.reason == "fixed baseline against reference"
        last = max(each.id for each in found)
        assert any(each.id < last - 4 for each in sentinels), "among the others, not after them"


def _policy(session: Session, name: str) -> int:
    return corpus.policies_by_name(session, the_project(session).id, [name])[name].id


def test_the_same_seed_makes_the_same_batch(work: Work) -> None:
    with work() as session:
        protocols.set_default(session, make.admin(session), FULL, _baseline(session, 6))
        one, two, other = (protocols.order(session, 20, Random(seed)) for seed in ("a", "a", "b"))
        assert one == two
        assert one.kinds != other.kinds
        assert {each["first_summary_id"] in _texts(session, "ref") for each in one.sentinels + other.sentinels} == {
            True,
            False,
        }, "the baseline is not always on one side"


def _texts(session: Session, policy: str) -> set[int]:
    return set(session.scalars(select(Summary.id).where(Summary.policy_id == _policy(session, policy))))


def test_sentinels_take_the_documents_that_were_used_least_often(work: Work) -> None:
    with work() as session:
        protocols.set_default(session, make.admin(session), Protocol(sentinel_share=0.5), _baseline(session, 3))
        used: list[set[int]] = []
        for seed in range(3):
            batch_id = _put_up(session, 4, seed)
            found = select(Comparison.document_id).where(
                Comparison.batch_id == batch_id, Comparison.kind == ComparisonKind.SENTINEL
            )
            used.append(set(session.scalars(found)))
        assert [len(each) for each in used] == [2, 2, 2]
        assert len(used[0] | used[1]) == 3, "the third document is used before any is used twice"
        assert len(used[1] | used[2]) == 3


def test_only_documents_that_are_judged_and_have_both_texts_become_sentinels(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        policy = _baseline(session, 1, Split.VALIDATION)
        _baseline(session, 1, Split.TEST)
        make.summary(session, make.document(session).id, policy="sup1")  # no reference
        same = make.document(session)
        make.summary(session, same.id, " The same.", "ref")
        make.summary(session, same.id, " The same. ", "sup1")
        empty = make.reference_document(session)
        make.summary(session, empty.id, "  ", "sup1")
        protocols.set_default(session, boss, Protocol(sentinel_share=0.5), policy)
        assert protocols.default(session).usable == 1
        order = protocols.order(session, 10, Random(1))
        assert len(order.sentinels) == 1
        assert order.words == [
            "Sentinel pairs added: 1.",
            "Sentinel pairs missing: 4, because the fixed baseline has written about too few documents that have a "
            "reference.",
        ]


def test_a_baseline_that_has_written_nothing_adds_nothing_and_says_so(work: Work) -> None:
    with work() as session:
        protocols.set_default(session, make.admin(session), Protocol(sentinel_share=0.1), _policy(session, "sup1"))
        order = protocols.order(session, 10, Random(1))
        assert (order.kinds, order.sentinels) == ([ComparisonKind.ORDINARY] * 10, [])
        assert order.words[0].startswith("Sentinel pairs missing: 1, ")


def test_with_everything_off_nothing_is_added_or_said(work: Work) -> None:
    with work() as session:
        order = protocols.order(session, 64, Random(1))
        assert (order.protocol, order.kinds, order.sentinels, order.words) == (
            Protocol(),
            [ComparisonKind.ORDINARY] * 64,
            [],
            [],
        )
        assert order.counts() == {"ordinary": 64}


def test_notes_first_may_be_asked_for_one_batch_alone(work: Work) -> None:
    with work() as session:
        protocols.set_default(session, make.admin(session), Protocol(notes_first=True), None)
        asked = [protocols.order(session, 1, Random(1), notes_first=each).protocol for each in (None, True, False)]
        assert [each.notes_first for each in asked] == [True, True, False]


def test_a_new_default_reaches_standing_pairs_and_leaves_other_batches_alone(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        gold = make.standing(session, BatchPurpose.GOLD)
        there = make.pairs(session)
        protocols.set_default(session, boss, Protocol(notes_first=True), None)
        session.expire_all()
        standing = session.get_one(Comparison, gold[0]).batch_id
        assert Protocol.of(session.get_one(Batch, standing).protocol).notes_first
        assert not Protocol.of(session.get_one(Batch, there.batch_id).protocol).notes_first
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.action, event.details["notes_first"], event.details["baseline"]) == ("set protocol", True, None)


def test_sentinel_pairs_need_a_baseline_that_is_no_reference(work: Work) -> None:
    with work() as session:
        boss = make.admin(session)
        with pytest.raises(Invalid, match="need a baseline"):
            protocols.set_default(session, boss, Protocol(sentinel_share=0.1), None)
        for wrong in (_policy(session, "ref"), 10**9):
            with pytest.raises(Invalid, match="cannot be the baseline"):
                protocols.set_default(session, boss, Protocol(), wrong)
        assert protocols.default(session).protocol == Protocol()


def test_the_first_fine_tuned_policy_is_proposed(work: Work) -> None:
    with work() as session:
        assert protocols.proposed_baseline(session) is None
        base = make.base_checkpoint(session)
        project = the_project(session)
        found = []
        for name, stage in (("round1-ppo", Stage.PPO), ("round1-sft", Stage.SFT), ("round2-sft", Stage.SFT)):
            checkpoint = make.trained_checkpoint(session, make.own_run(session, stage), base, CheckpointKind.POLICY)
            policy = corpus.add_policy(session, project.id, name, PolicyKind.CHECKPOINT, checkpoint.id, {})
            found.append((policy.id, name))
        assert protocols.proposed_baseline(session) == found[1]


def test_only_people_who_are_given_ordinary_pairs_are_counted(work: Work) -> None:
    with work() as session:
        before = protocols.judges(session)
        make.labeler(session)
        make.labeler(session, role=Role.RESEARCHER)
        make.labeler(session, kind=LabelerKind.SIMULATED)
        people.add_labeler(session, "gone", Role.LABELER, LabelerKind.HUMAN, active=False)
        people.add_labeler(session, "judging-researcher", Role.LABELER, LabelerKind.HUMAN, calibrates=True)
        assert protocols.judges(session) == before + 1


def test_a_shared_pair_is_given_to_as_many_people_as_it_asks(work: Work) -> None:
    with work() as session:
        protocols.set_default(session, make.admin(session), replace(FULL, notes_first=False, sentinel_share=0), None)
        _put_up(session, 10)
        labelers: list[Viewer] = [make.labeler(session) for _ in range(4)]
        given = [make.judge_all(session, each) for each in labelers]
        assert sum(given) == 8 + 2 * 3
        assert max(given) == 10, "the first is given every pair, none of them twice"

"""The kinds of a batch's pairs come in the shares asked for, evenly, and the same for the same seed."""

from random import Random

import pytest

from app.domain import pairing
from app.domain.protocols import Protocol
from app.domain.words import ComparisonKind

EVERYTHING = Protocol(shared_share=0.2, sentinel_share=0.1, calibration_share=0.05)
ORDINARY, SHARED, SENTINEL, CALIBRATION = (
    ComparisonKind.ORDINARY,
    ComparisonKind.SHARED,
    ComparisonKind.SENTINEL,
    ComparisonKind.CALIBRATION,
)


def counts(kinds: list[ComparisonKind]) -> dict[ComparisonKind, int]:
    return {kind: kinds.count(kind) for kind in ComparisonKind if kind in kinds}


def test_shares_are_of_the_pairs_and_sentinels_come_on_top() -> None:
    assert pairing.sentinels(EVERYTHING, 200) == 20
    kinds = pairing.kinds(EVERYTHING, 200, 20, Random(1))
    assert counts(kinds) == {ORDINARY: 150, SHARED: 40, SENTINEL: 20, CALIBRATION: 10}


def test_every_part_of_a_batch_holds_its_share_of_every_kind() -> None:
    for seed in range(50):
        kinds = pairing.kinds(EVERYTHING, 200, 20, Random(seed))
        for start in range(0, 220, 55):
            found = counts(kinds[start : start + 55])
            for kind, share in ((SHARED, 10), (SENTINEL, 5), (CALIBRATION, 2.5)):
                assert abs(found.get(kind, 0) - share) <= 2, (seed, start, kind)


def test_no_place_tells_a_kind() -> None:
    seen = [pairing.kinds(EVERYTHING, 20, 2, Random(seed)) for seed in range(300)]
    for place in range(22):
        assert {kinds[place] for kinds in seen} >= {ORDINARY, SHARED}, place
    assert {place for kinds in seen for place, kind in enumerate(kinds) if kind is SENTINEL} == set(range(22))


def test_the_same_seed_gives_the_same_kinds() -> None:
    assert pairing.kinds(EVERYTHING, 100, 7, Random(3)) == pairing.kinds(EVERYTHING, 100, 7, Random(3))
    assert pairing.kinds(EVERYTHING, 100, 7, Random(3)) != pairing.kinds(EVERYTHING, 100, 7, Random(4))


@pytest.mark.parametrize("pairs", range(8))
def test_small_batches_hold_what_was_put_up_and_no_more(pairs: int) -> None:
    full = Protocol(shared_share=0.5, calibration_share=0.5, sentinel_share=0.5)
    added = pairing.sentinels(full, pairs)
    kinds = pairing.kinds(full, pairs, added, Random(1))
    assert len(kinds) == pairs + added
    assert kinds.count(SENTINEL) == added


def test_with_everything_off_all_pairs_are_ordinary() -> None:
    assert pairing.sentinels(Protocol(), 64) == 0
    assert pairing.kinds(Protocol(), 64, 0, Random(1)) == [ORDINARY] * 64


def test_only_the_shared_pool_asks_more_people_and_never_fewer() -> None:
    protocol = Protocol(shared_opinions=3)
    assert [protocol.opinions_on(kind, 1) for kind in (ORDINARY, SENTINEL, CALIBRATION, SHARED)] == [1, 1, 1, 3]
    assert [protocol.opinions_on(kind, 5) for kind in (ORDINARY, SHARED)] == [5, 5]

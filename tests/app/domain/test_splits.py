"""A document's split follows from its source id alone, in the shares that were asked for."""

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.splits import SPELLINGS, split_by_hash, split_by_name
from app.domain.words import Split


@given(st.text(), st.text())
def test_the_split_is_the_same_for_ever(salt: str, source_id: str) -> None:
    assert split_by_hash(salt, source_id, 0.1, 0.05) == split_by_hash(salt, source_id, 0.1, 0.05)


def test_the_split_is_a_share_of_the_hash() -> None:
    # Worked by hand, so that another spelling of the hash cannot move documents between splits unseen.
    place = int.from_bytes(sha256(b"hone-2020\0t3_1").digest()[:8], "big") / 2**64
    expected = Split.VALIDATION if place < 0.1 else Split.TEST if place < 0.15 else Split.TRAIN
    assert split_by_hash("hone-2020", "t3_1", 0.1, 0.05) == expected


def test_shares_are_kept() -> None:
    found = Counter(split_by_hash("salt", f"t3_{number}", 0.2, 0.1) for number in range(5000))
    assert abs(found[Split.VALIDATION] / 5000 - 0.2) < 0.02
    assert abs(found[Split.TEST] / 5000 - 0.1) < 0.02


def test_another_salt_splits_otherwise() -> None:
    ids = [f"t3_{number}" for number in range(200)]
    assert [split_by_hash("a", one, 0.3, 0.3) for one in ids] != [split_by_hash("b", one, 0.3, 0.3) for one in ids]


def test_salt_and_id_do_not_run_together() -> None:
    ids = [f"{number}" for number in range(200)]
    assert [split_by_hash("a1", one, 0.3, 0.3) for one in ids] != [
        split_by_hash("a", "1" + one, 0.3, 0.3) for one in ids
    ]


def test_no_share_is_nobody() -> None:
    assert {split_by_hash("salt", str(number), 0.0, 0.0) for number in range(100)} == {Split.TRAIN}


@pytest.mark.parametrize("spelling", ["Train", "holdout", ""])
def test_unknown_spellings_are_refused(spelling: str) -> None:
    with pytest.raises(KeyError):
        split_by_name(spelling)


def test_every_spelling_means_a_split() -> None:
    assert {split_by_name(spelling) for spelling in SPELLINGS} == set(Split)

"""Train, validation or test, decided once per document so that none is in two.

Knows hashing and the words other people use for splits. Knows nothing of tables.
"""

from hashlib import sha256

from app.domain.words import Split

# The salt is part of what decides a document's split: the same on every install, so that splits agree between groups.
SALT = "hone-2020"
# The shares of a project that was not told otherwise.
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.05

# How the released files and the public data sets spell their splits.
SPELLINGS = {
    "train": Split.TRAIN,
    "valid": Split.VALIDATION,
    "valid1": Split.VALIDATION,
    "valid2": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
}


def split_by_hash(salt: str, source_id: str, validation_share: float, test_share: float) -> Split:
    """The split of a document by a hash of its source id: the same for ever, on every machine.

    Shares are fractions in [0, 1) with a sum below 1. `salt` belongs to the project.
    """
    place = int.from_bytes(sha256(f"{salt}\0{source_id}".encode()).digest()[:8], "big") / 2**64
    if place < validation_share:
        return Split.VALIDATION
    if place < validation_share + test_share:
        return Split.TEST
    return Split.TRAIN


def split_by_name(spelling: str) -> Split:
    """The split that a file means by `spelling`. Raises KeyError for an unknown one."""
    return SPELLINGS[spelling]

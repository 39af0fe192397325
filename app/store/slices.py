"""Long lists in pieces: PostgreSQL takes at most 65,535 parameters in one statement.

Knows that limit. Knows nothing of what is in the lists.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

ROWS = 1000

R = TypeVar("R")


def slices(rows: Sequence[R], size: int = ROWS) -> Iterator[Sequence[R]]:
    """The rows in order, at most `size` at a time (so up to 60 columns fit)."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

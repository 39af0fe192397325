"""When a labeler is due a pair whose answer is known, so that the share is kept and nobody can count to the next one.

Knows one labeler's places in a row. Knows nothing of pairs or rows.
"""

from hashlib import sha256
from math import floor


def due(before: float, share: float, seed: str) -> bool:
    """Whether the next place belongs to a gold pair.

    `before`: the shares of all places so far, added up; `share`: that of the next place, 0 to 0.5. Every whole of the
    sum holds one gold pair, at a point of its own that `seed` decides: over n places at one share there are n * share
    of them, give or take one, and the gap between two is anything from 1 to about 2 / share places. A share that is
    changed on the way counts from there on.
    """
    after = before + share
    return any(before < whole + _point(seed, whole, share) <= after for whole in range(floor(before), floor(after) + 1))


def _point(seed: str, whole: int, share: float) -> float:
    """Where in this whole its pair comes: above 0 and up to 1 - share, so that two never fall on the same place."""
    drawn = int.from_bytes(sha256(f"{seed}/{whole}".encode()).digest()[:8]) + 1
    return drawn / 2**64 * (1 - share)

"""The 9-point scale: 1 = first much better, 5 = no preference, 9 = second much better.

Knows how an answer turns when the sides were swapped and what it says about the preferred side. Knows nothing of who
gave it. Source of the scale: P App. C.1 and the released `extra.confidence`.
"""

from typing import Literal

LOWEST, MIDDLE, HIGHEST = 1, 5, 9
WORDS = {
    1: "A is much better",
    2: "A is clearly better",
    3: "A is better",
    4: "A is slightly better",
    5: "Cannot tell",
    6: "B is slightly better",
    7: "B is better",
    8: "B is clearly better",
    9: "B is much better",
}


def turned(value: int, swapped: bool) -> int:
    """The same answer in the other frame when `swapped`: 1 becomes 9, 5 stays. Its own inverse."""
    return LOWEST + HIGHEST - value if swapped else value


def choice(value: int) -> Literal[0, 1] | None:
    """The index of the preferred side; None for 5, which has no preferred side."""
    if value == MIDDLE:
        return None
    return 0 if value < MIDDLE else 1

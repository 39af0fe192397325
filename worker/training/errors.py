"""Why training cannot go on, in sentences that a failed run shows as they are.

Knows no torch, so that a worker can tell these from bugs before it loads anything.
"""


class CannotTrain(Exception):
    """The message says what is wrong and what to change."""


class DiskFull(OSError):
    """There is not enough room; the message says how much is missing, where, and what to do."""

"""Why training cannot go on, in sentences that a failed run shows as they are.

Knows one base class, without torch, so that a worker can tell these from bugs before it loads anything.
"""


class CannotTrain(Exception):
    """The message says what is wrong and what to change."""

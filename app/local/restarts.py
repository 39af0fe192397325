"""When a child process that ended is started again: at once, then after pauses that grow; some are given up at last.

Knows names and times. Knows nothing of processes: the caller says when one ended, and starts what is due.
"""

from collections.abc import Collection

MOST = 5
WITHIN_SECONDS = 600.0
LONGEST_PAUSE = 60.0


class Restarts:
    """The ends of the children of one command. Ends longer ago than WITHIN_SECONDS are forgiven."""

    def __init__(self, needed: Collection[str]) -> None:
        """`needed` are given up when they end more than MOST times; all others are tried for ever."""
        self._needed = frozenset(needed)
        self._ends: dict[str, list[float]] = {}
        self._due: dict[str, float] = {}

    def ended(self, name: str, now: float) -> float | None:
        """Note an end. Gives the seconds until this child is due again, or None when it is given up."""
        recent = [*(then for then in self._ends.get(name, []) if now - then < WITHIN_SECONDS), now]
        self._ends[name] = recent[-50:]
        if name in self._needed and len(recent) > MOST:
            return None
        pause = 0.0 if len(recent) == 1 else min(2.0 ** (len(recent) - 2), LONGEST_PAUSE)
        self._due[name] = now + pause
        return pause

    def due(self, now: float) -> list[str]:
        """The children to start now; each is told once."""
        names = [name for name, then in self._due.items() if then <= now]
        for name in names:
            del self._due[name]
        return names

"""Tests here take quick units of work, which are rolled back; those of threads take `own_sessions`."""

from tests.support.rollback import own_sessions, sessions, shared_engine

__all__ = ["own_sessions", "sessions", "shared_engine"]

"""Fixtures for the command."""

import pytest

from tests.support.install import free_port


@pytest.fixture
def unused_port() -> int:
    """A port nobody listens on now."""
    return free_port()

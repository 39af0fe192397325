"""Labelers at work while everything around them breaks; afterwards nothing is lost, double, or stuck."""

from pathlib import Path

import pytest

from tests.support.servers import Servers
from tests.system import chaos

SECONDS = 30
SEED = 2020


@pytest.mark.system
def test_nothing_is_lost_double_or_stuck_after_kills_cuts_and_wrong_clocks(
    database_url: str, servers: Servers, tmp_path: Path
) -> None:
    story = chaos.run(database_url, servers.broker_url, tmp_path, SECONDS, SEED, chaos.Rhythm())
    assert story.findings == [], str(story)
    # It was a storm, and not a calm sea.
    for happened in (
        "web processes killed",
        "connections cut",
        "leases ended early",
        "preferences",
        "ratings",
        "notes",
    ):
        assert story.counted[happened] > 0, str(story)

"""Rounds while their workers, the web, Redis and PostgreSQL are killed: nothing is lost and nothing is done twice."""

from pathlib import Path

import pytest

from tests.system import chaos_rounds

SEED = 2020


@pytest.mark.system
def test_no_run_is_lost_or_done_twice_while_everything_is_killed(tmp_path: Path) -> None:
    story = chaos_rounds.run(tmp_path / "data", count=1, kills=chaos_rounds.KINDS, every=3.0, seconds=540, seed=SEED)
    assert story.findings == [], str(story)
    # It was a storm, and not a calm sea.
    struck = sum(count for what, count in story.counted.items() if what.startswith(("kills", "wipes")))
    assert struck == chaos_rounds.KINDS, str(story)
    assert story.went_on, str(story)

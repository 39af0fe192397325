"""The whole loop without a person: every process real, a random-weight model, over HTTP."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.recipes import TINY
from tests.support.install import environment, free_port

STAGES = {"sft", "sample", "label", "reward", "ppo", "evaluate"}


@pytest.mark.system
def test_demo_goes_round_twice_and_tells_what_came_of_it(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", "--tiny", "--json", str(table)],
        env=environment(tmp_path / "data", free_port()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(table.read_text())
    assert [each["round"] for each in told["rounds"]] == [1, 2]
    first, second = told["rounds"]
    assert set(first["seconds"]) == STAGES
    assert set(second["seconds"]) == STAGES - {"sft"}
    for each in (first, second):
        assert each["pairs judged"] == TINY.pairing.pairs
        accuracy = each["reward accuracy, held out"]
        assert accuracy["n"] > 0
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        for measured in ("reward score, validation", "KL from SFT, nats", "mean length, tokens", "ROUGE-L"):
            assert each[measured]["n"] == TINY.evaluation.documents
            assert each[measured]["low"] <= each[measured]["value"] <= each[measured]["high"]
    # The second reward model learned from the answers of both rounds.
    assert second["preferences learned from"] > first["preferences learned from"]
    assert "shows the mechanism, not learning" in done.stdout
    assert "reward accuracy, held out" in done.stdout

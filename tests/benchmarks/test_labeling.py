"""Every case of the labeling benchmarks runs and prints lines of the form that is promised; how fast is not asked."""

import json
import subprocess
import sys

import pytest

KEYS = ["name", "value", "unit", "peer", "peer_value", "ratio", "conditions"]
NAMES = ["labeling.store", "labeling.http", "labeling.http.p99", "labeling.growth", "labeling.seen"]


@pytest.mark.system
def test_each_case_prints_its_lines_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.labeling", "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == NAMES
    for line in lines:
        assert list(line) == KEYS
        assert line["value"] > 0
        assert line["peer_value"] > 0
        assert line["ratio"] == pytest.approx(line["value"] / line["peer_value"], rel=0.01)
        assert line["conditions"]["cores"] >= 1


def test_an_unknown_case_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.labeling", "--cases", "store,stor"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no case stor; there are store, http, growth, seen" in done.stderr

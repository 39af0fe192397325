"""The benchmarks of the training engine print lines of the form that is promised, or say what they need; how fast is
not asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.domain.recipes import PAPER
from benchmarks.beside import ROOT
from tests.support import tiny_models
from worker.training import devices

KEYS = ["name", "value", "unit", "peer", "peer_value", "ratio", "conditions"]
COMMON = {
    "dtype",
    "threads",
    "cores",
    "peak_rss_mib",
    "peer_peak_rss_mib",
    "memory_ratio",
    "share_of_cores",
    "in_force",
}

FAKE_PEER = """#!{python}
# A peer that learns nothing: it says what it was given, in the words of benchmarks.peers.trl_ppo.
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
pathlib.Path({seen!r}).write_text(json.dumps([sys.argv[1:3], job]))
print("TRL prints as it goes")
print(json.dumps({{
    "seconds": 4.0, "steps": 2, "phases": {{"writing": 1.0, "scoring": 0.5}}, "kl": 0.0,
    "cores": {{"own": 0.5, "others": 0.1}},
    "peak_rss_mib": 1000, "peak_gpu_mib": None, "products_in": ["torch.float32"], "checkpointing": False,
    "versions": {{"trl": "0"}},
}}))
"""


def lines(*command: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.parametrize(("benchmark", "peer"), [("reward", "trl-1.16"), ("ppo", "trl-1.12")])
def test_without_the_peer_it_says_how_to_make_it(benchmark: str, peer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", "--model", "6m"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and not done.stdout
    requirements = f"benchmarks/peers/requirements-{peer}.txt"
    assert f"python3 -m venv {peer} && {peer}/bin/pip install -r {requirements}\n" in done.stderr
    assert f"python -m benchmarks.{benchmark} --peer-python {peer}/bin/python --model 6m" in done.stderr
    assert f"trl=={peer.removeprefix('trl-')}" in (ROOT / requirements).read_text()


@pytest.mark.system
@pytest.mark.parametrize("defaults", [False, True])
def test_ppo_gives_both_the_same_episodes(model: Path, tmp_path: Path, defaults: bool) -> None:
    peer, seen = tmp_path / "python", tmp_path / "seen.json"
    peer.write_text(FAKE_PEER.format(python=sys.executable, seen=str(seen)))
    peer.chmod(0o755)
    asked = ["--batch", "4", "--micro-batch", "2", "--updates", "2", "--summary-tokens", "3"]
    asked += ["--defaults"] if defaults else ["--samples", "2"]
    [line] = lines("benchmarks.ppo", "--model", str(model), *asked, "--threads", "1", "--peer-python", str(peer))
    assert list(line) == KEYS and line["conditions"].keys() >= COMMON
    assert line["name"] == ("ppo.small.defaults" if defaults else "ppo.small.k2")
    assert line["value"] > 0 and line["peer_value"] == 1.0
    assert line["conditions"]["peer_seconds"] == {"writing": 1.0, "scoring": 0.5, "learning": 2.5}
    assert line["conditions"]["seconds"].keys() == {"writing", "scoring", "learning"}
    assert line["conditions"]["in_force"]["precision"] == (
        devices.applied(PAPER.precision, devices.CPU) if defaults else "fp32"
    )
    module, job = json.loads(seen.read_text())
    assert module == ["-m", "benchmarks.peers.trl_ppo"]
    assert job["dtype"] == (None if defaults else "fp32")
    prompts = [tuple(each) for each in job["prompts"]]
    assert len(prompts) == 8
    assert len({*prompts}) == (8 if defaults else 4)
    if not defaults:
        assert prompts[::2] == prompts[1::2], "the samples of a document stand together"


@pytest.mark.system
def test_reward_gives_both_the_same_pairs(model: Path, tmp_path: Path) -> None:
    peer, seen = tmp_path / "python", tmp_path / "seen.json"
    peer.write_text(FAKE_PEER.format(python=sys.executable, seen=str(seen)))
    peer.chmod(0o755)
    asked = ["--batch", "4", "--micro-batch", "2", "--steps", "3", "--threads", "1", "--peer-python", str(peer)]
    [line] = lines("benchmarks.reward", "--model", str(model), *asked)
    assert list(line) == KEYS and line["conditions"].keys() >= COMMON
    assert (line["name"], line["unit"], line["peer_value"]) == ("reward.small", "comparisons/s", 2.0)
    assert line["value"] > 0 and line["conditions"]["steps"] == 2, "the first step is not counted"
    module, job = json.loads(seen.read_text())
    assert module == ["-m", "benchmarks.peers.trl_reward"]
    assert len(job["chosen_ids"]) == len(job["rejected_ids"]) == 12
    assert all(
        one[:8] == other[:8] and one != other for one, other in zip(job["chosen_ids"], job["rejected_ids"], strict=True)
    )


def test_a_peer_that_is_not_there_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sampling", "--peer-python", "nowhere/python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "--peer-python is nowhere/python: nothing is there" in done.stderr


@pytest.mark.system
def test_sampling_stands_beside_generate(model: Path) -> None:
    asked = ["--batch", "4", "--batches", "2", "--summary-tokens", "5", "--threads", "1"]
    found = lines("benchmarks.sampling", "--model", str(model), "--samples", "1", "--samples", "2", *asked)
    assert [line["name"] for line in found] == ["sampling.small.k1", "sampling.small.k2"]
    for line in found:
        assert list(line) == KEYS and line["conditions"].keys() >= COMMON
        assert line["value"] > 0 and line["peer_value"] > 0
        for tokens in (line["conditions"]["tokens"], line["conditions"]["peer_tokens"]):
            assert 4 <= tokens <= 4 * 5, "the second batch alone"


def test_a_batch_holds_whole_documents(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sampling", "--model", str(model), "--batch", "6", "--samples", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--batch is 6: allowed is a multiple of --samples, which is 4" in done.stderr

"""One tiny model per session; one thread, because two test processes with two each would crawl."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.recipes import RewardRecipe, SamplingRecipe, SftRecipe
from tests.support import tiny_models
from worker.training import models, reward, sft, tokens
from worker.training.devices import CPU
from worker.training.examples import Pair
from worker.training.metrics import NullSink

SAMPLING = SamplingRecipe(max_query_tokens=64, max_summary_tokens=12, batch=8)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def codec(base_dir: Path) -> tokens.Codec:
    return tokens.load(base_dir)


@pytest.fixture(scope="session")
def policy(base_dir: Path) -> Any:
    return models.load_policy(base_dir, CPU)


@pytest.fixture(scope="session")
def sft_run(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> sft.SftResult:
    """A model that has seen a few references, so that it ends its summaries now and then."""
    return sft.train(
        base_dir,
        [tiny_models.demonstration(seed) for seed in range(48)],
        [tiny_models.demonstration(seed) for seed in range(900, 908)],
        SftRecipe(batch=8, micro_batch=8, learning_rate=5e-3, epochs=4),
        sampling=SAMPLING,
        precision="fp32",
        seed=3,
        out_dir=tmp_path_factory.mktemp("sft") / "sft",
        sink=NullSink(),
    )


def longer_is_better(seeds: range) -> list[Pair]:
    """Pairs whose labeler always prefers the longer summary."""
    pairs = []
    for seed in seeds:
        short, long = tiny_models.words(2 + seed % 2, seed), tiny_models.words(7 + seed % 3, seed + 5000)
        pairs.append(Pair(tiny_models.query(seed), long, short, 1 + seed % 4, ("sft", "ref" if seed % 2 else "sft")))
    return pairs


@pytest.fixture(scope="session")
def reward_run(sft_run: sft.SftResult, tmp_path_factory: pytest.TempPathFactory) -> reward.RewardResult:
    return reward.train(
        sft_run.directory,
        longer_is_better(range(64)),
        longer_is_better(range(500, 524)),
        [tiny_models.demonstration(seed) for seed in range(20)],
        RewardRecipe(batch=8, micro_batch=8, learning_rate=3e-3, max_summary_tokens=24, epochs=3),
        sampling=SAMPLING,
        precision="fp32",
        seed=3,
        out_dir=tmp_path_factory.mktemp("reward") / "reward",
        sink=NullSink(),
    )

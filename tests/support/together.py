"""What the processes of one launch do in the tests of several processes: all trainings, one after the other.

Importing torch takes a process longer than any of these trainings, so one launch serves for all of them.
"""

from pathlib import Path
from typing import Any

from app.domain.recipes import PpoRecipe, Precision, RewardRecipe, SamplingRecipe, SftRecipe
from tests.support import tiny_models
from worker.training import metrics, ppo, resuming, reward, sft
from worker.training.examples import Pair

SAMPLING = SamplingRecipe(max_query_tokens=64, max_summary_tokens=12, batch=8)
SFT = SftRecipe(batch=4, micro_batch=1, learning_rate=5e-3, epochs=2, save_every=3)
REWARD = RewardRecipe(
    batch=4, micro_batch=4, learning_rate=1e-3, max_summary_tokens=24, seeds=2, save_every=2, checkpointing=True
)
PPO = PpoRecipe(
    episodes=16,
    batch=8,
    samples_per_query=2,
    micro_batch=2,
    epochs=2,
    learning_rate=1e-3,
    stop_preference_drop=1,
    preference_every=1,
    preference_documents=3,
)
EXAMPLES = [tiny_models.demonstration(seed) for seed in range(9)]
PAIRS = [
    Pair(
        tiny_models.query(seed), tiny_models.words(7 + seed % 3, seed), tiny_models.words(3, 500 + seed), 2, ("a", "b")
    )
    for seed in range(9)
]


class Passing:
    """Passes on what a training tells, and keeps its losses; at its `stop_at`-th flush it asks it to stop."""

    def __init__(self, sink: metrics.Sink, stop_at: int | None = None) -> None:
        self.sink, self.kept, self._flushes, self._stop_at = sink, metrics.ListSink(), 0, stop_at

    def metric(self, name: str, step: int, value: float) -> None:
        self.kept.metric(name, step, value)
        self.sink.metric(name, step, value)

    def progress(self, done: int, total: int, words: str) -> None:
        self.sink.progress(done, total, words)

    def check(self) -> None:
        self.sink.check()
        if self._flushes == self._stop_at:
            raise metrics.Cancelled("Somebody asked to stop.")

    def note(self, name: str, value: str) -> None:
        self.kept.note(name, value)
        self.sink.note(name, value)

    def flush(self) -> None:
        self._flushes += 1
        self.sink.flush()


def run_sft(
    base: Path, out: Path, sink: metrics.Sink, states: Path | None = None, precision: Precision = "fp32"
) -> sft.SftResult:
    return sft.train(
        base,
        EXAMPLES,
        EXAMPLES[:3],
        SFT,
        sampling=SAMPLING,
        precision=precision,
        seed=1,
        out_dir=out,
        sink=sink,
        state_dir=states,
    )


def run_reward(base: Path, out: Path, sink: metrics.Sink, states: Path | None = None) -> reward.RewardResult:
    return reward.train(
        base,
        PAIRS,
        PAIRS[:5],
        EXAMPLES[:6],
        REWARD,
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
        out_dir=out,
        sink=sink,
        state_dir=states,
    )


def run_ppo(
    sft_dir: Path, reward_dir: Path, out: Path, sink: metrics.Sink, states: Path | None = None
) -> ppo.PpoResult:
    return ppo.train(
        sft_dir,
        reward_dir,
        [each.query for each in EXAMPLES],
        PPO,
        sampling=SAMPLING,
        precision="fp32",
        seed=1,
        out_dir=out,
        sink=sink,
        held_out=[each.query for each in EXAMPLES[:3]],
        state_dir=states,
    )


Told = tuple[metrics.ListSink, Any]


def told(train: Any, *given: Any, sink: metrics.Sink, stop_at: int | None = None, **named: Any) -> Told:
    """What a training told and what it gave; None if it was stopped."""
    passing = Passing(sink, stop_at)
    try:
        return passing.kept, train(*given, passing, **named)
    except metrics.Cancelled:
        if stop_at is None:
            raise
        return passing.kept, None


def everything(place: Path, left: Path, sink: metrics.Sink) -> dict[str, Told]:
    """All trainings over `place`/base: undisturbed, gone on with from the states in `left`, and stopped.

    PPO takes the models that one process has left.
    """
    base, given = place / "base", (left / "sft", left / "reward")
    resuming.MOST_OF_THE_TIME = float("inf")  # type: ignore[misc]
    return {
        "sft": told(run_sft, base, place / "sft", sink=sink),
        "sft bf16": told(run_sft, base, place / "bf16", sink=sink, precision="bf16"),
        "sft resumed": told(run_sft, base, place / "sft resumed", sink=sink, states=left / "sft states"),
        "sft stopped": told(run_sft, base, place / "sft stopped", sink=sink, states=place / "sft states", stop_at=1),
        "reward": told(run_reward, base, place / "reward", sink=sink),
        "reward resumed": told(run_reward, base, place / "reward resumed", sink=sink, states=left / "reward states"),
        "reward stopped": told(
            run_reward, base, place / "reward stopped", sink=sink, states=place / "reward states", stop_at=1
        ),
        "ppo": told(run_ppo, *given, place / "ppo", sink=sink),
        "ppo resumed": told(run_ppo, *given, place / "ppo resumed", sink=sink, states=left / "ppo states"),
        "ppo stopped": told(run_ppo, *given, place / "ppo stopped", sink=sink, states=place / "ppo states", stop_at=2),
    }

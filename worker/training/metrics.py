"""How training tells what it is doing: the Sink it reports to, and the name and meaning of every metric.

Knows nothing of who listens. `check` is called at least once per micro-batch, so that a cancelled run ends soon.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

SFT_LOSS = "sft/loss"
SFT_VALIDATION_LOSS = "sft/validation_loss"
SFT_LEARNING_RATE = "sft/learning_rate"
SFT_TOKENS_PER_SECOND = "sft/tokens_per_second"
SAMPLE_TOKENS_PER_SECOND = "sample/tokens_per_second"
REWARD_LOSS = "reward/loss"
REWARD_ACCURACY = "reward/accuracy"
REWARD_MARGIN = "reward/margin"
REWARD_LEARNING_RATE = "reward/learning_rate"
REWARD_TOKENS_PER_SECOND = "reward/tokens_per_second"
REWARD_VALIDATION_LOSS = "reward/validation_loss"
REWARD_VALIDATION_ACCURACY = "reward/validation_accuracy"
REWARD_OFFSET = "reward/offset"
PPO_SCORE = "ppo/score"
PPO_KL = "ppo/kl"
PPO_REWARD = "ppo/reward"
PPO_ENTROPY = "ppo/entropy"
PPO_LENGTH = "ppo/length"
PPO_WITHOUT_EOS = "ppo/without_eos"
PPO_REPETITION = "ppo/repetition"
PPO_SCORE_AT_FIRST_LENGTH = "ppo/score_at_first_length"
PPO_SCORE_LENGTH_CORRELATION = "ppo/score_length_correlation"
PPO_PREFERENCE = "ppo/preference"
PPO_POLICY_LOSS = "ppo/policy_loss"
PPO_VALUE_LOSS = "ppo/value_loss"
PPO_CLIP_FRACTION = "ppo/clip_fraction"
PPO_VALUE_CLIP_FRACTION = "ppo/value_clip_fraction"
PPO_STEP_KL = "ppo/step_kl"
PPO_EXPLAINED_VARIANCE = "ppo/explained_variance"
PPO_LEARNING_RATE = "ppo/learning_rate"
PPO_EPISODES_PER_SECOND = "ppo/episodes_per_second"
EVALUATION_SCORE = "evaluation/score"
EVALUATION_REFERENCE_SCORE = "evaluation/reference_score"
EVALUATION_KL = "evaluation/kl"
EVALUATION_LENGTH = "evaluation/length"
EVALUATION_ROUGE_1 = "evaluation/rouge_1"
EVALUATION_ROUGE_2 = "evaluation/rouge_2"
EVALUATION_ROUGE_L = "evaluation/rouge_l"
EVALUATION_WITHOUT_EOS = "evaluation/without_eos"
EVALUATION_COPYING = "evaluation/copying"

DOCS: dict[str, str] = {
    SFT_LOSS: "Mean negative log-probability per token of the references in one step, in nats.",
    SFT_VALIDATION_LOSS: "The same on validation documents, before the first step and after the last.",
    SFT_LEARNING_RATE: "Learning rate of the step.",
    SFT_TOKENS_PER_SECOND: "Prompt and summary tokens trained on per second, padding left out.",
    SAMPLE_TOKENS_PER_SECOND: "Summary tokens written per second, reading the prompt included.",
    REWARD_LOSS: "Mean of -log sigmoid(score of the preferred - score of the other) in one step.",
    REWARD_ACCURACY: "Share of the step's pairs whose preferred summary scores higher, before learning from them.",
    REWARD_MARGIN: "Mean score of the preferred minus mean score of the other in one step.",
    REWARD_LEARNING_RATE: "Learning rate of the step.",
    REWARD_TOKENS_PER_SECOND: "Tokens trained on per second, padding left out.",
    REWARD_VALIDATION_LOSS: "The loss on pairs of validation documents after training.",
    REWARD_VALIDATION_ACCURACY: "Share of held-out pairs whose preferred summary scores higher; equal counts half.",
    REWARD_OFFSET: "Mean raw score of reference summaries of training documents, subtracted from every score.",
    PPO_SCORE: "Mean score of a rollout's summaries, the fixed score for a missing end token included.",
    PPO_KL: "Mean over summaries of the summed log-ratio of policy to SFT policy, in nats.",
    PPO_REWARD: "Score minus beta times KL, mean over summaries: what PPO raises.",
    PPO_ENTROPY: "Mean negative log-probability of the sampled tokens: an estimate of the policy's entropy per token.",
    PPO_LENGTH: "Mean tokens per summary, the end token included.",
    PPO_WITHOUT_EOS: "Share of summaries that did not end by themselves.",
    PPO_REPETITION: "Share of the runs of four tokens in a summary that occurred in it before, mean over summaries.",
    PPO_SCORE_AT_FIRST_LENGTH: "Mean score that summaries with an end would have if they were as long as in the first "
    "rollout, by a line through score and log length. Where the score rises and this does not, only length was gained.",
    PPO_SCORE_LENGTH_CORRELATION: "Correlation of score and log length over the summaries of a rollout that ended.",
    PPO_PREFERENCE: "Mean probability, as the reward model sees it, that the policy's likeliest summary of a held-out "
    "document is preferred over the SFT policy's; 0.5 is no better. Blind to what the reward model gets wrong.",
    PPO_POLICY_LOSS: "Clipped policy loss, mean over the steps of one rollout.",
    PPO_VALUE_LOSS: "Clipped value loss, mean over the steps of one rollout, before its coefficient.",
    PPO_CLIP_FRACTION: "Share of tokens whose probability ratio was clipped in the policy loss.",
    PPO_VALUE_CLIP_FRACTION: "Share of tokens whose value was clipped in the value loss.",
    PPO_STEP_KL: "How far the policy moved from the one that wrote the rollout, per token: mean of r - 1 - log r.",
    PPO_EXPLAINED_VARIANCE: "Share of the variance of returns that the values foresaw; 0 is no better than a constant.",
    PPO_LEARNING_RATE: "Learning rate of the rollout's steps.",
    PPO_EPISODES_PER_SECOND: "Episodes written, scored and learned from per second.",
    EVALUATION_SCORE: "Mean score of the policy's summaries of validation documents.",
    EVALUATION_REFERENCE_SCORE: "Mean score of the reference summaries of the same documents.",
    EVALUATION_KL: "Mean over summaries of the summed per-token KL divergence from the SFT policy, in nats.",
    EVALUATION_LENGTH: "Mean tokens per summary, the end token included.",
    EVALUATION_ROUGE_1: "Mean ROUGE-1 F-measure against the references.",
    EVALUATION_ROUGE_2: "Mean ROUGE-2 F-measure against the references.",
    EVALUATION_ROUGE_L: "Mean ROUGE-L F-measure against the references.",
    EVALUATION_WITHOUT_EOS: "Share of summaries that did not end by themselves.",
    EVALUATION_COPYING: "Mean longest common subsequence of bigrams with the post, over the bigrams of the summary.",
}


class Cancelled(Exception):
    """Somebody asked to stop. `left` is the model as it was then, where a training left one behind."""

    left: Path | None = None


class Sink(Protocol):
    """Where a training function reports. Implementations decide how often anything is really written."""

    def metric(self, name: str, step: int, value: float) -> None:
        """One point of the series `name`, one of DOCS; `step` counts up within a call."""

    def progress(self, done: int, total: int, words: str) -> None:
        """`done` of `total` equal parts of the work are finished; `words` say what is going on."""

    def check(self) -> None:
        """Raises Cancelled when the work should stop."""

    def note(self, name: str, value: str) -> None:
        """A condition that is in force, as read off what runs: what was asked for stands in the recipe."""

    def flush(self) -> None:
        """What was told so far is written down now: a resume state is about to count it as told."""


class NullSink:
    """Hears everything, keeps nothing, never cancels."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Forgets it."""

    def progress(self, done: int, total: int, words: str) -> None:
        """Forgets it."""

    def check(self) -> None:
        """Never cancels."""

    def note(self, name: str, value: str) -> None:
        """Forgets it."""

    def flush(self) -> None:
        """Has nothing to write."""


@dataclass
class ListSink:
    """Keeps everything in memory; raises Cancelled at the `cancel_at`-th check."""

    cancel_at: int | None = None
    checks: int = 0
    points: list[tuple[str, int, float]] = field(default_factory=list)
    steps: list[tuple[int, int, str]] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)

    def metric(self, name: str, step: int, value: float) -> None:
        """Keeps the point."""
        self.points.append((name, step, value))

    def progress(self, done: int, total: int, words: str) -> None:
        """Keeps the step."""
        self.steps.append((done, total, words))

    def check(self) -> None:
        """Counts the call, and cancels when its turn has come."""
        self.checks += 1
        if self.cancel_at is not None and self.checks >= self.cancel_at:
            raise Cancelled(f"cancelled at check {self.checks}")

    def note(self, name: str, value: str) -> None:
        """Keeps the newest value."""
        self.conditions[name] = value

    def flush(self) -> None:
        """Keeps everything anyway."""

    def series(self, name: str) -> list[float]:
        """The values of one metric in the order they came."""
        return [value for each, _, value in self.points if each == name]

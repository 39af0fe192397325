"""Metric curves of a run as plots and tables: which metrics stand together, what they are called, how many rows.

Knows the names that training writes (worker.training.metrics says what each is). Knows nothing of rows or pages.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.words import Stage
from app.web.contexts import Curve

MOST_ROWS = 200
"""More steps than this are thinned: a plot a few hundred pixels wide shows no more of them."""

Series = Mapping[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class _Group:
    title: str
    about: str
    columns: dict[str, str]


_STAGES = (Stage.SFT, Stage.REWARD, Stage.PPO)
_LEFT_OUT = frozenset({"reward/offset", "sample/tokens_per_second"})
_GROUPS = (
    _Group(
        "Loss",
        "Falls while the model learns.",
        {
            "sft/loss": "training",
            "sft/validation_loss": "validation",
            "reward/loss": "training",
            "reward/validation_loss": "held out",
            "ppo/policy_loss": "policy",
        },
    ),
    _Group("Value loss", "How far the value network is off.", {"ppo/value_loss": "value"}),
    _Group(
        "Accuracy",
        "Share of pairs on which the reward model agrees with the labeler.",
        {"reward/accuracy": "training", "reward/validation_accuracy": "held out"},
    ),
    _Group("Margin", "How much higher the preferred summary scores.", {"reward/margin": "margin"}),
    _Group(
        "Reward",
        "Score of the policy's summaries, the same less the KL penalty, which PPO raises, and what the score would be "
        "at the first rollout's length: where only the others rise, only length was gained.",
        {"ppo/score": "score", "ppo/reward": "less KL penalty", "ppo/score_at_first_length": "at the first length"},
    ),
    _Group(
        "Score and length",
        "Correlation between the two over the summaries of a rollout that ended.",
        {"ppo/score_length_correlation": "correlation"},
    ),
    _Group(
        "Preference",
        "Over the fine-tuned policy on held-out documents, as the reward model estimates it.",
        {"ppo/preference": "estimate"},
    ),
    _Group("KL", "Distance from the fine-tuned policy, in nats per summary.", {"ppo/kl": "KL"}),
    _Group("Entropy", "How undecided the policy is, in nats per token.", {"ppo/entropy": "entropy"}),
    _Group("Length", "Tokens per summary.", {"ppo/length": "tokens"}),
    _Group("Repetition", "Share of four tokens in a row that came before.", {"ppo/repetition": "share"}),
    _Group("Without an end", "Share of summaries that did not end by themselves.", {"ppo/without_eos": "share"}),
    _Group(
        "Clipped",
        "Share of tokens whose change was cut off.",
        {"ppo/clip_fraction": "policy", "ppo/value_clip_fraction": "value"},
    ),
    _Group("Step size", "KL from the policy that wrote the rollout, per token.", {"ppo/step_kl": "KL"}),
    _Group(
        "Explained variance",
        "Share of the variance of returns that the value network foresaw.",
        {"ppo/explained_variance": "share"},
    ),
    _Group(
        "Learning rate",
        "Of each optimizer step.",
        {"sft/learning_rate": "rate", "reward/learning_rate": "rate", "ppo/learning_rate": "rate"},
    ),
    _Group(
        "Tokens per second",
        "Padding left out.",
        {"sft/tokens_per_second": "tokens per second", "reward/tokens_per_second": "tokens per second"},
    ),
    _Group("Episodes per second", "Written, scored and learned from.", {"ppo/episodes_per_second": "episodes"}),
)
_KNOWN = frozenset(metric for group in _GROUPS for metric in group.columns)


def figure(value: float) -> str:
    """Four digits of a metric; a plot reads them back."""
    return f"{value:.4g}" if math.isfinite(value) else "not a number"


def curves(stage: Stage, series: Series) -> list[Curve]:
    """The plots of one run. Stages that only measure once have none: their figures are among the results."""
    if stage not in _STAGES:
        return []
    strangers = [_Group(name, "", {name: name}) for name in sorted(series.keys() - _KNOWN - _LEFT_OUT)]
    made = [_curve(group, series) for group in (*_GROUPS, *strangers)]
    return [curve for curve in made if curve is not None]


def _curve(group: _Group, series: Series) -> Curve | None:
    columns = [(metric, words) for metric, words in group.columns.items() if metric in series]
    if not columns:
        return None
    values = [dict(series[metric]) for metric, _ in columns]
    steps = sorted({step for column in values for step in column})
    kept = _thinned(steps, values)
    rows = [(step, [figure(column[step]) if step in column else "" for column in values]) for step in kept]
    return Curve(group.title, group.about, columns, rows, len(kept) < len(steps))


def _thinned(steps: list[int], values: list[dict[int, float]]) -> list[int]:
    """Every n-th step and the last; a series of few values, as validation is, keeps all of them."""
    if len(steps) <= MOST_ROWS:
        return steps
    every = math.ceil(len(steps) / MOST_ROWS)
    rare = {step for column in values if len(column) <= MOST_ROWS // 4 for step in column}
    return [step for index, step in enumerate(steps) if index % every == 0 or step in rare or step == steps[-1]]

"""The gold reward of the over-optimisation run: a stated formula that stands for what people want.

Knows texts. Knows no model. Fixed and cheap, so that every policy can be measured by what it was not trained on; a
reward model learns it from noisy comparisons, as one learns people's wishes. Pure, but for the draws it is given.
"""

import math
import random
from typing import Any

from worker.training import overlap

LONGEST = 16
"""Words a summary may have for nothing."""
PER_WORD = 0.2
"""What each word above them costs."""


def gold(judge: Any, post: str, summary: str) -> float:
    """10 x ROUGE-1 F-measure of the summary with the post, minus PER_WORD for each word above LONGEST.

    `judge` is `overlap.rouge_scorer()`. A word counts as often as the post has it, so that repeating pays once at most.
    """
    too_many = max(0, len(summary.split()) - LONGEST)
    return 10 * overlap.rouge(judge, post, summary).rouge_1 - PER_WORD * too_many


def prefers_first(first: float, second: float, noise: float, draw: random.Random) -> bool:
    """A labeler who sees two gold rewards dimly: P(first) = sigmoid((first - second) / noise), noise > 0."""
    return draw.random() < 1 / (1 + math.exp(-max(-500.0, min(500.0, (first - second) / noise))))

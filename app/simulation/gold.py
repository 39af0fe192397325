"""What a simulated labeler likes: a fixed formula over the two texts it is shown, and noise on top.

Knows plain text. It stands for no real taste: it rewards words that matter in the document, a fitting length and a
finished sentence, so that a policy can be seen to move towards something that is known.
"""

import math
import re
from collections import Counter
from random import Random

from app.domain.preferences import MIDDLE

FITTING_WORDS = 28
KEY_WORDS = 20
# Where a difference becomes one step more on the scale, in units of the score.
STEPS = (0.15, 0.5, 1.0, 1.8)
# Scale of the logistic noise. Two simulated labelers then agree on most pairs but not on all, as people do (72 %).
NOISE = 0.5

_WORD = re.compile(r"[a-z][a-z']+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def score(document: str, summary: str) -> float:
    """How much a simulated labeler likes the summary, without noise; about -1 to 5, higher is better."""
    words = _words(summary)
    if not words:
        return -1.0
    counted = Counter(word for word in _words(document) if len(word) > 3)
    weights = {word: 1 + math.log(count) for word, count in counted.most_common(KEY_WORDS)}
    covered = sum(weight for word, weight in weights.items() if word in words) / (sum(weights.values()) or 1)
    faithful = sum(word in counted or len(word) <= 3 for word in words) / len(words)
    fitting = math.exp(-(((len(words) - FITTING_WORDS) / FITTING_WORDS) ** 2))
    finished = 0.5 if summary.rstrip().endswith((".", "!", "?")) else 0.0
    repeated = 1 - len(set(words)) / len(words)
    return 3 * covered + faithful + fitting + finished - 2 * repeated


def judge(document: str, first: str, second: str, random: Random) -> int:
    """An answer on the 9-point scale: the difference of the scores plus logistic noise."""
    drawn = random.uniform(1e-9, 1 - 1e-9)
    difference = score(document, second) - score(document, first) + NOISE * math.log(drawn / (1 - drawn))
    strength = sum(abs(difference) >= step for step in STEPS)
    return MIDDLE + (strength if difference > 0 else -strength)

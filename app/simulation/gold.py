"""What a simulated labeler likes: a fixed formula over the texts it is shown, and noise on top.

Knows plain text. It stands for no real taste: it rewards words that matter in the document, a fitting length and a
finished sentence, so that a policy can be seen to move towards something that is known.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from random import Random

from app.domain import ratings
from app.domain.preferences import MIDDLE

FITTING_WORDS = 28
KEY_WORDS = 20
# Where a difference becomes one step more on the scale, in units of the score.
STEPS = (0.15, 0.5, 1.0, 1.8)
# Scale of the logistic noise. On the study's pairs two simulated labelers then agree as often as its labelers did, on
# 72 % (P C.2); `python -m benchmarks.taste` measures it.
NOISE = 0.33
# The same for a rating, in units of a whole scale.
RATING_NOISE = 0.05
NOTE_WORDS = 12

_WORD = re.compile(r"[a-z][a-z']+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class _Parts:
    """What the formula looks at, each 0 to 1."""

    covered: float
    faithful: float
    fitting: float
    finished: float
    repeated: float


def _parts(document: str, summary: str) -> _Parts | None:
    words = _words(summary)
    if not words:
        return None
    counted = Counter(word for word in _words(document) if len(word) > 3)
    weights = {word: 1 + math.log(count) for word, count in counted.most_common(KEY_WORDS)}
    return _Parts(
        covered=sum(weight for word, weight in weights.items() if word in words) / (sum(weights.values()) or 1),
        faithful=sum(word in counted or len(word) <= 3 for word in words) / len(words),
        fitting=math.exp(-(((len(words) - FITTING_WORDS) / FITTING_WORDS) ** 2)),
        finished=1.0 if summary.rstrip().endswith((".", "!", "?")) else 0.0,
        repeated=1 - len(set(words)) / len(words),
    )


def score(document: str, summary: str) -> float:
    """How much a simulated labeler likes the summary, without noise; about -1 to 5, higher is better."""
    parts = _parts(document, summary)
    if parts is None:
        return -1.0
    return 3 * parts.covered + parts.faithful + parts.fitting + parts.finished / 2 - 2 * parts.repeated


def _noise(random: Random) -> float:
    drawn = random.uniform(1e-9, 1 - 1e-9)
    return math.log(drawn / (1 - drawn))


def judge(document: str, first: str, second: str, random: Random, noise: float = NOISE) -> int:
    """An answer on the 9-point scale: the difference of the scores plus logistic noise of scale `noise`, 0 or more."""
    difference = score(document, second) - score(document, first) + noise * _noise(random)
    strength = sum(abs(difference) >= step for step in STEPS)
    return MIDDLE + (strength if difference > 0 else -strength)


def rate(document: str, summary: str, random: Random) -> dict[str, int]:
    """Scores of one summary on every axis: its part of the formula plus logistic noise."""
    parts = _parts(document, summary)
    shares = dict.fromkeys((axis.name for axis in ratings.AXES), 0.0)
    if parts is not None:
        shares["coherence"] = (0.5 + parts.finished / 2) * (1 - parts.repeated)
        shares["accuracy"] = parts.faithful
        shares["coverage"] = parts.covered
        shares["overall"] = (score(document, summary) + 1) / 6
    span = ratings.HIGHEST - ratings.LOWEST
    return {
        axis: ratings.LOWEST + round(span * min(1.0, max(0.0, share + RATING_NOISE * _noise(random))))
        for axis, share in shares.items()
    }


def note(summary: str) -> str:
    """What a simulated labeler takes a summary to mean: its first words."""
    return " ".join(summary.split()[:NOTE_WORDS]) or "Nothing."

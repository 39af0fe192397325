"""Whether the win rate on sentinel pairs has moved: a two-sided CUSUM on answers in the order in which they came.

Knows Bernoulli answers and their likelihood ratios. Knows nothing of who gave them. Source: Page 1954; the form for
proportions is Reynolds and Stoumbos 1999.

The parameters were chosen by simulation (benchmarks/quality.py prints the table of docs/quality.md): with a reference
share from 200 answers, at most one false alarm in 1,000 answers, its uncertainty included. What can be caught is then
decided by information and not by the parameters: a change of 10 points carries about 0.026 nats an answer at a share of
26 %, and one false alarm in 1,000 takes ln(1000) = 6.9 nats (Lorden 1971).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

REFERENCE = 200
"""The first so many sentinel answers of the project set the share that is held against."""
SHIFT = 0.2
"""The change of the share that the sums are most sensitive to."""
LIMIT = 5.75
"""The sum of log-likelihood ratios at which the alarm is given."""
_EDGE = 0.5 / REFERENCE
_FAR = 0.98


@dataclass(frozen=True)
class Alarm:
    """The answer, counted from 0, at which a sum passed the limit, and whether the share had risen or fallen."""

    at: int
    risen: bool


@dataclass(frozen=True)
class Drift:
    """Both sums after each answer, and the alarms; after an alarm both start again from zero."""

    rising: Sequence[float]
    falling: Sequence[float]
    alarms: Sequence[Alarm]


def cusum(wins: Sequence[bool], reference: float, shift: float = SHIFT, limit: float = LIMIT) -> Drift:
    """Watch answers against a `reference` share in [0, 1] for a change of `shift` either way."""
    share = min(max(reference, _EDGE), 1 - _EDGE)
    # Near an edge there is no room for the whole shift: half of what is left, so that a sum never has nothing to gain.
    high = min(share + shift, max(_FAR, (share + 1) / 2))
    low = max(share - shift, min(1 - _FAR, share / 2))
    rise = log((1 - high) / (1 - share)), log(high / share)
    fall = log((1 - low) / (1 - share)), log(low / share)
    rising, falling, alarms = [], [], []
    up = down = 0.0
    for at, won in enumerate(wins):
        up, down = max(0.0, up + rise[won]), max(0.0, down + fall[won])
        rising.append(up)
        falling.append(down)
        if up > limit or down > limit:
            alarms.append(Alarm(at, up > limit))
            up = down = 0.0
    return Drift(rising, falling, alarms)

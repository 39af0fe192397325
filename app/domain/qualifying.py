"""Whether a newcomer's answers to the qualification pairs are enough to begin, and why, in words.

Knows the gate's rule. Knows nothing of rows. Source: P App. C.1, onboarding with a minimum of speed and of agreement
with the researchers; its thresholds were not published, so that they are settings (app.domain.protocols.Gate).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from app.domain.preferences import choice
from app.domain.protocols import Gate

# With fewer of the pairs than this share answered by a side, agreement is a matter of luck.
LEAST_SIDED = 0.5


@dataclass(frozen=True)
class Trial:
    """A newcomer's first answer to a qualification pair and the researchers', in one frame; active time on it."""

    value: int
    verdict: int
    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """What the gate decided. `agreement` is None when no answer took a side, `seconds` when no time is known."""

    passed: bool
    answers: int
    agreement: float | None
    seconds: float | None
    reason: str


def agrees(value: int, verdict: int) -> bool | None:
    """Whether two answers in one frame prefer the same side; None when one of them prefers none."""
    one, other = choice(value), choice(verdict)
    return None if one is None or other is None else one == other


def decide(gate: Gate, trials: Sequence[Trial], pairs: int) -> Outcome:
    """Apply the gate to the answers given on `pairs` qualification pairs (those passed on are in `pairs` only).

    Answers of 5 are left out of agreement; when they or skips leave less than LEAST_SIDED of the pairs, nobody passes.
    Times that the browser could not tell are left out of the pace; a pace that is not known at all holds nobody back.
    """
    sides = [same for trial in trials if (same := agrees(trial.value, trial.verdict)) is not None]
    times = [trial.seconds for trial in trials if trial.seconds is not None]
    agreement = sum(sides) / len(sides) if sides else None
    pace = median(times) if times else None
    found = f"On the researchers' side in {sum(sides)} of {len(sides)} pairs"
    words = []
    if agreement is None or len(sides) < LEAST_SIDED * pairs:
        words.append(f"Chose a side on {len(sides)} of {pairs} pairs, which is too few to tell.")
    elif agreement < gate.agreement:
        words.append(f"{found} ({agreement:.0%}), where {gate.agreement:.0%} is asked for.")
    if pace is not None and pace > gate.seconds:
        words.append(f"Took {pace:.0f} seconds for the median pair, where {gate.seconds:.0f} are allowed.")
    passed = not words
    if passed:
        time = "the time is not known" if pace is None else f"{pace:.0f} seconds for the median pair"
        words.append(f"{found} ({agreement:.0%}), {time}.")
    return Outcome(passed, len(trials), agreement, pace, " ".join(words))

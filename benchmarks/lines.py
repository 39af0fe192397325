"""What a benchmark prints: one JSON object for each measurement, one a line.

Knows the keys of a line. Knows nothing of what was measured.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """One measurement beside what it is held to: another program in the same run, or a stated target.

    `conditions` say what a reader needs to measure it again: sizes, processes, who used which share of the cores.
    """

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    conditions: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = asdict(self)
        conditions = told.pop("conditions")
        ratio = short(self.value / self.peer_value) if self.peer_value else None
        return json.dumps(told | {"ratio": ratio, "conditions": conditions})


def short(value: float) -> float:
    """Three figures, as a ratio of timings is worth; whole numbers above."""
    return float(f"{value:.3g}") if abs(value) < 1000 else round(value)


def say(sentence: str) -> None:
    """How far it is, beside the lines."""
    print(sentence, file=sys.stderr, flush=True)


def spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds within which half, 95 % and 99 % of the times lie (nearest rank), and how many there are."""
    ordered = sorted(seconds)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {
        name: short(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * rank))]) for name, rank in ranks.items()
    }
    return {**{f"{name}_ms": value for name, value in found.items()}, "n": len(ordered)}

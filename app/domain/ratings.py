"""The 1 to 7 scores of one summary: the axes, and what 1, 4 and 7 mean on each.

Knows what is asked. Knows nothing of who gave a score. Source of the axes and of where they are anchored: P App. C.5,
Table 7.
"""

from dataclasses import dataclass

LOWEST, HIGHEST = 1, 7


@dataclass(frozen=True)
class Axis:
    """One axis: its name in tables and on the wire, its question, and what its two ends and its middle mean."""

    name: str
    title: str
    question: str
    hint: str
    one: str
    four: str
    seven: str


AXES = (
    Axis(
        "coherence",
        "Coherence",
        "Is it easy to understand by itself?",
        "Being understood counts for more than grammar.",
        "cannot be understood",
        "slips or unclear words make it hard in places",
        "clear at the first reading",
    ),
    Axis(
        "accuracy",
        "Accuracy",
        "Does all it says agree with the text?",
        "5 at most where anything, however small, is not in the text.",
        "all wrong, or the opposite of the text",
        "something important is not in the text, or against it",
        "nothing wrong, nothing misleading",
    ),
    Axis(
        "coverage",
        "Coverage",
        "Does it say what matters, and what the text is for?",
        "",
        "nothing that matters",
        "something important is missing",
        "all that matters",
    ),
    Axis(
        "overall",
        "Overall",
        "All in all, how well does it stand for the text?",
        "",
        "very badly",
        "acceptable, much could be better",
        "excellently",
    ),
)

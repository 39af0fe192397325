"""What training learns from, as plain values: queries, demonstrations, judged pairs.

Knows nothing of tokens, tensors or where the texts come from. Texts are as people wrote them: no prompt template, no
leading space, no end token.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """A document as the prompt template needs it."""

    subreddit: str
    title: str
    post: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A document with the summary a person wrote for it."""

    query: Query
    summary_text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two summaries of one document and what a labeler said about them.

    `value` is the answer on the 9-point scale as it was given: its distance from 5 is the labeler's confidence, and 5
    itself means that neither is preferred. `policies` wrote the preferred and the other text, in this order.
    """

    query: Query
    preferred_text: str
    other_text: str
    value: int
    policies: tuple[str, str]

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not 1 <= self.value <= 9:
            raise ValueError(f"a pair has the value {self.value!r}: allowed is 1 to 9")

    @property
    def tied(self) -> bool:
        """Whether the labeler preferred neither."""
        return self.value == 5

    @property
    def confidence(self) -> int:
        """0 (no preference) to 4 (much better)."""
        return abs(self.value - 5)

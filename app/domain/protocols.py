"""What a batch asks of labelers, and what a newcomer must show before they are given any: validated values.

Knows shares and limits. Knows nothing of rows. Sources: P App. C.1 (naive interpretations first; onboarding with a
minimum of speed and agreement; 10 to 20 % of a labeler's items from a shared pool), C.6 (supervised baseline against
reference in most batches, to see drift).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from app.domain.errors import Invalid
from app.domain.words import ComparisonKind

MOST_OPINIONS = 100
LONGEST_PACE = 3600


def _share(value: object, field: str, words: str, high: float = 1.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise Invalid(f"{words} must be 0 to {high:.0%}.", "Give a share.", field)
    return float(value)


def _known(cls: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    unknown = sorted(set(stored) - names)
    if unknown:
        raise Invalid(f"There is no setting named {unknown[0]}.", f"Known: {', '.join(sorted(names))}.", unknown[0])
    return dict(stored)


@dataclass(frozen=True)
class Protocol:
    """How the pairs of a batch are judged.

    `notes_first`: a naive interpretation of each summary is written before the document is shown. `shared_share` of the
    pairs are put up for `shared_opinions` labelers, `sentinel_share` are added that set the fixed baseline against the
    reference, `calibration_share` of the pairs are also put before the researchers' judging accounts. `gold_share` of
    what a labeler is given are pairs whose answer researchers know. Shares are 0 to 0.5; all off is the plain queue.
    """

    notes_first: bool = False
    shared_share: float = 0.0
    shared_opinions: int = 3
    sentinel_share: float = 0.0
    calibration_share: float = 0.0
    gold_share: float = 0.0

    def __post_init__(self) -> None:
        for name, words in (
            ("shared_share", "The share of the shared pool"),
            ("sentinel_share", "The share of sentinel pairs"),
            ("calibration_share", "The share for researchers"),
            ("gold_share", "The share of gold pairs"),
        ):
            object.__setattr__(self, name, _share(getattr(self, name), name, words, 0.5))
        whole = isinstance(self.shared_opinions, int) and not isinstance(self.shared_opinions, bool)
        if not whole or not 2 <= self.shared_opinions <= MOST_OPINIONS:
            raise Invalid(
                f"A shared pair needs 2 to {MOST_OPINIONS} opinions.", "Give a whole number.", "shared_opinions"
            )
        if not isinstance(self.notes_first, bool):
            raise Invalid("Notes first is yes or no.", "Choose one.", "notes_first")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From what a row holds; what is not said has its default. Raises Invalid."""
        return cls(**_known(cls, stored))

    def to_dict(self) -> dict[str, Any]:
        """For a row."""
        return asdict(self)

    def opinions_on(self, kind: ComparisonKind, opinions: int) -> int:
        """How many labelers a pair of this kind is put up for in a batch that asks for so many `opinions`."""
        return max(opinions, self.shared_opinions) if kind is ComparisonKind.SHARED else opinions


@dataclass(frozen=True)
class Gate:
    """What a newcomer must show on the qualification pairs before they are given others.

    `agreement`: the least share of answers on the researchers' side, 0 to 1. `seconds`: the longest median time on a
    pair. Off until an admin requires it.
    """

    required: bool = False
    agreement: float = 0.7
    seconds: float = 180.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "agreement", _share(self.agreement, "agreement", "The least agreement"))
        number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not number or not 1 <= self.seconds <= LONGEST_PACE:
            raise Invalid(f"The longest time must be 1 to {LONGEST_PACE} seconds.", "Give a number.", "seconds")
        if not isinstance(self.required, bool):
            raise Invalid("Required is yes or no.", "Choose one.", "required")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From what a row holds; what is not said has its default. Raises Invalid."""
        return cls(**_known(cls, stored))

    def to_dict(self) -> dict[str, Any]:
        """For a row."""
        return asdict(self)

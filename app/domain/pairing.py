"""Which documents get a comparison, why (the policy against the reference, or two samples of it), and of what kind.

Knows counts and shares. Knows nothing of models or rows; randomness is an argument. The paper had no systematic plan
for pairing (App. C.6); this follows its two largest kinds (Table 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from app.domain.protocols import Protocol
from app.domain.recipes import PairingRecipe
from app.domain.words import ComparisonKind, Split

REFERENCE = "policy against reference"
SAMPLES = "two samples of the policy"
SENTINEL = "fixed baseline against reference"


@dataclass(frozen=True)
class Candidate:
    """A document that may get a comparison."""

    document_id: int
    split: Split
    has_reference: bool


@dataclass(frozen=True)
class Planned:
    """A comparison to be made: REFERENCE needs one new sample, SAMPLES two."""

    document_id: int
    split: Split
    reason: str


def plan(
    recipe: PairingRecipe, candidates: Sequence[Candidate], there: dict[Split, int], random: Random
) -> list[Planned]:
    """What is missing to the recipe's pairs, given how many are `there` already by split.

    Documents come in random order and are used again only when all of their split were used. A split without documents
    gives its pairs to the other; a document without a reference gets two samples instead.
    """
    held_out = recipe.held_out_pairs()
    wanted = {Split.TRAIN: recipe.pairs - held_out, Split.VALIDATION: held_out}
    missing = {split: max(0, number - there.get(split, 0)) for split, number in wanted.items()}
    by_split = {split: [each for each in candidates if each.split is split] for split in wanted}
    if not by_split[Split.VALIDATION]:
        missing[Split.TRAIN] += missing.pop(Split.VALIDATION)
    elif not by_split[Split.TRAIN]:
        missing[Split.VALIDATION] += missing.pop(Split.TRAIN)
    return [each for split, number in missing.items() for each in _draw(recipe, by_split[split], number, random)]


def _draw(recipe: PairingRecipe, candidates: Sequence[Candidate], number: int, random: Random) -> list[Planned]:
    if not candidates:
        return []
    with_reference = recipe.reference_pairs(number)
    reasons = [REFERENCE] * with_reference + [SAMPLES] * (number - with_reference)
    random.shuffle(reasons)
    order: list[Candidate] = []
    while len(order) < number:
        order += random.sample(candidates, len(candidates))
    return [
        Planned(each.document_id, each.split, reason if each.has_reference else SAMPLES)
        for each, reason in zip(order, reasons, strict=False)
    ]


def sentinels(protocol: Protocol, pairs: int) -> int:
    """How many pairs of the fixed baseline belong beside so many others."""
    return round(pairs * protocol.sentinel_share)


def kinds(protocol: Protocol, pairs: int, with_sentinels: int, random: Random) -> list[ComparisonKind]:
    """The kinds of `pairs` comparisons and of the sentinels among them, in the order in which they are put up.

    Each kind is spread evenly: its n-th is somewhere in the n-th of equal parts of the batch, so that whoever judges a
    part of it meets the shares that were asked for, and no place tells what is there.
    """
    shared = round(pairs * protocol.shared_share)
    calibration = min(round(pairs * protocol.calibration_share), pairs - shared)
    numbers = {
        ComparisonKind.ORDINARY: pairs - shared - calibration,
        ComparisonKind.SHARED: shared,
        ComparisonKind.CALIBRATION: calibration,
        ComparisonKind.SENTINEL: with_sentinels,
    }
    places = [((index + random.random()) / number, kind) for kind, number in numbers.items() for index in range(number)]
    return [kind for _, kind in sorted(places)]

"""Which documents get a comparison, of what kind, and when two texts are too alike to be one.

Knows counts, shares and plain text. Knows nothing of models or rows; randomness is an argument. The paper had no
systematic plan for pairing (App. C.6); this follows the kinds of its Table 11.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from random import Random

from app.domain import choosing
from app.domain.protocols import Protocol
from app.domain.recipes import PairingRecipe
from app.domain.words import ComparisonKind, Split

REFERENCE = "policy against reference"
INITIAL = "policy against the initial policy"
BEST_OF = "policy against its best of several"
SAMPLES = "two samples of the policy"
SENTINEL = "fixed baseline against reference"

CHOSEN, CONTROL = ", chosen for information", ", drawn at random"
"""What is added to the reason of a pair that was put up in place of others."""

_WORD = re.compile(r"[^\W_]+")
_GRAM = 3


@dataclass(frozen=True)
class Candidate:
    """A document that may get a comparison."""

    document_id: int
    split: Split
    has_reference: bool


@dataclass(frozen=True)
class Planned:
    """A comparison to be made: REFERENCE needs one new sample, the other kinds two."""

    document_id: int
    split: Split
    reason: str


def possible(recipe: PairingRecipe, *, initial: bool, reward: bool) -> tuple[PairingRecipe, list[str]]:
    """The recipe without what there is nothing to make of, and what was left out, in words.

    `initial`: whether there is an initial policy besides the one that writes; `reward`: a reward model.
    """
    words = []
    if recipe.initial_share and not initial:
        words.append("There is no initial policy besides the one that writes: pairs against it became two samples.")
        recipe = replace(recipe, initial_share=0.0)
    if recipe.best_of_share and not reward:
        words.append("There is no reward model yet: pairs against the best of several became two samples.")
        recipe = replace(recipe, best_of_share=0.0)
    if recipe.choose_from > 1 and not reward:
        words.append("There is no reward model yet: no pair was chosen for information.")
        recipe = replace(recipe, choose_from=1)
    return recipe, words


def counts(recipe: PairingRecipe, number: int) -> dict[str, int]:
    """How many of so many pairs are of each kind. They add up; each is its share to within one pair."""
    shares = {REFERENCE: recipe.reference_share, INITIAL: recipe.initial_share, BEST_OF: recipe.best_of_share}
    ends = [0, *(round(number * share) for share in accumulate(shares.values())), number]
    return {reason: end - start for reason, (start, end) in zip([*shares, SAMPLES], pairwise(ends), strict=True)}


def summaries(recipe: PairingRecipe, pairs: int) -> int:
    """How many summaries are written for so many pairs: the reference is there already, the best of N takes N."""
    held_out = round(pairs * recipe.held_out_share)
    written = held_out + (pairs - held_out) * recipe.choose_from
    found = counts(recipe, written)
    return 2 * written - found[REFERENCE] + (recipe.best_of - 1) * found[BEST_OF]


def plan(
    recipe: PairingRecipe, candidates: Sequence[Candidate], there: dict[Split, int], random: Random
) -> list[Planned]:
    """What is missing to the recipe's pairs, given how many are `there` already by split: `choose_from` times as many
    where they are chosen, that is on training documents.

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
    return [each for split, number in missing.items() for each in _draw(recipe, split, by_split[split], number, random)]


def _draw(
    recipe: PairingRecipe, split: Split, candidates: Sequence[Candidate], number: int, random: Random
) -> list[Planned]:
    if not candidates:
        return []
    times = recipe.choose_from if split is Split.TRAIN else 1
    reasons = [reason for reason, count in counts(recipe, number).items() for _ in range(count * times)]
    random.shuffle(reasons)
    order: list[Candidate] = []
    while len(order) < len(reasons):
        order += random.sample(candidates, len(candidates))
    return [
        Planned(each.document_id, split, reason if each.has_reference or reason != REFERENCE else SAMPLES)
        for each, reason in zip(order, reasons, strict=False)
    ]


def wanted(recipe: PairingRecipe, planned: Sequence[Planned]) -> int:
    """How many of the planned pairs are to be put up, where all of them can be written."""
    return sum(_wanted(recipe, planned).values())


def _wanted(recipe: PairingRecipe, planned: Sequence[Planned]) -> dict[tuple[Split, str], int]:
    """By split and kind: of pairs to choose from the whole parts, and the rest to the kinds that lost most by it."""
    found = Counter((each.split, each.reason) for each in planned)
    training = {key: divmod(count, recipe.choose_from) for key, count in sorted(found.items()) if key[0] is Split.TRAIN}
    rest = sum(left for _, left in training.values()) // recipe.choose_from
    more = sorted(training, key=lambda key: -training[key][1])[:rest]
    return found | {key: whole + (key in more) for key, (whole, _) in training.items()}


@dataclass(frozen=True)
class PutUp:
    """A planned pair, by its place, that is put up; why; and with what probability, of those that were written."""

    place: int
    reason: str
    propensity: float


def put_up(
    recipe: PairingRecipe,
    planned: Sequence[Planned],
    written: Sequence[int],
    gains: Mapping[int, float],
    random: Random,
) -> list[PutUp]:
    """Which of the pairs that could be `written` (places in `planned`) are put up, in the order of their places.

    All of them, unless the recipe chooses: then, on training documents and within each kind, so that shares stay, those
    with the higher `gains` (by place, 0 or above) more probably. Held-out pairs are never chosen: accuracy is measured
    on them.
    """
    if recipe.choose_from == 1:
        return [PutUp(place, planned[place].reason, 1.0) for place in written]
    found = []
    for (split, reason), number in _wanted(recipe, planned).items():
        places = [place for place in written if (planned[place].split, planned[place].reason) == (split, reason)]
        if split is not Split.TRAIN:
            found += [PutUp(place, reason, 1.0) for place in places]
            continue
        scores = [gains[place] for place in places]
        found += [
            PutUp(places[each.place], reason + (CONTROL if each.control else CHOSEN), each.propensity)
            for each in choosing.choose(scores, number, recipe.control_share, random)
        ]
    return sorted(found, key=lambda each: each.place)


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return _WORD.search(text) is not None


def likeness(first: str, second: str) -> float:
    """How much alike two texts look, 0 to 1; 1 where only case, punctuation or space differ.

    The share of runs of three characters that they have in common (Dice 1945): of lower-case words with a space around
    each, every run counted once.
    """
    one, other = _grams(first), _grams(second)
    if not one or not other:
        return float(one == other)
    return 2 * len(one & other) / (len(one) + len(other))


def _grams(text: str) -> set[str]:
    words = " ".join(_WORD.findall(text.casefold()))
    padded = f" {words} " if words else ""
    return {padded[start : start + _GRAM] for start in range(len(padded) - _GRAM + 1)}


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

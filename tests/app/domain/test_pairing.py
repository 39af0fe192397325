"""Pairs are planned and put up in the shares asked for, evenly, and the same for the same seed; likeness of texts."""

from collections import Counter
from random import Random

import pytest

from app.domain import pairing
from app.domain.pairing import BEST_OF, CHOSEN, CONTROL, INITIAL, REFERENCE, SAMPLES, Candidate, Planned
from app.domain.protocols import Protocol
from app.domain.recipes import PAPER, PairingRecipe
from app.domain.words import ComparisonKind, Split

EVERYTHING = Protocol(shared_share=0.2, sentinel_share=0.1, calibration_share=0.05)
ORDINARY, SHARED, SENTINEL, CALIBRATION = (
    ComparisonKind.ORDINARY,
    ComparisonKind.SHARED,
    ComparisonKind.SENTINEL,
    ComparisonKind.CALIBRATION,
)


def counts(kinds: list[ComparisonKind]) -> dict[ComparisonKind, int]:
    return {kind: kinds.count(kind) for kind in ComparisonKind if kind in kinds}


def test_shares_are_of_the_pairs_and_sentinels_come_on_top() -> None:
    assert pairing.sentinels(EVERYTHING, 200) == 20
    kinds = pairing.kinds(EVERYTHING, 200, 20, Random(1))
    assert counts(kinds) == {ORDINARY: 150, SHARED: 40, SENTINEL: 20, CALIBRATION: 10}


def test_every_part_of_a_batch_holds_its_share_of_every_kind() -> None:
    for seed in range(50):
        kinds = pairing.kinds(EVERYTHING, 200, 20, Random(seed))
        for start in range(0, 220, 55):
            found = counts(kinds[start : start + 55])
            for kind, share in ((SHARED, 10), (SENTINEL, 5), (CALIBRATION, 2.5)):
                assert abs(found.get(kind, 0) - share) <= 2, (seed, start, kind)


def test_no_place_tells_a_kind() -> None:
    seen = [pairing.kinds(EVERYTHING, 20, 2, Random(seed)) for seed in range(300)]
    for place in range(22):
        assert {kinds[place] for kinds in seen} >= {ORDINARY, SHARED}, place
    assert {place for kinds in seen for place, kind in enumerate(kinds) if kind is SENTINEL} == set(range(22))


def test_the_same_seed_gives_the_same_kinds() -> None:
    assert pairing.kinds(EVERYTHING, 100, 7, Random(3)) == pairing.kinds(EVERYTHING, 100, 7, Random(3))
    assert pairing.kinds(EVERYTHING, 100, 7, Random(3)) != pairing.kinds(EVERYTHING, 100, 7, Random(4))


@pytest.mark.parametrize("pairs", range(8))
def test_small_batches_hold_what_was_put_up_and_no_more(pairs: int) -> None:
    full = Protocol(shared_share=0.5, calibration_share=0.5, sentinel_share=0.5)
    added = pairing.sentinels(full, pairs)
    kinds = pairing.kinds(full, pairs, added, Random(1))
    assert len(kinds) == pairs + added
    assert kinds.count(SENTINEL) == added


def test_with_everything_off_all_pairs_are_ordinary() -> None:
    assert pairing.sentinels(Protocol(), 64) == 0
    assert pairing.kinds(Protocol(), 64, 0, Random(1)) == [ORDINARY] * 64


def test_only_the_shared_pool_asks_more_people_and_never_fewer() -> None:
    protocol = Protocol(shared_opinions=3)
    assert [protocol.opinions_on(kind, 1) for kind in (ORDINARY, SENTINEL, CALIBRATION, SHARED)] == [1, 1, 1, 3]
    assert [protocol.opinions_on(kind, 5) for kind in (ORDINARY, SHARED)] == [5, 5]


DOCUMENTS = [Candidate(number, Split.VALIDATION if number % 10 == 0 else Split.TRAIN, True) for number in range(200)]
MIXED = PairingRecipe(pairs=100, reference_share=0.4, initial_share=0.2, best_of_share=0.1, held_out_share=0.1)
CHOOSING = PairingRecipe(pairs=40, reference_share=0.5, choose_from=4, control_share=0.25, held_out_share=0.25)


def planned(recipe: PairingRecipe, documents: list[Candidate] = DOCUMENTS) -> list[Planned]:
    return pairing.plan(recipe, documents, {}, Random(1))


def test_kinds_come_in_the_shares_asked_for_in_each_split() -> None:
    plan = planned(MIXED)
    assert Counter(each.reason for each in plan if each.split is Split.TRAIN) == {
        REFERENCE: 36,
        INITIAL: 18,
        BEST_OF: 9,
        SAMPLES: 27,
    }
    assert Counter(each.reason for each in plan if each.split is Split.VALIDATION) == {
        REFERENCE: 4,
        INITIAL: 2,
        BEST_OF: 1,
        SAMPLES: 3,
    }


@pytest.mark.parametrize("number", [0, 1, 2, 5, 7, 64])
def test_no_pair_is_lost_or_added_by_rounding(number: int) -> None:
    thirds = PairingRecipe(reference_share=1 / 3, initial_share=1 / 3, best_of_share=1 / 3)
    for recipe in (thirds, MIXED, PAPER.pairing):
        found = pairing.counts(recipe, number)
        assert sum(found.values()) == number and min(found.values()) >= 0
        assert abs(found[REFERENCE] - number * recipe.reference_share) < 1


def test_the_papers_shares_are_those_of_its_table() -> None:
    # Of 64,709 labels: 28,242 have the reference on one side, 26,831 set two samples of one policy against each other;
    # 7,011 of the others have the best of several on one side, 2,625 have it on none.
    assert pairing.counts(PAPER.pairing, 1000) == {REFERENCE: 436, INITIAL: 41, BEST_OF: 108, SAMPLES: 415}


def test_a_document_without_a_reference_gets_two_samples_and_keeps_its_other_kinds() -> None:
    plan = planned(MIXED, [Candidate(number, Split.TRAIN, False) for number in range(100)])
    assert Counter(each.reason for each in plan) == {SAMPLES: 70, INITIAL: 20, BEST_OF: 10}


def test_what_there_is_nothing_to_make_of_becomes_two_samples_and_is_said() -> None:
    every = PairingRecipe(reference_share=0.4, initial_share=0.2, best_of_share=0.1, choose_from=4)
    assert pairing.possible(every, initial=True, reward=True) == (every, [])
    able, words = pairing.possible(every, initial=False, reward=False)
    assert pairing.counts(able, 10) == {REFERENCE: 4, INITIAL: 0, BEST_OF: 0, SAMPLES: 6}
    assert able.choose_from == 1 and len(words) == 3
    assert "no initial policy" in words[0] and all("no reward model yet" in each for each in words[1:])
    assert pairing.possible(PairingRecipe(), initial=False, reward=False) == (PairingRecipe(), [])


def test_so_many_summaries_are_written() -> None:
    assert pairing.summaries(PairingRecipe(reference_share=0.5, held_out_share=0), 10) == 15
    # Two against the best of four, six of two samples, two against the reference.
    several = PairingRecipe(reference_share=0.2, best_of_share=0.2, best_of=4, held_out_share=0)
    assert pairing.summaries(several, 10) == 2 * 5 + 6 * 2 + 2
    # 40 pairs on training documents are written for the 10 put up, and 10 held-out ones as they are.
    assert pairing.summaries(PairingRecipe(reference_share=0, held_out_share=0.5, choose_from=4), 20) == 100


def test_only_pairs_on_training_documents_are_written_to_choose_from() -> None:
    plan = planned(CHOOSING)
    assert Counter((each.split, each.reason) for each in plan) == {
        (Split.TRAIN, REFERENCE): 60,
        (Split.TRAIN, SAMPLES): 60,
        (Split.VALIDATION, REFERENCE): 5,
        (Split.VALIDATION, SAMPLES): 5,
    }
    assert pairing.wanted(CHOOSING, plan) == 40
    assert len({each.document_id for each in plan if each.split is Split.TRAIN}) == 120, (
        "each has a document of its own"
    )


def test_chosen_pairs_keep_the_shares_and_say_why_and_how_probably() -> None:
    plan = planned(CHOOSING)
    gains = {place: place / 1000 for place, each in enumerate(plan) if each.split is Split.TRAIN}
    found = pairing.put_up(CHOOSING, plan, range(len(plan)), gains, Random(2))
    assert len(found) == 40 == len({each.place for each in found})
    for each in found:
        kind = plan[each.place].reason
        if plan[each.place].split is Split.VALIDATION:
            assert (each.reason, each.propensity) == (kind, 1.0), "accuracy is measured on these"
        else:
            assert each.reason in (kind + CHOSEN, kind + CONTROL)
            assert 0.25 / 4 <= each.propensity < 1
    training = [each for each in found if plan[each.place].split is Split.TRAIN]
    assert Counter(plan[each.place].reason for each in training) == {REFERENCE: 15, SAMPLES: 15}
    assert {each.reason for each in training} == {
        kind + why for kind in (REFERENCE, SAMPLES) for why in (CHOSEN, CONTROL)
    }


def test_documents_without_a_reference_take_no_pair_from_another_kind() -> None:
    recipe = PairingRecipe(pairs=20, reference_share=0.5, initial_share=0.1, choose_from=3, held_out_share=0)
    for seed in range(20):
        some = [Candidate(number, Split.TRAIN, number % 7 > 0) for number in range(90)]
        plan = pairing.plan(recipe, some, {}, Random(seed))
        found = pairing.put_up(recipe, plan, range(len(plan)), dict.fromkeys(range(len(plan)), 1.0), Random(seed))
        counted = Counter(plan[each.place].reason for each in found)
        assert sum(counted.values()) == 20 and counted[INITIAL] == 2


def test_what_could_not_be_written_is_made_up_for_by_others_of_its_kind() -> None:
    plan = planned(CHOOSING)
    written = [place for place, each in enumerate(plan) if each.reason == SAMPLES or place % 2]
    gains = {place: 1.0 for place in written if plan[place].split is Split.TRAIN}
    found = pairing.put_up(CHOOSING, plan, written, gains, Random(2))
    counted = Counter((plan[each.place].split, plan[each.place].reason) for each in found)
    assert counted[Split.TRAIN, REFERENCE] == counted[Split.TRAIN, SAMPLES] == 15
    few = [place for place in written if plan[place].reason == REFERENCE][:3]
    for each in pairing.put_up(CHOOSING, plan, few, dict.fromkeys(few, 0.5), Random(2)):
        assert each.propensity == 1, "nothing was left to choose"


def test_without_choosing_all_that_was_written_is_put_up_for_certain() -> None:
    plan = planned(MIXED)
    found = pairing.put_up(MIXED, plan, [3, 5, 8], {}, Random(1))
    assert [(each.place, each.reason, each.propensity) for each in found] == [
        (place, plan[place].reason, 1.0) for place in (3, 5, 8)
    ]


def test_texts_that_say_nearly_the_same_look_alike() -> None:
    text = "My friend wants her money back although I never borrowed any, and I do not know what to tell her."
    assert pairing.likeness(text, text) == 1
    assert pairing.likeness(text, f"  {text.upper().replace(',', '')}!! ") == 1
    assert pairing.likeness(text, text.replace("tell", "say to")) > 0.9
    assert pairing.likeness(text, text.replace("never", "once")) > 0.9
    assert pairing.likeness(text, "My friend wants money I never borrowed. What should I do?") < 0.7
    assert pairing.likeness(text, "The cat sleeps.") < 0.2
    assert pairing.likeness(text, "") == 0 and pairing.likeness("", "?!") == 1


def test_likeness_by_hand() -> None:
    # " ab", "abc", "bc " and " ab", "abd", "bd ": one of three in common.
    assert pairing.likeness("abc", "ABD") == pytest.approx(1 / 3)
    assert pairing.likeness("abc", "abd") == pairing.likeness("abd", "abc")


@pytest.mark.parametrize(("text", "says"), [("", False), (" .\n", False), ("— !", False), ("no", True), ("学", True)])
def test_a_text_says_something_with_a_letter_or_a_digit(text: str, says: bool) -> None:
    assert pairing.says_something(text) is says

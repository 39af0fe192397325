import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from app.domain.recipes import (
    NAMED,
    ContinuousRecipe,
    EvaluationRecipe,
    InvalidRecipe,
    LabelsRecipe,
    PairingRecipe,
    PpoRecipe,
    PromotionRecipe,
    Recipe,
    RewardRecipe,
    SamplingRecipe,
    SftRecipe,
    scaled,
)

PARTS = (
    SamplingRecipe,
    PairingRecipe,
    SftRecipe,
    LabelsRecipe,
    RewardRecipe,
    PpoRecipe,
    EvaluationRecipe,
    PromotionRecipe,
    ContinuousRecipe,
)


def test_the_paper_by_its_own_numbers() -> None:
    paper = NAMED["paper"]
    assert (paper.sft.batch, paper.sft.epochs, paper.sft.learning_rate) == (128, 1, 6.35e-5)
    assert (paper.reward.batch, paper.reward.epochs, paper.reward.learning_rate) == (64, 1, 1.5e-5)
    assert (paper.ppo.batch, paper.ppo.epochs, paper.ppo.learning_rate) == (512, 4, 1.5e-5)
    assert (paper.ppo.kl_coefficient, paper.ppo.gamma, paper.ppo.gae_lambda) == (0.05, 1, 0.95)
    assert (paper.ppo.clip, paper.ppo.value_clip, paper.ppo.value_coefficient) == (0.2, 0.2, 0.1)
    assert (paper.sampling.max_query_tokens, paper.sampling.max_summary_tokens) == (512, 48)
    assert paper.reward.max_summary_tokens == 128 and paper.evaluation.temperature == 0
    assert 999_000 < paper.ppo.episodes < 1_001_000
    assert paper.ppo.advantage == "gae" and paper.ppo.samples_per_query == 1
    assert paper.ppo.stop_kl is None and paper.ppo.stop_preference_drop is None
    assert paper.ppo.lora_rank == paper.ppo.value_lora_rank == paper.reward.lora_rank == 0
    assert not any(part.checkpointing for part in (paper.sft, paper.reward, paper.ppo))


@pytest.mark.parametrize("name", NAMED)
def test_named_recipes_survive_json(name: str) -> None:
    recipe = NAMED[name]
    assert recipe.name == name
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and again.digest() == recipe.digest()


def test_digests_differ_where_recipes_differ_and_only_there() -> None:
    tiny = NAMED["tiny"]
    digests = {recipe.digest() for recipe in (*NAMED.values(), replace(tiny, seed=2), replace(tiny, name="other"))}
    assert len(digests) == len(NAMED) + 2
    whole_numbers = replace(tiny, ppo=replace(tiny.ppo, gamma=1))
    assert whole_numbers.digest() == tiny.digest() and isinstance(whole_numbers.ppo.gamma, float)


def test_every_field_says_what_it_is_and_where_it_comes_from() -> None:
    for part in (*PARTS, Recipe):
        for each in fields(part):
            if each.name not in {part.section for part in PARTS}:
                assert each.metadata["doc"].endswith("."), (part, each.name)
                assert each.metadata["source"], (part, each.name)


def test_no_answer_is_left_out_unless_a_recipe_says_so() -> None:
    assert all(recipe.labels.keeps_all for recipe in NAMED.values())
    for asked in ({"least_confidence": 1}, {"least_agreement": 0.5}, {"leave_out": ["sentinel"]}):
        assert not Recipe.from_dict({"name": "mine", "labels": asked}).labels.keeps_all


def test_kinds_left_out_are_kept_in_one_order_and_once() -> None:
    one, two = (
        Recipe.from_dict({"name": "mine", "labels": {"leave_out": kinds}})
        for kinds in (["sentinel", "shared", "sentinel"], ["shared", "sentinel"])
    )
    assert one.labels.leave_out == ("shared", "sentinel") and one.digest() == two.digest()
    assert one.to_dict()["labels"]["leave_out"] == ["shared", "sentinel"]
    assert Recipe.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_a_recipe_stored_before_it_could_leave_anything_out_keeps_all() -> None:
    stored = NAMED["paper"].to_dict()
    del stored["labels"]
    assert Recipe.from_dict(stored) == NAMED["paper"]


def test_a_recipe_stored_before_there_were_more_kinds_of_pairs_means_what_it_meant() -> None:
    stored = {"pairs": 64, "reference_share": 1.0, "held_out_share": 0.25, "opinions": 1}
    found = Recipe.from_dict({"name": "mine", "pairing": stored}).pairing
    assert (found.initial_share, found.best_of_share, found.choose_from) == (0, 0, 1)


def test_shares_that_add_up_to_1_but_for_rounding_are_no_refusal() -> None:
    assert 0.33 + 0.56 + 0.11 > 1
    assert PairingRecipe(reference_share=0.33, initial_share=0.56, best_of_share=0.11).best_of_share == 0.11


def test_recipes_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        NAMED["tiny"].ppo.clip = 0.3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ppo": {"clip": -1}}, "ppo.clip is -1: allowed is a number above 0 and at most 1"),
        ({"ppo": {"clip": "0.2"}}, "ppo.clip is '0.2': allowed is a number"),
        ({"ppo": {"clip": None}}, "ppo.clip is None: allowed is a number"),
        ({"ppo": {"clip": True}}, "ppo.clip is True: allowed is a number"),
        ({"ppo": {"clip": math.nan}}, "ppo.clip is nan: allowed is a number"),
        ({"ppo": {"kl_coefficient": math.inf}}, "ppo.kl_coefficient is inf: allowed is a number"),
        ({"ppo": {"klip": 1}}, "ppo.klip is 1: allowed are only the fields episodes, batch"),
        ({"ppo": {"whiten_rewards": 1}}, "ppo.whiten_rewards is 1: allowed is true or false"),
        ({"ppo": {"start_from": "base"}}, "ppo.start_from is 'base': allowed is sft or current"),
        (
            {"ppo": {"episodes": 100, "batch": 64, "micro_batch": 8}},
            "ppo.episodes is 100: allowed is a multiple of ppo.batch",
        ),
        (
            {"ppo": {"episodes": 64, "batch": 64, "minibatches": 3}},
            "ppo.batch is 64: allowed is a multiple of ppo.minibatches",
        ),
        (
            {"ppo": {"episodes": 64, "batch": 64, "minibatches": 8, "micro_batch": 16}},
            "ppo.micro_batch is 16: allowed is a divisor of ppo.batch / ppo.minibatches, which is 8",
        ),
        (
            {"ppo": {"episodes": 64, "batch": 64, "samples_per_query": 3}},
            "ppo.samples_per_query is 3: allowed is a divisor of ppo.batch / ppo.minibatches, which is 64",
        ),
        (
            {"ppo": {"advantage": "rloo"}},
            "ppo.samples_per_query is 1: allowed is at least 2 with ppo.advantage rloo",
        ),
        (
            {"ppo": {"advantage": "rloo", "samples_per_query": 4, "gamma": 0.9}},
            "ppo.gamma is 0.9: allowed is 1 with ppo.advantage rloo",
        ),
        (
            {"ppo": {"advantage": "rloo", "samples_per_query": 4, "value_lora_rank": 2}},
            "ppo.value_lora_rank is 2: allowed is 0 with ppo.advantage rloo, which has no value network",
        ),
        (
            {"ppo": {"lora_merge": False}},
            "ppo.lora_merge is False: allowed is true while ppo.lora_rank and ppo.value_lora_rank are 0",
        ),
        ({"reward": {"lora_merge": False}}, "reward.lora_merge is False: allowed is true while reward.lora_rank is 0"),
        ({"ppo": {"stop_kl": 0}}, "ppo.stop_kl is 0: allowed is a number above 0 and at most 10000 or null"),
        ({"ppo": {"advantage": "grpo"}}, "ppo.advantage is 'grpo': allowed is gae or rloo"),
        (
            {"sft": {"batch": 10, "micro_batch": 4}},
            "sft.batch is 10: allowed is a multiple of sft.micro_batch, which is 4",
        ),
        (
            {"reward": {"batch": 10, "micro_batch": 4}},
            "reward.batch is 10: allowed is a multiple of reward.micro_batch",
        ),
        (
            {"sft": {"documents": 1.5}},
            "sft.documents is 1.5: allowed is a whole number at least 1 and at most 100000000 or null",
        ),
        (
            {"sft": {"documents": 0}},
            "sft.documents is 0: allowed is a whole number at least 1 and at most 100000000 or null",
        ),
        ({"sft": 3}, "sft is 3: allowed is an object with the fields documents"),
        (
            {"labels": {"leave_out": ["gold"]}},
            "labels.leave_out is ['gold']: allowed is a list of any of ordinary, shared, sentinel, calibration",
        ),
        ({"labels": {"leave_out": "sentinel"}}, "labels.leave_out is 'sentinel': allowed is a list of any of ordinary"),
        ({"labels": {"leave_out": [["shared"]]}}, "labels.leave_out is [['shared']]: allowed is a list of any of"),
        ({"labels": {"leave_out": None}}, "labels.leave_out is None: allowed is a list of any of"),
        ({"labels": {"least_confidence": 5}}, "labels.least_confidence is 5: allowed is a whole number at least 0"),
        ({"labels": {"least_agreement": 1.5}}, "labels.least_agreement is 1.5: allowed is a number at least 0"),
        (
            {"pairing": {"reference_share": 0.6, "best_of_share": 0.5}},
            "pairing.reference_share is 0.6: allowed is at most 1 together with pairing.initial_share, which is 0, and "
            "pairing.best_of_share, which is 0.5",
        ),
        (
            {"pairing": {"best_of_share": 0.1}, "sampling": {"temperature": 0}},
            "pairing.best_of_share is 0.1: allowed is 0 while sampling.temperature is 0",
        ),
        ({"pairing": {"control_share": 0}}, "pairing.control_share is 0: allowed is a number above 0 and at most 1"),
        ({"pairing": {"choose_from": 0}}, "pairing.choose_from is 0: allowed is a whole number at least 1"),
        ({"sampling": {"top_p": 0}}, "sampling.top_p is 0: allowed is a number above 0 and at most 1"),
        ({"precision": "fp16"}, "precision is 'fp16': allowed is auto or fp32 or bf16"),
        ({"seed": -1}, "seed is -1: allowed is a whole number at least 0"),
        ({"name": " "}, "name is ' ': allowed is a text of 1 to 60 visible characters"),
        ({"name": "a\0b"}, r"name is 'a\x00b': allowed is a text of 1 to 60 visible characters"),
        ({"name": "half \ud83d"}, r"name is 'half \ud83d': allowed is a text of 1 to 60 visible characters"),
        ({"ppo": {"half \ud83d": 1}}, r"ppo.half \ud83d is 1: allowed are only the fields episodes"),
        ({"half \ud83d": 1}, r"half \ud83d is 1: allowed are only the fields name"),
        ({"ppo": {"clip": 10**400}}, "ppo.clip is 1000"),
        ({"ppo": {"clip": -(10**400)}}, "ppo.clip is -1000"),
        ({"ppo": {"episodes": 10**400}}, "ppo.episodes is 1000"),
        ({"seed": 10**400}, "seed is 1000"),
        ({"sft": [[[[[[[[[[1]]]]]]]]]] * 1000}, "sft is [[[[[["),
        ({"learning": 1}, "learning is 1: allowed are only the fields name, precision"),
    ],
)
def test_refusals_name_field_value_and_what_is_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        Recipe.from_dict({"name": "mine", **values})
    assert str(refused.value).startswith(message)


def test_a_recipe_needs_a_name_and_an_object() -> None:
    with pytest.raises(InvalidRecipe, match="name is missing"):
        Recipe.from_dict({})
    with pytest.raises(InvalidRecipe, match="allowed is an object"):
        Recipe.from_dict([])


def test_what_is_left_out_takes_the_papers_value() -> None:
    recipe = Recipe.from_dict({"name": "mine", "ppo": {"clip": 0.1}, "sft": {"documents": None}})
    assert recipe.ppo == replace(PpoRecipe(), clip=0.1) and recipe.reward == RewardRecipe()


def test_derived_counts() -> None:
    ppo = PpoRecipe(episodes=96, batch=32, minibatches=2, micro_batch=4)
    assert (ppo.minibatch, ppo.rollouts, ppo.queries) == (16, 3, 32)
    assert PpoRecipe(episodes=96, batch=32, samples_per_query=4).queries == 8
    assert PairingRecipe(pairs=64, held_out_share=0.25).held_out_pairs() == 16


def test_scaling_grows_counts_in_whole_batches_and_never_shrinks() -> None:
    demo = NAMED["demo"]
    assert replace(scaled(demo, 0.1), name="demo") == demo
    day = scaled(demo, 24)
    assert day.pairing.pairs > 10 * demo.pairing.pairs and day.ppo.episodes % day.ppo.batch == 0
    assert day.sft.learning_rate == demo.sft.learning_rate and day.name == "demo-24h"
    assert scaled(NAMED["paper"], 24).sft.documents is None
    for hours in (0, -1, math.nan, 1e6):
        with pytest.raises(InvalidRecipe, match="hours is"):
            scaled(demo, hours)


def test_every_number_has_limits_and_every_recipe_keeps_them() -> None:
    for part in (*PARTS, Recipe):
        for each in fields(part):
            about = each.metadata.get("about")
            if about is None or about.choices:
                continue
            assert about.high is not None and about.high <= 2**31 - 1, (part, each.name)
            assert about.low is not None or about.above is not None, (part, each.name)


@pytest.mark.parametrize(("section", "name"), [(part.section, each.name) for part in PARTS for each in fields(part)])
def test_no_value_breaks_a_recipe_otherwise_than_by_a_short_refusal(section: str, name: str) -> None:
    values: list[object] = [10**400, -(10**400), 1e308, -1e308, "9" * 400, {}, [[]] * 100]
    # No kinds at all is what a recipe leaves out by default.
    values += [] if name == "leave_out" else [[]]
    for value in values:
        with pytest.raises(InvalidRecipe) as refused:
            Recipe.from_dict({"name": "mine", section: {name: value}})
        assert str(refused.value).startswith(f"{section}.{name} is ")
        assert len(str(refused.value)) < 400

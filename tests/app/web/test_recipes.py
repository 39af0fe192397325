"""Recipes come in as JSON, and what is wrong with one is said in a sentence."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.services import rounds
from tests.app.web.conftest import Front
from tests.conftest import Work


def test_a_recipe_is_saved_under_its_name(front: Front, admin: TestClient, work: Work) -> None:
    made = front.program(admin).post("/api/recipes", json={"name": "mine", "ppo": {"clip": 0.1}})
    assert made.status_code == 201
    with work() as session:
        row, recipe = rounds.recipe(session, made.json()["id"])
        assert (row.name, recipe.ppo.clip) == ("mine", 0.1)


@pytest.mark.parametrize(
    "recipe",
    [
        {"name": "a\0b"},
        {"name": "half \ud83d"},
        {"name": "mine", "half \ud83d": 1},
        {"name": "mine", "ppo": {"half \ud83d": 1}},
        {"name": "mine", "ppo": {"half\0": 1}},
        {"name": "mine", "precision": "half \ud83d"},
        {"name": "mine", "seed": 10**400},
        {"name": "mine", "ppo": {"episodes": 10**400}},
        {"name": "mine", "ppo": {"episodes": 2**62}},
        {"name": "mine", "ppo": {"clip": 10**400}},
        {"name": "mine", "sft": [[[[[[[[]]]]]]]]},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(front: Front, admin: TestClient, recipe: dict[str, Any]) -> None:
    body = json.dumps(recipe)
    got = front.program(admin).post("/api/recipes", content=body, headers={"content-type": "application/json"})
    assert got.status_code == 422, got.text
    assert got.json().keys() == {"error", "what_to_do"}

"""Recipes come in as JSON or by a form, and what is wrong with one is said in a sentence, beside the field."""

import html
import json
import re
from dataclasses import fields
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.recipes import NAMED, Recipe
from app.services import rounds
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories as make
from tests.support import pretended


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


def recipe_id(work: Work, name: str = "tiny") -> int:
    """The newest version of a recipe."""
    with work() as session:
        return next(row.id for row in rounds.recipes(session) if row.name == name)


def newest(work: Work, name: str) -> tuple[int, Recipe]:
    """The version and the content of the newest recipe of this name."""
    with work() as session:
        row, recipe = rounds.recipe(session, next(row.id for row in rounds.recipes(session) if row.name == name))
        return row.version, recipe


def as_shown(page: str) -> dict[str, list[str]]:
    """What a browser would send if nothing were changed."""
    form = page.split('<form class="stack recipe-form"')[1].split("</form>")[0]
    sent: dict[str, list[str]] = {}
    for name, chosen in re.findall(
        r'<select id="[^"]+" name="([^"]+)".*?<option value="([^"]+)" selected', form, re.DOTALL
    ):
        sent[name] = [chosen]
    for tag in re.findall(r"<input[^>]+>", form):
        name, value = (re.search(rf' {each}="([^"]*)"', tag) for each in ("name", "value"))
        assert name is not None and value is not None, tag
        if 'type="checkbox"' not in tag or " checked" in tag:
            sent.setdefault(name[1], []).append(html.unescape(value[1]))
    return sent


def errors(page: str) -> dict[str, str]:
    """The sentence beside each field that was refused."""
    return {path: html.unescape(said) for path, said in re.findall(r'id="field-([\w.]+)-error">([^<]+)<', page)}


@pytest.mark.parametrize("name", NAMED)
def test_a_copy_that_nobody_changed_is_the_same_recipe(work: Work, admin: TestClient, name: str) -> None:
    where = f"/rounds/recipes/{recipe_id(work, name)}/edit"
    sent = as_shown(admin.get(where).text)
    answer = admin.post(where, data=sent)
    assert answer.status_code == 303, errors(answer.text)
    version, recipe = newest(work, name)
    assert (version, recipe) == (2, NAMED[name])


def test_every_field_is_in_the_form_with_its_explanation(work: Work, admin: TestClient) -> None:
    page = admin.get(f"/rounds/recipes/{recipe_id(work)}/edit").text
    said = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))
    tiny = NAMED["tiny"]
    for part in fields(tiny):
        held = getattr(tiny, part.name)
        for each in fields(held) if hasattr(held, "section") else ():
            assert re.search(rf' (id|name)="(field-)?{part.name}\.{each.name}"', page), (part.name, each.name)
            assert each.metadata["doc"].replace("`", "").replace("null", "empty") in said, each.name
    assert errors(page) == {}


def test_what_is_changed_is_saved_and_past_rounds_keep_theirs(work: Work, admin: TestClient) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session), "tiny")
    where = f"/rounds/recipes/{recipe_id(work)}/edit"
    sent = as_shown(admin.get(where).text) | {
        "name": ["  my   own "],
        "seed": ["7"],
        "precision": ["bf16"],
        "ppo.clip": ["0,3"],
        "ppo.whiten_rewards": ["true"],
        "sft.documents": [""],
        "labels.leave_out": ["gold-less", "sentinel"][1:],
        "promotion.by": ["hand"],
    }
    answer = admin.post(where, data=sent)
    assert answer.status_code == 303, errors(answer.text)
    version, recipe = newest(work, "my own")
    assert version == 1
    assert (recipe.seed, recipe.precision, recipe.ppo.clip, recipe.ppo.whiten_rewards) == (7, "bf16", 0.3, True)
    assert (recipe.sft.documents, recipe.labels.leave_out, recipe.promotion.by) == (None, ("sentinel",), "hand")
    assert "my own, version 1, is saved." in admin.get(answer.headers["location"]).text
    with work() as session:
        assert rounds.view(session, number).recipe == NAMED["tiny"]
    assert newest(work, "tiny") == (1, NAMED["tiny"])


def test_errors_stand_beside_their_fields_and_everything_typed_is_kept(work: Work, admin: TestClient) -> None:
    where = f"/rounds/recipes/{recipe_id(work)}/edit"
    sent = as_shown(admin.get(where).text) | {
        "name": ["<b>" + "x" * 70],
        "seed": ["many"],
        "ppo.clip": ["-1"],
        "sampling.temperature": [""],
        "sft.epochs": ["1.5"],
        "labels.leave_out": ["shared", "sentinel"],
        "evaluation.documents": ["77"],
    }
    answer = admin.post(where, data=sent)
    assert answer.status_code == 422
    said = errors(answer.text)
    assert said.keys() == {"name", "seed", "ppo.clip", "sampling.temperature", "sft.epochs"}
    assert said["ppo.clip"] == "ppo.clip: allowed is a number above 0 and at most 1."
    assert said["seed"].startswith("seed: allowed is a whole number at least 0")
    assert 'href="#field-ppo.clip"' in answer.text and 'role="alert"' in answer.text
    kept = as_shown(answer.text)
    assert {path: kept[path] for path in sent if path in kept and path != "name"} == {
        path: values for path, values in sent.items() if path in kept and path != "name"
    }
    assert kept["name"] == sent["name"]
    with work() as session:
        assert len(rounds.recipes(session)) == len(NAMED)


def test_numbers_that_do_not_divide_are_told_at_their_field(work: Work, admin: TestClient) -> None:
    where = f"/rounds/recipes/{recipe_id(work)}/edit"
    sent = as_shown(admin.get(where).text) | {"sft.micro_batch": ["3"], "ppo.episodes": ["17"]}
    said = errors(admin.post(where, data=sent).text)
    assert said["sft.batch"].startswith("sft.batch: allowed is a multiple of sft.micro_batch")
    assert said["ppo.episodes"].startswith("ppo.episodes: allowed is a multiple of ppo.batch")


def test_nothing_ticked_is_nothing_left_out(work: Work, admin: TestClient) -> None:
    where = f"/rounds/recipes/{recipe_id(work)}/edit"
    sent = as_shown(admin.get(where).text) | {"labels.leave_out": ["shared"], "name": ["one"]}
    made = admin.post(where, data=sent).headers["location"]
    again = as_shown(admin.get(f"{made}/edit").text)
    assert again["labels.leave_out"] == ["shared"]
    del again["labels.leave_out"]
    refused = admin.post(f"{made}/edit", data=again | {"seed": ["x"]})
    assert "labels.leave_out" not in as_shown(refused.text), "what was unticked stays so"
    admin.post(f"{made}/edit", data=again)
    assert newest(work, "one")[1].labels.leave_out == ()


def test_a_form_without_fields_is_refused_in_sentences(work: Work, admin: TestClient) -> None:
    answer = admin.post(f"/rounds/recipes/{recipe_id(work)}/edit", data={"unknown": "x"})
    assert answer.status_code == 422
    assert "name" in errors(answer.text) and "ppo.clip" in errors(answer.text)
    file = {"name": ("x.txt", b"x", "text/plain")}
    assert admin.post(f"/rounds/recipes/{recipe_id(work)}/edit", files=file).status_code in (400, 422)


def test_only_admins_change_recipes(work: Work, researcher: TestClient, labeler: TestClient) -> None:
    where = f"/rounds/recipes/{recipe_id(work)}"
    for client in (researcher, labeler):
        assert client.get(f"{where}/edit").status_code == 403
        assert client.post(f"{where}/edit", data={"name": "x"}).status_code == 403
    assert "Change a copy" not in researcher.get(where).text


def test_a_recipe_says_which_pairs_it_puts_up(admin: TestClient, work: Work) -> None:
    told = html.unescape(admin.get(f"/rounds/recipes/{recipe_id(work, 'paper')}").text)
    assert (
        "Puts up 8,192 pairs, about 3,572 of them against the reference, 336 against the initial policy, 884 against "
        "the best of 8; 410 are held out for reward accuracy. Each asks 1 opinion."
    ) in re.sub(r"\s+", " ", told)
    with work() as session:
        values = NAMED["tiny"].to_dict() | {"name": "choosing"}
        values["pairing"] |= {"choose_from": 4, "control_share": 0.25}
        rounds.add_recipe(session, make.admin(session), Recipe.from_dict(values))
    told = admin.get(f"/rounds/recipes/{recipe_id(work, 'choosing')}").text
    assert "The others are chosen from 4 times as many, 25% at random." in re.sub(r"\s+", " ", told)

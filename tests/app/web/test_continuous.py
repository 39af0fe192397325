"""Continuous mode on the pages and for programs: on and off by an admin, what it does, and why it is off."""

import re
from dataclasses import replace

from starlette.testclient import TestClient

from app.domain.recipes import TINY, ContinuousRecipe
from app.domain.words import Split, Stage
from app.services import continuous, rounds, runs
from tests.app.web.conftest import Front
from tests.app.web.test_rounds import recipe_id, text_of
from tests.conftest import Work
from tests.support import factories, pretended

RULE = ContinuousRecipe(least_open=20, pairs=32, launch_after=512, most_opinions=1000, most_rounds=3)


def recipe(work: Work, rule: ContinuousRecipe = RULE) -> int:
    """Documents, and the id of a recipe with this rule."""
    with work() as session:
        factories.reference_document(session)
        factories.reference_document(session, split=Split.VALIDATION)
        boss = pretended.boss(session)
        return rounds.add_recipe(session, boss, replace(TINY, name="mine", continuous=rule))


def fine_tuned(work: Work) -> None:
    """An earlier round, which left a fine-tuned policy."""
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        claim = pretended.take(session, number)
        assert claim.stage is Stage.SFT
        run = runs.hold(session, claim)
        factories.trained_checkpoint(session, run, factories.base_checkpoint(session))
        pretended.succeed(session, claim)
        rounds.cancel(session, pretended.boss(session), number)


def after(browser: TestClient, path: str, **form: object) -> str:
    """What the page says after the button."""
    answer = browser.post(path, data=form)
    assert answer.status_code == 303, answer.text
    return text_of(browser.get(answer.headers["location"].split("#")[0]).text)


def meters(html: str) -> dict[str, str]:
    """The bars of the page and what they say."""
    return dict(re.findall(r'<progress [^>]*aria-label="([^"]+)" aria-valuetext="([^"]+)"', html))


def test_an_admin_turns_it_on_sees_what_it_does_and_turns_it_off(work: Work, admin: TestClient) -> None:
    chosen = recipe(work)
    fine_tuned(work)
    off = text_of(admin.get("/rounds").text)
    assert "Continuous mode off" in off
    assert "Samples 32 pairs when fewer than 20 opinions are still needed, and launches a round after 512 new" in off
    with work() as session:
        factories.pairs(session, 47)
        judge = factories.labeler(session)
        for showing in factories.hold(session, judge, 3):
            factories.say(session, judge, showing)
    said = after(admin, "/rounds/continuous", recipe=chosen)
    assert "Continuous mode is on." in said and "Continuous mode on" in said
    assert "Samples 32 pairs when fewer than 20 opinions are still needed: 44 needed now." in said
    assert "The next round begins at 512 new preferences: 3 of 512 are there." in said
    assert "Turned on by admin" in said and "mine, version 1" in said
    assert meters(admin.get("/rounds").text) == {
        "New preferences for the next round": "3 of 512",
        "Budget: opinions asked for": "44 of 1,000",
        "Budget: rounds launched": "0 of 3",
    }
    assert 'action="/rounds/continuous"' not in admin.get("/rounds").text
    overview = text_of(admin.get("/overview").text)
    assert "Continuous mode is on, 0 of 3 rounds launched." in overview
    assert "44 needed now. The next round begins at 512 new preferences: 3 of 512 are there." in overview
    said = after(admin, "/rounds/continuous/off")
    assert "Continuous mode is off. What was asked for goes on." in said
    assert "Turned off by admin." in said
    assert "Continuous mode" not in text_of(admin.get("/overview").text)
    assert "Continuous mode is off already." in after(admin, "/rounds/continuous/off")


def test_the_page_follows_what_it_does(work: Work, admin: TestClient) -> None:
    after(admin, "/rounds/continuous", recipe=recipe(work))
    assert "The first round is about to be launched" in text_of(admin.get("/rounds").text)
    with work() as session:
        assert continuous.look_around(session) == 1
    assert "Launched by continuous mode" in text_of(admin.get("/rounds/1").text)
    said = text_of(admin.get("/rounds").text)
    assert "Pairs are being sampled; 0 opinions needed meanwhile." in said
    assert "When the round in progress is over, the next one begins at 512 new preferences" in said
    with work() as session:
        rounds.pause(session, pretended.boss(session), 1)
    assert "The round in progress is paused." in text_of(admin.get("/rounds").text)
    assert "The round in progress is paused." in text_of(admin.get("/overview").text)
    with work() as session:
        rounds.resume(session, pretended.boss(session), 1)
        rounds.pause(session, None, 1, "60 nats & <b>more</b>.")
    assert "It is about to stop. Round 1 is paused. 60 nats &amp; &lt;b&gt;more&lt;/b&gt;." in admin.get("/rounds").text
    with work() as session:
        assert continuous.look_around(session) == 1
    for path in ("/rounds", "/overview"):
        said = admin.get(path).text
        assert "Round 1 is paused. 60 nats &amp; &lt;b&gt;more&lt;/b&gt;." in said, path
        assert "stopped by itself" in text_of(said), path


def test_what_cannot_work_is_refused_and_the_choice_is_kept(work: Work, admin: TestClient) -> None:
    tiny = recipe_id(work)
    answer = admin.post("/rounds/continuous", data={"recipe": tiny, "with_simulated": "yes"})
    assert answer.status_code == 409
    assert "There are no training documents yet." in answer.text
    form = answer.text.split('action="/rounds/continuous"')[1].split("</form>")[0]
    assert re.search(rf'value="{tiny}" checked', form)
    assert re.search(r'name="with_simulated"[^>]* checked', form)
    small = recipe(work, replace(RULE, launch_after=1, most_opinions=11))
    answer = admin.post("/rounds/continuous", data={"recipe": small})
    assert answer.status_code == 422
    assert "The first round asks for 12 opinions" in answer.text
    for form_sent in ({}, {"recipe": "999"}):
        assert admin.post("/rounds/continuous", data=form_sent).status_code == 422
    assert admin.get("/api/continuous").json()["on"] is False


def test_researchers_see_it_and_do_not_touch_it(work: Work, admin: TestClient, researcher: TestClient) -> None:
    chosen = recipe(work)
    assert "Continuous mode off" in text_of(researcher.get("/rounds").text)
    assert "/rounds/continuous" not in researcher.get("/rounds").text
    after(admin, "/rounds/continuous", recipe=chosen)
    assert "Budget: rounds launched" in researcher.get("/rounds").text
    assert "/rounds/continuous" not in researcher.get("/rounds").text
    for path in ("/rounds/continuous", "/rounds/continuous/off"):
        assert researcher.post(path, data={"recipe": chosen}).status_code == 403


def test_programs_turn_it_on_and_off(front: Front, work: Work, admin: TestClient) -> None:
    recipe(work)
    program = front.program(admin)
    assert program.get("/api/continuous").json() == dict.fromkeys(program.get("/api/continuous").json()) | {"on": False}
    told = program.post("/api/continuous", json={"recipe": "mine", "with_simulated": True})
    assert told.status_code == 201
    assert (told.json()["on"], told.json()["recipe"], told.json()["with_simulated"]) == (True, "mine", True)
    assert [told.json()[count] for count in ("open", "asked", "new", "rounds")] == [0, 0, 0, 0]
    again = program.post("/api/continuous", json={"recipe": "mine"})
    assert (again.status_code, again.json()["error"]) == (409, "Continuous mode is on already.")
    off = program.post("/api/continuous/off").json()
    assert (off["on"], off["end_words"]) == (False, "Turned off by admin.")
    assert program.post("/api/continuous/off").status_code == 409

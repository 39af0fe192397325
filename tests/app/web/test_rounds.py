"""Rounds in the browser and for programs: launch, watch, cancel, go on, and read what came out."""

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain import intervals
from app.domain.recipes import DEMO, NAMED, Recipe
from app.domain.words import RoundState, RunState, Split, Stage, Trouble
from app.services import rounds, runs
from app.web import contexts, curves, telling
from app.web.rendering import Site, environment
from tests.app.web.conftest import Front
from tests.conftest import Work
from tests.support import factories, pretended


def recipe_id(work: Work, name: str = "tiny") -> int:
    """The id of a named recipe."""
    with work() as session:
        return next(row.id for row in rounds.recipes(session) if row.name == name)


def launch(work: Work, recipe: str = "tiny") -> int:
    """A round that has just begun."""
    with work() as session:
        return pretended.launch(session, pretended.boss(session), recipe)


def to_labeling(work: Work, number: int, pairs: int = 2) -> None:
    """Carry the round on until it waits for people."""
    with work() as session:
        pretended.carry_out(session, number, Stage.SFT)
    with work() as session:
        claim = pretended.take(session, number)
        factories.pairs(session, pairs, round_id=claim.round_id, name=f"round {number}")
        pretended.succeed(session, claim)


def to_the_end(work: Work, number: int) -> None:
    """Carry the round out, people's part included."""
    to_labeling(work, number)
    with work() as session:
        factories.judge_all(session, factories.labeler(session))
    with work() as session:
        pretended.carry_out(session, number, Stage.REWARD, Stage.PPO, Stage.EVALUATE, Stage.SAMPLE)


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# Who may


def test_labelers_see_nothing_of_rounds(work: Work, labeler: TestClient) -> None:
    launch(work)
    for path in ("/rounds", "/rounds/1", "/rounds/recipes/1", "/rounds/1/events", "/api/rounds/1"):
        assert labeler.get(path).status_code == 403, path


def test_researchers_look_and_do_not_touch(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    assert 'id="launch"' not in researcher.get("/rounds").text
    assert "Cancel the round" not in researcher.get(f"/rounds/{number}").text
    for path in ("/rounds", f"/rounds/{number}/cancel", f"/rounds/{number}/finish-labeling"):
        assert researcher.post(path, data={"recipe": "1"}).status_code == 403, path
    assert researcher.get(f"/api/rounds/{number}").json()["state"] == "active"
    assert researcher.post("/api/rounds", json={"recipe": "tiny"}).status_code == 403
    assert researcher.post(f"/api/rounds/{number}/cancel").status_code == 403


def test_strangers_are_asked_to_sign_in(nobody: TestClient) -> None:
    answer = nobody.get("/rounds/3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/rounds/3")


# Launching


def test_the_launch_form_says_what_will_happen(work: Work, admin: TestClient) -> None:
    with work() as session:
        for _ in range(3):
            factories.reference_document(session)
        factories.pairs(session, 2, name="waiting")
        factories.pairs(session, 1, name="imported", reason="import")
    said = text_of(admin.get("/rounds").text)
    assert "Launch the first round" in said
    assert "The base model is fine-tuned" in said
    assert "What waits already (2 pairs) is taken in" in said
    assert "6 for training, 0 for validation" in said
    assert "12 pairs to judge, 16 episodes of PPO, fine-tuning on 48 references, fp32." in said
    checked = re.findall(r'<input id="recipe-(\d+)"[^>]* checked', admin.get("/rounds").text)
    assert checked == [str(recipe_id(work, "demo"))]
    chosen = recipe_id(work, "small")
    assert re.findall(r'<input id="recipe-(\d+)"[^>]* checked', admin.get(f"/rounds?recipe={chosen}").text) == [
        str(chosen)
    ]


def test_a_form_launches_a_round(work: Work, admin: TestClient) -> None:
    with work() as session:
        factories.reference_document(session)
        factories.reference_document(session, split=Split.VALIDATION)
    answer = admin.post("/rounds", data={"recipe": recipe_id(work), "with_simulated": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/rounds/1")
    shown = text_of(admin.get("/rounds/1").text)
    assert "Round 1 is launched." in shown
    assert "Simulated labelers count too" in shown
    listed = text_of(admin.get("/rounds").text)
    assert "Round 1 is still going on." in listed
    assert "in progress" in listed and "Fine-tuning" in listed


def test_the_form_says_what_the_chosen_recipe_would_do(work: Work, admin: TestClient) -> None:
    with work() as session:
        for _ in range(3):
            factories.reference_document(session)
    chosen = recipe_id(work)
    said = text_of(admin.get(f"/rounds?recipe={chosen}").text)
    assert "This cannot work yet. No validation document has a reference summary" in said
    with work() as session:
        factories.reference_document(session, split=Split.VALIDATION)
    said = text_of(admin.get(f"/rounds?recipe={chosen}").text)
    assert "What a round with the recipe tiny would do" in said
    assert "This cannot work yet." not in said
    assert "Fine-tuning 3 reference summaries" in said
    assert "Judging 12 opinions – as long as people take" in said
    assert "PPO 16 episodes" in said
    assert "Time in all not known: some stages have no measurement yet" in said
    assert "Disk not known before a model is prepared" in said
    assert "What a round with the recipe demo would do" in text_of(admin.get("/rounds").text)
    refused = admin.get("/rounds?recipe=999999").text
    assert 'id="table-forecast"' not in refused


def test_without_documents_nothing_is_launched_and_the_page_says_so(work: Work, admin: TestClient) -> None:
    assert "There are no training documents yet." in admin.get("/rounds").text
    with work() as session:
        factories.document(session)
    chosen = recipe_id(work)
    answer = admin.post("/rounds", data={"recipe": chosen, "with_simulated": "yes"})
    assert answer.status_code == 409
    assert "There are no training documents with a reference summary." in answer.text
    assert re.search(rf'id="recipe-{chosen}"[^>]* checked', answer.text), "what was chosen is kept"
    assert re.search(r'name="with_simulated"[^>]* checked', answer.text)


def test_a_launch_needs_a_recipe_that_is_there(work: Work, admin: TestClient) -> None:
    with work() as session:
        factories.reference_document(session)
    for form in ({}, {"recipe": "999"}):
        answer = admin.post("/rounds", data=form)
        assert answer.status_code == 422
        assert "Launch the first round" in answer.text


def test_one_round_at_a_time(work: Work, admin: TestClient) -> None:
    launch(work)
    answer = admin.post("/rounds", data={"recipe": recipe_id(work)})
    assert answer.status_code == 409
    assert "Round 1 is still going on." in answer.text


# For programs


def test_programs_launch_watch_and_cancel(front: Front, work: Work, admin: TestClient) -> None:
    program = front.program(admin)
    with work() as session:
        factories.reference_document(session)
        factories.reference_document(session, split=Split.VALIDATION)
    assert program.post("/api/rounds", json={"recipe": "tiny", "with_simulated": True}).json() == {"number": 1}
    told = program.get("/api/rounds/1").json()
    assert (told["number"], told["state"], told["recipe"], told["with_simulated"]) == (1, "active", "tiny", True)
    assert [run["stage"] for run in told["runs"]] == ["sft", "sample", "label", "reward", "ppo", "evaluate", "sample"]
    assert [run["state"] for run in told["runs"]][:2] == ["queued", "pending"]
    busy = program.post("/api/rounds", json={"recipe": "tiny"})
    assert (busy.status_code, busy.json()["error"]) == (409, "Round 1 is still going on.")
    assert program.post("/api/rounds/1/cancel").json() == {"state": "cancelled"}
    assert program.post("/api/rounds/1/cancel").status_code == 409
    again = program.post("/api/rounds", json={"recipe": recipe_id(work)})
    assert (again.status_code, again.json()) == (201, {"number": 2})


def test_programs_are_told_what_is_wrong(front: Front, work: Work, admin: TestClient) -> None:
    with work() as session:
        factories.reference_document(session)
    program = front.program(admin)
    for wanted, status in (("no such", 404), (999, 404), (True, 422), (None, 422), (10**12, 422), ("x" * 61, 422)):
        answer = program.post("/api/rounds", json={"recipe": wanted})
        assert answer.status_code == status, wanted
        assert answer.json()["error"]


def test_the_whole_round_as_json(front: Front, work: Work, admin: TestClient) -> None:
    number = launch(work)
    to_the_end(work, number)
    told = front.program(admin).get(f"/api/rounds/{number}").json()
    assert told["state"] == "succeeded" and told["ended_at"]
    by_stage = {run["stage"]: run for run in told["runs"][:-1]}
    assert by_stage["label"]["result"]["judged"] == 2
    assert by_stage["reward"]["result"]["accuracy"]["n"] == 16
    assert all(run["seconds"] is not None and run["problem"] is None for run in told["runs"])


# One round


def test_what_is_not_there(admin: TestClient) -> None:
    for path in ("/rounds/7", "/api/rounds/7", "/rounds/recipes/99"):
        assert admin.get(path).status_code == 404, path
    assert admin.post("/rounds/7/cancel").status_code == 404


def test_a_round_waits_for_labelers_and_can_go_on_without_the_rest(work: Work, admin: TestClient) -> None:
    number = launch(work)
    to_labeling(work, number, pairs=3)
    waiting = admin.get(f"/rounds/{number}").text
    assert "0 of 3 opinions given" in waiting
    assert 'href="/batches"' in waiting
    assert "Go on with what is judged" not in waiting
    refused = admin.post(f"/rounds/{number}/finish-labeling")
    assert refused.status_code == 303
    assert "Nothing has been judged that counts." in admin.get(refused.headers["location"]).text
    with work() as session:
        person = factories.labeler(session)
        factories.say(session, person, factories.hold(session, person)[0])
    assert "1 of 3" in text_of(admin.get("/rounds").text)
    assert "Go on with what is judged" in admin.get(f"/rounds/{number}").text
    admin.post(f"/rounds/{number}/finish-labeling")
    went_on = text_of(admin.get(f"/rounds/{number}").text)
    assert "2 opinions are no longer asked for." in went_on
    with work() as session:
        assert rounds.view(session, number).runs[3].state is RunState.QUEUED


def test_a_cancelled_round(work: Work, admin: TestClient) -> None:
    number = launch(work)
    with work() as session:
        claim = pretended.take(session, number)
    assert admin.post(f"/rounds/{number}/cancel").headers["location"] == f"/rounds/{number}"
    leaving = text_of(admin.get(f"/rounds/{number}").text)
    assert "Round 1 is cancelled. What was judged stays." in leaving
    assert "being cancelled" in leaving
    assert 'data-live="yes"' in admin.get(f"/rounds/{number}").text, "the worker is still on its way out"
    with work() as session:
        rounds.stopped(session, claim)
    over = admin.get(f"/rounds/{number}").text
    assert "being cancelled" not in over
    assert 'data-live="no"' in over
    admin.post(f"/rounds/{number}/cancel")
    assert "Round 1 is over already." in admin.get(f"/rounds/{number}").text


def test_a_failed_round_says_why_on_top(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    with work() as session:
        claim = pretended.take(session, number)
        pretended.measure(session, claim, range(2))
        rounds.fail(
            session,
            claim,
            Trouble.LASTING,
            "The disk is full. Make room & run it again.",
            'File "x.py"\n<script>boom()</script>',
        )
    html = researcher.get(f"/rounds/{number}").text
    assert html.index("The disk is full. Make room &amp; run it again.") < html.index("Stages")
    assert "&lt;script&gt;boom()" in html and "<script>boom" not in html
    assert "failed" in text_of(researcher.get("/rounds").text)


def test_the_results_of_a_round(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    to_the_end(work, number)
    html = researcher.get(f"/rounds/{number}").text
    said = text_of(html)
    assert "Reward accuracy held-out pairs whose preferred summary scores higher 68.8 % 16 44.4 % to 85.8 %" in said
    assert "Reward score of the new policy; references of training documents are 0 0.70 4" in said
    assert "Pairs judged opinions given in this round 2 – –" in said
    for words in ("KL", "Mean length", "ROUGE-L", "Time per stage", "Fine-tuned policy", "Previous policy"):
        assert words.replace("'", "&#39;") in html or words in html, words
    assert "&lt;b&gt;today&lt;/b&gt;" in html, "texts are text"
    assert "68.8 % of 16" in text_of(researcher.get("/rounds").text)


def test_results_that_are_missing_or_strange_do_no_harm(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    to_labeling(work, number)
    with work() as session:
        factories.judge_all(session, factories.labeler(session))
    with work() as session:
        claim = pretended.take(session, number)
        rounds.succeed(session, claim, "Done.", {"accuracy": {"value": None, "n": 0}, "something new": [1, 2]})
    with work() as session:
        pretended.carry_out(session, number, Stage.PPO)
        rounds.succeed(session, pretended.take(session, number), "Done.", {"samples": [{"title": None}, "x"], "kl": 3})
    answer = researcher.get(f"/rounds/{number}")
    assert answer.status_code == 200
    assert "something new" not in answer.text
    said = text_of(answer.text)
    assert "KL nats per summary away from the fine-tuned policy – – –" in said
    assert "whose preferred summary scores higher – 0 –" in said


def test_curves_come_with_their_numbers(work: Work, researcher: TestClient) -> None:
    number = launch(work)
    with work() as session:
        claim = pretended.take(session, number)
        runs.measure(session, claim, [("sft/loss", step, 2 / step) for step in range(1, 4)])
        runs.measure(session, claim, [("sft/validation_loss", 3, float("nan")), ("sft/new_metric", 1, 0.00001234)])
        pretended.report(session, claim, 3, 6, "step 3 of 6")
    html = researcher.get(f"/rounds/{number}").text
    assert 'data-metric="sft/loss"' in html and 'data-metric="sft/validation_loss"' in html
    said = text_of(html)
    assert "Step training validation 1 2 2 1 3 0.6667 not a number" in said
    assert "1.234e-05" in said, "a metric that nobody named has a plot too"
    assert 'id="progress"' in html and '<progress max="6" value="3"' in html
    assert "PyTorch 2.13.0+cpu" in said


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    (curve,) = curves.curves(
        Stage.SFT,
        {"sft/loss": [(step, 1.0) for step in range(1001)], "sft/validation_loss": [(0, 3.0), (997, 2.0)]},
    )
    steps = [step for step, _ in curve.rows]
    assert curve.thinned and len(steps) < 2 * curves.MOST_ROWS
    assert steps[0] == 0 and steps[-1] == 1000
    assert (997, ["1", "2"]) in curve.rows, "values that are rare are kept"
    assert curves.curves(Stage.EVALUATE, {"evaluation/kl": [(0, 1.0)]}) == []


# Recipes


def test_every_setting_of_every_recipe_is_explained(work: Work, researcher: TestClient) -> None:
    for name, recipe in NAMED.items():
        html = researcher.get(f"/rounds/recipes/{recipe_id(work, name)}").text
        said = re.findall(r"<code>([a-z_]+(?:\.[a-z_]+)?)</code></th>", html)
        values = recipe.to_dict()
        wanted = {"precision", "seed"} | {
            f"{part}.{field}" for part, fields in values.items() if isinstance(fields, dict) for field in fields
        }
        assert set(said) == wanted
    assert "Beta: what one nat away from the SFT policy costs." in html
    assert "Launch a round with it" not in html, "a researcher launches nothing"


def test_an_admin_launches_from_a_recipes_page(work: Work, admin: TestClient) -> None:
    chosen = recipe_id(work, "demo")
    html = admin.get(f"/rounds/recipes/{chosen}").text
    assert f'href="/rounds?recipe={chosen}#launch"' in html
    assert "Puts up 64 pairs, about 32 of them against the reference; 16 are held out" in text_of(html)


def test_an_older_version_of_a_recipe_is_shown_and_not_offered(work: Work, admin: TestClient) -> None:
    old = recipe_id(work, "demo")
    with work() as session:
        changed = Recipe.from_dict(DEMO.to_dict() | {"seed": 7})
        new = rounds.add_recipe(session, pretended.boss(session), changed)
    assert "Launch a round with it" not in admin.get(f"/rounds/recipes/{old}").text
    assert "Version 2." in admin.get(f"/rounds/recipes/{new}").text
    assert f'id="recipe-{old}"' not in admin.get("/rounds").text


# Templates

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STAGE = contexts.StageLine(
    7, 4, "PPO", "about", "running", "running", "rollout 1", 1, 4, 3.2, True, False, 0, "attempt 2 of 5", "trace", False
)
LINE = contexts.RoundLine(1, "demo", "running", "in progress", "PPO", "words", 1, 4, "3", "–", NOW, 2.0, True)
FORM = contexts.LaunchForm(
    [contexts.RecipeOption(1, "demo", 1, "small")],
    1,
    False,
    ["It happens."],
    [("Documents", "3")],
    contexts.ForecastPart("demo", [contexts.ForecastLine("PPO", "16 episodes", "9", "soon", "as in 1")], [], "No."),
    None,
)
ON = contexts.ContinuousBox(
    on=True,
    state="running",
    state_words="on",
    facts=[("Recipe", "demo")],
    since=NOW,
    does=["It samples."],
    meters=[contexts.Meter("Budget", 1, 4, "1 of 4")],
    ended=None,
    ended_at=None,
    can_turn_off=True,
    form=None,
)
FORM_OF_IT = contexts.KeepGoingForm([("1", "demo", "It samples.")], "1", True, "No.")
OFF = replace(ON, on=False, since=None, ended="Round 1 failed.", ended_at=NOW, can_turn_off=False, form=FORM_OF_IT)
ROUND = contexts.RoundPage(
    number=1,
    state="running",
    state_words="in progress",
    recipe_id=1,
    recipe="demo, version 1",
    with_simulated=False,
    by_itself=True,
    started=NOW,
    ended=None,
    seconds=3.0,
    going_on=True,
    cursor=5,
    can_cancel=True,
    can_finish=True,
    can_pause=True,
    can_resume=True,
    pause_words="Paused by grace.",
    missing=["No worker."],
    failures=[contexts.Failure("PPO", "why", "where", 1, NOW)],
    stages=[
        STAGE,
        contexts.StageLine(8, 3, "Judging", "", "waiting", "waits", "", 1, 3, None, True, True, 1, None, None, True),
    ],
    earlier=[contexts.EarlierTry("PPO", "failed", "failed", "why", "where", NOW, 2.0)],
    results=[contexts.ResultLine("KL", "nats", "1", "2", "0 to 2")],
    monitor=None,
    decision=None,
    samples=[contexts.SampleSummaries("t", "r", "b", "p", "a")],
    curves=[contexts.RunCurves(7, "PPO", [contexts.Curve("KL", "nats", [("ppo/kl", "KL")], [(1, ["2"])], True)])],
    conditions=[contexts.Conditions("PPO", [("Device", "cpu")])],
)
EMPTIED = ("missing", "failures", "stages", "earlier", "results", "samples", "curves", "conditions")
EMPTY_ROUND = contexts.RoundPage(
    **(asdict(ROUND) | {name: [] for name in EMPTIED})
    | {"ended": NOW, "going_on": False, "can_cancel": False, "can_finish": False}
    | {"can_pause": False, "can_resume": False, "pause_words": None}
)
RECIPE = contexts.RecipePage(
    1, "demo", 1, "0" * 64, NOW, ["It does."], [contexts.RecipePart("PPO", [contexts.RecipeField(*"abcde")])], True
)


@pytest.mark.parametrize("role", ["admin", "researcher"])
@pytest.mark.parametrize(
    ("template", "context"),
    [
        ("rounds/rounds.html", contexts.RoundsPage([LINE], FORM, OFF)),
        ("rounds/rounds.html", contexts.RoundsPage([], None, ON)),
        ("rounds/round.html", ROUND),
        ("rounds/round.html", EMPTY_ROUND),
        ("rounds/recipe.html", RECIPE),
    ],
)
def test_templates_need_their_context_and_nothing_else(template: str, context: Any, role: str) -> None:
    frame = {
        "site": Site("Hone", "http://here"),
        "viewer": {"name": "Ada", "role": role},
        "navigation": [],
        "page_version": "1",
    }
    shown = {name: getattr(context, name) for name in context.__dataclass_fields__}
    assert "</html>" in environment().get_template(template).render(frame | shown)


def test_an_estimate_of_the_domain_is_what_a_result_holds() -> None:
    assert set(asdict(intervals.rate(1, 2))) == {"value", "n", "low", "high"}


def test_runs_under_the_same_conditions_are_told_together_with_what_each_cut() -> None:
    def run(number: int, stage: Stage, cut: str, precision: str = "fp32") -> rounds.RunView:
        held = {"precision": precision, "documents cut": cut}
        begun = (None, 1, None, None, False, None, None)
        return rounds.RunView(number, number, stage, RunState.SUCCEEDED, "", 1, 1, None, None, {}, held, *begun)

    runs_of = [run(1, Stage.SFT, "1 of 9"), run(2, Stage.REWARD, "2 of 9"), run(3, Stage.PPO, "3 of 9", "bf16")]
    found = rounds.RoundView(
        number=1,
        state=RoundState.SUCCEEDED,
        recipe_id=1,
        recipe_name="demo",
        recipe_version=1,
        recipe=DEMO,
        with_simulated=False,
        by_itself=False,
        newest=True,
        runs=runs_of,
        earlier=[],
        created_at=NOW,
        ended_at=NOW,
        paused_at=None,
        pause_words=None,
    )
    names = telling.titles(found)
    together, alone = telling.conditions(found)
    assert together == contexts.Conditions(
        f"{names[1]}, {names[2]}",
        [
            ("Precision", "fp32"),
            (f"Documents cut, {names[1]}", "1 of 9"),
            (f"Documents cut, {names[2]}", "2 of 9"),
        ],
    )
    assert alone == contexts.Conditions(names[3], [("Precision", "bf16"), ("Documents cut", "3 of 9")])

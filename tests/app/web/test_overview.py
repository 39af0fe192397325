"""The first page of admins and researchers: figures, what to do next, what went wrong."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.domain.words import ComparisonKind, LabelerKind, Split, Stage, Trouble
from app.quality.drift import REFERENCE
from app.services import lineage, rounds, runs
from app.store import corpus
from app.store import runs as store
from app.store.tables import Checkpoint, Comparison
from app.web import contexts
from app.web.rendering import Site, environment
from tests.conftest import Work
from tests.support import factories, given, pretended


def tiles(html: str) -> dict[str, tuple[str, str]]:
    """The figures of the page: value and hint by label."""
    found = re.findall(r'<dt>([^<]+)</dt><dd class="value">([^<]+)</dd>(?:<dd class="hint">([^<]*)</dd>)?', html)
    return {label: (value, hint) for label, value, hint in found}


def to_do(html: str) -> dict[str, bool]:
    """The steps of the page and whether each is done."""
    found = re.findall(r'<li class="(succeeded|pending)">\s*<div><h3>([^<]+)</h3>', html)
    return {title: state == "succeeded" for state, title in found}


def test_labelers_have_no_overview(labeler: TestClient, nobody: TestClient) -> None:
    assert labeler.get("/overview").status_code == 403
    assert nobody.get("/overview").status_code == 303


def test_a_new_install_says_what_to_do(work: Work, admin: TestClient, researcher: TestClient) -> None:
    html = admin.get("/overview").text
    assert not any(to_do(html).values()) and len(to_do(html)) == 5
    for href in ("/documents", "/people", "/batches", "/rounds#launch"):
        assert f'<a href="{href}"' in html
    assert "private window" in html
    assert tiles(html)["Documents"][0] == "0"
    assert tiles(html)["Current policy"] == ("none", "")
    theirs = researcher.get("/overview").text
    assert "An admin does this." in theirs
    assert "Go to People" not in theirs and "Go to Documents" in theirs


def test_what_is_done_is_ticked_and_at_the_end_the_list_is_gone(work: Work, admin: TestClient) -> None:
    def done() -> list[str]:
        return [title for title, ticked in to_do(admin.get("/overview").text).items() if ticked]

    with work() as session:
        factories.pairs(session, 1, name="imported", reason="import")
    assert done() == ["Import documents"], "imported comparisons are not sampled ones"
    with work() as session:
        person = factories.labeler(session)
    assert done() == ["Import documents", "Invite a labeler"]
    with work() as session:
        factories.judge_all(session, person)
        factories.pairs(session, 2, name="sampled")
    assert done() == ["Import documents", "Invite a labeler", "Sample pairs"], "answers to imported ones do not count"
    with work() as session:
        factories.judge_all(session, person)
    assert done() == ["Import documents", "Invite a labeler", "Sample pairs", "Judge a pair"]
    with work() as session:
        pretended.launch(session, pretended.boss(session))
    html = admin.get("/overview").text
    assert to_do(html) == {}
    assert "Getting started" not in html


def test_the_figures(work: Work, researcher: TestClient) -> None:
    with work() as session:
        boss, person = pretended.boss(session), factories.labeler(session)
        machine = factories.labeler(session, kind=LabelerKind.SIMULATED)
        factories.document(session, split=Split.VALIDATION)
        factories.pairs(session, 4, name="sampled")
        for labeler in (person, machine, machine):
            factories.say(session, labeler, factories.hold(session, labeler)[0])
        number = pretended.launch(session, boss)
        claim = pretended.take(session, number)
        pretended.report(session, claim, 3, 12, "step 3 of 12")
    html = researcher.get("/overview").text
    shown = tiles(html)
    assert shown["Documents"] == ("8", "7 train, 1 validation, 0 test")
    assert shown["Answers today"] == ("1", "and 2 by simulated labelers")
    assert shown["Open slots"][0] == "1"
    assert shown["Round in progress"] == ("1", "Fine-tuning")
    assert "3 of 12" in html and "step 3 of 12" in html
    with work() as session:
        rounds.fail(session, claim, Trouble.LASTING, "The disk is full. Make room.", "Traceback: here")
    html = researcher.get("/overview").text
    assert tiles(html)["Round in progress"] == ("none", "round 1 is failed")
    assert "Recent failures" in html
    assert "The disk is full. Make room." in html and "Traceback: here" in html
    assert '<a href="/rounds/1">round 1</a>' in html


def test_a_failure_outside_of_rounds_is_told_too(work: Work, admin: TestClient) -> None:
    with work() as session:
        run = factories.own_run(session, Stage.EXPORT)
        run_id = run.id
    with work() as session:
        claim = runs.claim(session, run_id, "cpu-1", 1, pretended.LEASE)
        assert claim is not None
        rounds.fail(session, claim, Trouble.LASTING, "The directory cannot be written.", "")
    html = admin.get("/overview").text
    assert "<strong>Export</strong>" in html and "The directory cannot be written." in html


def test_the_newest_policies_are_those_that_were_trained(work: Work, researcher: TestClient) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        ppo = corpus.policy(session, pretended.improve(session, number))
        assert ppo is not None and ppo.checkpoint_id is not None
        weights = session.get_one(Checkpoint, ppo.checkpoint_id)
        for n in range(2, 8):
            # By which weights it is judged does not matter here.
            lineage.best_of(session, ppo, weights, n, weights)
    listed = researcher.get("/overview").text.split("Newest policies</caption>")[1].split("</table>")[0]
    assert re.findall(r'<a href="/policies/\d+">([^<]+)</a>', listed) == ["round1-ppo", "round1-sft"]


def concerns(html: str) -> list[str]:
    """What the page asks to look at."""
    found = re.findall(r'<div class="notice warn" role="status"><p>(.*?)</p>', html, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", each)).strip() for each in found]


def test_who_is_labeling_and_at_what_pace(work: Work, researcher: TestClient) -> None:
    with work() as session:
        people = [factories.labeler(session, name) for name in ("Bea", "Cem", "Dan")]
        machine = factories.labeler(session, "robot", kind=LabelerKind.SIMULATED)
        pairs = factories.pairs(session, 9)
        for person, count in zip((*people, machine), (2, 1, 0, 1), strict=True):
            for _ in range(count):
                factories.say(session, person, factories.hold(session, person)[0])
        factories.hold(session, people[2], 2)
        given.answer(session, people[1], pairs.comparisons[0], 2, at=datetime.now(UTC) - timedelta(hours=3))
    html = researcher.get("/overview").text
    assert tiles(html)["Pace"] == ("3 an hour", "4 in the last 24 hours, by people")
    listed = html.split("Labeling now</caption>")[1].split("</table>")[0]
    rows = [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in listed.split("<tr>")[2:]]
    assert [row.split(" 20")[0] for row in rows] == ["Bea 2 0", "Cem 1 0", "robot simulated 1 0", "Dan 0 2 –"]


def test_a_queue_that_runs_dry_is_told_before_it_is_empty(
    work: Work, admin: TestClient, researcher: TestClient
) -> None:
    with work() as session:
        person = factories.labeler(session)
        factories.pairs(session, 9)
        for _ in range(4):
            factories.say(session, person, factories.hold(session, person)[0])
    assert concerns(admin.get("/overview").text) == [], "5 open, 4 a day"
    with work() as session:
        factories.say(session, person, factories.hold(session, person)[0])
    [dry] = concerns(admin.get("/overview").text)
    assert dry.startswith("The queue runs dry. People gave 5 answers in the last 24 hours, and 4 slots are open")
    assert 'href="/batches"' in admin.get("/overview").text.split("The queue runs dry")[1][:400]
    assert 'href="/rounds"' in researcher.get("/overview").text.split("The queue runs dry")[1][:400]


def test_a_policy_that_waits_and_an_alarm_of_the_round_are_told(work: Work, admin: TestClient) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        pretended.improve(session, number, kl={"value": 60.0, "n": 4, "low": 55.0, "high": 65.0})
        ppo = next(run for run in rounds.view(session, number).runs if run.stage is Stage.PPO)
        points = [(name, step, 50.0) for step in range(3) for name in ("ppo/kl", "ppo/score")]
        store.add_points(session, ppo.id, points)
    told = [each for each in concerns(admin.get("/overview").text) if not each.startswith("No worker")]
    assert told[0].startswith("Round 1. The policy is far from the fine-tuned one")
    assert told[1].startswith("round1-ppo waits for a decision. Its KL from the fine-tuned policy is 60.0 nats")
    assert len(told) == 2


def test_drift_is_told(work: Work, researcher: TestClient) -> None:
    with work() as session:
        person = factories.labeler(session, "Eve")
        pairs = factories.pairs(session, REFERENCE + 60).comparisons
        session.execute(update(Comparison).where(Comparison.id.in_(pairs)).values(kind=ComparisonKind.SENTINEL))
        for place, comparison_id in enumerate(pairs):
            # The reference is the first summary: it wins three of four at first, and never afterwards.
            given.answer(session, person, comparison_id, 2 if place < REFERENCE and place % 4 else 8)
    told = concerns(researcher.get("/overview").text)
    assert [each.split(".")[0] for each in told if each.startswith("Drift")] == ["Drift: All labelers", "Drift: Eve"]
    assert "the baseline is preferred rose" in told[0]


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FULL = contexts.OverviewPage(
    concerns=[contexts.Concern("Drift", "It fell.", "/quality", "Look")],
    at_work=[contexts.AtWorkLine("Ada", True, "3", NOW, 2)],
    missing=["A run waits."],
    tiles=[("Documents", "3", None)],
    steps=[contexts.Step("Do", "why", "/there", "Go", False), contexts.Step("Did", "why", None, "Go", True)],
    continuous="It is on.",
    round=contexts.RoundLine(1, "demo", "running", "in progress", "PPO", "words", 0, 0, "3", "–", NOW, 2.0, True),
    policies=[contexts.PolicyLine(1, "p", "checkpoint", True, 1, "ab", "q", 2, 3, NOW, False)],
    failures=[contexts.Failure("PPO", "why", None, None, NOW)],
)


@pytest.mark.parametrize("context", [FULL, contexts.OverviewPage([], [], [], [], [], None, None, [], [])])
def test_the_template_needs_its_context_and_nothing_else(context: Any) -> None:
    frame: dict[str, Any] = {
        "site": Site("Hone", "http://here"),
        "viewer": {"name": "Ada", "role": "admin"},
        "navigation": [],
        "page_version": "1",
    }
    shown = {name: getattr(context, name) for name in context.__dataclass_fields__}
    assert "</html>" in environment().get_template("overview/overview.html").render(frame | shown)

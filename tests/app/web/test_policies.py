"""Policies in the browser: lineage, a policy's page, and the decision which one writes next."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.domain.words import CheckpointKind, PolicyKind, Stage
from app.services import lineage
from app.services.projects import the_project
from app.store import corpus
from app.store.session import Session
from app.store.tables import AuditEvent, Policy, Run
from app.web import contexts
from app.web.rendering import Site, environment
from tests.conftest import Work
from tests.support import factories, pretended


@pytest.fixture
def family(work: Work) -> dict[str, int]:
    """A base model, a fine-tuned policy, which is current, and the policy PPO made of it: ids by name."""
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        claim = pretended.take(session, number)
        project = the_project(session)
        base = factories.base_checkpoint(session)
        sft = factories.trained_checkpoint(session, session.get_one(Run, claim.run_id), base)
        sft.bytes = 538_123_456
        sft.recipe = {"name": "tiny"}
        sft.snapshot = {"documents": [1, 2, 3], "kinds": ["human"]}
        improving = factories.own_run(session, Stage.PPO)
        ppo = factories.trained_checkpoint(session, improving, sft)
        factories.trained_checkpoint(session, improving, sft, CheckpointKind.VALUE)
        made = {
            name: corpus.add_policy(session, project.id, name, PolicyKind.CHECKPOINT, checkpoint.id, {}).id
            for name, checkpoint in (("base-tiny", base), ("round1-sft", sft), ("round1-ppo", ppo))
        }
        made["ref"] = session.scalars(select(Policy.id).where(Policy.kind == PolicyKind.REF)).one()
        lineage.make_current(session, made["round1-sft"])
        return made


def current(session: Session) -> int | None:
    """Which policy writes next."""
    return the_project(session).current_policy_id


def row_of(html: str, name: str) -> str:
    """The row of a policy in the list, without its markup."""
    rows = re.findall(r"<tr>.*?</tr>", html, re.DOTALL)
    found = next(row for row in rows if f">{name}</a>" in row.split("</th>")[0])
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found)).strip()


def test_labelers_never_learn_of_policies(labeler: TestClient, nobody: TestClient) -> None:
    for path in ("/policies", "/policies/1"):
        assert labeler.get(path).status_code == 403
        assert nobody.get(path).status_code == 303
    assert labeler.post("/policies/1/make-current").status_code == 403


def test_before_any_training_the_page_says_what_comes(researcher: TestClient) -> None:
    html = researcher.get("/policies").text
    assert "No trained policy yet" in html
    assert row_of(html, "ref") == "ref reference 0"


def test_the_list_tells_lineage(family: dict[str, int], admin: TestClient, researcher: TestClient) -> None:
    html = admin.get("/policies").text
    assert re.match(r"round1-sft current base-tiny Round 1 [0-9a-f]{12} 0 ", row_of(html, "round1-sft"))
    assert re.match(r"round1-ppo round1-sft – [0-9a-f]{12} 0 .*Make current", row_of(html, "round1-ppo"))
    assert re.match(r"base-tiny – – ", row_of(html, "base-tiny"))
    assert row_of(html, "ref").startswith("ref reference 3")
    assert html.count("Make current") == 2, "the current one needs no button, nor does one without weights"
    assert "Make current" not in researcher.get("/policies").text


def test_a_policy_s_page(family: dict[str, int], work: Work, researcher: TestClient) -> None:
    with work() as session:
        about = factories.document(session, "here")
        factories.summary(session, about.id, " A <i>short</i> text.", "round1-sft")
    html = researcher.get(f"/policies/{family['round1-sft']}").text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for words in ("Recipe tiny", "538.1 MB", "Documents 3", "Kinds of labelers human", "Title of here", "Round 1"):
        assert words in said, words
    assert "A &lt;i&gt;short&lt;/i&gt; text." in html
    descent = researcher.get(f"/policies/{family['round1-ppo']}").text
    assert re.findall(r'<li[^>]*>\s*<(?:a href="[^"]+"|strong)>([^<]+)<', descent.split("Lineage")[1]) == [
        "base-tiny",
        "round1-sft",
        "round1-ppo",
    ]
    assert "It has written nothing yet" in descent


def test_the_reference_has_a_page_too(family: dict[str, int], researcher: TestClient) -> None:
    html = researcher.get(f"/policies/{family['ref']}").text
    assert "The human reference summaries" in html
    assert "Checkpoint" not in html


def test_a_policy_that_is_not_there(admin: TestClient) -> None:
    for number in (999, 2**63 - 1):
        assert admin.get(f"/policies/{number}").status_code == 404
        assert admin.post(f"/policies/{number}/make-current").status_code == 404


def test_an_admin_decides_which_policy_writes_next(family: dict[str, int], work: Work, admin: TestClient) -> None:
    answer = admin.post(f"/policies/{family['round1-ppo']}/make-current")
    assert (answer.status_code, answer.headers["location"]) == (303, "/policies")
    html = admin.get("/policies").text
    assert "round1-ppo writes the next pairs." in html
    assert row_of(html, "round1-ppo").startswith("round1-ppo current")
    with work() as session:
        assert current(session) == family["round1-ppo"]
        event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (event.action, event.subject_id) == ("made policy current", family["round1-ppo"])
        assert event.details == {"name": "round1-ppo", "before": family["round1-sft"]}


def test_what_has_no_weights_cannot_write(family: dict[str, int], work: Work, admin: TestClient) -> None:
    assert admin.post(f"/policies/{family['ref']}/make-current").status_code == 303
    assert "ref has no weights, so it cannot write pairs." in admin.get("/policies").text
    with work() as session:
        assert current(session) == family["round1-sft"]


def test_a_researcher_does_not_decide(family: dict[str, int], work: Work, researcher: TestClient) -> None:
    assert researcher.post(f"/policies/{family['round1-ppo']}/make-current").status_code == 403
    with work() as session:
        assert current(session) == family["round1-sft"]


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINE = contexts.PolicyLine(1, "p", "checkpoint", False, 1, "ab", "q", 2, 3, NOW, True)
PAGE = contexts.PolicyPage(
    policy=LINE,
    about="It writes.",
    details=[("Digest", "ab")],
    snapshot=[("Documents", "3")],
    lineage=[contexts.Ancestor("base", None, "ab", NOW), contexts.Ancestor("p", 1, "cd", NOW)],
    written=[contexts.Written(1, "", "text", None)],
    can_change=True,
)


@pytest.mark.parametrize(
    ("template", "context"),
    [
        ("policies/policies.html", contexts.PoliciesPage([LINE], [LINE], True)),
        ("policies/policies.html", contexts.PoliciesPage([], [], False)),
        ("policies/policy.html", PAGE),
        ("policies/policy.html", contexts.PolicyPage(LINE, "", [], [], [], [], False)),
    ],
)
def test_templates_need_their_context_and_nothing_else(template: str, context: Any) -> None:
    frame: dict[str, Any] = {"site": Site("Hone", "http://here"), "viewer": None, "navigation": [], "page_version": "1"}
    shown = {name: getattr(context, name) for name in context.__dataclass_fields__}
    assert "</html>" in environment().get_template(template).render(frame | shown)

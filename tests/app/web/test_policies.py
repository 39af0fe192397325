"""Policies in the browser: lineage, win rates, a policy's page, side by side, cards, and which one writes next."""

import re

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.domain.words import CheckpointKind, LabelerKind, PolicyKind, Stage
from app.services import lineage, promotions
from app.services.projects import the_project
from app.store import corpus
from app.store.session import Session
from app.store.tables import AuditEvent, Checkpoint, Policy, Run
from tests.conftest import Work
from tests.support import factories, given, pretended


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
        promotions.begin_with(session, made["base-tiny"], "There is no other.")
        promotions.begin_with(session, made["round1-sft"], "The first that was fine-tuned.")
        return made


def current(session: Session) -> int | None:
    """Which policy writes next."""
    return the_project(session).current_policy_id


def row_of(html: str, name: str, other: str = "") -> str:
    """The first row of a policy (in which another is named), without its markup."""
    rows = re.findall(r"<tr>.*?</tr>", html, re.DOTALL)
    found = next(
        row for row in rows if f">{name}</a>" in row.split("</th>")[0] and (not other or f">{other}</a>" in row)
    )
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found)).strip()


def test_labelers_never_learn_of_policies(labeler: TestClient, nobody: TestClient) -> None:
    for path in ("/policies", "/policies/1"):
        assert labeler.get(path).status_code == 403
        assert nobody.get(path).status_code == 303
    for path in ("/policies/compare", "/policies/checkpoints/1", "/policies/checkpoints/1/card.md"):
        assert labeler.get(path).status_code == 403
    for decision in ("promote", "roll-back"):
        assert labeler.post(f"/policies/1/{decision}").status_code == 403


def test_before_any_training_the_page_says_what_comes(researcher: TestClient) -> None:
    html = researcher.get("/policies").text
    assert "No trained policy yet" in html
    assert row_of(html, "ref") == "ref reference 0"


def test_the_list_tells_lineage(family: dict[str, int], admin: TestClient, researcher: TestClient) -> None:
    html = admin.get("/policies").text
    assert re.match(r"round1-sft current base-tiny Round 1 [0-9a-f]{12} 0 ", row_of(html, "round1-sft"))
    assert re.match(r"round1-ppo round1-sft – [0-9a-f]{12} 0 .*Promote", row_of(html, "round1-ppo"))
    assert re.match(r"base-tiny – – ", row_of(html, "base-tiny"))
    assert row_of(html, "ref").startswith("ref reference 3")
    assert html.count(">Promote</button>") == 2, "the current one needs no button, nor does one without weights"
    theirs = researcher.get("/policies").text
    assert "Promote" not in theirs and "Roll back" not in theirs


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


def test_the_picture_of_lineage_says_in_words_what_it_shows(family: dict[str, int], researcher: TestClient) -> None:
    html = researcher.get("/policies").text
    [picture] = re.findall(r"<svg width.*?</svg>", html, re.DOTALL)
    assert 'aria-label="3 policies, trained from base-tiny. Current is round1-sft.' in picture
    dots = {
        name.strip(): (float(x), float(y))
        for x, y, name in re.findall(r'cx="([\d.]+)" cy="([\d.]+)".*?<text[^>]*>([^<]+)<', picture)
    }
    assert sorted(dots, key=lambda name: dots[name]) == ["base-tiny", "round1-sft", "round1-ppo"]
    assert len({y for _, y in dots.values()}) == 3
    lines = re.findall(r'points="([^"]+)"', picture)
    ends = {(tuple(line.split()[0].split(",")), tuple(line.split()[-1].split(","))) for line in lines}
    assert {tuple(tuple(map(float, end)) for end in line) for line in ends} == {
        (dots["base-tiny"], dots["round1-sft"]),
        (dots["round1-sft"], dots["round1-ppo"]),
    }
    assert picture.count('class="current"') == 1


def test_in_the_picture_descendants_come_before_siblings(family: dict[str, int], work: Work, admin: TestClient) -> None:
    with work() as session:
        project = the_project(session)
        other = factories.base_checkpoint(session)
        corpus.add_policy(session, project.id, "base-other", PolicyKind.CHECKPOINT, other.id, {})
        sft = corpus.policy(session, family["round1-sft"])
        assert sft is not None and sft.checkpoint_id is not None
        parent = session.get_one(Checkpoint, sft.checkpoint_id)
        late = factories.trained_checkpoint(session, factories.own_run(session, Stage.PPO), parent)
        corpus.add_policy(session, project.id, "late", PolicyKind.CHECKPOINT, late.id, {})
    [picture] = re.findall(r"<svg width.*?</svg>", admin.get("/policies").text, re.DOTALL)
    names = [name.strip() for name in re.findall(r"<text[^>]*>([^<]+)<", picture)]
    assert names == ["base-tiny", "round1-sft", "round1-ppo", "late", "base-other"]


@pytest.fixture
def best(family: dict[str, int], work: Work) -> str:
    """The name of the policy that takes the best of eight summaries by round1-ppo."""
    with work() as session:
        ppo = corpus.policy(session, family["round1-ppo"])
        assert ppo is not None and ppo.checkpoint_id is not None
        weights = session.get_one(Checkpoint, ppo.checkpoint_id)
        judge = factories.trained_checkpoint(
            session, factories.own_run(session, Stage.REWARD), weights, CheckpointKind.REWARD
        )
        made = lineage.best_of(session, ppo, weights, 8, judge)
        family[made.name] = made.id
        return made.name


def test_the_best_of_several_is_listed_as_a_writer_and_not_as_a_policy_that_was_trained(
    best: str, family: dict[str, int], admin: TestClient
) -> None:
    html = admin.get("/policies").text
    tables = {re.sub(r"<[^>]+>", "", each.split("</caption>")[0]): each for each in html.split("<caption")[1:]}
    trained = next(each for title, each in tables.items() if "Policies with weights" in title)
    others = next(each for title, each in tables.items() if "Writers without weights of their own" in title)
    assert "round1-ppo</a>" in trained and f"{best}</a>" not in trained
    assert row_of(others, best) == f"{best} best of n 0"
    [picture] = re.findall(r"<svg width.*?</svg>", html, re.DOTALL)
    assert "3 policies, trained from base-tiny." in picture and best not in picture
    assert f"/policies/{family[best]}/promote" not in html


def test_the_page_of_the_best_of_several_leads_to_the_policy_whose_summaries_it_takes(
    best: str, family: dict[str, int], admin: TestClient
) -> None:
    html = admin.get(f"/policies/{family[best]}").text
    assert "The best of several summaries of one model, by a reward model." in html
    steps = re.findall(r"<li.*?</li>", html.split('class="lineage"')[1].split("</ol>")[0], re.DOTALL)
    assert f'<a href="/policies/{family["round1-ppo"]}">round1-ppo</a>' in steps[-1]
    assert "aria-current" not in steps[-1], "that is another page"
    assert 'aria-current="true"' in admin.get(f"/policies/{family['round1-ppo']}").text.split('class="lineage"')[1]


def test_the_best_of_several_is_not_promoted_and_the_reason_is_true(
    best: str, family: dict[str, int], work: Work, admin: TestClient
) -> None:
    assert admin.post(f"/policies/{family[best]}/promote").status_code == 303
    assert (
        f"{best} has no weights of its own: it is the best of several summaries by round1-ppo. Promote round1-ppo."
        in admin.get("/policies").text
    )
    with work() as session:
        assert current(session) == family["round1-sft"]


def test_an_admin_promotes_rolls_back_and_goes_forward_again(
    family: dict[str, int], work: Work, admin: TestClient
) -> None:
    ppo, sft = family["round1-ppo"], family["round1-sft"]
    html = admin.get("/policies").text
    assert f'action="/policies/{ppo}/promote" data-confirm="Let round1-ppo write the next pairs?' in html
    answer = admin.post(f"/policies/{ppo}/promote", data={"reason": "I read <b>its</b> summaries."})
    assert (answer.status_code, answer.headers["location"]) == (303, "/policies")
    html = admin.get("/policies").text
    assert "round1-ppo writes the next pairs. Roll back to undo it." in html
    assert row_of(html, "round1-ppo").startswith("round1-ppo current")
    assert "I read &lt;b&gt;its&lt;/b&gt; summaries." in html
    assert f'action="/policies/{sft}/roll-back" data-confirm="Let round1-sft write the next pairs again' in html
    admin.post(f"/policies/{sft}/roll-back")
    html = admin.get("/policies").text
    assert "round1-sft writes the next pairs again." in html
    assert f'action="/policies/{ppo}/roll-back"' in html, "it can be undone the same way"
    assert admin.post(f"/policies/{sft}/roll-back").status_code == 303
    assert "Another policy has become current in the meantime." in admin.get("/policies").text
    with work() as session:
        assert current(session) == sft
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(2)).all()
        assert [(each.action, each.subject_id) for each in events] == [
            ("policy rolled_back", sft),
            ("policy promoted", ppo),
        ]


def test_a_policy_that_waits_is_told_with_its_reason_and_its_evidence(
    work: Work, admin: TestClient, researcher: TestClient
) -> None:
    with work() as session:
        number = pretended.launch(session, pretended.boss(session))
        made = pretended.improve(session, number, kl={"value": 60.0, "n": 4, "low": 55.0, "high": 65.0})
    html = admin.get("/policies").text
    notice = re.sub(r"<[^>]+>", " ", html.split('class="notice warn"')[1].split("</section>")[0])
    said = re.sub(r"\s+", " ", notice)
    assert "round1-ppo of round 1 waits for you. Its KL from the fine-tuned policy is 60.0 nats" in said
    assert "60.00 4 55.00 to 65.00" in said and "Promote round1-ppo" in said
    assert "waits for an admin" in researcher.get("/policies").text
    assert "waits for an admin" in admin.get(f"/policies/{made}").text
    admin.post(f"/policies/{made}/promote")
    assert 'class="notice warn"' not in admin.get("/policies").text


def test_what_has_no_weights_cannot_write(family: dict[str, int], work: Work, admin: TestClient) -> None:
    assert admin.post(f"/policies/{family['ref']}/promote").status_code == 303
    assert "ref has no weights, so it cannot write pairs." in admin.get("/policies").text
    long = admin.post(f"/policies/{family['round1-ppo']}/promote", data={"reason": "x" * 501})
    assert long.status_code == 303 and "The reason is too long." in admin.get("/policies").text
    with work() as session:
        assert current(session) == family["round1-sft"]


def test_a_researcher_does_not_decide(family: dict[str, int], work: Work, researcher: TestClient) -> None:
    for decision in ("promote", "roll-back"):
        assert researcher.post(f"/policies/{family['round1-ppo']}/{decision}").status_code == 403
    with work() as session:
        assert current(session) == family["round1-sft"]


def test_win_rates_leave_simulated_labelers_out_unless_asked(work: Work, researcher: TestClient) -> None:
    with work() as session:
        person, machine = factories.labeler(session), factories.labeler(session, kind=LabelerKind.SIMULATED)
        pairs = factories.pairs(session, 40).comparisons
        # The second summary is by `other`, which is newer than `ref`: the first of a pair in the table.
        for place, comparison_id in enumerate(pairs):
            given.answer(session, person, comparison_id, 8 if place < 30 else 2 if place < 38 else 5)
            given.answer(session, machine, comparison_id, 2)
    html = researcher.get("/policies").text
    assert re.search(
        r"other ref 79 % 64 to 89, n 38 [\d]+ % [\d]+ to [\d]+, n 38 [\d]+ % longer 38", row_of(html, "other", "ref")
    )
    assert "Answers of simulated labelers are in these figures." not in html
    both = researcher.get("/policies?simulated=yes").text
    assert row_of(both, "other", "ref").endswith(" 78"), "answers of both"
    assert "Answers of simulated labelers are in these figures." in both
    assert "Leave simulated labelers out" in both
    with work() as session:
        other = session.scalars(select(Policy.id).where(Policy.name == "other")).one()
    assert "79 %" in researcher.get(f"/policies/{other}").text


@pytest.fixture
def written(family: dict[str, int], work: Work) -> list[int]:
    """Two documents that both trained policies wrote about, and one between them that only one did."""
    with work() as session:
        ids = [factories.document(session, name).id for name in ("one", "two", "three")]
        for place, document_id in enumerate(ids):
            factories.summary(session, document_id, f" Tuned <b>{place}</b>.", "round1-sft")
            if place != 1:
                factories.summary(session, document_id, f" Improved {place}.", "round1-ppo")
        return ids


def test_policies_are_read_side_by_side_from_document_to_document(
    family: dict[str, int], written: list[int], researcher: TestClient
) -> None:
    sft, ppo = family["round1-sft"], family["round1-ppo"]
    html = researcher.get(f"/policies/compare?a={ppo}&b={sft}").text
    assert "Title of one" in html and "Improved 0." in html and "Tuned &lt;b&gt;0&lt;/b&gt;." in html
    assert "1 of 2 documents that all of them wrote about" in html
    later = f"/policies/compare?a={ppo}&amp;b={sft}&amp;document={written[2]}"
    assert f'href="{later}" rel="next"' in html and 'rel="prev"' not in html
    last = researcher.get(later.replace("&amp;", "&")).text
    assert "2 of 2" in last and "Improved 2." in last and 'rel="next"' not in last
    assert f'document={written[0]}" rel="prev"' in last
    between = researcher.get(f"/policies/compare?a={ppo}&b={sft}&document={written[1]}").text
    assert "It has written nothing about this document." in between
    assert "Not all of them wrote about this one; there are 2" in between
    assert 'rel="prev"' in between and 'rel="next"' in between


def test_side_by_side_proposes_the_newest_and_the_references(
    family: dict[str, int], written: list[int], work: Work, researcher: TestClient
) -> None:
    with work() as session:
        factories.summary(session, written[2], " A reference.", "ref")
    html = researcher.get("/policies/compare").text
    for words in ("Improved 2.", "Tuned &lt;b&gt;2&lt;/b&gt;.", "A reference.", "1 of 1"):
        assert words in html, words


def test_side_by_side_proposes_policies_that_were_trained_and_offers_every_one(
    best: str, family: dict[str, int], written: list[int], work: Work, researcher: TestClient
) -> None:
    with work() as session:
        factories.summary(session, written[0], " The best of eight.", best)
        factories.summary(session, written[0], " A reference.", "ref")
    html = researcher.get("/policies/compare").text
    assert "Improved 0." in html and "Tuned &lt;b&gt;0&lt;/b&gt;." in html and "The best of eight." not in html
    assert f'<option value="{family[best]}">{best} (1 summaries)</option>' in html
    assert "The best of eight." in researcher.get(f"/policies/compare?a={family[best]}&b={family['round1-ppo']}").text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("a={sft}&b={sft}", "Choose two or three different policies."),
        ("a={sft}", "Choose two or three different policies."),
        ("a={sft}&b=nonsense", "Choose two or three different policies."),
        ("a={sft}&b=999", "There is no such policy."),
        ("a={sft}&b={ppo}&document=999999", "There is no such document."),
        ("a={sft}&b={ppo}&document=first", "digits only"),
        ("a=9999999999999999999&b={sft}", "Choose two or three different policies."),
    ],
)
def test_what_cannot_be_read_side_by_side_is_said(
    family: dict[str, int], researcher: TestClient, query: str, words: str
) -> None:
    asked = query.format(sft=family["round1-sft"], ppo=family["round1-ppo"])
    answer = researcher.get(f"/policies/compare?{asked}")
    assert answer.status_code == 422
    assert words in answer.text


def test_before_anything_is_written_side_by_side_says_so(work: Work, researcher: TestClient) -> None:
    assert "No document to read" in researcher.get("/policies/compare").text


def test_every_kind_of_checkpoint_has_a_card(family: dict[str, int], work: Work, researcher: TestClient) -> None:
    with work() as session:
        ids = {
            (row.kind, row.bytes): row.id for row in session.scalars(select(Checkpoint).order_by(Checkpoint.id.desc()))
        }
        tuned = session.scalars(select(Checkpoint).where(Checkpoint.bytes == 538_123_456)).one()
    listed = researcher.get("/policies").text
    for checkpoint_id in ids.values():
        assert f'href="/policies/checkpoints/{checkpoint_id}"' in listed
    html = researcher.get(f"/policies/checkpoints/{tuned.id}").text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for words in (
        "Model card of round1-sft",
        "Fine-tuned on reference summaries.",
        "Trained from base-tiny",
        tuned.digest,
        "538.1 MB",
        "Documents 3",
        "PyTorch 2.13.0+cpu",
        "AutoModelForCausalLM.from_pretrained(directory)",
        "TL;DR:",
    ):
        assert words in said, words
    value = researcher.get(f"/policies/checkpoints/{ids[CheckpointKind.VALUE, 1]}").text
    assert "AutoModelForSequenceClassification" in value and "value network" in value
    assert researcher.get("/policies/checkpoints/999").status_code == 404


def test_a_card_is_a_markdown_file_too(family: dict[str, int], work: Work, researcher: TestClient) -> None:
    with work() as session:
        tuned = session.scalars(select(Checkpoint).where(Checkpoint.bytes == 538_123_456)).one()
    answer = researcher.get(f"/policies/checkpoints/{tuned.id}/card.md")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert f'filename="checkpoint-{tuned.id}.md"' in answer.headers["content-disposition"]
    text = answer.text
    assert text.startswith("---\nlibrary_name: transformers\npipeline_tag: summarization\n")
    assert "\n# round1-sft\n" in text and f"| Digest (sha256) | {tuned.digest} |" in text
    assert '```json\n{\n  "name": "tiny"\n}\n```' in text
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(code, "card", "exec")
    assert tuned.path in code


def test_a_card_shows_what_was_measured(work: Work, researcher: TestClient) -> None:
    with work() as session:
        made = pretended.improve(session, pretended.launch(session, pretended.boss(session)))
        checkpoint = corpus.policy(session, made)
        assert checkpoint is not None
    text = researcher.get(f"/policies/checkpoints/{checkpoint.checkpoint_id}/card.md").text
    assert re.search(
        r"\| KL: nats per summary away from the fine-tuned policy \| 3\.7\d \| 4 \| 2\.\d+ to 4\.\d+ \|", text
    )
    assert "Trained from round1-sft in round 1." in text

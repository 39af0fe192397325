"""On the wire: nothing of a document before the notes are saved, and of policies never anything (invariants 3 and 4).

Every response of a labeler's day is read whole, headers and body, for sentences, names and digests that were planted
and occur nowhere else.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, ComparisonKind, PolicyKind, SkipReason, Stage
from app.services.projects import the_project
from app.store import corpus
from app.store.session import Session
from app.store.tables import Checkpoint, Comparison, Document, Labeler, Policy, Showing, Slot, Summary
from tests.conftest import Work
from tests.support import factories as make

TITLE, COMMUNITY, POST = "Wobbling pelicans", "gannetwatchers", "Seventeen herons argued about the kettle."
POLICY, DIGEST = "marzipan-ppo-kl9", "5eedc0ffee" * 6 + "abcd"
# What the page may be told of an item and of itself; app/web/labeling.py says what each is.
TOLD = {
    *(
        "held",
        "items",
        "before",
        "progress",
        "mine_today",
        "mine_total",
        "item",
        "status",
        "version",
        "feedback",
        "words",
    ),
    *("showing", "task", "notes_first", "document", "title", "community", "text", "summaries", "notes", "practice"),
    *("expires_at", "answer", "value", "explanation", "coherence", "accuracy", "coverage", "overall", "comment"),
    *("reason", "agrees", "error", "what_to_do", "href", "label"),
}
NUMBERS = {"mine_today", "mine_total", "version", "value", "coherence", "accuracy", "coverage", "overall"}


@dataclass
class Wire:
    """A labeler's browser whose every response is kept."""

    browser: TestClient
    heard: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send it; the JSON of the answer, whatever its status."""
        answer = self.browser.request(method, path, json=body)
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.heard.append(f"{answer.status_code} {path}\n{headers}\n\n{answer.text}")
        if "json" not in answer.headers.get("content-type", ""):
            return None
        self.told.append(answer.json())
        return self.told[-1]

    def post(self, path: str, **body: Any) -> Any:
        """Send JSON with a key of its own."""
        return self.ask("POST", path, {"key": str(uuid4()), **body})

    def says(self, words: str) -> list[str]:
        """The responses that hold these words, in any case and however escaped."""
        plain = words.lower()
        return [each.splitlines()[0] for each in self.heard if plain in each.lower()]


def _values(told: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a response, with the name it stands under."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _values(value, key)
    elif isinstance(told, list):
        for value in told:
            yield from _values(value, name)
    else:
        yield name, told


def _names(told: Any) -> set[str]:
    if isinstance(told, dict):
        return set(told).union(*map(_names, told.values()))
    return set().union(*map(_names, told)) if isinstance(told, list) else set()


def _plant(session: Session, **values: Any) -> make.Pairs:
    """Pairs on planted documents, the second summary of each by a planted checkpoint."""
    pairs = make.pairs(session, **values)
    ids = select(Comparison.document_id).where(Comparison.id.in_(pairs.comparisons))
    for number, document in enumerate(session.scalars(select(Document).where(Document.id.in_(ids)))):
        document.title, document.community = f"{TITLE} {number}", f"{COMMUNITY}{number}"
        document.post = f"{POST} {number}"
    row = session.scalar(select(Policy).where(Policy.name == POLICY)) or _policy(session)
    second = select(Comparison.second_summary_id).where(Comparison.id.in_(pairs.comparisons))
    session.execute(update(Summary).where(Summary.id.in_(second)).values(policy_id=row.id))
    session.flush()
    return pairs


def _policy(session: Session) -> Policy:
    run = make.own_run(session, Stage.PPO)
    trained = make.trained_checkpoint(session, run, make.base_checkpoint(session))
    session.execute(update(Checkpoint).where(Checkpoint.id == trained.id).values(digest=DIGEST))
    return corpus.add_policy(session, the_project(session).id, POLICY, PolicyKind.CHECKPOINT, trained.id, {})


def _everything_but_notes(wire: Wire, showing: str) -> None:
    """What a page, or somebody curious, could ask for while the document is kept back."""
    wire.ask("POST", "/api/leases", {"ahead": 20})
    wire.ask("POST", "/api/leases", {"ahead": 1})
    wire.ask("POST", "/api/heartbeats", {"showings": [showing]})
    wire.post("/api/preferences", showing=showing, value=2, explanation="Early.")
    wire.post("/api/preferences", showing=showing, value=12)
    wire.post("/api/ratings", showing=showing, overall=3)
    wire.post("/api/notes", showing=showing, notes=["Only one.", " "])
    wire.post("/api/notes", showing=showing, notes=["Only one."])
    wire.post("/api/notes", showing=str(uuid4()), notes=["One.", "Two."])
    wire.post("/api/flags", showing=showing, reason="question", comment="What is it about?")
    wire.ask("GET", "/api/answers/last")
    wire.ask("GET", f"/api/answers/{showing}")
    wire.ask("GET", f"/api/answers/{showing}/document")
    for page in ("/label", "/", "/me", "/account", "/guidelines", "/documents", "/overview", "/events"):
        wire.ask("GET", page)


def test_nothing_of_a_document_is_sent_before_its_notes_are_saved(labeler: TestClient, work: Work) -> None:
    with work() as session:
        _plant(session, count=4, opinions=2, protocol=Protocol(notes_first=True))
    wire = Wire(labeler)
    held = wire.ask("POST", "/api/leases", {"ahead": 4})["items"]
    assert len(held) == 4
    for item in held:
        _everything_but_notes(wire, item["showing"])
    wire.post("/api/skips", showing=held[3]["showing"], reason=SkipReason.OTHER, comment="No.", ahead=4)
    for words in (TITLE, COMMUNITY, POST, "pelicans", "herons", "gannet"):
        assert wire.says(words) == []
    before = len(wire.heard)
    # Saving the notes reveals this document, and no other one.
    told = wire.post("/api/notes", showing=held[0]["showing"], notes=["It says one.", "It says two."])
    number = re.sub(r"\D", "", told["document"]["text"])
    assert told["document"] == {
        "title": f"{TITLE} {number}",
        "community": f"{COMMUNITY}{number}",
        "text": f"{POST} {number}",
    }
    _everything_but_notes(wire, held[1]["showing"])
    next_held = wire.post("/api/preferences", showing=held[0]["showing"], value=2, ahead=4)["held"]["items"]
    assert [item["document"] for item in next_held] == [None, None]
    for other in {"0", "1", "2", "3"} - {number}:
        assert wire.says(f"{TITLE} {other}") + wire.says(f"{COMMUNITY}{other}") + wire.says(f"{POST} {other}") == []
    assert len(wire.says(f"{POST} {number}")) >= 2
    assert all(f"{POST} {number}" not in each for each in wire.heard[:before])


@pytest.mark.parametrize("notes_first", [False, True])
def test_nothing_ever_tells_a_policy_a_kind_or_an_id(labeler: TestClient, work: Work, notes_first: bool) -> None:
    protocol = Protocol(notes_first=notes_first, gold_share=0.5)
    with work() as session:
        pairs = _plant(session, count=16, opinions=2, protocol=protocol, priority=5)
        kinds = [ComparisonKind.SHARED, ComparisonKind.SENTINEL, ComparisonKind.CALIBRATION, ComparisonKind.ORDINARY]
        for number, comparison_id in enumerate(pairs.comparisons):
            session.get_one(Comparison, comparison_id).kind = kinds[number % 4]
            session.get_one(Comparison, comparison_id).reason = "zugzwang"
        make.standing(session, BatchPurpose.GOLD, 8)
        make.to_rate(session, 2)
    wire = Wire(labeler)
    answered = 0
    while held := wire.ask("POST", "/api/leases", {"ahead": 4})["items"]:
        for item in held:
            showing = item["showing"]
            wire.ask("POST", "/api/heartbeats", {"showings": [showing]})
            if answered % 5 == 3:
                wire.post("/api/flags", showing=showing, reason="other", comment="Look.")
                wire.post("/api/skips", showing=showing, reason="other", ahead=3)
            if item["document"] is None:
                wire.post("/api/notes", showing=showing, notes=["It says one.", "It says two."])
            if item["task"] == "rate":
                wire.post("/api/ratings", showing=showing, overall=3, ahead=4)
            else:
                ahead = 4 if answered % 2 else None
                wire.post("/api/preferences", showing=showing, value=1 + answered % 9, explanation="So.", ahead=ahead)
            wire.ask("GET", f"/api/answers/{showing}")
            wire.ask("GET", "/api/answers/last")
            answered += 1
    for page in ("/label", "/me", "/account", "/guidelines"):
        wire.ask("GET", page)
    with work() as session:
        given = list(session.scalars(select(Slot.for_labeler_id).where(Slot.labeler_id.is_not(None))))
        kinds_given = set(session.scalars(select(Comparison.kind).join(Slot).where(Slot.labeler_id.is_not(None))))
        showings = set(session.scalars(select(Showing.id)))
        ada = session.scalars(select(Labeler.id).where(Labeler.name == "Ada")).one()
    assert {None, ada} == set(given), "ordinary and gold pairs were among them"
    assert kinds_given >= set(kinds) | {ComparisonKind.GOLD}
    for words in (
        POLICY,
        "marzipan",
        DIGEST,
        DIGEST[:12],
        "checkpoint",
        "zugzwang",
        "sentinel",
        "calibration",
        "propensity",
    ):
        assert wire.says(words) == [], words
    assert set().union(*map(_names, wire.told)) <= TOLD
    for name, value in (each for told in wire.told for each in _values(told)):
        if isinstance(value, int) and not isinstance(value, bool):
            assert name in NUMBERS, (name, value)
        if name == "showing":
            assert UUID(value) in showings
            assert UUID(value).version == 4
        assert value not in {kind.value for kind in ComparisonKind} - {"ordinary"}
        assert value != "ref"
    headers = {line.partition(":")[0] for each in wire.heard for line in each.split("\n\n")[0].splitlines()[1:]}
    assert headers <= {
        *("content-length", "content-type", "content-security-policy", "x-content-type-options", "referrer-policy"),
        *("cross-origin-opener-policy", "permissions-policy", "cache-control", "set-cookie", "location"),
    }


def test_gold_and_ordinary_pairs_look_the_same(labeler: TestClient, work: Work) -> None:
    with work() as session:
        make.standing(session, BatchPurpose.GOLD, 8)
        make.pairs(session, 16, protocol=Protocol(gold_share=0.5), priority=5)
    held = labeler.post("/api/leases", json={"ahead": 16}).json()["items"]
    with work() as session:
        mine = set(session.scalars(select(Slot.showing_id).where(Slot.for_labeler_id.is_not(None))))
    gold = [item for item in held if UUID(item["showing"]) in mine]
    assert 4 <= len(gold) <= 12
    shapes = {
        json.dumps({name: type(value).__name__ for name, value in item.items()} | {"practice": item["practice"]})
        for item in held
    }
    assert len(shapes) == 1
    assert len({item["expires_at"] for item in held}) == 1
    assert {item["document"]["community"] for item in held} == {"cats"}

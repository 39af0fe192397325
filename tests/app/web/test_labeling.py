"""The judging page's JSON: what it takes, however odd, and what it says."""

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.domain.preferences import WORDS
from app.store.tables import Preference, Skip
from tests.conftest import Work
from tests.support import factories


def held(labeler: TestClient, work: Work) -> str:
    """The showing of a pair that the labeler holds."""
    with work() as session:
        factories.pairs(session)
    showing = labeler.post("/api/leases", json={"ahead": 1}).json()["items"][0]["showing"]
    assert isinstance(showing, str)
    return showing


def post(labeler: TestClient, path: str, body: dict[str, Any]) -> int:
    """The status for a body as a browser may have written it, half signs and odd numbers included."""
    return labeler.post(path, content=json.dumps(body), headers={"content-type": "application/json"}).status_code


@pytest.mark.parametrize(
    ("explanation", "kept"),
    [
        ("x" * 5000, "x" * 4000),
        ("half \ud83d a sign", "half ? a sign"),
        ("\ude00", "?"),
        ("a\0b", "ab"),
        ("", None),
        (None, None),
        (7, None),
        (["x"], None),
        ({"x": "\ud83d"}, None),
        (True, None),
    ],
)
def test_words_never_cost_an_answer_or_a_skip(labeler: TestClient, work: Work, explanation: Any, kept: str) -> None:
    showing = held(labeler, work)
    answer = {"showing": showing, "key": str(uuid4()), "value": 2, "explanation": explanation}
    assert post(labeler, "/api/preferences", answer) == 200
    other = held(labeler, work)
    skip = {"showing": other, "key": str(uuid4()), "reason": "other", "comment": explanation}
    assert post(labeler, "/api/skips", skip) == 200
    with work() as session:
        assert session.scalars(select(Preference.explanation)).one() == kept
        assert session.scalars(select(Skip.comment)).one() == kept


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        (12.5, 12.5),
        (12, 12.0),
        (0, 0.0),
        (86_400, 86_400.0),
        (86_401, None),
        (-1, None),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        ("12", None),
        ([], None),
        (None, None),
    ],
)
def test_seconds_never_cost_an_answer(labeler: TestClient, work: Work, seconds: Any, kept: float | None) -> None:
    answer = {"showing": held(labeler, work), "key": str(uuid4()), "value": 2, "seconds": seconds}
    assert post(labeler, "/api/preferences", answer) == 200
    with work() as session:
        assert session.scalars(select(Preference.seconds)).one() == kept


@pytest.mark.parametrize("value", [0, 10, 2.5, "much better", None])
def test_a_value_off_the_scale_is_refused(labeler: TestClient, work: Work, value: Any) -> None:
    assert (
        post(labeler, "/api/preferences", {"showing": held(labeler, work), "key": str(uuid4()), "value": value}) == 422
    )


def test_progress_is_the_labelers_own(labeler: TestClient, work: Work) -> None:
    showing = held(labeler, work)
    said = labeler.post("/api/preferences", json={"showing": showing, "key": str(uuid4()), "value": 2})
    assert said.json() == {"status": "saved", "version": 1, "progress": {"mine_today": 1, "mine_total": 1}}


def test_the_page_speaks_of_the_scale_in_the_domains_words(labeler: TestClient) -> None:
    html = labeler.get("/label").text
    for value, words in WORDS.items():
        assert f'value="{value}" data-words="{words}"' in html

"""Simulated labelers prefer what their formula prefers, disagree sometimes, and the tour's table says so."""

import gzip
import json
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import httpx2
import pytest

from app import samples
from app.domain.preferences import choice
from app.domain.ratings import AXES
from app.domain.recipes import TINY
from app.simulation import gold, labelers, table, tour
from app.simulation.client import Client
from app.simulation.errors import TourFailed
from app.simulation.labelers import SimulatedLabeler, at_work

DOCUMENT = (
    "My neighbour's rooster crows at four every morning. I asked twice, kindly, and brought earplugs. The landlord "
    "says roosters are allowed. Should I ask the neighbour to keep the rooster in a dark coop until seven?"
)
GOOD = "My neighbour's rooster crows at four every morning; should I ask the neighbour to keep it in a dark coop?"


def test_a_fitting_summary_is_liked_better_than_noise_repetition_and_silence() -> None:
    liked = gold.score(DOCUMENT, GOOD)
    for worse in ("table lamp giraffe", "rooster rooster rooster rooster rooster", "", DOCUMENT + " " + DOCUMENT):
        assert liked > gold.score(DOCUMENT, worse)


def test_answers_are_on_the_scale_turn_with_the_sides_and_repeat_with_the_seed() -> None:
    answers = [gold.judge(DOCUMENT, GOOD, "table lamp", Random(seed)) for seed in range(200)]
    assert set(answers) <= set(range(1, 10))
    assert sum(choice(answer) == 0 for answer in answers) > 180
    turned = [gold.judge(DOCUMENT, "table lamp", GOOD, Random(seed)) for seed in range(200)]
    assert sum(choice(answer) == 1 for answer in turned) > 180
    assert answers == [gold.judge(DOCUMENT, GOOD, "table lamp", Random(seed)) for seed in range(200)]


def test_two_simulated_labelers_agree_often_and_not_always() -> None:
    posts = [json.loads(line) for line in samples.path().read_text(encoding="utf-8").splitlines()]
    pairs = [(post["post"], post["summary"], " ".join(post["post"].split()[:28])) for post in posts]
    both = [
        (choice(gold.judge(*pair, Random(2 * number))), choice(gold.judge(*pair, Random(2 * number + 1))))
        for number, pair in enumerate(pairs * 10)
    ]
    counted = [one == other for one, other in both if one is not None and other is not None]
    assert 0.7 < sum(counted) / len(counted) < 0.95


def test_ratings_are_on_the_scale_follow_the_text_and_repeat_with_the_seed() -> None:
    def mean(summary: str) -> dict[str, float]:
        given = [gold.rate(DOCUMENT, summary, Random(seed)) for seed in range(100)]
        assert {score for each in given for score in each.values()} <= set(range(1, 8))
        return {axis.name: sum(each[axis.name] for each in given) / 100 for axis in AXES}

    good, noise = mean(GOOD), mean("table lamp giraffe")
    assert all(good[axis] > noise[axis] + 1 for axis in ("accuracy", "coverage", "overall"))
    assert mean("rooster rooster rooster rooster")["coherence"] < noise["coherence"]
    assert max(mean("").values()) < 2
    assert gold.rate(DOCUMENT, GOOD, Random(3)) == gold.rate(DOCUMENT, GOOD, Random(3))
    assert gold.rate(DOCUMENT, GOOD, Random(3)) != gold.rate(DOCUMENT, GOOD, Random(4))


def test_documents_are_chosen_by_hash_and_every_fourth_is_held_out(tmp_path: Path) -> None:
    zipped = tmp_path / "posts.jsonl.gz"
    zipped.write_bytes(gzip.compress(samples.path().read_bytes()))
    for source in (samples.path(), zipped):
        assert tour.choose_documents(source, tmp_path / "chosen.jsonl", 12) == 12
        chosen = [json.loads(line) for line in (tmp_path / "chosen.jsonl").read_text().splitlines()]
        assert [post["split"] for post in chosen] == ["train", "train", "train", "valid"] * 3
    assert tour.choose_documents(samples.path(), tmp_path / "chosen.jsonl", 1000) <= 72


def test_a_file_of_another_form_is_refused_in_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": "a", "post": "One."}\n{"id": 3}\n')
    with pytest.raises(TourFailed, match="line 2, post: missing"):
        tour.choose_documents(broken, tmp_path / "chosen.jsonl", 10)


def test_the_table_shows_every_rate_with_its_n_and_interval() -> None:
    told = {
        "number": 1,
        "recipe": "tiny",
        "runs": [
            {"stage": "sample", "result": {"pairs": 4}, "seconds": 2.0},
            {"stage": "label", "result": {"judged": 4}, "seconds": 1.0},
            {
                "stage": "reward",
                "result": {"pairs": 3, "accuracy": {"value": 0.5, "n": 2, "low": 0.1, "high": 0.9}},
                "seconds": 3.0,
            },
            {"stage": "sample", "result": {"pairs": 4}, "seconds": 2.5},
        ],
    }
    lines = table.lines([told])
    assert any(line.split() == ["pairs", "judged", "4"] for line in lines)
    assert any(line.endswith("0.50 [0.10, 0.90] n=2") for line in lines)
    assert any(line.split() == ["seconds:", "sample", "4.5"] for line in lines)
    assert any(line.split() == ["ROUGE-L", "-"] for line in lines)


class _Server:
    """Hone as far as a tour sees it: `silent` questions are not answered at all, leases are answered with `leases`."""

    def __init__(self, leases: int, silent: int = 0) -> None:
        self.leases, self.silent, self.waits = leases, silent, 0

    def client(self, *_: object) -> Client:
        return Client(httpx2.Client(base_url="http://hone", transport=httpx2.MockTransport(self._answer)))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path, given = request.url.path, httpx2.Response
        if request.method == "GET" and self.silent:
            self.silent -= 1
            raise httpx2.ConnectError("nobody listens", request=request)
        told: dict[str, Any] = {
            "/documents/import": {"run": 1},
            "/api/runs/1": {"words": "done", "state": "succeeded"},
            "/api/recipes": {"id": 1},
            "/api/people": {"link": "/link/x"},
            "/api/rounds": {"number": 1},
            "/api/rounds/1": {"state": "running", "runs": []},
        }
        return given(self.leases, json={}) if path == "/api/leases" else given(200, json=told[path])

    def wait(self, _: float) -> None:
        self.waits += 1
        if self.waits > 5000:
            raise AssertionError("the tour waits for ever")
        Event().wait(0.002)


class _Queue:
    """The judging endpoints with a pair with notes first, a pair, and a summary; `away` requests are not answered."""

    def __init__(self, away: int = 0) -> None:
        document, sides = {"title": "A rooster", "community": "", "text": DOCUMENT}, [{"text": GOOD}, {"text": "lamp"}]
        self.items = [
            {"showing": "a", "task": "compare", "document": None, "summaries": sides},
            {"showing": "b", "task": "compare", "document": document, "summaries": sides},
            {"showing": "c", "task": "rate", "document": document, "summaries": sides[:1]},
        ]
        self.document, self.away, self.over = document, away, Event()
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def client(self) -> Client:
        return Client(httpx2.Client(base_url="http://hone", transport=httpx2.MockTransport(self._answer)))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, json.loads(request.content)
        if path == "/api/leases":
            if not self.items:
                self.over.set()
            return httpx2.Response(200, json={"items": self.items[:1], "before": None})
        self.heard.append((path, body))
        if self.away:
            self.away -= 1
            # The request arrived, or it did not: the labeler cannot know.
            if self.away % 2:
                raise httpx2.ReadError("the line is dead", request=request)
            return httpx2.Response(503, json={"error": "not now"})
        if path == "/api/notes":
            return httpx2.Response(200, json={"document": self.document})
        self.items.pop(0)
        return httpx2.Response(200, json={"status": "saved"})


def test_a_labeler_writes_notes_first_compares_and_rates() -> None:
    server = _Queue()
    labeler = SimulatedLabeler(server.client(), seed=1)
    labeler.work(server.over)
    assert labeler.answered == 3
    assert [(path, body["showing"]) for path, body in server.heard] == [
        ("/api/notes", "a"),
        ("/api/preferences", "a"),
        ("/api/preferences", "b"),
        ("/api/ratings", "c"),
    ]
    notes, first, second, rating = (body for _, body in server.heard)
    assert notes["notes"] == [gold.note(GOOD), "lamp"]
    assert first["value"] in range(1, 10)
    assert second["value"] in range(1, 10)
    assert {axis.name for axis in AXES} <= rating.keys()
    assert len({body["key"] for _, body in server.heard}) == 4
    same = _Queue()
    SimulatedLabeler(same.client(), seed=1).work(same.over)
    assert same.heard == server.heard


def test_a_labeler_asks_again_with_the_same_key_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelers, "IDLE_SECONDS", 0.0)
    calm, troubled = _Queue(), _Queue(away=6)
    for server in (calm, troubled):
        labeler = SimulatedLabeler(server.client(), seed=1)
        labeler.work(server.over)
        assert labeler.answered == 3
    assert troubled.heard == [calm.heard[0]] * 6 + calm.heard


def _take(server: _Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Client, "by_link", server.client)
    (tmp_path / "posts.jsonl").write_text("{}\n")
    tour.take("http://hone", "/link/x", tmp_path / "posts.jsonl", TINY, 1, lambda _: None, server.wait)


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_labeler_that_is_refused_ends_the_tour_in_words(
    status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        TourFailed, match=rf"simulated labeler had to stop: POST /api/leases was answered with {status}"
    ):
        _take(_Server(leases=status), monkeypatch, tmp_path)


def test_a_web_process_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = _Server(leases=403, silent=3)
    with pytest.raises(TourFailed, match="had to stop"):
        _take(server, monkeypatch, tmp_path)
    assert server.silent == 0
    monkeypatch.setattr(tour, "SILENT_SECONDS", 0.05)
    with pytest.raises(TourFailed, match="The web process at http://hone does not answer"):
        _take(_Server(leases=503, silent=10**9), monkeypatch, tmp_path)


def test_whatever_waits_may_end_the_tour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server = _Server(leases=503)
    monkeypatch.setattr(server, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _take(server, monkeypatch, tmp_path)


def test_a_labeler_that_breaks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    labeler = SimulatedLabeler(_Server(leases=200).client(), seed=1)
    broken = Event()

    def work(_: Event) -> None:
        broken.set()
        raise KeyError("summaries")

    monkeypatch.setattr(labeler, "work", work)
    with at_work([labeler]) as desks:
        broken.wait(5)
    with pytest.raises(TourFailed, match="summaries"):
        desks.check()

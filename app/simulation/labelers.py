"""Simulated labelers at work: each holds a pair or a summary, judges it, sends the answer, and asks for the next.

Knows the judging endpoints. A labeler that the server cannot serve for a moment tries again with the same key, like
the page does.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from uuid import UUID

import httpx2

from app.domain.words import BatchKind
from app.simulation import gold
from app.simulation.client import Client
from app.simulation.errors import Refused, TourFailed

IDLE_SECONDS = 1.0


class SimulatedLabeler:
    """One account of kind `simulated`. The same seed and the same pairs give the same answers."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._random = Random(seed)
        self.answered = 0

    def work(self, over: threading.Event) -> None:
        """Judge until `over` is set, waiting while there is nothing to judge. Raises Refused for what is no trouble."""
        while not over.is_set():
            held = self._sent("/api/leases", {"ahead": 1}, over)
            if held is None:
                return
            if not held["items"]:
                over.wait(IDLE_SECONDS)
            for item in held["items"]:
                self._judge(item, over)

    def _judge(self, item: dict[str, Any], over: threading.Event) -> None:
        texts = [side["text"] for side in item["summaries"]]
        document = item["document"]
        if document is None:
            notes = {"notes": [gold.note(text) for text in texts], "seconds": 0.0}
            told = self._sent("/api/notes", self._said(item, notes), over)
            if told is None:
                return
            document = told["document"]
        about = f"{document['title']}\n{document['text']}"
        if item["task"] == BatchKind.RATE:
            path, answer = "/api/ratings", self._said(item, {"seconds": 0.0})
            answer |= gold.rate(about, texts[0], self._random)
        else:
            path, answer = "/api/preferences", self._said(item, {"seconds": 0.0})
            answer["value"] = gold.judge(about, texts[0], texts[1], self._random)
        if self._sent(path, answer, over) is not None:
            self.answered += 1

    def _said(self, item: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        key = str(UUID(int=self._random.getrandbits(128), version=4))
        return {"showing": item["showing"], "key": key, **values}

    def _sent(self, path: str, body: dict[str, Any], over: threading.Event) -> Any:
        """What the server said, asked again for as long as it cannot be reached; None when `over` came first."""
        while not over.is_set():
            try:
                return self._client.post(path, body)
            except (httpx2.TransportError, Refused) as trouble:
                if isinstance(trouble, Refused) and trouble.status < 500:
                    raise
                over.wait(IDLE_SECONDS)
        return None


class Desks:
    """The labelers at work, and the first trouble that one of them could not go on after."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._trouble: Exception | None = None

    def check(self) -> None:
        """Raises TourFailed when a labeler had to stop: the round would wait for its answers for ever."""
        if self._trouble is not None:
            raise TourFailed(f"A simulated labeler had to stop: {self._trouble}") from self._trouble

    def _work(self, labeler: SimulatedLabeler) -> None:
        try:
            labeler.work(self._over)
        except Exception as trouble:  # noqa: BLE001  whatever it is, it must not end in a thread that nobody looks at
            self._trouble = self._trouble or trouble


@contextmanager
def at_work(labelers: list[SimulatedLabeler]) -> Iterator[Desks]:
    """All of them judge, each in a thread of its own, while the block runs."""
    desks = Desks()
    threads = [threading.Thread(target=desks._work, args=(each,), daemon=True) for each in labelers]
    for thread in threads:
        thread.start()
    try:
        yield desks
    finally:
        desks._over.set()
        for thread in threads:
            thread.join()

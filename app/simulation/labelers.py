"""Simulated labelers at work: each holds a pair, judges it, sends the answer, and asks for the next.

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

from app.simulation.client import Client
from app.simulation.errors import Refused, TourFailed
from app.simulation.gold import judge

IDLE_SECONDS = 1.0


class SimulatedLabeler:
    """One account of kind `simulated`. The same seed and the same pairs give the same answers."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._random = Random(seed)
        self.answered = 0

    def work(self, over: threading.Event) -> None:
        """Judge until `over` is set, waiting while there is nothing to judge."""
        while not over.is_set():
            try:
                items = self._client.post("/api/leases", {"ahead": 1})["items"]
                if not items:
                    over.wait(IDLE_SECONDS)
                for item in items:
                    self._answer(item, over)
            except (httpx2.TransportError, Refused) as trouble:
                if isinstance(trouble, Refused) and trouble.status < 500:
                    raise
                over.wait(IDLE_SECONDS)

    def _answer(self, item: dict[str, Any], over: threading.Event) -> None:
        first, second = (side["text"] for side in item["summaries"])
        document = item["document"]
        answer = {
            "showing": item["showing"],
            "key": str(UUID(int=self._random.getrandbits(128), version=4)),
            "value": judge(f"{document['title']}\n{document['text']}", first, second, self._random),
            "seconds": 0.0,
        }
        while not over.is_set():
            try:
                self._client.post("/api/preferences", answer)
            except httpx2.TransportError:
                over.wait(IDLE_SECONDS)
            else:
                self.answered += 1
                return


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

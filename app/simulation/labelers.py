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
from app.simulation.errors import Refused
from app.simulation.gold import judge

IDLE_SECONDS = 0.5


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


@contextmanager
def at_work(labelers: list[SimulatedLabeler]) -> Iterator[None]:
    """All of them judge, each in a thread of its own, while the block runs."""
    over = threading.Event()
    threads = [threading.Thread(target=each.work, args=(over,), daemon=True) for each in labelers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()

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
    """One account of kind `simulated`. The same seed and the same pairs give the same answers.

    `pace` is how many answers an hour they give, the times between two spread evenly from half to one and a half of the
    mean; None: as fast as they are given something. `noise` is `app.simulation.gold.judge`'s. Each answer takes one of
    the `allowed`, which several labelers may share; when none is left, they stop.
    """

    def __init__(
        self,
        client: Client,
        seed: int,
        pace: float | None = None,
        noise: float = gold.NOISE,
        allowed: threading.Semaphore | None = None,
    ) -> None:
        self._client = client
        self._random = Random(seed)
        self._clock = Random(f"{seed} clock")
        self._pace = pace
        self._noise = noise
        self._allowed = allowed
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
                if self._allowed is not None and not self._allowed.acquire(blocking=False):
                    return
                self._judge(item, self._read(over), over)

    def _read(self, over: threading.Event) -> float:
        """Take the time that the pace leaves for one answer. Gives it in seconds."""
        seconds = 0.0 if self._pace is None else 3600 / self._pace * self._clock.uniform(0.5, 1.5)
        over.wait(seconds)
        return seconds

    def _judge(self, item: dict[str, Any], seconds: float, over: threading.Event) -> None:
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
            path, answer = "/api/ratings", self._said(item, {"seconds": seconds})
            answer |= gold.rate(about, texts[0], self._random)
        else:
            path, answer = "/api/preferences", self._said(item, {"seconds": seconds})
            answer["value"] = gold.judge(about, texts[0], texts[1], self._random, self._noise)
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

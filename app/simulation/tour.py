"""The whole loop without a person: import, invite, launch rounds, watch them, and the table of what came out.

Knows the order of things and the keys of a round's results. Says what it does through a callable; prints nothing.
"""

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2

from app.domain.recipes import Recipe
from app.domain.records import BadRecord, PostRecord, read_post
from app.simulation.client import Client
from app.simulation.errors import TourFailed
from app.simulation.labelers import SimulatedLabeler, at_work

LABELERS = 3
LOOK_SECONDS = 1.0
SHORTEST_SUMMARY = 60
LONGEST_SUMMARY = 260
HELD_OUT_EVERY = 4
SILENT_SECONDS = 60.0

Say = Callable[[str], None]
Wait = Callable[[float], None]


def choose_documents(source: Path, target: Path, most: int) -> int:
    """Write up to `most` posts of a TL;DR file to `target`, by a hash of their ids; gives how many.

    Posts with a reference of SHORTEST_SUMMARY to LONGEST_SUMMARY characters, the shorter quarter of them; every
    HELD_OUT_EVERY-th becomes a validation document, because a few dozen posts split by chance would leave next to none.
    Raises TourFailed for a file that is not of this form.
    """
    fitting = [post for post in _posts(source) if SHORTEST_SUMMARY <= len(post.summary or "") <= LONGEST_SUMMARY]
    # Time goes with length: a demo on two cores takes the shorter quarter where there is enough to choose from.
    fitting = sorted(fitting, key=lambda post: len(post.post))[: max(most, len(fitting) // 4)]
    fitting.sort(key=lambda post: sha256(post.source_id.encode()).digest())
    if len(fitting) < HELD_OUT_EVERY:
        raise TourFailed(f"{source} has {len(fitting)} posts that fit the demo; it needs at least {HELD_OUT_EVERY}.")
    with target.open("w", encoding="utf-8") as out:
        for number, post in enumerate(fitting[:most]):
            kept = {
                "id": post.source_id,
                "subreddit": post.community,
                "title": post.title,
                "post": post.post,
                "summary": post.summary,
                "split": "valid" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train",
            }
            out.write(json.dumps(kept) + "\n")
    return min(most, len(fitting))


def _posts(source: Path) -> list[PostRecord]:
    try:
        with (
            gzip.open(source, "rt", encoding="utf-8")
            if source.suffix == ".gz"
            else source.open(encoding="utf-8") as lines
        ):
            return [read_post(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except (BadRecord, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as trouble:
        raise TourFailed(f"{source} cannot be used for the demo: {trouble}.") from trouble


@dataclass(frozen=True)
class Tour:
    """A finished tour: the rounds as the server tells them."""

    rounds: list[dict[str, Any]]


def take(
    address: str, admin_link: str, documents: Path, recipe: Recipe, rounds: int, say: Say, wait: Wait = time.sleep
) -> Tour:
    """Go round the loop `rounds` times. Raises TourFailed with the words of the run that failed, or Refused.

    `wait` passes the time between two looks at the server; whatever it raises ends the tour.
    """
    try:
        admin = Client.by_link(address, admin_link)
        say("signed in as the first admin")
        _finished_run(admin, admin.upload(documents), say, wait)
        recipe_id = admin.post("/api/recipes", recipe.to_dict())["id"]
        labelers = []
        for number in range(1, LABELERS + 1):
            invited = admin.post("/api/people", {"name": f"simulated {number}", "role": "labeler", "kind": "simulated"})
            labelers.append(SimulatedLabeler(Client.by_link(address, invited["link"]), seed=number))
        say(f"{LABELERS} simulated labelers are at their desks")
        with at_work(labelers) as desks:

            def wait_and_check(seconds: float) -> None:
                desks.check()
                wait(seconds)

            told = [_round(admin, recipe_id, say, wait_and_check) for _ in range(rounds)]
    except httpx2.TransportError as trouble:
        raise TourFailed(f"The web process at {address} does not answer: {trouble}.") from trouble
    say(f"simulated labelers gave {sum(each.answered for each in labelers)} answers")
    return Tour(told)


def _seen(admin: Client, path: str, wait: Wait) -> dict[str, Any]:
    """What is there now; a web process that is being started again is waited for, SILENT_SECONDS at most."""
    begun = time.monotonic()
    while True:
        try:
            seen: dict[str, Any] = admin.get(path)
        except httpx2.TransportError:
            if time.monotonic() - begun > SILENT_SECONDS:
                raise
            wait(LOOK_SECONDS)
        else:
            return seen


def _finished_run(admin: Client, run_id: int, say: Say, wait: Wait) -> None:
    words = ""
    while True:
        run = _seen(admin, f"/api/runs/{run_id}", wait)
        if run["words"] != words:
            words = run["words"]
            say(words)
        if run["state"] == "succeeded":
            return
        if run["state"] in ("failed", "cancelled"):
            raise TourFailed(run["problem"] or run["words"])
        wait(LOOK_SECONDS)


def _round(admin: Client, recipe_id: int, say: Say, wait: Wait) -> dict[str, Any]:
    number = admin.post("/api/rounds", {"recipe": recipe_id, "with_simulated": True})["number"]
    told = ""
    while True:
        seen = _seen(admin, f"/api/rounds/{number}", wait)
        now = next((run for run in seen["runs"] if run["state"] in ("running", "waiting", "queued")), None)
        if now is not None:
            words = f"round {number}, {now['stage']}: {now['words'] or now['state']}"
            if words != told:
                told = words
                say(words)
        if seen["state"] == "succeeded":
            return seen
        if seen["state"] in ("failed", "cancelled"):
            failed = next((run for run in seen["runs"] if run["problem"]), None)
            raise TourFailed(f"Round {number}: {failed['problem'] if failed else seen['state']}")
        wait(LOOK_SECONDS)

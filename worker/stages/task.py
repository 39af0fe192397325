"""What a stage is given and what it gives back.

Knows the claimed run, its recipe and where things lie. Knows nothing of any single stage.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from app.domain.prompts import PromptTemplate
from app.domain.recipes import Recipe
from app.services import lineage
from app.services.lineage import RoundFacts
from app.services.runs import Claim
from app.settings import Settings
from app.store.session import Send, Session, Sessions, unit_of_work
from worker.artifacts import STATES, Artifacts
from worker.training.metrics import Sink


class CannotRun(Exception):
    """The stage cannot do what is asked: what happened, what is safe, what to do."""


def _nothing(session: Session) -> None:
    """Most stages that fail early have nothing to record."""


@dataclass(frozen=True)
class Outcome:
    """What a stage did. `record` writes its rows in the transaction that ends the run, so all of it counts or none."""

    words: str
    result: dict[str, Any]
    record: Callable[[Session], None] = field(default=_nothing)


@dataclass(frozen=True)
class Task:
    """A claimed run with everything it may use."""

    claim: Claim
    settings: Settings
    artifacts: Artifacts
    sink: Sink
    sessions: Sessions
    send: Send

    def work(self) -> AbstractContextManager[Session]:
        """A unit of work."""
        return unit_of_work(self.sessions, self.send)

    @cached_property
    def round(self) -> RoundFacts:
        """The round this run belongs to. Raises CannotRun for a run on its own."""
        if self.claim.round_id is None:
            raise CannotRun("This stage runs only within a round. Launch one.")
        with self.work() as session:
            return lineage.round_facts(session, self.claim.round_id)

    @property
    def recipe(self) -> Recipe:
        """The round's recipe."""
        return self.round.recipe

    @cached_property
    def template(self) -> PromptTemplate:
        """The project's prompt template."""
        with self.work() as session:
            return PromptTemplate(lineage.prompt_template(session))

    @cached_property
    def directory(self) -> Path:
        """This claim's own place for files."""
        return self.artifacts.of_run(self.claim)

    @property
    def states(self) -> Path:
        """Where this run keeps its resume states: they go over to the claim that takes it up after a kill."""
        return self.directory / STATES

    @property
    def seed(self) -> int:
        """Differs between rounds and stages, and is the same when the run starts again."""
        return self.recipe.seed * 1_000_003 + self.claim.origin

"""One call of the command: what it asked, and the rows of its files, each in its split, as training sees them."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.domain.prompts import PromptTemplate
from app.domain.recipes import Recipe
from app.domain.records import ComparisonRecord, PostRecord, SummaryRecord, read_comparison, read_post
from app.domain.splits import SALT, SPELLINGS, TEST_SHARE, VALIDATION_SHARE, split_by_hash
from app.domain.words import Split
from worker.cli.files import records
from worker.cli.place import STATES
from worker.cli.refusal import Wrong
from worker.training.examples import Demonstration, Pair, Query
from worker.training.metrics import Sink

R = TypeVar("R")

REFERENCE = "ref"
"""The policy that stands for people in OpenAI's released records."""


@dataclass(frozen=True)
class Call:
    """One call of the command: what was asked, with the recipe and the template read."""

    options: argparse.Namespace
    recipe: Recipe
    template: PromptTemplate
    out: Path

    @property
    def data(self) -> Path:
        """The file to read."""
        return Path(self.options.data)

    @property
    def states(self) -> Path:
        """Where the resume states are, until there is a result."""
        return self.out / STATES

    def processes(self, usual: int) -> int:
        """In how many the stage trains: as asked for, else as usual."""
        asked: int | None = self.options.processes
        return usual if asked is None else asked

    def named(self, sink: Sink) -> dict[str, Any]:
        """What every stage takes by name."""
        return {
            "sampling": self.recipe.sampling,
            "precision": self.recipe.precision,
            "seed": self.recipe.seed,
            "sink": sink,
            "template": self.template,
            "state_dir": self.states,
        }

    def documents(self, path: Path, *splits: Split) -> list[PostRecord]:
        """The documents of a file in these splits; of several with one id, the first."""
        firsts: dict[str, PostRecord] = {}
        for record in records(path, read_post):
            firsts.setdefault(record.source_id, record)
        return [record for record in firsts.values() if self.split(record) in splits]

    def split(self, record: PostRecord) -> Split:
        """The split that the file gives a document, else the one that the product would give it."""
        named = SPELLINGS.get(record.split or "") if self.options.splits == "file" else None
        return named or split_by_hash(SALT, record.source_id, VALIDATION_SHARE, TEST_SHARE)

    def demonstrations(self, path: Path, split: Split) -> list[Demonstration]:
        """The documents of a split that have a reference summary."""
        return [demonstration(record) for record in self.documents(path, split) if record.summary is not None]

    def judged(self) -> dict[Split, list[ComparisonRecord]]:
        """The comparisons by split, which is the first one named for a document.

        Where one person judged a pair again, the last answer counts.
        """
        splits: dict[str, Split] = {}
        newest: dict[tuple[object, ...], ComparisonRecord] = {}
        for record in records(self.data, read_comparison):
            splits.setdefault(record.document.source_id, self.split(record.document))
            sides = frozenset((side.policy, side.text) for side in record.summaries)
            newest[record.document.source_id, sides, record.batch, record.worker] = record
        rows: dict[Split, list[ComparisonRecord]] = {split: [] for split in Split}
        for record in newest.values():
            rows[splits[record.document.source_id]].append(record)
        return rows


def query(record: PostRecord) -> Query:
    """A document as training sees it."""
    return Query(record.community, record.title, record.post)


def demonstration(record: PostRecord) -> Demonstration:
    """A document with its reference summary."""
    return Demonstration(query(record), record.summary or "")


def pair(record: ComparisonRecord) -> Pair:
    """A comparison as training sees it: the preferred text first."""
    sides = record.summaries if record.value <= 5 else record.summaries[::-1]
    texts = [side.text.strip() for side in sides]
    return Pair(query(record.document), texts[0], texts[1], record.value, (sides[0].policy, sides[1].policy))


def reference(row: ComparisonRecord) -> list[SummaryRecord]:
    """The side that a person wrote, if there is one."""
    return [side for side in row.summaries if side.policy == REFERENCE][:1]


def some(rows: list[R], what: str, call: Call, path: Path | None = None) -> list[R]:
    """The rows, of `path` or the call's data. Raises Wrong when there are none."""
    if not rows:
        kept = "splits come from the file where it names them" if call.options.splits == "file" else "splits by hash"
        raise Wrong(f"{path or call.data} has no {what} ({kept}; see --splits).")
    return rows

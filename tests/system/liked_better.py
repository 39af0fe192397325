"""How often the newest policy writes what simulated labelers like better than what the fine-tuned one writes.

Knows the gold reward that simulated labelers judge by (app.simulation.gold), and where the weights lie. The texts are
written anew, on documents that no policy learned from. Knows nothing of what the rounds went through.
"""

from pathlib import Path

from app.domain import intervals
from app.domain.intervals import Estimate
from app.domain.recipes import Recipe
from app.domain.words import CheckpointKind, Split, Stage
from app.services import lineage
from app.services.projects import the_project
from app.simulation import gold
from app.store import corpus
from app.store.session import Session
from worker.stages.sft import query
from worker.training import generation, metrics, seeding

TEXTS = 8


def win_rate(session: Session, artifacts: Path, recipe: Recipe) -> Estimate:
    """The mean over validation documents of the share of pairs that the newest policy's text wins; 0.5 is alike.

    Each policy writes TEXTS of a document, and each of them meets each of the other's; a tie counts half. The interval
    is over documents.
    """
    rows = corpus.documents_for_training(
        session, the_project(session).id, Split.VALIDATION, limit=None, with_reference=True
    )
    asked = [query(row) for row in rows for _ in range(TEXTS)]
    seeds = [seeding.derive(0, "liked better", place) for place in range(len(asked))]

    def scores(stage: Stage) -> list[list[float]]:
        place = artifacts / lineage.newest(session, stage, CheckpointKind.POLICY).path
        written = generation.sample(place, asked, recipe.sampling, seeds, metrics.NullSink())
        found = [
            gold.score(f"{each.title}\n{each.post}", sample.text) for each, sample in zip(asked, written, strict=True)
        ]
        return [found[start : start + TEXTS] for start in range(0, len(found), TEXTS)]

    return intervals.mean(
        [
            sum((one > other) + (one == other) / 2 for one in newest for other in tuned) / TEXTS**2
            for newest, tuned in zip(scores(Stage.PPO), scores(Stage.SFT), strict=True)
        ]
    )

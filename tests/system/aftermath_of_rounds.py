"""What is wrong with the rows and files that rounds left behind: nothing, whatever happened to their workers.

Knows what a round that nothing happened to leaves. Knows nothing of who was killed.
"""

from pathlib import Path

from sqlalchemy import text

from app.store.session import Session
from worker.training import checkpoints

# Each gives a row per thing that is wrong; the words are what a person reads.
_WRONG = {
    "a round did not succeed": "select number, state from round where state <> 'succeeded'",
    "a run did not succeed": (
        "select id, stage, state, problem from run where round_id is not null and state <> 'succeeded'"
    ),
    "a place in a round holds more than one run": (
        "select round_id, position, count(*) from run where round_id is not null group by 1, 2 having count(*) > 1"
    ),
    "what was sampled once was put up twice": "select name, count(*) from batch group by 1 having count(*) > 1",
    "a run wrote about a document with the same seed twice": (
        "select run_id, document_id, seed, count(*) from summary where run_id is not null "
        "group by 1, 2, 3 having count(*) > 1"
    ),
    "a slot holds more than one counted opinion": (
        "select slot_id, count(*) from preference where not surplus and version = 1 group by 1 having count(*) > 1"
    ),
    "a training left steps out": (
        "select run_id, name, count(*), max(step) from metric_point "
        "where name in ('sft/loss', 'reward/loss', 'ppo/reward') group by 1, 2 having count(*) <> max(step) + 1"
    ),
    "a run was asked to stop": "select id from run where cancel_asked_at is not null or pause_asked_at is not null",
}


def findings(session: Session, artifacts: Path, count: int) -> list[str]:
    """What is wrong after `count` rounds, in words; empty when nothing is."""
    found = [f"{words}: {tuple(row)}" for words, query in _WRONG.items() for row in session.execute(text(query))]
    there = session.scalar(text("select count(*) from round")) or 0
    if there != count:
        found.append(f"{there} rounds instead of {count}")
    found += [f"states of a run that succeeded are left: {path}" for path in artifacts.glob("runs/*/states")]
    for path, digest in session.execute(text("select path, digest from checkpoint where kind <> 'base'")):
        place = artifacts / path
        if not place.is_dir() or checkpoints.digest_directory(place) != digest:
            found.append(f"a checkpoint is not what its row says: {path}")
    return found

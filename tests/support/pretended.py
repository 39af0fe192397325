"""A worker that computes nothing: takes runs, measures and reports as a real one would, and says what came out.

Knows the protocol of runs and the shape of every stage's result. Knows nothing of models.
"""

import math
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.domain import intervals
from app.domain.words import CheckpointKind, LabelerKind, Role, RunState, Stage
from app.services import lineage, promotions, rounds, runs
from app.services.people import Viewer
from app.services.runs import Claim
from app.store import people
from app.store.session import Session
from app.store.tables import Run
from tests.support import factories

LEASE = timedelta(minutes=5)
CONDITIONS = {
    "python": "3.11.9",
    "machine": "x86_64",
    "torch": "2.13.0+cpu",
    "transformers": "5.17.0",
    "device": "cpu",
    "threads": 2,
}


def boss(session: Session) -> Viewer:
    """The first admin, whether they have come in yet or not."""
    row = people.labeler_by_name(session, "admin")
    return factories.admin(session, "admin") if row is None else Viewer(row.id, row.name, Role.ADMIN, LabelerKind.HUMAN)


def launch(session: Session, viewer: Viewer, recipe: str = "tiny", *, documents: int = 3) -> int:
    """A round over new documents. Gives its number."""
    for _ in range(documents):
        factories.reference_document(session)
    recipe_id = next(row.id for row in rounds.recipes(session) if row.name == recipe)
    return rounds.launch(session, viewer, recipe_id, with_simulated=False)


def take(session: Session, number: int, worker_id: UUID | None = None) -> Claim:
    """The run of the round that waits for a worker, claimed."""
    queued = next(run for run in rounds.view(session, number).runs if run.state is RunState.QUEUED)
    claim = runs.claim(session, queued.id, "gpu-1", 1, LEASE, worker_id)
    assert claim is not None
    runs.note_conditions(session, claim, CONDITIONS)
    return claim


def report(session: Session, claim: Claim, done: int, total: int, words: str) -> None:
    """How far the run is."""
    runs.beat(session, claim, LEASE, (done, total, words))


def points(stage: Stage, steps: range) -> list[tuple[str, int, float]]:
    """What a stage measures at these steps."""
    curves: dict[Stage, dict[str, Any]] = {
        Stage.SFT: {
            "sft/loss": lambda step: 3.4 * math.exp(-step / 60) + 2.1 + 0.06 * math.sin(step * 1.7),
            "sft/learning_rate": lambda step: 6e-5 * (1 - step / 400),
            "sft/tokens_per_second": lambda step: 410 + 30 * math.sin(step),
        },
        Stage.REWARD: {
            "reward/loss": lambda step: 0.69 - 0.001 * step + 0.03 * math.sin(step * 2.3),
            "reward/accuracy": lambda step: min(0.9, 0.5 + 0.002 * step + 0.06 * math.sin(step * 1.1)),
            "reward/margin": lambda step: 0.004 * step,
            "reward/learning_rate": lambda step: 2e-5 * (1 - step / 400),
            "reward/tokens_per_second": lambda step: 380 + 25 * math.cos(step),
        },
        Stage.PPO: {
            "ppo/score": lambda step: 0.9 * (1 - math.exp(-step / 40)) + 0.05 * math.sin(step * 1.9),
            "ppo/reward": lambda step: 0.7 * (1 - math.exp(-step / 40)) + 0.05 * math.sin(step * 1.9),
            "ppo/kl": lambda step: 0.06 * step + 0.3 * abs(math.sin(step)),
            "ppo/entropy": lambda step: 2.3 - 0.004 * step,
            "ppo/length": lambda step: 32 + 0.05 * step + math.sin(step),
            "ppo/without_eos": lambda step: 0.05 + 0.02 * abs(math.sin(step * 1.3)),
            "ppo/policy_loss": lambda step: -0.01 + 0.004 * math.sin(step * 0.7),
            "ppo/value_loss": lambda step: 0.4 * math.exp(-step / 50) + 0.05,
            "ppo/clip_fraction": lambda step: 0.08 + 0.03 * math.sin(step),
            "ppo/value_clip_fraction": lambda step: 0.02 + 0.01 * math.cos(step),
            "ppo/step_kl": lambda step: 0.002 + 0.0006 * math.sin(step),
            "ppo/explained_variance": lambda step: 0.6 * (1 - math.exp(-step / 30)),
            "ppo/learning_rate": lambda step: 1.5e-5 * (1 - step / 400),
            "ppo/episodes_per_second": lambda step: 1.9 + 0.2 * math.sin(step),
        },
    }
    return [(name, step, curve(step)) for name, curve in curves.get(stage, {}).items() for step in steps]


def measure(session: Session, claim: Claim, steps: range) -> None:
    """Write what the stage measures at these steps."""
    runs.measure(session, claim, points(claim.stage, steps))


def result(stage: Stage) -> dict[str, Any]:
    """What a stage says at its end."""
    if stage is Stage.SFT:
        return {"documents": 96, "training_loss": 2.31, "validation_loss": 2.44}
    if stage is Stage.SAMPLE:
        return {"pairs": 64, "left_out": 0, "summaries": 104, "written_again": 8, "policy": "round1-sft"}
    if stage is Stage.REWARD:
        return {"pairs": 48, "held_out": 16, "accuracy": asdict(intervals.rate(11, 16))}
    if stage is Stage.PPO:
        return {"episodes": 48, "score_last": 0.61}
    if stage is Stage.EVALUATE:
        return {
            "score": asdict(intervals.mean([0.2, 0.9, 1.3, 0.4])),
            "reference_score": asdict(intervals.mean([0.1, -0.3, 0.4, 0.0])),
            "predicted_preference": asdict(intervals.mean([0.52, 0.77, 0.71, 0.6])),
            "kl": asdict(intervals.mean([3.1, 4.2, 2.8, 5.0])),
            "length": asdict(intervals.mean([31.0, 36.0, 28.0, 40.0])),
            "rouge_l": asdict(intervals.mean([0.21, 0.18, 0.25, 0.3])),
            "without_eos": asdict(intervals.rate(1, 24)),
            "samples": [
                {
                    "title": "My neighbour wants his ladder back <b>today</b>",
                    "reference": "Borrowed a ladder, neighbour wants it back today, it broke. What do I say?",
                    "before": "I have a ladder and my neighbour wants it. I do not know what to do about the ladder.",
                    "previous": "Neighbour wants the ladder back that I borrowed, and it broke.",
                    "after": "Neighbour wants back the ladder I broke. Should I tell him or buy a new one?",
                },
                {
                    "title": "Moving to another town for a job I may not like",
                    "reference": "Offered more money in another town, partner stays here. Go or stay?",
                    "before": "I got a job offer. It is in another town.",
                    "after": "Job offer in another town pays more, but my partner cannot come. Should I take it?",
                },
            ],
        }
    return {}


def succeed(session: Session, claim: Claim, words: str = "Done.") -> None:
    """The run did what was asked."""
    rounds.succeed(session, claim, words, result(claim.stage))


def carry_out(session: Session, number: int, *stages: Stage) -> None:
    """Take and end these stages of the round, one after another."""
    for stage in stages:
        claim = take(session, number)
        assert claim.stage is stage, f"the round is at {claim.stage}"
        succeed(session, claim)


def improve(session: Session, number: int, **measured: Any) -> int:
    """Carry a round to the end of its evaluation, with the checkpoints and policies that a worker with models makes.

    `measured` replaces parts of what the evaluation says. Gives the id of the policy that PPO made.
    """
    improved = None
    while True:
        claim = take(session, number)
        run = session.get_one(Run, claim.run_id)
        if claim.stage is Stage.SFT:
            base = factories.base_checkpoint(session)
            checkpoint = factories.trained_checkpoint(session, run, base)
            tuned = lineage.policy_for(session, checkpoint, f"round{number}-sft")
            promotions.begin_with(session, tuned.id, "The first policy that was fine-tuned.")
        if claim.stage is Stage.PPO:
            sft = lineage.newest(session, Stage.SFT, CheckpointKind.POLICY)
            checkpoint = factories.trained_checkpoint(session, run, sft)
            improved = lineage.policy_for(session, checkpoint, f"round{number}-ppo")
        if claim.stage is Stage.EVALUATE:
            assert improved is not None
            held = result(claim.stage) | measured
            promotions.weigh(session, improved.id, held)
            rounds.succeed(session, claim, "Measured.", held)
            return improved.id
        succeed(session, claim)

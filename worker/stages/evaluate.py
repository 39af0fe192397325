"""Evaluation: the new policy writes summaries of validation documents, they are measured, and its gate is asked.

Knows which policies are compared and what the round reports. The measures are in worker.training.evaluation; whether
the policy becomes current is decided in app.services.promotions.
"""

import math
from dataclasses import asdict
from typing import Any

from app.domain import intervals
from app.domain.recipes import SamplingRecipe
from app.domain.words import CheckpointKind, Split, Stage
from app.services import lineage, promotions
from app.store import corpus
from app.store.session import Session
from app.store.tables import Checkpoint
from worker.stages.sft import demonstrations
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import devices, evaluation, generation, seeding

SHOWN = 4


def run(task: Task) -> Outcome:
    """Measure the round's policy. Raises CannotRun without validation documents."""
    recipe = task.recipe
    with task.work() as session:
        sft = lineage.newest(session, Stage.SFT, CheckpointKind.POLICY)
        reward = lineage.newest(session, Stage.REWARD, CheckpointKind.REWARD, task.round.id)
        policy = lineage.newest(session, Stage.PPO, CheckpointKind.POLICY, task.round.id)
        current = lineage.current_writer(session)
        documents = corpus.documents_for_training(
            session,
            task.claim.project_id,
            Split.VALIDATION,
            limit=recipe.evaluation.documents,
            with_reference=True,
        )
    if not documents:
        raise CannotRun(
            "No validation document has a reference summary, so there is nothing to measure the policy on. "
            "Import more documents (about one in ten becomes a validation document), then launch a round."
        )
    told = demonstrations(documents)
    measured = evaluation.evaluate(
        task.artifacts.path(policy.path),
        task.artifacts.path(sft.path),
        task.artifacts.path(reward.path),
        told,
        recipe.evaluation,
        task.sink,
        sampling=recipe.sampling,
        precision=recipe.precision,
        seed=task.seed,
        template=task.template,
        state_dir=task.states,
    )
    greedy = recipe.sampling.to_dict() | {
        "temperature": recipe.evaluation.temperature,
        "batch": recipe.evaluation.batch,
    }

    def written_by(checkpoint: Checkpoint) -> list[str]:
        texts = generation.sample(
            task.artifacts.path(checkpoint.path),
            [each.query for each in told[:SHOWN]],
            SamplingRecipe.from_dict(greedy),
            [seeding.derive(task.seed, "evaluation", index) for index in range(len(told[:SHOWN]))],
            task.sink,
            template=task.template,
            precision=recipe.precision,
        )
        return [each.text.strip() for each in texts]

    before = written_by(sft)
    # Measured again after a promotion, the policy itself is current.
    previous = None if current is None or current.checkpoint.id in (sft.id, policy.id) else current
    by_previous = [""] * len(before) if previous is None else written_by(previous.checkpoint)
    rows = measured.rows

    def mean(values: list[float]) -> dict[str, Any]:
        return asdict(intervals.mean(values))

    result = {
        "documents": len(rows),
        "score": mean([row.score for row in rows]),
        "reference_score": mean([row.reference_score for row in rows]),
        "predicted_preference": mean([_logistic(row.score - row.reference_score) for row in rows]),
        "above_reference": asdict(intervals.rate(sum(row.score > row.reference_score for row in rows), len(rows))),
        "kl": mean([row.kl for row in rows]),
        "length": mean([float(row.sample.token_count) for row in rows]),
        "rouge_1": mean([row.rouge.rouge_1 for row in rows]),
        "rouge_2": mean([row.rouge.rouge_2 for row in rows]),
        "rouge_l": mean([row.rouge.rouge_l for row in rows]),
        "copying": mean([row.copying for row in rows]),
        "without_eos": asdict(intervals.rate(sum(not row.sample.finished for row in rows), len(rows))),
        "samples": [
            {
                "title": each.query.title,
                "reference": each.summary_text,
                "before": earlier,
                "previous": text,
                "after": row.sample.text.strip(),
            }
            for each, earlier, text, row in zip(told[:SHOWN], before, by_previous, rows, strict=False)
        ],
    }

    decoding = greedy | {"top_p": 1.0, "precision": devices.applied(recipe.precision, devices.best())}

    def record(session: Session) -> None:
        by = lineage.policy_for(session, policy, f"round{task.round.number}-ppo")
        # Policies can be looked at side by side where they have written about the same document.
        corpus.add_summaries(
            session,
            [
                {
                    "document_id": about.document.id,
                    "policy_id": by.id,
                    "text": row.sample.text,
                    "checkpoint_id": policy.id,
                    "run_id": task.claim.run_id,
                    "prompt": row.sample.prompt,
                    "decoding": decoding,
                    "seed": row.sample.seed,
                    "tokens": row.sample.token_count,
                    "finished": row.sample.finished,
                }
                for about, row in zip(documents, rows, strict=True)
                if row.sample.text.strip()
            ],
        )
        promotions.weigh(session, by.id, result)

    return Outcome(f"Measured on {len(rows)} validation documents.", result, record)


def _logistic(difference: float) -> float:
    """What a reward model says of two scores: the probability that the first is preferred (P 3.4), in [0, 1]."""
    return 0.5 * (1 + math.tanh(0.5 * difference))

"""Evaluation: the new policy writes summaries of validation documents, they are measured, and it becomes current.

Knows which policies are compared and what the round reports. The measures are in worker.training.evaluation.
"""

from dataclasses import asdict
from typing import Any

from app.domain import intervals
from app.domain.recipes import SamplingRecipe
from app.domain.words import CheckpointKind, Split, Stage
from app.services import lineage
from app.store import corpus
from app.store.session import Session
from worker.stages.sft import demonstrations
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import evaluation, generation, seeding

SHOWN = 4


def run(task: Task) -> Outcome:
    """Measure the round's policy. Raises CannotRun without validation documents."""
    recipe = task.recipe
    with task.work() as session:
        sft = lineage.newest(session, Stage.SFT, CheckpointKind.POLICY)
        reward = lineage.newest(session, Stage.REWARD, CheckpointKind.REWARD, task.round.id)
        policy = lineage.newest(session, Stage.PPO, CheckpointKind.POLICY, task.round.id)
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
    before = generation.sample(
        task.artifacts.path(sft.path),
        [each.query for each in told[:SHOWN]],
        SamplingRecipe.from_dict(greedy),
        [seeding.derive(task.seed, "evaluation", index) for index in range(len(told[:SHOWN]))],
        task.sink,
        template=task.template,
        precision=recipe.precision,
    )
    rows = measured.rows

    def mean(values: list[float]) -> dict[str, Any]:
        return asdict(intervals.mean(values))

    result = {
        "documents": len(rows),
        "score": mean([row.score for row in rows]),
        "reference_score": mean([row.reference_score for row in rows]),
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
                "before": earlier.text.strip(),
                "after": row.sample.text.strip(),
            }
            for each, earlier, row in zip(told[:SHOWN], before, rows, strict=False)
        ],
    }

    def record(session: Session) -> None:
        lineage.make_current(session, lineage.policy_for(session, policy, f"round{task.round.number}-ppo").id)

    return Outcome(f"Measured on {len(rows)} validation documents; it writes the next pairs.", result, record)

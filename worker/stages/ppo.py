"""PPO: the policy improves against the newest reward model, held near the SFT policy by the KL penalty.

Knows which checkpoints and documents go in. The mathematics is in worker.training.ppo.
"""

from app.domain.words import CheckpointKind, Split, Stage
from app.services import lineage
from app.services.lineage import Written
from app.store import corpus
from app.store.corpus import DocumentWithReference
from app.store.session import Session
from worker import artifacts
from worker.stages.sft import query
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import checkpoints, launching, ppo


def run(task: Task) -> Outcome:
    """Train the policy on summaries it writes of training documents. Raises CannotRun without documents."""
    recipe = task.recipe
    with task.work() as session:
        sft = lineage.newest(session, Stage.SFT, CheckpointKind.POLICY)
        reward = lineage.newest(session, Stage.REWARD, CheckpointKind.REWARD, task.round.id)
        writer = lineage.current_writer(session)
        documents = corpus.documents_for_training(session, task.claim.project_id, Split.TRAIN)
        held_out = _held_out(session, task)
    if not documents:
        raise CannotRun("There are no training documents to summarize. Import some, then launch the round again.")
    parent = writer.checkpoint if recipe.ppo.start_from == "current" and writer is not None else sft
    task.artifacts.need(sft.bytes * 3)
    done = launching.run(
        ppo.train,
        task.artifacts.path(sft.path),
        task.artifacts.path(reward.path),
        [query(row) for row in documents],
        recipe.ppo,
        processes=launching.usual(adapter=bool(recipe.ppo.lora_rank or recipe.ppo.value_lora_rank)),
        sampling=recipe.sampling,
        precision=recipe.precision,
        seed=task.seed,
        out_dir=task.directory / "ppo",
        sink=task.sink,
        start_dir=task.artifacts.path(parent.path),
        held_out=[query(row) for row in held_out],
        template=task.template,
        state_dir=task.states,
    )
    written = {
        CheckpointKind.POLICY: (done.policy_dir, checkpoints.digest_directory(done.policy_dir), parent.id),
    }
    if done.value_dir is not None:
        written[CheckpointKind.VALUE] = (done.value_dir, checkpoints.digest_directory(done.value_dir), reward.id)
    snapshot = {
        "documents": [row.document.id for row in documents],
        "held_out": [row.document.id for row in held_out],
        "reward": reward.digest,
        "sft": sft.digest,
    }

    def record(session: Session) -> None:
        for kind, (directory, digest, parent_id) in written.items():
            checkpoint = lineage.record(
                session,
                task.claim,
                Written(
                    kind=kind,
                    path=task.artifacts.relative(directory),
                    digest=digest,
                    bytes=artifacts.size(directory),
                    parent_id=parent_id,
                    recipe=recipe.to_dict(),
                    code_revision=artifacts.code_revision(),
                    snapshot=snapshot,
                ),
            )
            if kind is CheckpointKind.POLICY:
                lineage.policy_for(session, checkpoint, f"round{task.round.number}-ppo")

    last = done.history[-1]
    return Outcome(
        f"Learned from {done.episodes} summaries of its own{f'; {done.stopped}' if done.stopped else ''}.",
        {
            "stopped": done.stopped,
            "episodes": done.episodes,
            "steps": done.steps,
            "score_first": done.history[0].score,
            "score_last": last.score,
            "kl_last": last.kl,
            "length_last": last.length,
            "without_eos_last": last.without_eos,
        },
        record,
    )


def _held_out(session: Session, task: Task) -> list[DocumentWithReference]:
    """Validation documents to estimate the preference on, if the recipe stops by it; none of those that the evaluation
    measures, as long as there are others. Raises CannotRun without any."""
    recipe = task.recipe
    if recipe.ppo.stop_preference_drop is None:
        return []
    wanted = recipe.ppo.preference_documents
    rows = corpus.documents_for_training(
        session,
        task.claim.project_id,
        Split.VALIDATION,
        limit=recipe.evaluation.documents + wanted,
        with_reference=True,
    )
    if not rows:
        raise CannotRun(
            "The recipe stops by a preference estimated on validation documents (ppo.stop_preference_drop), and there "
            "are none. Import more documents, or launch a round with a recipe that leaves it out."
        )
    return rows[-wanted:]

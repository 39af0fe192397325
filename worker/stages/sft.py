"""SFT: the base model learns from the references of training documents, and becomes the current policy.

Knows which rows go in and which come out. The mathematics is in worker.training.sft.
"""

from app.domain.words import CheckpointKind, Split
from app.services import lineage, promotions
from app.services.lineage import Written
from app.store import corpus
from app.store.corpus import DocumentWithReference
from app.store.session import Session
from worker import artifacts
from worker.stages import base_model
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import checkpoints, launching, sft
from worker.training.examples import Demonstration, Query

VALIDATION_DOCUMENTS = 64


def query(row: DocumentWithReference) -> Query:
    """A document as training sees it."""
    return Query(row.document.community, row.document.title, row.document.post)


def demonstrations(rows: list[DocumentWithReference]) -> list[Demonstration]:
    """Documents with their references; those without one are left out."""
    return [Demonstration(query(row), row.reference.strip()) for row in rows if row.reference is not None]


def run(task: Task) -> Outcome:
    """Train on references. Raises CannotRun without any."""
    recipe = task.recipe
    base = base_model.prepared(task)
    with task.work() as session:
        train = corpus.documents_for_training(
            session, task.claim.project_id, Split.TRAIN, limit=recipe.sft.documents, with_reference=True
        )
        held_out = corpus.documents_for_training(
            session, task.claim.project_id, Split.VALIDATION, limit=VALIDATION_DOCUMENTS, with_reference=True
        )
    if not train:
        raise CannotRun("There are no training documents with a reference summary. Import some, then run again.")
    task.artifacts.need(artifacts.size(base) * 2)
    done = launching.run(
        sft.train,
        base,
        demonstrations(train),
        demonstrations(held_out),
        recipe.sft,
        processes=launching.usual(),
        sampling=recipe.sampling,
        precision=recipe.precision,
        seed=task.seed,
        out_dir=task.directory / "policy",
        sink=task.sink,
        template=task.template,
        state_dir=task.states,
    )
    digest = checkpoints.digest_directory(done.directory)

    def record(session: Session) -> None:
        parent = base_model.writer(session, task, base).checkpoint
        checkpoint = lineage.record(
            session,
            task.claim,
            Written(
                kind=CheckpointKind.POLICY,
                path=task.artifacts.relative(done.directory),
                digest=digest,
                bytes=artifacts.size(done.directory),
                parent_id=parent.id,
                recipe=recipe.to_dict(),
                code_revision=artifacts.code_revision(),
                snapshot={"documents": [row.document.id for row in train[: done.documents]]},
            ),
        )
        policy = lineage.policy_for(session, checkpoint, f"round{task.round.number}-sft")
        promotions.begin_with(session, policy.id, "The first policy that was fine-tuned.")

    return Outcome(
        f"Learned from {done.documents} references.",
        {
            "documents": done.documents,
            "steps": done.steps,
            "training_loss": done.training_loss,
            "validation_loss_before": done.validation_loss_before,
            "validation_loss": done.validation_loss,
            "validation_documents": len(held_out),
        },
        record,
    )

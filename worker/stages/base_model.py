"""The base model that the first SFT starts from, prepared once under the artifact directory.

Knows the names that settings may give. Knows nothing of training.
"""

from pathlib import Path

from app.domain.words import CheckpointKind, Split
from app.services import lineage
from app.services.lineage import Writer, Written
from app.store import corpus
from app.store.session import Session
from worker import artifacts
from worker.stages.task import CannotRun, Task
from worker.training import checkpoints, models

SMOLLM2 = "smollm2-135m"
TINY = "tiny"
ROOM = 2_000_000_000


def prepared(task: Task) -> Path:
    """The directory of the base model, converted or built when it is not there yet. Raises CannotRun."""
    name = task.settings.base_model
    place = task.artifacts.base_model(name)
    if place.exists():
        return place
    task.artifacts.need(ROOM if name != TINY else ROOM // 20)
    task.sink.progress(0, 0, f"preparing the base model {name}, once")
    if name == SMOLLM2:
        return models.convert_smollm2(place)
    if name == TINY:
        return models.build_tiny(place, _texts(task), seed=1)
    try:
        return models.prepare_base(name, place)
    except (OSError, ValueError) as trouble:
        raise CannotRun(
            f"The base model {name!r} cannot be loaded: {str(trouble).splitlines()[0]} Nothing was changed. "
            "Set HONE_BASE_MODEL to a directory or hub id of a causal language model with safetensors weights."
        ) from trouble


def _texts(task: Task) -> list[str]:
    with task.work() as session:
        rows = corpus.documents_for_training(session, task.claim.project_id, Split.TRAIN, limit=2000)
    texts = [f"{row.document.title} {row.document.post} {row.reference or ''}" for row in rows]
    if not texts:
        raise CannotRun("There are no training documents to build a tokenizer from. Import documents first.")
    return texts


def writer(session: Session, task: Task, place: Path) -> Writer:
    """The base model as a policy, with its checkpoint recorded once."""
    path = task.artifacts.relative(place)
    checkpoint = lineage.known_base(session, path) or lineage.record(
        session,
        task.claim,
        Written(
            kind=CheckpointKind.BASE,
            path=path,
            digest=checkpoints.digest_directory(place),
            bytes=artifacts.size(place),
            parent_id=None,
            recipe={},
            code_revision=artifacts.code_revision(),
            snapshot={"source": task.settings.base_model},
        ),
    )
    return Writer(lineage.policy_for(session, checkpoint, f"{lineage.BASE}-{place.name}"), checkpoint)

"""The reward model: the SFT weights with a scalar head learn from every counted preference so far.

Knows which answers go in (newest versions, no surplus, simulated ones only when asked for by name, none that the recipe
leaves out). The mathematics is in worker.training.reward.
"""

from dataclasses import asdict
from hashlib import sha256

from app.domain import intervals
from app.domain.recipes import LabelsRecipe
from app.domain.words import CheckpointKind, Split, Stage
from app.quality import filters
from app.quality.filters import Why
from app.services import lineage
from app.services.lineage import Written
from app.store import answers, corpus
from app.store.answers import Judged
from app.store.session import Session
from worker import artifacts
from worker.stages.sft import demonstrations
from worker.stages.task import CannotRun, Outcome, Task
from worker.training import checkpoints, launching, reward
from worker.training.accuracy import Accuracy
from worker.training.examples import Pair, Query


def pair(row: Judged) -> Pair:
    """An answer as training sees it: the preferred text first."""
    first, second = (0, 1) if row.value <= 5 else (1, 0)
    return Pair(
        Query(row.community, row.title, row.post),
        row.texts[first].strip(),
        row.texts[second].strip(),
        row.value,
        (row.policies[first], row.policies[second]),
    )


def estimate(counted: Accuracy) -> dict[str, float | int | None]:
    """An accuracy with its n and interval, ready for JSON."""
    return asdict(intervals.rate(counted.right, counted.n))


def chosen(rows: list[Judged], labels: LabelsRecipe) -> tuple[list[Judged], dict[str, int]]:
    """The answers that the recipe keeps, and how many training ones it leaves out, by reason.

    Held-out ones are all kept, so that rounds with different recipes are measured on the same pairs.
    """
    pairs: dict[object, int] = {}
    asked = [
        filters.Answer(pairs.setdefault((row.batch, row.summary_ids), len(pairs)), row.worker, row.value, row.kind)
        for row in rows
    ]
    reasons = [
        why if row.split == Split.TRAIN else None
        for row, why in zip(rows, filters.left_out(labels, asked), strict=True)
    ]
    kept = [row for row, why in zip(rows, reasons, strict=True) if why is None]
    return kept, {why.value: reasons.count(why) for why in Why}


def run(task: Task) -> Outcome:
    """Train on preferences. Raises CannotRun without any that prefers a side."""
    recipe = task.recipe
    with task.work() as session:
        sft = lineage.newest(session, Stage.SFT, CheckpointKind.POLICY)
        last = answers.last_preference(session)
        rows = list(
            answers.judged(
                session,
                task.claim.project_id,
                kinds=task.round.labeler_kinds,
                splits=(Split.TRAIN, Split.VALIDATION),
                up_to=last,
            )
        )
        references = corpus.documents_for_training(
            session, task.claim.project_id, Split.TRAIN, limit=recipe.reward.references, with_reference=True
        )
    rows, left_out = chosen(rows, recipe.labels)
    without = sum(left_out.values())
    train = [row for row in rows if row.split == Split.TRAIN]
    held_out = [row for row in rows if row.split == Split.VALIDATION]
    if not any(row.value != 5 for row in train):
        raise CannotRun(
            "No answer on a training document prefers a side, so there is nothing to learn"
            f"{f' (the recipe leaves out {without})' if without else ''}. "
            "Judge more pairs, then launch a round; everything judged so far is taken in."
        )
    source = task.artifacts.path(sft.path)
    task.artifacts.need(sft.bytes * 2)
    done = launching.run(
        reward.train,
        source,
        [pair(row) for row in train],
        [pair(row) for row in held_out],
        demonstrations(references),
        recipe.reward,
        processes=launching.usual(adapter=bool(recipe.reward.lora_rank)),
        sampling=recipe.sampling,
        precision=recipe.precision,
        seed=task.seed,
        out_dir=task.directory / "reward",
        sink=task.sink,
        template=task.template,
        state_dir=task.states,
    )
    digest = checkpoints.digest_directory(done.directory)
    seen = sha256("\n".join(f"{row.preference_id} {row.value}" for row in rows).encode()).hexdigest()

    def record(session: Session) -> None:
        lineage.record(
            session,
            task.claim,
            Written(
                kind=CheckpointKind.REWARD,
                path=task.artifacts.relative(done.directory),
                digest=digest,
                bytes=artifacts.size(done.directory),
                parent_id=sft.id,
                recipe=recipe.to_dict(),
                code_revision=artifacts.code_revision(),
                snapshot={
                    "up_to_preference": last,
                    "kinds": [kind.value for kind in task.round.labeler_kinds],
                    "preferences": len(rows),
                    "left_out": left_out,
                    "digest": seen,
                    "references": [row.document.id for row in references],
                },
            ),
        )

    accuracy = estimate(done.accuracy)
    shown = (
        "no held-out pairs" if not done.accuracy.n else f"{done.accuracy.rate:.0%} of {done.accuracy.n} held-out pairs"
    )
    return Outcome(
        f"Learned from {done.pairs} preferences{f', {without} left out by the recipe' if without else ''}; "
        f"agrees with labelers on {shown}.",
        {
            "pairs": done.pairs,
            "ties": done.ties,
            "left_out": left_out,
            "held_out": done.accuracy.n,
            "accuracy": accuracy,
            "accuracy_by_policies": {name: estimate(each) for name, each in done.accuracy_by_policies.items()},
            "accuracy_by_confidence": {name: estimate(each) for name, each in done.accuracy_by_confidence.items()},
            "training_loss": done.training_loss,
            "validation_loss": done.validation_loss,
            "offset": done.offset,
        },
        record,
    )

"""Where weights come from and what they saw: base, SFT, reward and policy checkpoints, and who writes next.

Knows which checkpoint a stage starts from and how a new one is recorded (invariant 6). Knows nothing of weights.
"""

from dataclasses import dataclass
from typing import Any

from app.domain.errors import Conflict
from app.domain.recipes import Recipe
from app.domain.words import CheckpointKind, LabelerKind, PolicyKind, Stage
from app.services.projects import the_project
from app.services.rounds import LABELERS_OF
from app.services.runs import Claim
from app.store import corpus, rounds
from app.store.session import Session
from app.store.tables import Checkpoint, Policy

BASE = "base"


@dataclass(frozen=True)
class RoundFacts:
    """What a stage needs to know of its round."""

    id: int
    number: int
    recipe: Recipe
    with_simulated: bool

    @property
    def labeler_kinds(self) -> tuple[LabelerKind, ...]:
        """Whose answers count in this round (invariant 10)."""
        return LABELERS_OF[self.with_simulated]


def round_facts(session: Session, round_id: int) -> RoundFacts:
    """The round of a run."""
    found = rounds.round_by_id(session, round_id)
    return RoundFacts(
        found.round.id, found.round.number, Recipe.from_dict(found.recipe.body), found.round.with_simulated
    )


def recipe_of(session: Session, recipe_id: int) -> Recipe:
    """A recipe by its id. Raises Conflict when it is gone."""
    row = rounds.recipe(session, the_project(session).id, recipe_id)
    if row is None:
        raise Conflict("The recipe of this run is gone.", "Ask for the run again with another.")
    return Recipe.from_dict(row.body)


def prompt_template(session: Session) -> str:
    """The project's prompt template."""
    return the_project(session).prompt_template


@dataclass(frozen=True)
class Written:
    """A directory of weights that has been written whole, and what it is made of."""

    kind: CheckpointKind
    path: str
    digest: str
    bytes: int
    parent_id: int | None
    recipe: dict[str, Any]
    code_revision: str
    snapshot: dict[str, Any]


def record(session: Session, claim: Claim, written: Written) -> Checkpoint:
    """Write down a new checkpoint."""
    return rounds.add_checkpoint(
        session,
        Checkpoint(
            project_id=claim.project_id,
            kind=written.kind,
            run_id=None if written.kind is CheckpointKind.BASE else claim.run_id,
            parent_id=written.parent_id,
            path=written.path,
            digest=written.digest,
            bytes=written.bytes,
            recipe=written.recipe,
            code_revision=written.code_revision,
            snapshot=written.snapshot,
        ),
    )


def known_base(session: Session, path: str) -> Checkpoint | None:
    """The base model at this path, if a run has recorded it."""
    return rounds.base_checkpoint(session, the_project(session).id, path)


def policy_for(session: Session, checkpoint: Checkpoint, name: str) -> Policy:
    """The policy that writes with this checkpoint, made under `name` when it is new.

    A stage that was run again made one before: the next is `name` with a number.
    """
    there = rounds.policy_of_checkpoint(session, checkpoint.id)
    if there is not None:
        return there
    earlier = rounds.policies_named(session, checkpoint.project_id, name)
    named = f"{name}-{earlier + 1}" if earlier else name
    return corpus.add_policy(session, checkpoint.project_id, named, PolicyKind.CHECKPOINT, checkpoint.id, {})


def best_of(session: Session, policy: Policy, checkpoint: Checkpoint, n: int, reward: Checkpoint) -> Policy:
    """The policy that takes the best of `n` summaries by `policy`, by this reward model; made when it is new."""
    name = f"{policy.name}-best-of-{n}-by-{reward.id}"
    settings = {"policy": policy.id, "best_of": n, "reward_checkpoint": reward.id}
    return corpus.policy_once(session, checkpoint.project_id, name, PolicyKind.BEST_OF_N, checkpoint.id, settings)


@dataclass(frozen=True)
class Writer:
    """A policy with the checkpoint it writes with."""

    policy: Policy
    checkpoint: Checkpoint


def current_writer(session: Session) -> Writer | None:
    """The policy that writes the next pairs; None before any model was prepared."""
    project = the_project(session)
    if project.current_policy_id is None:
        return None
    policy = corpus.policy(session, project.current_policy_id)
    if policy is None or policy.checkpoint_id is None:
        return None
    checkpoint = rounds.checkpoint(session, policy.checkpoint_id)
    return None if checkpoint is None else Writer(policy, checkpoint)


def initial_writer(session: Session) -> Writer | None:
    """The policy that was fine-tuned last, from which PPO starts; None before any was, or where it writes itself."""
    project = the_project(session)
    checkpoint = rounds.newest_checkpoint(session, project.id, Stage.SFT, CheckpointKind.POLICY)
    policy = None if checkpoint is None else rounds.policy_of_checkpoint(session, checkpoint.id)
    if checkpoint is None or policy is None or project.current_policy_id in (None, policy.id):
        return None
    return Writer(policy, checkpoint)


def newest_reward(session: Session) -> Checkpoint | None:
    """The newest reward model of any round; None before there is one."""
    return rounds.newest_checkpoint(session, the_project(session).id, Stage.REWARD, CheckpointKind.REWARD)


def newest(session: Session, stage: Stage, kind: CheckpointKind, of_round: int | None = None) -> Checkpoint:
    """The newest checkpoint of this kind that a run of this stage wrote, in any round or in this one.

    Raises Conflict when there is none.
    """
    found = rounds.newest_checkpoint(session, the_project(session).id, stage, kind, of_round)
    if found is None:
        raise Conflict(f"No {stage} run has written a checkpoint yet.", "Launch a round from its beginning.")
    return found

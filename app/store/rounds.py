"""Recipes, rounds and the checkpoints that runs write.

Knows the questions asked of these tables. Knows nothing of how a round goes on (app.services.rounds).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from app.domain.words import CheckpointKind, PolicyKind, RoundState, Stage
from app.store.session import Session
from app.store.tables import Checkpoint, Policy, Recipe, Round, Run


def add_recipe(
    session: Session, project_id: int, name: str, body: dict[str, Any], digest: str, made_by: int | None
) -> Recipe:
    """A new version of the recipe with this name."""
    version = session.scalar(
        select(func.coalesce(func.max(Recipe.version), 0)).where(Recipe.project_id == project_id, Recipe.name == name)
    )
    row = Recipe(
        project_id=project_id, name=name, version=(version or 0) + 1, body=body, digest=digest, made_by=made_by
    )
    session.add(row)
    session.flush()
    return row


def recipes(session: Session, project_id: int) -> list[Recipe]:
    """The newest version of every recipe, by name."""
    return list(
        session.scalars(
            select(Recipe)
            .where(Recipe.project_id == project_id)
            .ext(distinct_on(Recipe.name))
            .order_by(Recipe.name, Recipe.version.desc())
        )
    )


def has_recipe(session: Session, project_id: int, name: str, digest: str) -> bool:
    """Whether some version of the recipe with this name says exactly this."""
    found = exists().where(Recipe.project_id == project_id, Recipe.name == name, Recipe.digest == digest)
    return bool(session.scalar(select(found)))


def recipe(session: Session, project_id: int, recipe_id: int) -> Recipe | None:
    """The recipe with this id."""
    return session.scalar(select(Recipe).where(Recipe.project_id == project_id, Recipe.id == recipe_id))


def lock_launch(session: Session, project_id: int) -> None:
    """One launch at a time, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(4172003, project_id % 2**31)))


def lock_project_rounds(session: Session, project_id: int, *, wait: bool = True) -> Round | None:
    """The active round, locked until the transaction ends. None when there is none, or, unless `wait`, it is locked."""
    return session.scalar(
        select(Round)
        .where(Round.project_id == project_id, Round.state == RoundState.ACTIVE)
        .with_for_update(skip_locked=not wait)
        .execution_options(populate_existing=True)
    )


def active_round(session: Session, project_id: int) -> Round | None:
    """The active round, to look at."""
    return session.scalar(
        select(Round)
        .where(Round.project_id == project_id, Round.state == RoundState.ACTIVE)
        .execution_options(populate_existing=True)
    )


def add_round(
    session: Session,
    project_id: int,
    recipe_id: int,
    launched_by: int | None,
    with_simulated: bool,
    continuous_id: int | None = None,
) -> Round:
    """A new active round, with the next number. The database refuses a second active one."""
    last = session.scalar(select(func.coalesce(func.max(Round.number), 0)).where(Round.project_id == project_id))
    row = Round(
        project_id=project_id,
        number=(last or 0) + 1,
        recipe_id=recipe_id,
        launched_by=launched_by,
        with_simulated=with_simulated,
        continuous_id=continuous_id,
    )
    session.add(row)
    session.flush()
    return row


def end_round(session: Session, round_id: int, state: RoundState) -> None:
    """The round is over."""
    session.execute(
        update(Round)
        .where(Round.id == round_id, Round.state == RoundState.ACTIVE)
        .values(state=state, ended_at=func.now(), paused_at=None, pause_words=None)
    )


def open_again(session: Session, row: Round) -> None:
    """The round goes on. The database refuses a second active one."""
    row.state = RoundState.ACTIVE
    row.ended_at = None
    session.flush()


def set_paused(session: Session, row: Round, words: str | None) -> None:
    """The round stands still, for the reason that `words` give; without any, it does not."""
    row.paused_at = None if words is None else func.now()
    row.pause_words = words
    session.flush()


@dataclass(frozen=True)
class RoundWithRecipe:
    """A round and the recipe it follows."""

    round: Round
    recipe: Recipe


def rounds(session: Session, project_id: int) -> list[RoundWithRecipe]:
    """All rounds, newest first."""
    rows = session.execute(
        select(Round, Recipe)
        .join(Recipe, Recipe.id == Round.recipe_id)
        .where(Round.project_id == project_id)
        .order_by(Round.number.desc())
    )
    return [RoundWithRecipe(row[0], row[1]) for row in rows]


def numbers(session: Session, round_ids: Iterable[int]) -> dict[int, int]:
    """The numbers of these rounds, by id."""
    rows = session.execute(select(Round.id, Round.number).where(Round.id.in_(list(round_ids))))
    return {row[0]: row[1] for row in rows}


def round_by_number(session: Session, project_id: int, number: int) -> RoundWithRecipe | None:
    """The round with this number."""
    row = session.execute(
        select(Round, Recipe)
        .join(Recipe, Recipe.id == Round.recipe_id)
        .where(Round.project_id == project_id, Round.number == number)
    ).one_or_none()
    return None if row is None else RoundWithRecipe(row[0], row[1])


def round_by_id(session: Session, round_id: int) -> RoundWithRecipe:
    """The round with this id, which is there."""
    row = session.execute(
        select(Round, Recipe).join(Recipe, Recipe.id == Round.recipe_id).where(Round.id == round_id)
    ).one()
    return RoundWithRecipe(row[0], row[1])


def add_checkpoint(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    """A directory of weights that has been written whole."""
    session.add(checkpoint)
    session.flush()
    return checkpoint


def checkpoint(session: Session, checkpoint_id: int) -> Checkpoint | None:
    """The checkpoint with this id."""
    return session.get(Checkpoint, checkpoint_id)


def base_checkpoint(session: Session, project_id: int, path: str) -> Checkpoint | None:
    """The base model stored at this path, if it is known already."""
    return session.scalar(
        select(Checkpoint).where(
            Checkpoint.project_id == project_id, Checkpoint.kind == CheckpointKind.BASE, Checkpoint.path == path
        )
    )


def newest_checkpoint(
    session: Session, project_id: int, stage: Stage, kind: CheckpointKind, round_id: int | None = None
) -> Checkpoint | None:
    """The newest checkpoint of this kind that a run of this stage wrote, of any round or of this one."""
    query = (
        select(Checkpoint)
        .join(Run, Run.id == Checkpoint.run_id)
        .where(Checkpoint.project_id == project_id, Run.stage == stage, Checkpoint.kind == kind)
    )
    if round_id is not None:
        query = query.where(Run.round_id == round_id)
    return session.scalar(query.order_by(Checkpoint.id.desc()).limit(1))


def policy_of_checkpoint(session: Session, checkpoint_id: int) -> Policy | None:
    """The policy that writes with this checkpoint as it is."""
    plain = (Policy.checkpoint_id == checkpoint_id) & (Policy.kind == PolicyKind.CHECKPOINT)
    return session.scalar(select(Policy).where(plain).order_by(Policy.id).limit(1))


def policies_named(session: Session, project_id: int, name: str) -> int:
    """How many policies have this name, or this name with a number behind it."""
    numbered = Policy.name.regexp_match(f"^{re.escape(name)}-[0-9]+$")
    found = session.scalar(
        select(func.count()).where(Policy.project_id == project_id, or_(Policy.name == name, numbered))
    )
    return found or 0


@dataclass(frozen=True)
class PolicyLine:
    """A policy with the checkpoint behind it and the round that made it."""

    policy: Policy
    checkpoint: Checkpoint | None
    round_number: int | None


def policy_lines(session: Session, project_id: int) -> list[PolicyLine]:
    """All policies with their origin, newest first."""
    rows = session.execute(
        select(Policy, Checkpoint, Round.number)
        .outerjoin(Checkpoint, Checkpoint.id == Policy.checkpoint_id)
        .outerjoin(Run, Run.id == Checkpoint.run_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(Policy.project_id == project_id)
        .order_by(Policy.id.desc())
    )
    return [PolicyLine(row[0], row[1], row[2]) for row in rows]

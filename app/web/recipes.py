"""Recipes come in as JSON, checked field by field.

Knows the endpoint. What a field means and accepts is in app.domain.recipes.
"""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.errors import Invalid
from app.domain.recipes import InvalidRecipe, Recipe
from app.services import rounds
from app.web.door import ADMIN, DoorDep

router = APIRouter()


class Saved(BaseModel):
    """The recipe is there under this id; one with the same name before it keeps its own."""

    id: int


@router.post("/api/recipes", status_code=201)
def save(door: DoorDep, recipe: dict[str, Any]) -> Saved:
    """Save a recipe as a new version of its name; a field left out takes its default."""
    with door.enter(*ADMIN) as desk:
        try:
            checked = Recipe.from_dict(recipe)
        except InvalidRecipe as error:
            raise Invalid(f"The recipe cannot be run: {error}.", "Nothing was saved.") from error
        return Saved(id=rounds.add_recipe(desk.session, desk.viewer, checked))

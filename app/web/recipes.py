"""Recipes come in as JSON or by a form with every field explained, checked field by field; what is saved never changes.

Knows the endpoint and the form. What a field means and accepts is in app.domain.recipes.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import Field, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from starlette.datastructures import FormData

from app.domain.errors import Invalid
from app.domain.recipes import About, InvalidRecipe, Recipe
from app.services import rounds
from app.web import telling
from app.web.contexts import RecipeFormPage, RecipeFormPart, RecipeSetting
from app.web.door import ADMIN, DoorDep, Id
from app.web.rendering import page, redirect

router = APIRouter()

SWITCH = ("true", "false")
_ALLOWED = ": allowed is "
_SPELLED = {"kl": "KL", "eos": "EOS", "gae": "GAE", "lora": "LoRA", "adam": "Adam"}


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


# The form


async def _typed(request: Request) -> FormData:
    # Async, so that it costs no hop of the thread pool; the fields of a recipe are not written down a second time here.
    return await request.form(max_files=0)


Typed = Annotated[FormData, Depends(_typed)]


def _settings(recipe: Recipe) -> Iterator[tuple[str, str, Field[Any], object]]:
    """Each field that a form shows: its section (empty for the whole round), path, what is known of it, and value."""
    for each in fields(recipe):
        if "about" in each.metadata:
            yield "", each.name, each, getattr(recipe, each.name)
    for each in fields(recipe):
        if each.name in telling.PART_TITLES:
            part = getattr(recipe, each.name)
            for one in fields(part):
                yield each.name, f"{each.name}.{one.name}", one, getattr(part, one.name)


def _label(name: str) -> str:
    words = " ".join(_SPELLED.get(word, word) for word in name.split("_"))
    return words[0].upper() + words[1:]


def _shown(value: object) -> list[str]:
    """A value as a form shows it: texts, of which most settings have one."""
    if value is None:
        return [""]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, tuple):
        return list(value)
    return [repr(value) if isinstance(value, float) else str(value)]


def _meant(typed: list[str], about: About) -> object:
    """What was typed as JSON has it; what makes no sense stays a text, for the recipe to refuse."""
    if about.several:
        return typed
    text = typed[-1].strip() if typed else ""
    if about.optional and not text:
        return None
    if about.choices == SWITCH:
        return {"true": True, "false": False}.get(text, text)
    if about.choices or len(text) > 40:
        return text
    try:
        return int(text) if about.whole else float(text.replace(",", "."))
    except ValueError:
        return text


def _checked(values: dict[str, Any], base: dict[str, Any]) -> tuple[Recipe | None, dict[str, str]]:
    """The recipe, or what is wrong with every field by its path.

    A recipe refuses one field at a time: the refused one is put back as it was in `base`, and the others are tried on.
    """
    tried, errors = deepcopy(values), dict[str, str]()
    while True:
        try:
            recipe = Recipe.from_dict(tried)
        except InvalidRecipe as refusal:
            path, _, said = str(refusal).partition(" is ")
            section, _, name = path.rpartition(".")
            if path in errors:
                # It was right as it was, but not beside what stands around it now.
                tried[section] = deepcopy(base[section])
                continue
            errors[path] = f"{path}: allowed is {said.partition(_ALLOWED)[2]}."
            (tried[section] if section else tried)[name] = (base[section] if section else base)[name]
        else:
            return (None if errors else recipe), errors


def _form(
    recipe_id: int, base: Recipe, version: int, name: str, typed: Mapping[str, list[str]], errors: dict[str, str]
) -> RecipeFormPage:
    parts: dict[str, list[RecipeSetting]] = {}
    for section, path, each, value in _settings(base):
        about: About = each.metadata["about"]
        shown = typed.get(path, _shown(value))
        parts.setdefault(section, []).append(
            RecipeSetting(
                path=path,
                label=_label(each.name),
                values=shown,
                options=list(about.choices),
                several=about.several,
                optional=about.optional,
                doc=about.doc.replace("null", "empty"),
                source=about.source,
                allowed=about.allowed().removesuffix(" or null") + (", or empty" if about.optional else ""),
            )
        )
    return RecipeFormPage(
        id=recipe_id,
        base=base.name,
        version=version,
        name=name,
        parts=[
            RecipeFormPart(telling.PART_TITLES.get(section, "The whole round"), held) for section, held in parts.items()
        ],
        errors=errors,
    )


@router.get("/rounds/recipes/{recipe_id}/edit")
def edit(door: DoorDep, recipe_id: Id) -> Response:
    """A copy of a recipe, to be changed field by field."""
    with door.enter(*ADMIN) as desk:
        row, recipe = rounds.recipe(desk.session, recipe_id)
        context = _form(row.id, recipe, row.version, recipe.name, {}, {})
    return page(door.request, "rounds/recipe_form.html", context)


@router.post("/rounds/recipes/{recipe_id}/edit")
def save_copy(door: DoorDep, recipe_id: Id, form: Typed) -> Response:
    """Save what was typed under a name: a new recipe, or a new version of one."""
    typed = {path: [value for value in form.getlist(path) if isinstance(value, str)] for path in form}
    name = " ".join(typed.get("name", [""])[-1].split())
    with door.enter(*ADMIN) as desk:
        row, base = rounds.recipe(desk.session, recipe_id)
        values = base.to_dict() | {"name": name}
        for section, path, each, _ in _settings(base):
            held = values[section] if section else values
            held[each.name] = _meant(typed.get(path, []), each.metadata["about"])
        recipe, errors = _checked(values, base.to_dict())
        if recipe is not None:
            made, _ = rounds.recipe(desk.session, rounds.add_recipe(desk.session, desk.viewer, recipe))
            saved = (f"/rounds/recipes/{made.id}", f"{made.name}, version {made.version}, is saved.")
    if recipe is None:
        context = _form(row.id, base, row.version, name, typed | _unticked(base, typed), errors)
        return page(door.request, "rounds/recipe_form.html", context, 422)
    return redirect(*saved)


def _unticked(base: Recipe, typed: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Settings of which a browser sends nothing when no box is ticked."""
    several = (path for _, path, each, _ in _settings(base) if each.metadata["about"].several)
    return {path: [] for path in several if path not in typed}

"""Continuous mode in words and numbers: what it does now and next, how much of its budget is used, why it is off.

Knows sentences and the form. What it does is in app.services.continuous, its rule in app.domain.continuous.
"""

from app.domain.continuous import Counts, affordable, launches_at
from app.domain.recipes import Recipe
from app.domain.words import Role
from app.services import continuous, rounds
from app.services.continuous import Mode
from app.web import telling
from app.web.contexts import ContinuousBox, KeepGoingForm, Meter
from app.web.door import Desk
from app.web.telling import many

OFF = "Nothing is sampled or launched by itself."


def form(
    desk: Desk, preferred: str, chosen: int | None = None, with_simulated: bool = False, problem: str | None = None
) -> KeepGoingForm:
    """The form that turns it on, with a recipe of this name chosen unless another is."""
    rows = rounds.recipes(desk.session)
    if chosen is None:
        chosen = next((row.id for row in rows if row.name == preferred), None)
    lines = {row.id: telling.continuous_line(Recipe.from_dict(row.body)) for row in rows}
    return KeepGoingForm(
        recipes=[(str(row.id), row.name, f"{lines[row.id].capitalize()}.") for row in rows],
        recipe="" if chosen is None else str(chosen),
        with_simulated=with_simulated,
        problem=problem,
    )


def box(desk: Desk, filled: KeepGoingForm) -> ContinuousBox:
    """How it stands. Admins may turn it off, or on by the form."""
    mode, admin = continuous.view(desk.session), desk.viewer.role is Role.ADMIN
    on = mode is not None and mode.ended_at is None
    state, words = _state(mode)
    return ContinuousBox(
        on=on,
        state=state,
        state_words=words,
        facts=[] if mode is None or not on else _facts(mode),
        since=None if mode is None or not on else mode.since,
        does=[OFF] if mode is None or mode.counts is None else _does(mode.recipe, mode.counts),
        meters=[] if mode is None or mode.counts is None else _meters(mode.recipe, mode.counts),
        ended=None if mode is None else mode.end_words,
        ended_at=None if mode is None else mode.ended_at,
        can_turn_off=admin and on,
        form=filled if admin and not on else None,
    )


def line(mode: Mode | None) -> str | None:
    """The same in one line, while it is on or when it stopped by itself; None otherwise."""
    if mode is None:
        return None
    if mode.stopped_by_itself:
        return f"Continuous mode stopped by itself. {mode.end_words}"
    if mode.counts is None:
        return None
    rounds_made = f"{mode.counts.rounds:,} of {many(mode.recipe.continuous.most_rounds, 'round')} launched"
    return " ".join([f"Continuous mode is on, {rounds_made}.", *_does(mode.recipe, mode.counts)])


def _state(mode: Mode | None) -> tuple[str, str]:
    if mode is None or mode.ended_by is not None:
        return "pending", "off"
    if mode.stopped_by_itself:
        return "paused", "stopped by itself"
    return "running", "on"


def _facts(mode: Mode) -> list[tuple[str, str]]:
    return [
        ("Recipe", f"{mode.recipe_name}, version {mode.recipe_version}"),
        ("Turned on by", mode.turned_on_by),
        ("Whose answers count", "people's and simulated labelers'" if mode.with_simulated else "people's"),
    ]


def _does(recipe: Recipe, now: Counts) -> list[str]:
    """What it does now and next."""
    rule = recipe.continuous
    last = now.rounds >= rule.most_rounds
    if now.trouble is not None:
        return [f"It is about to stop. {now.trouble}"]
    if now.paused:
        return ["The round in progress is paused. Nothing is sampled or launched until it goes on."]
    if last:
        return ["The last round of its budget goes on, and then it stops. No more pairs are sampled."]
    if not now.fine_tuned and not now.active:
        return ["The first round is about to be launched: it fine-tunes the policy that writes the pairs."]
    next_round = launches_at(rule, now.rounds + 1)
    when = "When the round in progress is over, the next one begins" if now.active else "The next round begins"
    return [
        _sampling(recipe, now),
        f"{when} at {many(next_round, 'new preference')}: {now.new:,} of {next_round:,} are there.",
    ]


def _sampling(recipe: Recipe, now: Counts) -> str:
    rule = recipe.continuous
    pairs = affordable(rule, recipe.pairing, now.asked)
    if now.coming:
        return f"Pairs are being sampled; {many(now.open, 'opinion')} needed meanwhile."
    if not pairs:
        return (
            f"No more pairs are sampled, because the budget of opinions is used: {now.needed:,} still needed, of which "
            f"labelers can give {now.open:,} now."
        )
    return (
        f"Samples {many(pairs, 'pair')} when fewer than {many(rule.least_open, 'opinion')} are still needed: "
        f"{now.open:,} needed now."
    )


def _meters(recipe: Recipe, now: Counts) -> list[Meter]:
    rule = recipe.continuous
    next_round = launches_at(rule, min(now.rounds + 1, rule.most_rounds))
    return [
        _meter("New preferences for the next round", now.new, next_round),
        _meter("Budget: opinions asked for", now.asked, rule.most_opinions),
        _meter("Budget: rounds launched", now.rounds, rule.most_rounds),
    ]


def _meter(label: str, value: int, total: int) -> Meter:
    return Meter(label, min(value, total), total, f"{value:,} of {total:,}")

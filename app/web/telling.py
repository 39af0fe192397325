"""Rounds in words: from what the services know to what the pages show.

Knows titles, sentences and how a figure is written. Knows nothing of routes or rows.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, cast

from app.domain.recipes import About, LabelsRecipe, Recipe
from app.domain.words import RoundState, RunState, Split, Stage
from app.services.overview import FailedRun, Outlook
from app.services.rounds import RoundView, RunView
from app.web.contexts import (
    Conditions,
    Failure,
    RecipeField,
    RecipePart,
    ResultLine,
    RoundLine,
    SampleSummaries,
    StageLine,
)
from app.web.runs import CANCELLING, state_word

NONE = "–"

_TITLES = {
    Stage.IMPORT: "Import",
    Stage.SFT: "Fine-tuning",
    Stage.SAMPLE: "Sampling",
    Stage.LABEL: "Judging",
    Stage.REWARD: "Reward model",
    Stage.PPO: "PPO",
    Stage.EVALUATE: "Evaluation",
    Stage.EXPORT: "Export",
}
_ABOUT = {
    Stage.SFT: "The base model learns from reference summaries.",
    Stage.SAMPLE: "The current policy writes summaries, put up in pairs.",
    Stage.LABEL: "Labelers say which summary of each pair is better.",
    Stage.REWARD: "A model learns to score summaries as labelers do.",
    Stage.PPO: "The policy improves against the reward model, held near the fine-tuned policy.",
    Stage.EVALUATE: "The new policy is measured on validation documents, and becomes current.",
}
_CANCELLING = "being cancelled"
NEXT_TITLE, NEXT_ABOUT = "Sampling for the next round", "The new policy writes the pairs that come next."
_STATES = {
    RunState.PENDING: "not begun",
    RunState.QUEUED: "waits for a worker",
    RunState.RUNNING: "running",
    RunState.WAITING: "waits for labelers",
    RunState.SUCCEEDED: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}
_ROUND_STATES = {
    RoundState.ACTIVE: ("running", "in progress"),
    RoundState.SUCCEEDED: ("succeeded", "done"),
    RoundState.FAILED: ("failed", "failed"),
    RoundState.CANCELLED: ("cancelled", "cancelled"),
}


def _state(found: RoundView, run: RunView) -> str:
    return state_word(run.state, asked_to_stop=found.state is not RoundState.ACTIVE)


def round_state(found: RoundView) -> tuple[str, str]:
    """The style's word and the words for the state a round is in."""
    if found.state is RoundState.CANCELLED and any(_state(found, run) == CANCELLING for run in found.runs):
        return CANCELLING, _CANCELLING
    return _ROUND_STATES[found.state]


def titles(found: RoundView) -> dict[int, str]:
    """What each run of a round is called; the sampling after the evaluation is for the next round."""
    named: dict[int, str] = {}
    measured = False
    for run in found.runs:
        named[run.id] = NEXT_TITLE if measured and run.stage is Stage.SAMPLE else _TITLES[run.stage]
        measured = measured or run.stage is Stage.EVALUATE
    return named


def in_progress(found: RoundView) -> RunView | None:
    """The run that a round is at."""
    return next((run for run in found.runs if run.state in (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)), None)


def _span(start: datetime | None, end: datetime | None, now: datetime) -> float | None:
    return None if start is None else max(0.0, ((end or now) - start).total_seconds())


def stage_lines(found: RoundView, now: datetime) -> list[StageLine]:
    """The stages of a round in order."""
    named = titles(found)
    lines = []
    for run in found.runs:
        state = _state(found, run)
        lines.append(
            StageLine(
                run=run.id,
                title=named[run.id],
                about=NEXT_ABOUT if named[run.id] == NEXT_TITLE else _ABOUT.get(run.stage, ""),
                state=state,
                state_words=_CANCELLING if state == CANCELLING else _STATES[run.state],
                words=run.words,
                done=run.done,
                total=run.total,
                seconds=_span(run.started_at, run.ended_at, now),
                ticking=run.state in (RunState.RUNNING, RunState.WAITING),
                judging=run.state is RunState.WAITING,
                given=run.done if run.state is RunState.WAITING else 0,
            )
        )
    return lines


def _result(found: RoundView, stage: Stage) -> dict[str, Any]:
    return next((run.result for run in found.runs if run.stage is stage and run.result), {})


def _judged(found: RoundView) -> str:
    label = next((run for run in found.runs if run.stage is Stage.LABEL), None)
    if label is None:
        return NONE
    if label.state is RunState.WAITING:
        return f"{label.done:,} of {label.total:,}"
    judged = label.result.get("judged")
    return f"{judged:,}" if isinstance(judged, int) else NONE


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _tokens(value: float) -> str:
    return f"{value:.1f}"


_MEASURES = (
    (
        Stage.REWARD,
        "accuracy",
        "Reward accuracy",
        "held-out pairs whose preferred summary scores higher",
        _percent,
    ),
    (Stage.EVALUATE, "score", "Reward score", "of the new policy; references of training documents are 0", _two),
    (Stage.EVALUATE, "reference_score", "Reward score of references", "on the same validation documents", _two),
    (Stage.EVALUATE, "kl", "KL", "nats per summary away from the fine-tuned policy", _two),
    (Stage.EVALUATE, "length", "Mean length", "tokens per summary", _tokens),
    (Stage.EVALUATE, "rouge_l", "ROUGE-L", "overlap with the references, F-measure", _three),
    (Stage.EVALUATE, "without_eos", "Without an end", "summaries that did not end by themselves", _percent),
)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _estimate(estimate: object, write: Any) -> tuple[str, str, str]:
    """Value, n and interval of an Estimate as a run's result holds it; dashes for what is missing."""
    held = cast(Mapping[str, object], estimate) if isinstance(estimate, Mapping) else {}
    value, n, low, high = (_number(held.get(name)) for name in ("value", "n", "low", "high"))
    return (
        NONE if value is None else write(value),
        NONE if n is None else f"{n:,.0f}",
        NONE if low is None or high is None else f"{write(low)} to {write(high)}",
    )


def result_lines(found: RoundView) -> list[ResultLine]:
    """The figures of a round, from the moment one of them is there."""
    if not any(_result(found, stage) for stage in (Stage.LABEL, Stage.REWARD, Stage.EVALUATE)):
        return []
    return [
        ResultLine("Pairs judged", "opinions given in this round", _judged(found), NONE, NONE),
        *_left_out(found),
        *(
            ResultLine(measure, meaning, *_estimate(_result(found, stage).get(key), write))
            for stage, key, measure, meaning, write in _MEASURES
        ),
    ]


def _left_out(found: RoundView) -> list[ResultLine]:
    """How many answers the recipe kept from the reward model, where it asks for that."""
    if found.recipe.labels.keeps_all:
        return []
    reasons = cast(Mapping[str, int], _result(found, Stage.REWARD).get("left_out") or {})
    words = ", ".join(f"{count:,} for {why}" for why, count in reasons.items() if count)
    value = f"{sum(reasons.values()):,}" if reasons else NONE
    return [ResultLine("Answers left out", f"by the recipe: {words or 'none'}", value, NONE, NONE)]


def accuracy(found: RoundView) -> str:
    """Reward accuracy with its n, in one cell."""
    value, n, _ = _estimate(_result(found, Stage.REWARD).get("accuracy"), _percent)
    return value if value == NONE else f"{value} of {n}"


def samples(found: RoundView) -> list[SampleSummaries]:
    """What the writers made of a few validation documents."""
    held = _result(found, Stage.EVALUATE).get("samples")
    return [
        SampleSummaries(*(str(each.get(name) or "") for name in ("title", "reference", "before", "after")))
        for each in (held if isinstance(held, list) else [])
        if isinstance(each, Mapping)
    ]


_TERMS = {
    "torch": "PyTorch",
    "torch_build": "PyTorch build",
    "sft": "Fine-tuned checkpoint",
    "reward": "Reward model",
    "up_to_preference": "Preferences up to number",
    "kinds": "Kinds of labelers",
    "digest": "Digest of the rows",
}


def conditions(found: RoundView) -> list[Conditions]:
    """What was in force for the runs that a worker has begun; runs under the same conditions are told together."""
    named = titles(found)
    told: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in found.runs:
        if not run.conditions:
            continue
        rows = [("Worker", run.worker.rpartition(":")[0] or run.worker)] if run.worker else []
        if "precision" not in run.conditions and "torch" in run.conditions:
            rows.append(("Precision", found.recipe.precision))
        for name, value in run.conditions.items():
            rows.append((_term(name), _plain(value)))
        told.setdefault(tuple(rows), []).append(named[run.id])
    return [Conditions(", ".join(names), list(rows)) for rows, names in told.items()]


def _term(name: str) -> str:
    return _TERMS.get(name, name.replace("_", " ").capitalize())


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)


def snapshot(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """What a checkpoint saw, as terms and short values: a list of ids is told by its length."""
    return [
        (
            _term(name),
            f"{len(value):,}"
            if isinstance(value, list) and not isinstance(next(iter(value), 0), str)
            else _plain(value),
        )
        for name, value in values.items()
    ]


def failures(found: RoundView) -> list[Failure]:
    """Why a round failed."""
    named = titles(found)
    return [
        Failure(named[run.id], run.problem or "", run.traceback, found.number, run.ended_at)
        for run in found.runs
        if run.state is RunState.FAILED
    ]


def failure(failed: FailedRun) -> Failure:
    """A failure in a list of many."""
    return Failure(_TITLES[failed.stage], failed.problem, failed.traceback, failed.round_number, failed.ended_at)


def round_line(found: RoundView, now: datetime) -> RoundLine:
    """A round in a list."""
    state, words = round_state(found)
    at = in_progress(found)
    named = titles(found)
    return RoundLine(
        number=found.number,
        recipe=found.recipe_name,
        state=state,
        state_words=words,
        stage=None if at is None else named[at.id],
        words="" if at is None else at.words or _STATES[at.state],
        done=0 if at is None else at.done,
        total=0 if at is None else at.total,
        judged=_judged(found),
        accuracy=accuracy(found),
        started=found.created_at,
        seconds=_span(found.created_at, found.ended_at, now) or 0.0,
        going_on=found.state is RoundState.ACTIVE,
    )


# Recipes


def _count(number: int | None, noun: str) -> str:
    return f"all {noun}" if number is None else f"{number:,} {noun}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def recipe_line(recipe: Recipe) -> str:
    """What a recipe does, in one line."""
    return (
        f"{recipe.pairing.pairs:,} pairs to judge, {recipe.ppo.episodes:,} episodes of PPO, "
        f"fine-tuning on {_count(recipe.sft.documents, 'references')}, {recipe.precision}."
    )


def _learned(labels: LabelsRecipe) -> str:
    """Which answers a recipe's reward model learns from."""
    if labels.keeps_all:
        return "every preference so far"
    out = [
        f"within {labels.least_confidence - 1} of 5" if labels.least_confidence > 1 else "",
        f"of labelers who agree with others less than {labels.least_agreement:.0%}" if labels.least_agreement else "",
        f"on {', '.join(labels.leave_out)} pairs" if labels.leave_out else "",
    ]
    said = ", ".join(each for each in out if each)
    return f"the preferences so far but those {said}" if said else "every preference so far that prefers a side"


def recipe_summary(recipe: Recipe) -> list[str]:
    """What a recipe does, stage by stage."""
    pairing, sft, ppo = recipe.pairing, recipe.sft, recipe.ppo
    often = "in every round" if sft.when == "always" else "where no round has done it yet"
    held_out, references = pairing.held_out_pairs(), pairing.reference_pairs(pairing.pairs)
    return [
        f"Fine-tunes the base model on {_count(sft.documents, 'reference summaries')}, {often}.",
        f"Puts up {pairing.pairs:,} pairs, about {references:,} of them against the reference; {held_out:,} are held "
        f"out for reward accuracy. Each asks {_many(pairing.opinions, 'opinion')}.",
        f"Trains the reward model for {_many(recipe.reward.epochs, 'epoch')} on {_learned(recipe.labels)}.",
        f"Improves the policy over {ppo.episodes:,} episodes in {ppo.rollouts:,} rollouts, with a KL coefficient of "
        f"{ppo.kl_coefficient:g}.",
        f"Measures it on up to {recipe.evaluation.documents:,} validation documents.",
        f"Computes in {recipe.precision}, seed {recipe.seed}.",
    ]


_PART_TITLES = {
    "sampling": "Sampling",
    "pairing": "Pairing",
    "sft": "Fine-tuning (SFT)",
    "labels": "Answers learned from",
    "reward": "Reward model",
    "ppo": "PPO",
    "evaluation": "Evaluation",
}


def recipe_parts(recipe: Recipe) -> list[RecipePart]:
    """Every field of a recipe with its explanation."""
    whole = [_field("", each, recipe) for each in fields(recipe) if "about" in each.metadata]
    parts = [RecipePart("The whole round", whole)]
    for each in fields(recipe):
        if each.name in _PART_TITLES:
            part = getattr(recipe, each.name)
            parts.append(
                RecipePart(_PART_TITLES[each.name], [_field(f"{each.name}.", one, part) for one in fields(part)])
            )
    return parts


def _field(prefix: str, each: Any, holder: object) -> RecipeField:
    about: About = each.metadata["about"]
    return RecipeField(
        f"{prefix}{each.name}", _value(getattr(holder, each.name)), about.doc, about.source, about.allowed()
    )


def _value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


# Before a launch


def happens(there: Outlook) -> list[str]:
    """What a launch sets off, in order."""
    sampled = "The current policy writes summaries, which are put up in pairs."
    if there.pairs_waiting:
        waiting = _many(there.pairs_waiting, "pair")
        sampled = f"What waits already ({waiting}) is taken in; the current policy writes the pairs that are missing."
    return [
        "The fine-tuned policy of an earlier round is used, unless the recipe fine-tunes in every round."
        if there.has_sft
        else "The base model is fine-tuned on reference summaries, because no round has done it yet.",
        sampled,
        "Labelers judge the pairs; the round waits for them, and goes on by itself after the last opinion.",
        "The reward model learns from every preference so far.",
        "PPO improves the policy against the reward model.",
        "The new policy is measured on validation documents, and becomes the current one.",
        "It writes the pairs of the next round.",
    ]


def facts(there: Outlook) -> list[tuple[str, str]]:
    """What a launch would start from."""
    documents = there.documents
    waiting = f"{there.pairs_waiting:,}"
    if there.pairs_waiting:
        waiting += f" ({_many(there.opinions_given, 'opinion')} given, {there.opinions_open:,} open)"
    return [
        (
            "Documents",
            f"{documents[Split.TRAIN]:,} for training, {documents[Split.VALIDATION]:,} for validation, "
            f"{documents[Split.TEST]:,} set aside for tests",
        ),
        ("Pairs that wait", waiting),
    ]


def blocked(there: Outlook) -> str | None:
    """Why nothing can be launched now."""
    if there.active is not None:
        return f"Round {there.active} is still going on. Wait for its end, or cancel it."
    if not there.documents[Split.TRAIN]:
        return "There are no training documents yet. Import some first."
    return None

"""Rounds in words: from what the services know to what the pages show.

Knows titles, sentences and how a figure is written. Knows nothing of routes or rows.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, cast

from app.domain.pairing import BEST_OF, INITIAL, REFERENCE
from app.domain.pairing import counts as kinds_of_pairs
from app.domain.recipes import About, LabelsRecipe, PairingRecipe, Recipe
from app.domain.words import RoundState, RunState, Split, Stage
from app.services.forecasts import Forecast, StageForecast
from app.services.overview import FailedRun, Outlook
from app.services.rounds import MOST_ATTEMPTS, RoundView, RunView
from app.services.workers import Missing
from app.web.contexts import (
    Conditions,
    EarlierTry,
    Failure,
    ForecastLine,
    ForecastPart,
    RecipeField,
    RecipePart,
    ResultLine,
    RoundLine,
    SampleSummaries,
    StageLine,
)
from app.web.runs import CANCELLING, span, state_word, tries_again

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
    Stage.EVALUATE: "The new policy is measured on validation documents, and the recipe's gate says whether it becomes "
    "current.",
}
# States of a stage that no row has: they follow from the run and its round.
PAUSING, PAUSED, POSTPONED = "pausing", "paused", "postponed"
_BETWEEN = {
    CANCELLING: "being cancelled",
    PAUSING: "being paused",
    PAUSED: "paused",
    POSTPONED: "tries again",
}
NEXT_TITLE, NEXT_ABOUT = "Sampling for the next round", "The current policy writes the pairs that come next."
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
    active = found.state is RoundState.ACTIVE
    if active and run.stopping:
        return PAUSING
    if found.paused_at is not None and run.state is RunState.PENDING and run.started_at is not None:
        return PAUSED
    if run.state is RunState.QUEUED and run.due_at is not None:
        return POSTPONED
    return state_word(run.state, asked_to_stop=not active)


def round_state(found: RoundView) -> tuple[str, str]:
    """The style's word and the words for the state a round is in."""
    states = {_state(found, run) for run in found.runs}
    if found.state is RoundState.CANCELLED and CANCELLING in states:
        return CANCELLING, _BETWEEN[CANCELLING]
    if found.paused_at is not None:
        state = PAUSING if PAUSING in states else PAUSED
        return state, _BETWEEN[state]
    return _ROUND_STATES[found.state]


def missing(queue: Missing, now: datetime) -> str:
    """That a run waits in vain, and what to do."""
    seen = (
        "None was ever heard of"
        if queue.last_seen is None
        else f"The last one was heard of {span((now - queue.last_seen).total_seconds())} ago"
    )
    return (
        f"A run waits in the queue {queue.queue}, and no worker that takes from it is alive. {seen}. Start one: "
        f"`hone run` starts a worker of its own, other hosts run `celery -A worker.celery_app worker -Q {queue.queue}`."
    )


def _words(found: RoundView, run: RunView, now: datetime) -> str:
    if run.state is RunState.QUEUED and run.due_at is not None:
        return tries_again(run.attempt, run.due_at, run.problem, now)
    return run.words


def title(stage: Stage) -> str:
    """What a stage is called on its own."""
    return _TITLES[stage]


def titles(found: RoundView) -> dict[int, str]:
    """What each run of a round is called; the sampling after the evaluation is for the next round."""
    named: dict[int, str] = {}
    measured = False
    for run in found.runs:
        named[run.id] = NEXT_TITLE if measured and run.stage is Stage.SAMPLE else _TITLES[run.stage]
        measured = measured or run.stage is Stage.EVALUATE
    return named


def in_progress(found: RoundView) -> RunView | None:
    """The run that a round is at, or stands still at."""
    begun = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)
    paused = (RunState.PENDING,) if found.paused_at is not None else ()
    return next((run for run in found.runs if run.state in begun + paused), None)


def _span(start: datetime | None, end: datetime | None, now: datetime) -> float | None:
    return None if start is None else max(0.0, ((end or now) - start).total_seconds())


def stage_lines(found: RoundView, now: datetime) -> list[StageLine]:
    """The stages of a round in order."""
    named = titles(found)
    lines = []
    # Later rounds stand on what this one made, and a stage needs what those before it make.
    can_again = found.newest and found.state is not RoundState.ACTIVE
    can_again &= not any(run.state is RunState.RUNNING for run in found.runs)
    for run in found.runs:
        state = _state(found, run)
        lines.append(
            StageLine(
                run=run.id,
                position=run.position,
                title=named[run.id],
                about=NEXT_ABOUT if named[run.id] == NEXT_TITLE else _ABOUT.get(run.stage, ""),
                state=state,
                state_words=_BETWEEN.get(state) or _STATES[run.state],
                words=_words(found, run, now),
                done=run.done,
                total=run.total,
                seconds=_span(run.started_at, run.ended_at, now),
                ticking=run.state in (RunState.RUNNING, RunState.WAITING),
                judging=run.state is RunState.WAITING,
                given=run.done if run.state is RunState.WAITING else 0,
                attempt=f"attempt {run.attempt} of {MOST_ATTEMPTS}" if run.attempt > 1 else None,
                traceback=run.traceback if state == POSTPONED else None,
                can_again=can_again,
            )
        )
        can_again &= run.state is RunState.SUCCEEDED
    return lines


def earlier_tries(found: RoundView) -> list[EarlierTry]:
    """Stages of a round that were run again since, in the order in which they were tried."""
    return [
        EarlierTry(
            title=_TITLES[run.stage],
            state=run.state.value,
            state_words=_STATES[run.state],
            words=run.problem or run.words,
            traceback=run.traceback,
            ended=run.ended_at,
            seconds=run.seconds,
        )
        for run in found.earlier
    ]


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
    (
        Stage.EVALUATE,
        "predicted_preference",
        "Predicted preference",
        "how often the reward model expects it to be preferred to the references",
        _percent,
    ),
    (Stage.EVALUATE, "kl", "KL", "nats per summary away from the fine-tuned policy", _two),
    (Stage.EVALUATE, "length", "Mean length", "tokens per summary", _tokens),
    (Stage.EVALUATE, "rouge_l", "ROUGE-L", "overlap with the references, F-measure", _three),
    (Stage.EVALUATE, "without_eos", "Without an end", "summaries that did not end by themselves", _percent),
)
_MEASURED = frozenset((stage, key) for stage, key, *_ in _MEASURES)


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
        *measures(
            {
                key: held
                for stage in (Stage.REWARD, Stage.EVALUATE)
                for key, held in _result(found, stage).items()
                if (stage, key) in _MEASURED
            },
            whole=True,
        ),
    ]


def measures(held: Mapping[str, object], *, whole: bool = False) -> list[ResultLine]:
    """Figures by name (as runs and decisions hold them) in their order; those not there too if `whole`, as dashes."""
    return [
        ResultLine(measure, meaning, *_estimate(held.get(key), write))
        for _, key, measure, meaning, write in _MEASURES
        if whole or held.get(key) is not None
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
        SampleSummaries(*(str(each.get(name) or "") for name in ("title", "reference", "before", "previous", "after")))
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


# What a run counted; another number is no other condition.
COUNTED = ("documents cut", "summaries cut")


def conditions(found: RoundView) -> list[Conditions]:
    """What was in force for the runs that a worker has begun; runs under the same conditions are told together, with
    what each of them had to cut."""
    named = titles(found)
    told: dict[tuple[tuple[str, str], ...], list[RunView]] = {}
    for run in found.runs:
        if not run.conditions:
            continue
        rows = [("Worker", run.worker.rpartition(":")[0] or run.worker)] if run.worker else []
        if "precision" not in run.conditions and "torch" in run.conditions:
            rows.append(("Precision", found.recipe.precision))
        rows += terms({name: value for name, value in run.conditions.items() if name not in COUNTED})
        told.setdefault(tuple(rows), []).append(run)
    return [
        Conditions(
            ", ".join(named[run.id] for run in runs),
            [
                *rows,
                *(
                    (_term(name) if len(runs) == 1 else f"{_term(name)}, {named[run.id]}", _plain(run.conditions[name]))
                    for run in runs
                    for name in COUNTED
                    if name in run.conditions
                ),
            ],
        )
        for rows, runs in told.items()
    ]


def terms(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Conditions and the like as terms and values."""
    return [(_term(name), _plain(value)) for name, value in values.items()]


def share(measure: str, meaning: str, held: object) -> ResultLine:
    """A share in percent as a line of figures."""
    return ResultLine(measure, meaning, *_estimate(held, _percent))


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
        words="" if at is None else _words(found, at, now) or _STATES[at.state],
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


def many(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _precision(recipe: Recipe) -> str:
    """What a recipe computes in."""
    return "bf16 where the device has it" if recipe.precision == "auto" else recipe.precision


def recipe_line(recipe: Recipe) -> str:
    """What a recipe does, in one line."""
    return (
        f"{recipe.pairing.pairs:,} pairs to judge, {recipe.ppo.episodes:,} episodes of PPO, "
        f"fine-tuning on {_count(recipe.sft.documents, 'references')}, {_precision(recipe)}."
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
    return [
        f"Fine-tunes the base model on {_count(sft.documents, 'reference summaries')}, {often}.",
        _put_up(pairing),
        f"Trains the reward model for {many(recipe.reward.epochs, 'epoch')} on {_learned(recipe.labels)}.",
        f"Improves the policy over {ppo.episodes:,} episodes in {ppo.rollouts:,} rollouts, with a KL coefficient of "
        f"{ppo.kl_coefficient:g}.",
        f"Measures it on up to {recipe.evaluation.documents:,} validation documents.",
        "Leaves it to an admin whether the new policy becomes current."
        if recipe.promotion.by == "hand"
        else f"Makes it current by itself, unless its KL is above {recipe.promotion.most_kl:g} nats, an alarm is given"
        + (
            f", or the reward model agrees with labelers on less than {recipe.promotion.least_accuracy:.0%}."
            if recipe.promotion.least_accuracy
            else "."
        ),
        f"In continuous mode, {continuous_line(recipe)}.",
        f"Computes in {_precision(recipe)}, seed {recipe.seed}.",
    ]


def _put_up(pairing: PairingRecipe) -> str:
    """Which pairs a recipe puts up."""
    counts = kinds_of_pairs(pairing, pairing.pairs)
    kinds = [
        f"about {counts[REFERENCE]:,} of them against the reference",
        f"{counts[INITIAL]:,} against the initial policy" if counts[INITIAL] else "",
        f"{counts[BEST_OF]:,} against the best of {pairing.best_of:,}" if counts[BEST_OF] else "",
    ]
    chosen = (
        f" The others are chosen from {pairing.choose_from:,} times as many, {pairing.control_share:.0%} at random."
        if pairing.choose_from > 1
        else ""
    )
    return (
        f"Puts up {pairing.pairs:,} pairs, {', '.join(each for each in kinds if each)}; "
        f"{pairing.held_out_pairs():,} are held out for reward accuracy.{chosen} Each asks "
        f"{many(pairing.opinions, 'opinion')}."
    )


def continuous_line(recipe: Recipe) -> str:
    """What continuous mode does by a recipe, in one line."""
    rule = recipe.continuous
    falling = " at first, and fewer from round to round" if rule.launch_schedule == "annealed" else ""
    return (
        f"samples {many(rule.pairs, 'pair')} when fewer than {many(rule.least_open, 'opinion')} are still needed, and "
        f"launches a round after {many(rule.launch_after, 'new preference')}{falling}; up to "
        f"{many(rule.most_opinions, 'opinion')} and {many(rule.most_rounds, 'round')}"
    )


PART_TITLES = {
    "sampling": "Sampling",
    "pairing": "Pairing",
    "sft": "Fine-tuning (SFT)",
    "labels": "Answers learned from",
    "reward": "Reward model",
    "ppo": "PPO",
    "evaluation": "Evaluation",
    "promotion": "Promotion",
    "continuous": "Continuous mode",
}


def recipe_parts(recipe: Recipe) -> list[RecipePart]:
    """Every field of a recipe with its explanation."""
    whole = [_field("", each, recipe) for each in fields(recipe) if "about" in each.metadata]
    parts = [RecipePart("The whole round", whole)]
    for each in fields(recipe):
        if each.name in PART_TITLES:
            part = getattr(recipe, each.name)
            parts.append(
                RecipePart(PART_TITLES[each.name], [_field(f"{each.name}.", one, part) for one in fields(part)])
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
        waiting = many(there.pairs_waiting, "pair")
        sampled = f"What waits already ({waiting}) is taken in; the current policy writes the pairs that are missing."
    return [
        "The fine-tuned policy of an earlier round is used, unless the recipe fine-tunes in every round."
        if there.has_sft
        else "The base model is fine-tuned on reference summaries, because no round has done it yet.",
        sampled,
        "Labelers judge the pairs; the round waits for them, and goes on by itself after the last opinion.",
        "The reward model learns from every preference so far.",
        "PPO improves the policy against the reward model.",
        "The new policy is measured on validation documents. It becomes current if the recipe's gate lets it; "
        "otherwise it waits for an admin.",
        "The current policy writes the pairs of the next round.",
    ]


def facts(there: Outlook) -> list[tuple[str, str]]:
    """What a launch would start from."""
    documents = there.documents
    waiting = f"{there.pairs_waiting:,}"
    if there.pairs_waiting:
        waiting += f" ({many(there.opinions_given, 'opinion')} given, {there.opinions_open:,} open)"
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


_NOT_MEASURED = "no measurement yet"


def _about(seconds: float) -> str:
    told = span(seconds)
    return f"about {told}" if told[0].isdigit() else told


def _forecast_line(told: StageForecast, name: str) -> ForecastLine:
    time, measured = _NOT_MEASURED, ""
    if told.stage is Stage.LABEL:
        time = "as long as people take"
    elif told.seconds is not None:
        time = _about(told.seconds)
        measured = f"as in {many(told.runs, 'earlier run')}"
        if told.devices:
            measured += f" on {' and '.join(told.devices)}"
    tokens = NONE if told.tokens is None else f"about {told.tokens:,}"
    return ForecastLine(name, f"{told.rows:,} {told.what}", tokens, time, measured)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def forecast(told: Forecast, recipe: str) -> ForecastPart:
    """What a launch would do, stage by stage, with what it takes in all."""
    named = [
        NEXT_TITLE if each.stage is Stage.SAMPLE and place == len(told.stages) - 1 else _TITLES[each.stage]
        for place, each in enumerate(told.stages)
    ]
    machine = [each for each in told.stages if each.stage is not Stage.LABEL]
    unmeasured = [each.seconds for each in machine if each.seconds is None]
    in_all = sum(each.seconds for each in machine if each.seconds is not None)
    time = "not known: some stages have no measurement yet"
    if not unmeasured:
        time = f"{_about(in_all)}, and the time that people take"
    disk, memory = "not known before a model is prepared", "not known before a model is prepared"
    if told.disk is not None:
        disk = f"{_gigabytes(told.disk)} at its fullest; {_gigabytes(told.disk_free)} are free"
    if told.memory is not None:
        memory = f"at least {_gigabytes(told.memory)} for the largest stage"
        if told.memory_there is None:
            memory += "; no worker has said yet what it has"
        elif told.memory > told.memory_there:
            memory += f", and no worker has more than {_gigabytes(told.memory_there)}: it will most likely run out"
        else:
            memory += f"; the largest worker has {_gigabytes(told.memory_there)}"
    return ForecastPart(
        recipe=recipe,
        lines=[_forecast_line(each, name) for each, name in zip(told.stages, named, strict=True)],
        facts=[("Time in all", time), ("Disk", disk), ("Memory", memory)],
        refusal=told.refusal,
    )

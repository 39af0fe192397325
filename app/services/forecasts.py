"""What a round with a recipe would do: rows, tokens, time, disk, memory, and what keeps it from working.

Knows what each stage reads and writes, and asks earlier runs how long that takes here. Where nothing was measured, it
says so and guesses nothing. Knows nothing of pages; never commits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from app.domain.errors import Conflict
from app.domain.pairing import possible, summaries
from app.domain.recipes import Recipe
from app.domain.words import CheckpointKind, LabelerKind, Split, Stage
from app.services import lineage, workers
from app.services import rounds as life
from app.services.projects import the_project
from app.store import batches, corpus, forecasts, promotions, rounds
from app.store.forecasts import Timed
from app.store.session import Session

# Speeds of the newest runs count: an older one may be of another model or machine.
RUNS_ASKED = 5
# English text in the vocabularies of the models used here; for a forecast only.
CHARACTERS_PER_TOKEN = 4
# Weights, and the two moments that Adam keeps for each of them; that many states stand side by side at most.
STATE, STATES = 3, 3
# Weights, gradients and both moments.
TRAINING = 4


@dataclass(frozen=True)
class StageForecast:
    """What a stage would do: so many rows and about so many tokens; `seconds` as measured in `runs` earlier runs.

    `rows` counts `what`. Without earlier runs, `seconds` is None. People's part has no tokens.
    """

    stage: Stage
    rows: int
    what: str
    tokens: int | None
    seconds: float | None
    runs: int
    devices: list[str]


@dataclass(frozen=True)
class Forecast:
    """What a launch would do. Bytes are None while no model was prepared, or no worker has said what it has.

    `refusal` says why it cannot work, and what to do; `memory` is the least that the largest stage holds.
    """

    stages: list[StageForecast]
    disk: int | None
    disk_free: int
    memory: int | None
    memory_there: int | None
    refusal: str | None


def forecast(session: Session, recipe: Recipe, *, with_simulated: bool, disk_free: int) -> Forecast:
    """What a round with this recipe would do if it were launched now, with so many bytes free for its files."""
    project = the_project(session)
    documents = corpus.counts_by_split(session, project.id)
    references = forecasts.with_reference(session, project.id)
    kinds = life.LABELERS_OF[with_simulated]
    fine_tunes = recipe.sft.when == "always" or (
        rounds.newest_checkpoint(session, project.id, Stage.SFT, CheckpointKind.POLICY) is None
    )
    stages = [
        _stage(session, project.id, work)
        for work in _work(session, project.id, recipe, references, kinds, fine_tunes=fine_tunes)
    ]
    size = forecasts.model_bytes(session, project.id)
    disk = None if size is None else _disk(recipe, size, fine_tunes=fine_tunes)
    return Forecast(
        stages=stages,
        disk=disk,
        disk_free=disk_free,
        memory=None if size is None else _memory(recipe, size),
        memory_there=workers.largest_memory(session),
        refusal=_refusal(documents, references, disk, disk_free),
    )


def refuse(session: Session, recipe: Recipe, *, with_simulated: bool, disk_free: int) -> None:
    """Raises Conflict where a round with this recipe cannot work."""
    told = forecast(session, recipe, with_simulated=with_simulated, disk_free=disk_free)
    if told.refusal is not None:
        raise Conflict(told.refusal)


@dataclass(frozen=True)
class _Work:
    """What a stage has to do: so many rows, what these are, and about how many tokens go through the model.

    `paced` is what its time is in proportion to: the rows, or the summaries that are written for them.
    """

    stage: Stage
    rows: int
    what: str
    tokens: int | None
    paced: int


def _work(
    session: Session,
    project_id: int,
    recipe: Recipe,
    references: dict[Split, int],
    kinds: tuple[LabelerKind, ...],
    *,
    fine_tunes: bool,
) -> Iterator[_Work]:
    """The work of each stage, in order."""
    sft, ppo, sampling, pairing = recipe.sft, recipe.ppo, recipe.sampling, recipe.pairing
    characters = forecasts.post_characters(session, project_id)
    prompt = min(sampling.max_query_tokens, round(characters / CHARACTERS_PER_TOKEN) + 1)
    one = prompt + sampling.max_summary_tokens
    waiting = batches.unadopted(session, project_id)
    missing = max(0, pairing.pairs - waiting.pairs)
    told = references[Split.TRAIN] if sft.documents is None else min(sft.documents, references[Split.TRAIN])
    opinions = missing * pairing.opinions + waiting.unfinished
    preferences = forecasts.counted_preferences(session, project_id, kinds) + opinions
    pair = prompt + 2 * min(recipe.reward.max_summary_tokens, sampling.max_summary_tokens)
    measured = min(recipe.evaluation.documents, references[Split.VALIDATION])

    def work(stage: Stage, rows: int, what: str, tokens_each: int | None) -> _Work:
        return _Work(stage, rows, what, None if tokens_each is None else rows * tokens_each, rows)

    def sample(pairs: int, what: str, *, initial: bool, reward: bool) -> _Work:
        written = summaries(possible(pairing, initial=initial, reward=reward)[0], pairs)
        return _Work(Stage.SAMPLE, pairs, what, written * one, written)

    # The first policy that is fine-tuned writes itself; a later one is the initial policy beside the one that writes.
    initial = (
        promotions.current_is_trained(session, project_id)
        if fine_tunes
        else lineage.initial_writer(session) is not None
    )
    if fine_tunes:
        yield work(Stage.SFT, told * sft.epochs, "reference summaries", one)
    yield sample(missing, "pairs", initial=initial, reward=lineage.newest_reward(session) is not None)
    yield work(Stage.LABEL, opinions, "opinions", None)
    yield work(Stage.REWARD, preferences * recipe.reward.epochs, "preferences", pair)
    yield work(Stage.PPO, ppo.episodes, "episodes", one * (1 + ppo.epochs))
    yield work(Stage.EVALUATE, measured, "validation documents", one)
    yield sample(pairing.pairs, "pairs for the next round", initial=True, reward=True)


def _stage(session: Session, project_id: int, work: _Work) -> StageForecast:
    stage = work.stage
    before = [] if stage is Stage.LABEL else forecasts.timed(session, project_id, stage, RUNS_ASKED)
    speeds = [(each, done) for each in before if (done := _done(stage, each)) > 0]
    pace = median(each.seconds / done for each, done in speeds) if speeds else None
    return StageForecast(
        stage=stage,
        rows=work.rows,
        what=work.what,
        tokens=work.tokens,
        seconds=None if pace is None else pace * work.paced,
        runs=len(speeds),
        devices=sorted({each.device for each, _ in speeds if each.device is not None}),
    )


def _done(stage: Stage, each: Timed) -> int:
    """How many rows an earlier run of this stage went through; of sampling, how many summaries it had planned.

    What was written again is part of their time. Runs from before these were counted measure nothing.
    """
    said: dict[str, Any] = each.result
    match stage:
        case Stage.SFT:
            return int(said.get("documents", 0)) * int(each.recipe["sft"]["epochs"])
        case Stage.REWARD:
            return int(said.get("pairs", 0)) * int(each.recipe["reward"]["epochs"])
        case Stage.SAMPLE:
            return int(said.get("summaries", 0)) - int(said.get("written_again", 0))
        case Stage.PPO:
            return int(said.get("episodes", 0))
        case _:
            return int(said.get("documents", 0))


def _disk(recipe: Recipe, size: int, *, fine_tunes: bool) -> int:
    """Bytes that a round needs at its fullest: what it has written, and the resume states of the stage at work.

    An adapter's states are small beside a model's, and are left out.
    """
    states = size * STATE * STATES
    ppo_states = states * (not recipe.ppo.lora_rank)
    ppo_models = size
    if recipe.ppo.learns_values:
        ppo_states += states * (not recipe.ppo.value_lora_rank)
        ppo_models += size
    stages = [
        (size * fine_tunes, states * fine_tunes),
        (size, states * (not recipe.reward.lora_rank)),
        (ppo_models, ppo_states),
    ]
    written = most = 0
    for models, held in stages:
        written += models
        most = max(most, written + held)
    return most


def _memory(recipe: Recipe, size: int) -> int:
    """Bytes that the largest stage holds at the least, what passes through the layers left out."""
    ppo = size if recipe.ppo.lora_rank else TRAINING * size
    if recipe.ppo.learns_values:
        ppo += size if recipe.ppo.value_lora_rank else TRAINING * size
    reward = size if recipe.reward.lora_rank else TRAINING * size
    return max(ppo, reward)


def _refusal(documents: dict[Split, int], references: dict[Split, int], disk: int | None, disk_free: int) -> str | None:
    if not documents[Split.TRAIN]:
        return "There are no training documents yet. Import some first."
    if not references[Split.TRAIN]:
        return (
            "There are no training documents with a reference summary. Import documents with summaries first; "
            "`hone run` ships some."
        )
    if not references[Split.VALIDATION]:
        return (
            "No validation document has a reference summary, so that the new policy could not be measured. Import more "
            "documents with summaries: about one in ten becomes a validation document."
        )
    if disk is not None and disk > disk_free:
        return (
            f"The round needs {disk / 1e9:.1f} GB of disk at its fullest, and {disk_free / 1e9:.1f} GB are free where "
            "artifacts lie. What is there is safe. Make room, then launch."
        )
    return None

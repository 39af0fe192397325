"""What a launch would do: rows that are there, times that were measured, room that is needed, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from app.domain.errors import Conflict
from app.domain.recipes import TINY, Recipe
from app.domain.words import CheckpointKind, LabelerKind, Split, Stage
from app.services import forecasts, lineage, promotions, rounds
from app.services.forecasts import Forecast, StageForecast
from app.services.people import Viewer
from app.store.session import Session
from app.store.tables import Checkpoint, Run, Worker
from tests.conftest import Work
from tests.support import factories as make
from tests.support import pretended

ROOM = 10**12


@pytest.fixture
def boss(work: Work) -> Viewer:
    with work() as session:
        return pretended.boss(session)


def _told(session: Session, recipe: Recipe = TINY, *, disk_free: int = ROOM, with_simulated: bool = False) -> Forecast:
    return forecasts.forecast(session, recipe, with_simulated=with_simulated, disk_free=disk_free)


def _documents(session: Session, train: int = 4, validation: int = 2) -> None:
    for split, count in ((Split.TRAIN, train), (Split.VALIDATION, validation)):
        for _ in range(count):
            make.reference_document(session, split=split)


def test_rows_are_those_that_are_there(work: Work) -> None:
    with work() as session:
        _documents(session)
        make.document(session)
        told = _told(session)
        assert [(each.stage, each.rows) for each in told.stages] == [
            (Stage.SFT, 4),
            (Stage.SAMPLE, 12),
            (Stage.LABEL, 12),
            (Stage.REWARD, 12),
            (Stage.PPO, 16),
            (Stage.EVALUATE, 2),
            (Stage.SAMPLE, 12),
        ]
        assert all((each.tokens is None) is (each.stage is Stage.LABEL) for each in told.stages)
        assert {each.seconds for each in told.stages} == {None}, "nothing was measured"
        few = _told(session, replace(TINY, sft=replace(TINY.sft, documents=2, epochs=3)))
        assert few.stages[0].rows == 6


def test_what_waits_and_what_was_judged_counts(work: Work) -> None:
    with work() as session:
        _documents(session)
        make.pairs(session, 5)
        worker, robot = make.labeler(session), make.labeler(session, kind=LabelerKind.SIMULATED)
        make.say(session, worker, make.hold(session, worker)[0])
        make.say(session, robot, make.hold(session, robot)[0])
        rows = {each.stage: each.rows for each in _told(session).stages[:-1]}
        assert (rows[Stage.SAMPLE], rows[Stage.LABEL], rows[Stage.REWARD]) == (7, 10, 11)
        assert {each.stage: each.rows for each in _told(session, with_simulated=True).stages}[Stage.REWARD] == 12


def test_a_round_that_need_not_fine_tune_says_nothing_of_it(work: Work, boss: Viewer) -> None:
    with work() as session:
        number = pretended.launch(session, boss)
        claim = pretended.take(session, number)
        run = session.get_one(Run, claim.run_id)
        make.trained_checkpoint(session, run, make.base_checkpoint(session))
        assert Stage.SFT not in {each.stage for each in _told(session).stages}
        always = replace(TINY, sft=replace(TINY.sft, when="always"))
        assert _told(session, always).stages[0].stage is Stage.SFT


def _take_so_long(session: Session, number: int, seconds: dict[Stage, int]) -> None:
    """The runs of a round took so many seconds each."""
    for run in rounds.view(session, number).runs:
        began = func.now() - timedelta(seconds=seconds.get(run.stage, 1))
        session.execute(update(Run).where(Run.id == run.id).values(started_at=began, ended_at=func.now()))


def test_times_are_the_median_of_what_was_measured_per_row(work: Work, boss: Viewer) -> None:
    with work() as session:
        _documents(session)
        for seconds in (96, 192, 9600):
            number = pretended.launch(session, boss)
            pretended.carry_out(session, number, Stage.SFT)
            rounds.cancel(session, boss, number)
            _take_so_long(session, number, {Stage.SFT: seconds})
        [sft, *others] = _told(session).stages
        # 96 documents each: 1, 2 and 100 seconds for one.
        assert (sft.seconds, sft.runs, sft.devices) == (2.0 * sft.rows, 3, ["cpu"])
        assert {each.seconds for each in others} == {None}


def _reward_model(session: Session) -> None:
    run = make.own_run(session, Stage.REWARD)
    make.trained_checkpoint(session, run, make.base_checkpoint(session), CheckpointKind.REWARD)


def _pairs(**asked: Any) -> Recipe:
    """The tiny recipe with other pairs: twelve, a quarter of them held out, half against the reference."""
    return replace(TINY, pairing=replace(TINY.pairing, **asked))


def _samplings(told: Forecast) -> list[StageForecast]:
    return [each for each in told.stages if each.stage is Stage.SAMPLE]


def test_sampling_takes_as_long_as_the_summaries_that_are_written_for_its_pairs(work: Work, boss: Viewer) -> None:
    with work() as session:
        _documents(session)
        number = pretended.launch(session, boss)
        pretended.carry_out(session, number, Stage.SFT, Stage.SAMPLE)
        rounds.cancel(session, boss, number)
        # 96 summaries were planned, and what was written again took its part of the time.
        _take_so_long(session, number, {Stage.SAMPLE: 192})
        plain = _samplings(_told(session))
        assert [(each.rows, each.what, each.seconds) for each in plain] == [
            (12, "pairs", 2.0 * 18),
            (12, "pairs for the next round", 2.0 * 18),
        ]
        # 3 held-out pairs and 8 times 9 others, 38 of these 75 against the reference.
        chosen = _samplings(_told(session, _pairs(choose_from=8)))
        assert [(each.rows, each.seconds) for each in chosen] == [(12, 2.0 * 18), (12, 2.0 * 112)]
        _reward_model(session)
        chosen = _samplings(_told(session, _pairs(choose_from=8)))
        assert [(each.rows, each.seconds) for each in chosen] == [(12, 2.0 * 112), (12, 2.0 * 112)]


def test_a_sampling_that_did_not_say_how_many_it_wrote_measures_nothing(work: Work, boss: Viewer) -> None:
    with work() as session:
        number = pretended.launch(session, boss)
        pretended.carry_out(session, number, Stage.SFT, Stage.SAMPLE)
        session.execute(update(Run).where(Run.stage == Stage.SAMPLE).values(result={"pairs": 64, "left_out": 0}))
        assert {each.seconds for each in _samplings(_told(session))} == {None}


def _written(told: Forecast) -> list[float]:
    """How many summaries each sampling goes through the model with: an evaluated document takes one."""
    [one] = [(each.tokens or 0) / each.rows for each in told.stages if each.stage is Stage.EVALUATE]
    return [(each.tokens or 0) / one for each in _samplings(told)]


def test_what_there_is_nothing_to_make_of_is_not_counted(work: Work) -> None:
    with work() as session:
        _documents(session)
        best = _pairs(best_of_share=0.5, best_of=8)
        # Six pairs of the reference and one sample; six of two samples, or of one and the best of eight.
        assert _written(_told(session, best)) == [6 + 6 * 2, 6 + 6 * 9]
        _reward_model(session)
        assert _written(_told(session, best)) == [6 + 6 * 9, 6 + 6 * 9]


def test_the_initial_policy_counts_where_another_one_writes(work: Work, boss: Viewer) -> None:
    # Ends of the kinds at 0.5, 1.5 and 2 of ten pairs: the best of several gets one only where the initial has none.
    recipe = _pairs(pairs=10, reference_share=0.05, initial_share=0.1, best_of_share=0.05, best_of=8)
    again = replace(recipe, sft=replace(recipe.sft, when="always"))
    with work() as session:
        _documents(session)
        _reward_model(session)
        assert _written(_told(session, recipe)) == [20 + 7, 20], "the first that is fine-tuned writes"
        number = pretended.launch(session, boss)
        claim = pretended.take(session, number)
        tuned = make.trained_checkpoint(session, session.get_one(Run, claim.run_id), make.base_checkpoint(session))
        promotions.begin_with(session, lineage.policy_for(session, tuned, "round1-sft").id, "The first.")
        assert _written(_told(session, recipe)) == [20 + 7, 20], "it writes still"
        assert _written(_told(session, again)) == [20, 20], "beside the next that is fine-tuned"
        ppo = make.trained_checkpoint(session, make.own_run(session, Stage.PPO), tuned)
        promotions.promote(session, boss, lineage.policy_for(session, ppo, "round1-ppo").id)
        assert _written(_told(session, recipe)) == [20, 20]


def test_a_run_that_something_happened_to_measures_nothing(work: Work, boss: Viewer) -> None:
    with work() as session:
        number = pretended.launch(session, boss)
        pretended.carry_out(session, number, Stage.SFT)
        session.execute(update(Run).values(fence=2))
        assert _told(session).stages[0].seconds is None


GIGABYTE = 10**9


def _prepared(session: Session) -> None:
    made = make.base_checkpoint(session)
    session.execute(update(Checkpoint).where(Checkpoint.id == made.id).values(bytes=GIGABYTE))


@pytest.mark.parametrize(
    ("recipe", "disk", "memory"),
    [
        # Fine-tuned model, reward model, policy and value model; three states of the last two.
        (TINY, 4 + 18, 8),
        (replace(TINY, ppo=replace(TINY.ppo, advantage="rloo", samples_per_query=2)), 3 + 9, 4),
        (replace(TINY, ppo=replace(TINY.ppo, lora_rank=4, value_lora_rank=4)), 2 + 9, 4),
    ],
)
def test_room_is_reckoned_from_the_size_of_the_model(work: Work, recipe: Recipe, disk: int, memory: int) -> None:
    with work() as session:
        _documents(session)
        assert (_told(session, recipe).disk, _told(session, recipe).memory) == (None, None)
        _prepared(session)
        told = _told(session, recipe)
        assert (told.disk, told.memory) == (disk * GIGABYTE, memory * GIGABYTE)


def test_the_memory_there_is_that_of_the_largest_living_worker(work: Work) -> None:
    with work() as session:
        assert _told(session).memory_there is None
        make.worker_row(session)
        large = make.worker_row(session)
        large.memory = 10**12
        session.flush()
        assert _told(session).memory_there == 10**12
        session.execute(
            update(Worker).where(Worker.id == large.id).values(heartbeat_at=func.now() - timedelta(hours=1))
        )
        assert _told(session).memory_there == 85_000_000_000


def _nothing(session: Session) -> None:
    make.reference_document(session, split=Split.VALIDATION)


def _no_reference(session: Session) -> None:
    make.document(session)


def _nothing_to_measure_on(session: Session) -> None:
    make.reference_document(session)


def _too_large(session: Session) -> None:
    _documents(session)
    _prepared(session)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (_nothing, "There are no training documents yet."),
        (_no_reference, "no training documents with a reference summary"),
        (_nothing_to_measure_on, "No validation document has a reference summary"),
        (_too_large, "The round needs 22.0 GB of disk at its fullest, and 21.0 GB are free"),
    ],
)
def test_what_cannot_work_is_refused_in_words(work: Work, there: Callable[[Session], None], words: str) -> None:
    with work() as session:
        there(session)
        with pytest.raises(Conflict, match=words):
            forecasts.refuse(session, TINY, with_simulated=False, disk_free=21 * GIGABYTE)


def test_what_can_work_is_not_refused(work: Work) -> None:
    with work() as session:
        _too_large(session)
        forecasts.refuse(session, TINY, with_simulated=False, disk_free=23 * GIGABYTE)

"""Which pairs a run of sampling puts up: every kind, chosen for information, without those that say the same twice."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from app.domain.pairing import BEST_OF, CHOSEN, CONTROL, INITIAL, REFERENCE, SAMPLES
from app.domain.recipes import TINY, Recipe
from app.domain.words import LabelerKind, RoundState, RunState, Stage
from app.services import rounds, runs
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import continuous, promotions
from tests.conftest import Work
from tests.worker.stages.test_ppo import finish
from worker import tasks

# PPO that hardly moves: a tiny model that learned anything from it may have nothing to say.
EVERY = replace(
    TINY,
    name="every",
    pairing=replace(
        TINY.pairing,
        reference_share=0.3,
        initial_share=0.2,
        best_of_share=0.2,
        best_of=3,
        choose_from=2,
        control_share=0.5,
    ),
    ppo=replace(TINY.ppo, learning_rate=1e-9, episodes=8, epochs=1),
    evaluation=replace(TINY.evaluation, documents=2),
)
PAIRS = text(
    "select c.reason, c.propensity, d.split, one.decoding as first_decoding, two.decoding as second_decoding, "
    "p.name as first_policy, q.name as second_policy, p.kind as first_kind, q.kind as second_kind "
    "from comparison c join batch b on b.id = c.batch_id join document d on d.id = c.document_id "
    "join summary one on one.id = first_summary_id join policy p on p.id = one.policy_id "
    "join summary two on two.id = second_summary_id join policy q on q.id = two.policy_id "
    "where b.name = :batch"
)


def test_a_round_puts_up_what_it_can_and_the_next_one_has_every_kind(
    work: Work, material: None, admin: Viewer, artifacts: Path
) -> None:
    view = finish(work, admin, EVERY)
    assert view.state is RoundState.SUCCEEDED
    early, late = (run for run in view.runs if run.stage is Stage.SAMPLE)
    assert early.words.endswith(
        "There is no initial policy besides the one that writes: pairs against it became two samples. "
        "There is no reward model yet: pairs against the best of several became two samples. "
        "There is no reward model yet: no pair was chosen for information."
    )
    assert late.words.startswith(
        "12 pairs by round1-ppo are up for judging. They were chosen from 21 that were written"
    )
    with work() as session:
        before = session.execute(PAIRS, {"batch": "round 1"}).all()
        pairs = session.execute(PAIRS, {"batch": "after round 1"}).all()
        reward = session.scalar(text("select id from checkpoint where kind = 'reward'"))
        improved = [each.policy for each in promotions.improved(session, the_project(session).id)]
    assert {(row.reason, row.propensity) for row in before} == {(REFERENCE, 1.0), (SAMPLES, 1.0)}
    assert late.result is not None and late.result["reasons"] == Counter(row.reason for row in pairs)
    kinds = Counter((row.split, row.reason.removesuffix(CHOSEN).removesuffix(CONTROL)) for row in pairs)
    # Shares of 0.3, 0.2, 0.2 and what is left, of nine and of three; not every document has a reference.
    assert (kinds["train", INITIAL], kinds["train", BEST_OF], kinds["validation", INITIAL]) == (1, 2, 1)
    assert kinds["train", REFERENCE] + kinds["train", SAMPLES] == 6
    assert kinds["validation", REFERENCE] + kinds["validation", SAMPLES] == 2
    for row in pairs:
        told = row.reason.endswith((CHOSEN, CONTROL))
        assert told == (row.split == "train")
        assert 0.25 <= row.propensity < 1 if told else row.propensity == 1
        sides = {(row.first_policy, row.first_kind), (row.second_policy, row.second_kind)}
        decodings = [each for each in (row.first_decoding, row.second_decoding) if each and "best_of" in each]
        assert ("round1-ppo", "checkpoint") in sides
        if row.reason.startswith(REFERENCE):
            assert ("ref", "ref") in sides
        elif row.reason.startswith(INITIAL):
            assert ("round1-sft", "checkpoint") in sides
        elif row.reason.startswith(BEST_OF):
            assert (f"round1-ppo-best-of-3-by-{reward}", "best_of_n") in sides
            assert [(each["best_of"], each["reward_checkpoint"]) for each in decodings] == [(3, reward)]
        else:
            assert len(sides) == 1
        assert bool(decodings) == row.reason.startswith(BEST_OF)
    assert improved == ["round1-ppo"], "the best of several is no policy that the round made"


def test_pairs_that_say_the_same_twice_are_left_out_and_counted(
    artifacts: Path, work: Work, material: None, admin: Viewer
) -> None:
    same = replace(
        TINY,
        name="same",
        sampling=replace(TINY.sampling, temperature=0.0),
        pairing=replace(TINY.pairing, reference_share=0.5, held_out_share=0.0),
    )
    with work() as session:
        recipe = rounds.add_recipe(session, admin, same)
        run_id = rounds.sample_pairs(session, admin, recipe, 4, with_simulated=False)
    tasks.execute(run_id)
    with work() as session:
        run = runs.the_run(session, run_id)
        reasons = session.scalars(
            text("select reason from comparison join batch b on b.id = batch_id where b.name = :n"),
            {"n": f"pairs of run {run_id}"},
        ).all()
    assert run.state is RunState.SUCCEEDED and run.result is not None
    assert reasons == [REFERENCE] * 2
    assert (run.result["pairs"], run.result["left_out"], run.result["alike"]) == (2, 2, 2)
    # One for each reference, two for each of the others, whose second was written again twice.
    assert (run.result["summaries"], run.result["written_again"]) == (2 + 4 + 4, 4)
    assert "2 could not be used: in 2 both sides say nearly the same, in 0 one says nothing." in run.words


# Without references and near-duplicates, so that every count is known: of eight pairs two are held out, and the others
# are chosen from eighteen, six of them with the best of three.
QUEUE = replace(
    TINY,
    name="queue",
    pairing=replace(
        TINY.pairing,
        reference_share=0.0,
        best_of_share=0.25,
        best_of=3,
        choose_from=3,
        control_share=0.5,
        held_out_share=0.25,
        most_alike=1.0,
    ),
)


def learn(work: Work, admin: Viewer, recipe: Recipe) -> int:
    """A round of the recipe as far as its reward model, without which nothing is chosen. Gives the recipe's id."""
    with work() as session:
        recipe_id = rounds.add_recipe(session, admin, recipe)
        number = rounds.launch(session, admin, recipe_id, with_simulated=False)
    for place, stage in enumerate((Stage.SFT, Stage.SAMPLE, Stage.LABEL, Stage.REWARD)):
        with work() as session:
            run = rounds.view(session, number).runs[place]
            assert run.stage is stage
            if stage is Stage.LABEL:
                rounds.finish_labeling(session, admin, number)
        if stage is not Stage.LABEL:
            tasks.execute(run.id)
    with work() as session:
        rounds.cancel(session, admin, number)
    return recipe_id


def test_continuous_mode_puts_up_chosen_pairs_for_those_whose_answers_it_counts(
    work: Work, material: None, admin: Viewer, artifacts: Path
) -> None:
    recipe_id = learn(work, admin, QUEUE)
    for with_simulated in (False, True):
        with work() as session:
            mode = continuous.add(session, the_project(session).id, recipe_id, admin.id, 0, with_simulated)
            run_id = rounds.sample_by_itself(session, mode, 8)
        tasks.execute(run_id)
        with work() as session:
            continuous.end(session, session.merge(mode), admin.id, "Enough.")
            run = runs.the_run(session, run_id)
            pairs = session.execute(PAIRS, {"batch": f"pairs of run {run_id}"}).all()
            batch = session.execute(
                text(
                    "select for_kind, round_id, kind, purpose, opinions, count(slot.id) as slots from batch b "
                    "join slot on slot.batch_id = b.id where b.name = :batch group by b.id"
                ),
                {"batch": f"pairs of run {run_id}"},
            ).one()
            reward = session.scalar(text("select id from checkpoint where kind = 'reward'"))
        assert run.state is RunState.SUCCEEDED and run.result is not None, run.problem
        assert batch.for_kind == (None if with_simulated else LabelerKind.HUMAN)
        assert (batch.round_id, batch.kind, batch.purpose) == (None, "compare", "ordinary"), "a round adopts it later"
        assert (batch.opinions, batch.slots) == (1, 8)
        kinds = Counter((row.split, row.reason.removesuffix(CHOSEN).removesuffix(CONTROL)) for row in pairs)
        assert kinds == {("train", BEST_OF): 2, ("train", SAMPLES): 4, ("validation", SAMPLES): 2}
        for row in pairs:
            told = row.reason.endswith((CHOSEN, CONTROL))
            assert told == (row.split == "train")
            # A third of them are put up, and half of the probability is the same for all.
            assert 1 / 6 <= row.propensity < 1 if told else row.propensity == 1
            sides = {row.first_policy, row.second_policy}
            best = {f"round1-sft-best-of-3-by-{reward}"} if row.reason.startswith(BEST_OF) else set()
            assert sides == {"round1-sft"} | best
        drawn = sum(row.reason.endswith(CONTROL) for row in pairs)
        assert (run.result["pairs"], run.result["left_out"], run.result["control"]) == (8, 0, drawn)
        assert (run.result["written"], run.result["reward_checkpoint"]) == (20, reward)
        # Two for each pair, and two more for each best of three.
        assert run.result["summaries"] - run.result["written_again"] == 20 * 2 + 6 * 2

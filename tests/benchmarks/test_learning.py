"""What the learning runs count: rules that a reward model has to beat, pairs of like length, the gold formula, and a
training that is looked at on its way."""

import json
import random
from pathlib import Path

import pytest

from app.domain.intervals import Estimate
from app.domain.recipes import PpoRecipe, SamplingRecipe
from benchmarks.learning import baselines, files, gold, reward
from benchmarks.learning.overoptimisation import StopAfter
from tests.support import tiny_models
from worker.cli.terminal import FileSink
from worker.training import checkpoints, metrics, models, overlap, ppo, tokens
from worker.training.accuracy import ScoredPair, accuracy
from worker.training.devices import CPU
from worker.training.examples import Pair, Query
from worker.training.metrics import Cancelled

POST = Query("pets", "Old dog", "my dog is old and sleeps all day in the sun")


def pair(preferred: str, other: str, value: int = 1, policies: tuple[str, str] = ("a", "b")) -> Pair:
    return Pair(POST, preferred, other, value, policies)


def test_each_rule_prefers_what_it_says() -> None:
    rules = baselines.rules()
    copied = pair("my dog is old", "a very long text about no such thing")
    right = {name: baselines.judged([copied], rule)[0].right for name, rule in rules.items()}
    assert right == {"length": 0.0, "rouge": 1.0, "copying": 1.0}


def test_summaries_are_matched_by_the_share_that_the_shorter_lacks() -> None:
    at_the_edge, beyond = pair("x" * 100, "x" * 85), pair("x" * 84, "x" * 100)
    assert baselines.matched(at_the_edge) and not baselines.matched(beyond)


def test_groups_hold_every_pair_with_a_preference_once_in_each_way() -> None:
    pairs = [
        pair("x" * 10, "x" * 10, 1, ("ref", "sft")),
        pair("x" * 10, "x" * 90, 6, ("sft", "ref")),
        pair("x" * 10, "x" * 10, 5),
    ]
    assert baselines.groups(pairs) == {
        "all": [0, 1],
        "length_matched": [0],
        "confidence_4": [0],
        "confidence_1": [1],
        "ref / sft": [0, 1],
    }
    assert "length_matched" not in baselines.groups(pairs[1:])


def test_length_alone_is_right_in_half_of_the_balanced_pairs() -> None:
    pairs = [pair("x" * 20, "x" * 10)] * 3 + [pair("x" * 10, "x" * 20)] + [pair("x" * 10, "x" * 10)]
    by_length = baselines.judged(pairs, baselines.rules()["length"])
    assert accuracy(by_length).rate == (3 + 0.5) / 5
    assert baselines.balanced(by_length) == 0.5
    knows = [ScoredPair(each, 1.0, 0.0) for each in pairs]
    assert baselines.balanced(knows) == 1.0


def test_pairs_of_one_post_count_as_one_for_the_interval() -> None:
    values = [1.0, 0.0] * 20
    each_alone = baselines.over_posts([str(index) for index in range(40)], values, seed=1)
    in_fours = baselines.over_posts([str(index % 2) + str(index // 8) for index in range(40)], values, seed=1)
    assert each_alone.value == in_fours.value == 0.5 and each_alone.n == in_fours.n == 40

    def width(estimate: Estimate) -> float:
        assert estimate.low is not None and estimate.high is not None
        return estimate.high - estimate.low

    # Four values that always come together say as much as one: the interval is twice as wide.
    assert width(in_fours) == pytest.approx(2 * width(each_alone), rel=0.25)


def test_gold_counts_shared_words_once_and_charges_for_words_above_the_limit() -> None:
    judge = overlap.rouge_scorer()
    assert gold.gold(judge, "the dog sleeps", "the dog sleeps") == 10
    assert gold.gold(judge, "the dog sleeps", "dog dog dog") == pytest.approx(10 / 3)
    words = " ".join(["cat"] * (gold.LONGEST + 3))
    assert gold.gold(judge, "the dog sleeps", words) == pytest.approx(-3 * gold.PER_WORD)


def test_a_dim_labeler_is_right_as_often_as_the_sigmoid_says() -> None:
    draw = random.Random(1)
    said = [gold.prefers_first(1.0, 0.5, 0.5, draw) for _ in range(4000)]
    assert sum(said) / len(said) == pytest.approx(0.731, abs=0.02)
    assert not gold.prefers_first(-1e9, 1e9, 0.1, draw)


def test_comparisons_are_split_by_post_and_only_posts_learned_from_give_references(tmp_path: Path) -> None:
    def row(post: int, choice: int) -> dict[str, object]:
        return {
            "info": {"id": f"t3_{post}", "post": f"post {post}", "title": "", "subreddit": "pets"},
            "summaries": [{"text": " mine", "policy": "ref"}, {"text": " yours", "policy": "sft"}],
            "choice": choice,
            "worker": "w",
            "batch": "13",
            "extra": {"confidence": 2 if choice == 0 else 9},
        }

    data = files.write(tmp_path / "comparisons.jsonl", [row(post, choice) for post in range(60) for choice in (0, 1)])
    learned, held_out, references = reward.comparisons(data, 0.25)
    ours, theirs = ({post for post, _ in side} for side in (learned, held_out))
    assert len(learned) + len(held_out) == 120 and not ours & theirs and theirs
    assert {each.query.post for each in references} == {f"post {post.removeprefix('t3_')}" for post in ours}
    assert {each.preferred_text for _, each in learned[:2]} == {"mine", "yours"}
    assert learned[1][1].confidence == 4 and learned[1][1].policies == ("sft", "ref")


def test_the_line_of_all_pairs_stands_beside_length_and_the_other_rules() -> None:
    pairs = [pair("x" * 20, "x" * 10, 1, ("ref", "sft")), pair("x" * 10, "x" * 20, 2, ("ref", "sft"))] * 6
    found = {
        "reward_model": [ScoredPair(each, 1.0, 0.0) for each in pairs],
        "length": baselines.judged(pairs, baselines.rules()["length"]),
        "copying": [ScoredPair(each, 0.0, 1.0) for each in pairs],
    }
    told = {
        line["name"]: line
        for line in (json.loads(str(each)) for each in reward.lines([*"abcdefghijkl"], found, {"seed": 3}))
    }
    everything = told["learning.reward.accuracy.all"]
    assert (everything["value"], everything["peer_value"], everything["ratio"]) == (1.0, 0.5, 2.0)
    assert everything["conditions"]["gain"] == 0.5 and everything["conditions"]["copying"] == 0.0
    assert everything["conditions"]["posts"] == 12 and everything["conditions"]["seed"] == 3
    assert told["learning.reward.accuracy.confidence_4"]["conditions"]["n"] == 6
    assert told["learning.reward.accuracy.ref / sft"]["conditions"]["n"] == 12
    assert told["learning.reward.accuracy.balanced"]["peer_value"] == 0.5


def test_another_question_to_the_same_directory_is_refused(tmp_path: Path) -> None:
    asked = files.options("About.").parse_args(["--data", "posts.jsonl", "--out", str(tmp_path / "out")])
    files.begin(asked)
    files.begin(asked)
    other = files.options("About.").parse_args(["--data", "posts.jsonl", "--out", str(tmp_path / "out"), "--seed", "2"])
    with pytest.raises(SystemExit, match="begun with other options"):
        files.begin(other)


def test_a_policy_looked_at_on_the_way_is_the_one_of_that_many_rollouts(tmp_path: Path) -> None:
    base = tiny_models.build(tmp_path / "base")
    codec = tokens.load(base)
    scorer = models.new_reward(base, 1, CPU)
    scorer.stock.config.hone_prompt = {"template": "{post}", "max_query_tokens": 64, "max_summary_tokens": 8}
    judge = checkpoints.save(scorer.stock, codec.tokenizer, tmp_path / "reward")
    recipe = PpoRecipe(episodes=12, batch=4, micro_batch=4, epochs=1, learning_rate=1e-3)
    sampling = SamplingRecipe(max_query_tokens=64, max_summary_tokens=8, batch=4)
    queries = [tiny_models.query(seed) for seed in range(4)]

    def train(out: Path, sink: metrics.Sink, states: Path | None) -> None:
        ppo.train(
            base, judge, queries, recipe, sampling=sampling, precision="fp32", seed=1, out_dir=out, sink=sink,
            state_dir=states,
        )  # fmt: skip

    def weights(place: Path) -> bytes:
        return (place / "policy" / "model.safetensors").read_bytes()

    told = FileSink(tmp_path / "metrics.jsonl", lambda: False)
    left = []
    for point in (1, 2):
        with pytest.raises(Cancelled) as stopped:
            train(tmp_path / str(point), StopAfter(told, point), tmp_path / "states")
        assert stopped.value.left is not None
        left.append(weights(stopped.value.left))
    train(tmp_path / "end", StopAfter(told, 3), tmp_path / "states")
    told.close()
    rates = [row["step"] for row in files.read(tmp_path / "metrics.jsonl") if row.get("name") == "ppo/learning_rate"]
    train(tmp_path / "undisturbed", metrics.NullSink(), None)
    assert rates == [0, 1, 2]
    assert weights(tmp_path / "end") == weights(tmp_path / "undisturbed")
    assert len({*left, weights(tmp_path / "end"), (base / "model.safetensors").read_bytes()}) == 4

from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.prompts import FEW_SHOT_QUESTION, TLDR, FewShot, WorkedExample
from app.domain.recipes import Precision, SamplingRecipe
from tests.support import tiny_models
from worker.training import devices, generation, logprobs, models, sft, tokens
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.metrics import Cancelled, ListSink, NullSink
from worker.training.tokens import Codec, SummaryTokens

RECIPE = SamplingRecipe(max_query_tokens=64, max_summary_tokens=12, batch=4)
QUERIES = [tiny_models.query(seed, 4 + seed % 5 * 5) for seed in range(10)]


def test_samples_come_in_order_with_everything_to_make_them_again(sft_run: sft.SftResult) -> None:
    seeds = list(range(100, 110))
    sink = ListSink()
    samples = generation.sample(sft_run.directory, QUERIES, RECIPE, seeds, sink)
    assert [each.seed for each in samples] == seeds
    assert [QUERIES[i].title in each.prompt for i, each in enumerate(samples)] == [True] * 10
    for each in samples:
        assert 1 <= each.token_count == len(each.tokens) <= 12
        assert each.finished or each.token_count == 12
    assert any(each.finished for each in samples)
    assert sink.steps[-1][:2] == (10, 10)
    assert generation.sample(sft_run.directory, QUERIES, RECIPE, seeds, NullSink()) == samples


def test_a_seed_gives_the_same_text_whatever_its_batch(sft_run: sft.SftResult) -> None:
    together = generation.sample(sft_run.directory, QUERIES, RECIPE, list(range(10)), NullSink())
    for index in (0, 4, 7):
        alone = generation.sample(sft_run.directory, [QUERIES[index]], RECIPE, [index], NullSink())
        assert alone == [together[index]]
    others = generation.sample(sft_run.directory, QUERIES, RECIPE, list(range(50, 60)), NullSink())
    assert [each.text for each in others] != [each.text for each in together]


def test_samples_of_one_query_share_its_reading_and_stay_the_same(
    sft_run: sft.SftResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [0, 1, 2, 0, 0, 3, 1, 0, 0]
    queries, seeds = [QUERIES[row] for row in rows], list(range(200, 209))
    alone = [
        generation.sample(sft_run.directory, [QUERIES[row]], RECIPE, [seed], NullSink())
        for row, seed in zip(rows, seeds, strict=True)
    ]
    read: list[tuple[int, int]] = []
    plain = generation.continue_prompts

    def counted(model: Any, prompts: Any, seeds: Any, *others: Any) -> Any:
        read.append((len(prompts), sum(map(len, seeds))))
        return plain(model, prompts, seeds, *others)

    monkeypatch.setattr(generation, "continue_prompts", counted)
    assert generation.sample(sft_run.directory, queries, RECIPE, seeds, NullSink()) == [each for (each,) in alone]
    assert read == [(1, 4), (3, 4), (1, 1)], "four of the first query, two of another beside two single ones, the rest"


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-5), ("bf16", 3e-2)])
@pytest.mark.parametrize("each", [1, 3])
def test_a_token_is_drawn_with_the_probability_it_is_scored_with(
    sft_run: sft.SftResult, monkeypatch: pytest.MonkeyPatch, each: int, precision: Precision, rounding: float
) -> None:
    drawn: list[torch.Tensor] = []
    plain = generation.choose

    def noted(logits: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
        chosen = plain(logits, numbers, temperature, top_p)
        drawn.append((logits.double() / temperature).log_softmax(-1).gather(1, chosen.unsqueeze(1)).squeeze(1))
        return chosen

    monkeypatch.setattr(generation, "choose", noted)
    codec, model = tokens.load(sft_run.directory), models.load_policy(sft_run.directory, CPU)
    prompts = [codec.prompt(query, TLDR, 64).tokens for query in QUERIES[:4]]
    seeds = [[100 * row + place for place in range(each)] for row in range(4)]
    raw = generation.continue_prompts(model, prompts, seeds, codec, RECIPE, precision, NullSink())
    sampled = torch.stack(drawn, 1)
    batch = collate(
        [prompt for prompt in prompts for _ in range(each)],
        [SummaryTokens(row) for row in raw],
        codec.pad,
        CPU,
        together=[each] * 4,
    )
    with torch.inference_mode(), devices.autocast(CPU, precision):
        scored = logprobs.of_summaries(model, batch, RECIPE.temperature)
    assert sampled.shape == scored.shape and (sampled - scored).abs().max() <= rounding


def test_greedy_takes_the_likeliest_token_of_the_plain_model(policy: Any, base_dir: Path, codec: Codec) -> None:
    recipe = SamplingRecipe(temperature=0, max_query_tokens=64, max_summary_tokens=5, batch=4)
    samples = generation.sample(base_dir, QUERIES[:3], recipe, [1, 2, 3], NullSink())
    for each in samples:
        ids = codec.ids(each.prompt)
        for token in each.tokens:
            with torch.inference_mode():
                assert policy(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item() == token
            ids.append(token)


def test_choice_follows_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    chances = (logits / 0.7).softmax(-1)[0]
    numbers = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    drawn = generation.choose(logits.expand(4000, 4), numbers, 0.7, 1.0)
    for token in range(4):
        assert (drawn == token).double().mean().item() == pytest.approx(chances[token].item(), abs=1e-3)


def test_top_p_leaves_the_unlikely_out_and_keeps_proportions() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    numbers = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    drawn = generation.choose(logits.expand(3000, 4), numbers, 1.0, 0.7)
    assert set(drawn.tolist()) == {1, 3}
    assert (drawn == 1).double().mean().item() == pytest.approx(2 / 3, abs=1e-3)


def test_the_extremes_of_the_number_give_real_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]]).expand(2, 5)
    numbers = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    assert generation.choose(logits, numbers, 1.0, 1.0).tolist() == [1, 3]


def test_one_seed_per_query(base_dir: Path) -> None:
    with pytest.raises(ValueError, match="one seed per query"):
        generation.sample(base_dir, QUERIES, RECIPE, [1], NullSink())


def test_sampling_can_be_cancelled(base_dir: Path) -> None:
    with pytest.raises(Cancelled):
        generation.sample(base_dir, QUERIES, RECIPE, list(range(10)), ListSink(cancel_at=5))


def test_nothing_asked_nothing_written(base_dir: Path) -> None:
    assert generation.sample(base_dir, [], RECIPE, [], NullSink()) == []


def test_the_device_is_the_cpu_where_there_is_no_gpu() -> None:
    assert devices.best() == (torch.device("cuda") if torch.cuda.is_available() else CPU)


def test_after_worked_examples_a_summary_ends_with_its_line(base_dir: Path) -> None:
    shown = WorkedExample("pets", "Old dog", "He is old.", "the old dog")
    template = FewShot(FEW_SHOT_QUESTION, (shown,), room=400)
    recipe = SamplingRecipe(max_query_tokens=64, max_summary_tokens=40, batch=4, temperature=2.0)
    samples = generation.sample(base_dir, QUERIES, recipe, list(range(10)), NullSink(), template=template)
    plain = generation.sample(base_dir, QUERIES, recipe, list(range(10)), NullSink())
    assert all("=====" in each.prompt and "the old dog" in each.prompt for each in samples)
    assert any("\n" in each.text for each in plain) and any(each.finished for each in samples)
    for each in samples:
        assert "\n" not in each.text and (each.finished or each.token_count == 40)
    again = generation.sample(base_dir, QUERIES[:1], recipe, [0], NullSink(), template=template)
    assert again == samples[:1]

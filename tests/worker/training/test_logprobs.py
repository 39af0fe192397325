import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.recipes import Precision
from tests.support import tiny_models
from worker.training import devices, logprobs, models
from worker.training.batches import Batch, collate
from worker.training.devices import CPU
from worker.training.tokens import Codec, QueryTokens


def batch_of(codec: Codec, rows: list[tuple[str, str]]) -> Batch:
    prompts = [QueryTokens(tuple(codec.ids(prompt))) for prompt, _ in rows]
    return collate(prompts, [codec.summary(text, 48) for _, text in rows], codec.pad, CPU)


ROWS = [(tiny_models.words(20, 1), tiny_models.words(3, 2)), (tiny_models.words(5, 3), tiny_models.words(9, 4))]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_gather_minus_logsumexp_is_log_softmax(temperature: float) -> None:
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(1)) * 5
    ids = torch.tensor([[1, 2, 3], [49, 0, 7]])
    expected = (logits / (temperature + 1e-7)).log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(logprobs.gather(logits, ids, temperature), expected, atol=1e-5)


@torch.inference_mode()
def test_summary_logprobs_are_those_of_the_plain_unpadded_model(policy: Any, codec: Codec) -> None:
    found = logprobs.of_summaries(policy, batch_of(codec, ROWS), 0.7)
    for row, (prompt, text) in enumerate(ROWS):
        query, summary = codec.ids(prompt), codec.summary(text, 48)
        logits = policy(input_ids=torch.tensor([[*query, *summary]])).logits[0]
        table = (logits / 0.7).log_softmax(-1)
        expected = [table[len(query) - 1 + place, token].item() for place, token in enumerate(summary)]
        assert found[row, : len(summary)].tolist() == pytest.approx(expected, abs=1e-4)
        assert found[row, len(summary) :].abs().sum() == 0


@torch.inference_mode()
def test_right_padding_gives_the_same_numbers_as_left_padding(policy: Any, codec: Codec) -> None:
    left = logprobs.of_summaries(policy, batch_of(codec, ROWS), 1.0)
    rows = [[*codec.ids(prompt), *codec.summary(text, 48)] for prompt, text in ROWS]
    width = max(map(len, rows))
    ids = torch.tensor([row + [codec.pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    table = policy(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    for row, (prompt, text) in enumerate(ROWS):
        start, summary = len(codec.ids(prompt)), codec.summary(text, 48)
        right = [table[row, start - 1 + place, token].item() for place, token in enumerate(summary)]
        assert left[row, : len(summary)].tolist() == pytest.approx(right, abs=1e-4)


def padded_on_the_right(batch: Batch) -> Batch:
    """The same rows with their padding at the other end."""
    order = torch.argsort((batch.parts == -1).long(), dim=1, stable=True)
    shift = (batch.parts == -1).sum(1)
    return replace(
        batch,
        ids=batch.ids.gather(1, order),
        positions=batch.positions.gather(1, order),
        parts=batch.parts.gather(1, order),
        columns=batch.columns - shift[batch.rows].unsqueeze(1),
        kept=batch.ids.shape[1],
    )


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-5), ("bf16", 2e-2)])
@torch.inference_mode()
def test_neither_padding_nor_packing_moves_the_kl_from_zero(
    policy: Any, base_dir: Path, codec: Codec, precision: Precision, rounding: float
) -> None:
    reference = models.load_policy(base_dir, CPU)
    prompts = [QueryTokens(tuple(codec.ids(tiny_models.words(length, length)))) for length in (20, 20, 20, 5)]
    summaries = [codec.summary(tiny_models.words(length, 40 + length), 48) for length in (3, 9, 1, 6)]
    alone = collate(prompts, summaries, codec.pad, CPU)
    packed = collate(prompts, summaries, codec.pad, CPU, together=[3, 1])
    layouts = [made for left in (alone, packed) for made in (left, padded_on_the_right(left))]
    with devices.autocast(CPU, precision):
        ours = [logprobs.of_summaries(policy, each, 0.7) for each in layouts]
        theirs = [logprobs.of_summaries(reference, each, 0.7) for each in layouts]
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other), "in one layout the KL is exactly 0"
        assert (mine.sum(1) < -1).all()
    for mine, other in itertools.product(ours, theirs):
        assert (mine - other).abs().max() <= rounding, "between two layouts it is 0 to rounding"


@torch.inference_mode()
def test_sequence_logprobs_cover_every_token_but_the_first(policy: Any, codec: Codec) -> None:
    found = logprobs.of_sequences(policy, batch_of(codec, ROWS))
    for row, (prompt, text) in enumerate(ROWS):
        whole = torch.tensor([[*codec.ids(prompt), *codec.summary(text, 48)]])
        table = policy(input_ids=whole).logits[0, :-1].log_softmax(-1)
        expected = table.gather(-1, whole[0, 1:, None]).sum().item()
        assert found[row].sum().item() == pytest.approx(expected, abs=1e-3)
        assert int((found[row] != 0).sum()) == whole.shape[1] - 1

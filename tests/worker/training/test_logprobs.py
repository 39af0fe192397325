from typing import Any

import pytest
import torch

from tests.support import tiny_models
from worker.training import logprobs
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


@torch.inference_mode()
def test_sequence_logprobs_cover_every_token_but_the_first(policy: Any, codec: Codec) -> None:
    found = logprobs.of_sequences(policy, batch_of(codec, ROWS))
    for row, (prompt, text) in enumerate(ROWS):
        whole = torch.tensor([[*codec.ids(prompt), *codec.summary(text, 48)]])
        table = policy(input_ids=whole).logits[0, :-1].log_softmax(-1)
        expected = table.gather(-1, whole[0, 1:, None]).sum().item()
        assert found[row].sum().item() == pytest.approx(expected, abs=1e-3)
        assert int((found[row] != 0).sum()) == whole.shape[1] - 1

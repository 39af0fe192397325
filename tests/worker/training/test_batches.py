import pytest

from worker.training.batches import collate, length_sorted
from worker.training.devices import CPU
from worker.training.tokens import QueryTokens, SummaryTokens


def test_prompts_end_and_summaries_begin_in_one_column() -> None:
    batch = collate(
        [QueryTokens((5, 6, 7)), QueryTokens((8,))], [SummaryTokens((9,)), SummaryTokens((3, 4))], pad=0, device=CPU
    )
    assert batch.ids.tolist() == [[5, 6, 7, 9, 0], [0, 0, 8, 3, 4]]
    assert batch.attention.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]]
    assert batch.summary_mask.tolist() == [[True, False], [True, True]]
    assert batch.lengths.tolist() == [1, 2]
    assert batch.summary_ids.tolist() == [[9, 0], [3, 4]]
    assert batch.tokens == 7


def test_a_real_token_that_equals_the_padding_counts() -> None:
    batch = collate([QueryTokens((0, 1))], [SummaryTokens((0, 0))], pad=0, device=CPU)
    assert batch.tokens == 4 and batch.lengths.tolist() == [2] and bool(batch.summary_mask.all())


@pytest.mark.parametrize(("prompt", "summary"), [((), (1,)), ((1,), ())])
def test_nothing_empty_is_accepted(prompt: tuple[int, ...], summary: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        collate([QueryTokens(prompt)], [SummaryTokens(summary)], pad=0, device=CPU)


def test_length_sorted_keeps_every_row_once_longest_first() -> None:
    groups = length_sorted([3, 9, 1, 9, 4], 2)
    assert groups == [[1, 3], [4, 0], [2]]
    assert length_sorted([], 2) == []
    assert sorted(index for group in groups for index in group) == [0, 1, 2, 3, 4]

import pytest
import torch

from worker.training.batches import SHARED_AT_MOST, collate, length_sorted, micro_batches
from worker.training.devices import CPU
from worker.training.tokens import QueryTokens, SummaryTokens


def query(*ids: int) -> QueryTokens:
    return QueryTokens(ids)


def summary(*ids: int) -> SummaryTokens:
    return SummaryTokens(ids)


def test_a_row_each_ends_in_the_last_column() -> None:
    batch = collate([query(5, 6, 7), query(8)], [summary(9), summary(3, 4)], pad=0, device=CPU)
    assert batch.ids.tolist() == [[5, 6, 7, 9], [0, 8, 3, 4]]
    assert batch.attention.tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 2, 3], [0, 0, 1, 2]]
    assert batch.rows.tolist() == [0, 1] and batch.columns.tolist() == [[2, 3, 3], [1, 2, 3]]
    assert batch.summary_mask.tolist() == [[True, False], [True, True]]
    assert batch.summary_ids.tolist() == [[9, 0], [3, 4]]
    assert batch.lengths.tolist() == [1, 2] and batch.kept == 3 and batch.width == 2
    assert batch.tokens == 7


def test_summaries_of_one_prompt_share_a_row_and_do_not_see_each_other() -> None:
    prompts = [query(5, 6), query(5, 6), query(8)]
    batch = collate(prompts, [summary(1, 2), summary(3), summary(4)], pad=0, device=CPU, together=[2, 1])
    assert batch.ids.tolist() == [[5, 6, 1, 2, 3], [0, 0, 0, 8, 4]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2], [0, 0, 0, 0, 1]]
    assert batch.rows.tolist() == [0, 0, 1] and batch.columns.tolist() == [[1, 2, 3], [1, 4, 4], [3, 4, 4]]
    assert batch.kept == 4 and batch.tokens == 7
    assert batch.attention.shape == (2, 1, 5, 5)
    assert batch.attention[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert batch.attention[1, 0].int().tolist()[3:] == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert bool(batch.attention.any(-1).all()), "a token that sees nothing has no number for its attention"


def test_what_was_kept_of_the_last_columns_is_found_again() -> None:
    prompts = [query(5, 6), query(5, 6), query(8)]
    batch = collate(prompts, [summary(1, 2), summary(3), summary(4)], pad=0, device=CPU, together=[2, 1])
    assert torch.equal(batch.take(batch.ids, batch.columns[:, 1:]), torch.tensor([[1, 2], [3, 3], [4, 4]]))
    kept = batch.ids[:, -batch.kept :]
    assert torch.equal(batch.take(kept, batch.columns), batch.take(batch.ids, batch.columns))


def test_a_real_token_that_equals_the_padding_counts() -> None:
    batch = collate([query(0, 1)], [summary(0, 0)], pad=0, device=CPU)
    assert batch.tokens == 4 and batch.lengths.tolist() == [2] and bool(batch.summary_mask.all())


@pytest.mark.parametrize(("prompt", "text"), [((), (1,)), ((1,), ())])
def test_nothing_empty_is_accepted(prompt: tuple[int, ...], text: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        collate([query(*prompt)], [summary(*text)], pad=0, device=CPU)


@pytest.mark.parametrize("together", [[2], [1], [2, 1]])
def test_a_row_has_one_prompt_and_every_summary_a_row(together: list[int]) -> None:
    with pytest.raises(ValueError, match="those of one prompt"):
        collate([query(1), query(2)], [summary(3), summary(4)], pad=0, device=CPU, together=together)


def test_length_sorted_keeps_every_row_once_longest_first() -> None:
    groups = length_sorted([3, 9, 1, 9, 4], 2)
    assert groups == [[1, 3], [4, 0], [2]]
    assert length_sorted([], 2) == []
    assert sorted(index for group in groups for index in group) == [0, 1, 2, 3, 4]


PROMPTS = [query(1, 2, 3), query(4), query(1, 2, 3), query(5, 6), query(1, 2, 3)]
SUMMARIES = [summary(7), summary(8, 8), summary(9, 9), summary(7), summary(6)]


def groups(size: int, reach: int) -> list[tuple[list[int], list[list[int]]]]:
    made = micro_batches(PROMPTS, SUMMARIES, size, 0, CPU, reach=reach)
    return [(indices, batch.ids.tolist()) for indices, batch in made]


def test_micro_batches_put_equal_prompts_into_one_row_longest_first() -> None:
    assert groups(3, 100) == [([0, 2, 4], [[1, 2, 3, 7, 9, 9, 6]]), ([1, 3], [[4, 8, 8], [5, 6, 7]])]
    assert groups(4, 100)[0] == ([0, 2, 4, 1], [[1, 2, 3, 7, 9, 9, 6], [0, 0, 0, 0, 4, 8, 8]])


def test_micro_batches_never_hold_more_than_asked() -> None:
    assert [indices for indices, _ in groups(2, 100)] == [[0, 2], [4, 1], [3]]
    assert [indices for indices, _ in groups(1, 100)] == [[2], [0], [4], [1], [3]]
    count = SHARED_AT_MOST + 1
    many = list(micro_batches([query(1)] * count, [summary(2)] * count, 100, 0, CPU, reach=100))
    assert [len(batch.ids) for _, batch in many] == [2] and sorted(many[0][0]) == list(range(count))


@pytest.mark.parametrize(("reach", "rows"), [(0, 5), (3, 5), (4, 4), (5, 3)])
def test_a_sequence_beyond_the_reach_stands_alone(reach: int, rows: int) -> None:
    assert sum(len(ids) for _, ids in groups(5, reach)) == rows

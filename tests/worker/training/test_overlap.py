import pytest

from worker.training import overlap


@pytest.mark.parametrize(
    ("post", "summary", "expected"),
    [
        ("the dog ate my shoe today", "the dog ate my shoe", 1.0),
        ("The Dog ate my shoe", "the dog slept", 0.5),
        ("a b c d", "c d a b", 1 / 3),
        ("a b", "word", 0.0),
        ("", "two words", 0.0),
    ],
)
def test_copying_is_the_common_subsequence_of_bigrams(post: str, summary: str, expected: float) -> None:
    assert overlap.copying(post, summary) == pytest.approx(expected)


def test_rouge_of_known_texts() -> None:
    scorer = overlap.rouge_scorer()
    same = overlap.rouge(scorer, "the cat sat", "the cat sat")
    assert (same.rouge_1, same.rouge_2, same.rouge_l) == (1, 1, 1)
    half = overlap.rouge(scorer, "the cat sat down", "the cat ran off")
    assert (half.rouge_1, half.rouge_2, half.rouge_l) == pytest.approx((0.5, 1 / 3, 0.5))
    assert overlap.rouge(scorer, "the cat sat", "").rouge_l == 0

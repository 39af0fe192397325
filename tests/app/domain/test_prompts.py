from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.prompts import TLDR, FewShot, InvalidTemplate, PromptTemplate, PromptTooLong, WorkedExample

POST = PromptTemplate("{post}")


def by_the_rule(template: PromptTemplate, post: str, count: Callable[[str], int], limit: int) -> str | None:
    """The paper's rule word for word, one cut at a time."""
    while count(template.render("r", "t", post)) > limit:
        if not post:
            return None
        post = post[: post.rindex("\n")] if "\n" in post else post[:-1]
    return template.render("r", "t", post)


def characters_in_fours(text: str) -> int:
    return -(-len(text) // 4)


def merging(text: str) -> int:
    """A count that falls when a word is completed, as byte-pair counts do."""
    return sum(1 if word == "abcde" else len(word) for word in text.replace("\n", " ").split(" "))


def test_the_papers_template() -> None:
    assert TLDR.render("pets", "Old dog", "He is\nold.") == (
        "SUBREDDIT: r/pets\n\nTITLE: Old dog\n\nPOST: He is\nold.\n\nTL;DR:"
    )


def test_a_post_that_fits_is_left_alone() -> None:
    assert POST.fit("r", "t", " a\n\nb\n ", len, 7) == " a\n\nb\n "


@pytest.mark.parametrize(
    ("post", "limit", "kept"),
    [
        ("first\nsecond\nthird", 12, "first\nsecond"),
        ("first\nsecond\nthird", 11, "first"),
        ("first\nsecond", 3, "fir"),
        ("first", 2, "fi"),
        ("first\n\nsecond", 7, "first\n"),
        ("first\n\n", 6, "first\n"),
        ("first\n", 5, "first"),
        ("\nsecond", 3, ""),
        ("\n\n\n", 1, "\n"),
        ("first", 0, ""),
        ("", 0, ""),
        ("first\r\nsecond", 6, "first\r"),
    ],
)
def test_cuts_at_the_last_newline_then_by_character(post: str, limit: int, kept: str) -> None:
    assert POST.fit("r", "t", post, len, limit) == kept
    assert by_the_rule(POST, post, len, limit) == kept


@pytest.mark.parametrize("count", [len, characters_in_fours, merging])
@given(post=st.text(alphabet="abcde \n", max_size=60), limit=st.integers(0, 40))
def test_finds_what_the_rule_finds(count: Callable[[str], int], post: str, limit: int) -> None:
    template = PromptTemplate("{title}: {post}.")
    expected = by_the_rule(template, post, count, limit)
    if expected is None:
        with pytest.raises(PromptTooLong):
            template.fit("r", "t", post, count, limit)
    else:
        assert template.fit("r", "t", post, count, limit) == expected


def test_the_other_fields_are_never_cut() -> None:
    found = TLDR.fit(
        "pets", "line one\nline two", "post\nmore post", len, len(TLDR.render("pets", "line one\nline two", "po"))
    )
    assert found == TLDR.render("pets", "line one\nline two", "po")


def test_a_long_post_without_newlines_takes_few_counts() -> None:
    asked: list[int] = []

    def count(text: str) -> int:
        asked.append(len(text))
        return characters_in_fours(text)

    assert POST.fit("r", "t", "x" * 100_000, count, 500) == "x" * 2000
    assert len(asked) < 100


def test_too_long_without_its_post_is_refused_in_words() -> None:
    with pytest.raises(PromptTooLong, match="'Long title' has 12 tokens without its post: allowed are 5"):
        PromptTemplate("{title}: {post}").fit("r", "Long title", "post", len, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no field", "{post} 0 times"),
        ("{post}{post}", "{post} 2 times"),
        ("{post}{author}", "{author}"),
        ("{post!r}", "{post!r}"),
        ("{post:>9}", "{post:>9}"),
        ("{post.real}", "{post.real}"),
        ("{}{post}", "the field {}"),
        ("{post", "cannot be read"),
    ],
)
def test_templates_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidTemplate) as refused:
        PromptTemplate(text)
    assert words in str(refused.value) and "allowed" in str(refused.value)


def test_braces_in_templates_and_posts_are_text() -> None:
    assert PromptTemplate("{{x}} {post}").render("r", "t", "{title}") == "{x} {title}"


FIRST, SECOND = (WorkedExample("pets", title, f"{title} post", f" {title}\nsummary ") for title in ("Cat", "Dog"))
ASKED = "SUBREDDIT: r/r\n\nTITLE: t\n\nPOST: mine\n\nTL;DR:"


def shown(example: WorkedExample) -> str:
    return (
        f"SUBREDDIT: r/pets\n\nTITLE: {example.title}\n\nPOST: {example.post}\n\nTL;DR: {example.title} summary"
        "\n\n=====\n\n"
    )


def test_examples_come_before_the_question_each_summary_on_a_line() -> None:
    few = FewShot(TLDR.text, (FIRST, SECOND), room=1000)
    assert few.fit("r", "t", "mine", len, 1000) == shown(FIRST) + shown(SECOND) + ASKED
    assert few.stop == "\n" and TLDR.stop == ""


def test_where_not_all_fit_the_last_examples_stay_whole() -> None:
    whole = len(shown(FIRST) + shown(SECOND) + ASKED)
    assert FewShot(TLDR.text, (FIRST, SECOND), whole).fit("r", "t", "mine", len, whole).startswith(shown(FIRST))
    less = FewShot(TLDR.text, (FIRST, SECOND), whole - 1)
    assert less.fit("r", "t", "mine", len, whole) == shown(SECOND) + ASKED
    assert FewShot(TLDR.text, (FIRST, SECOND), len(ASKED)).fit("r", "t", "mine", len, whole) == ASKED


def test_the_question_is_cut_as_without_examples() -> None:
    few = FewShot(TLDR.text, (FIRST,), room=1000)
    limit = len(ASKED) + 2
    assert few.fit("r", "t", "mine\nmore of it", len, limit) == shown(FIRST) + ASKED
    with pytest.raises(PromptTooLong):
        few.fit("r", "t", "mine", len, 10)


def test_no_document_is_its_own_example() -> None:
    few = FewShot(TLDR.text, (FIRST, SECOND), room=1000)
    assert few.fit("pets", SECOND.title, SECOND.post, len, 1000).count("Dog") == 2, "in the title and in the post"

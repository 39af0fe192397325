"""A line of a file is read whole or refused with its line and field; what is written can be read again."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.records import (
    BadRecord,
    SummaryRecord,
    read_comparison,
    read_post,
    source_id_of,
    write_comparison,
)

POST: dict[str, Any] = {"id": "t3_1", "subreddit": "cats", "title": "A title", "post": "A post.", "summary": "Short."}
COMPARISON: dict[str, Any] = {
    "info": {"id": "t3_1", "post": "A post.", "title": "A title", "subreddit": "cats"},
    "split": "valid1",
    "summaries": [
        {"text": " One.", "policy": "ref", "note": "It is about one."},
        {"text": " Two.", "policy": "sup", "note": None},
    ],
    "choice": 1,
    "worker": "w1",
    "batch": "batch13",
    "extra": {"confidence": 8},
}
ARTICLE = {**COMPARISON, "info": {"id": "a1", "article": "An article.", "title": "News", "site": "cnn"}}


def _without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(record))
    holder = copy
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    return copy


def _bad_post(text: str) -> tuple[int, str]:
    with pytest.raises(BadRecord) as caught:
        read_post(7, text)
    assert str(caught.value).startswith(f"line 7, {caught.value.field}: ")
    return caught.value.line, caught.value.field


def _bad_comparison(text: str) -> tuple[int, str]:
    with pytest.raises(BadRecord) as caught:
        read_comparison(7, text)
    return caught.value.line, caught.value.field


# Posts


def test_a_post_is_read() -> None:
    record = read_post(1, json.dumps({**POST, "split": "train", "meta": {"score": 3}}))
    assert (record.source_id, record.community, record.title) == ("t3_1", "cats", "A title")
    assert (record.post, record.summary, record.split) == ("A post.", "Short.", "train")
    assert record.info == {"meta": {"score": 3}}


def test_texts_lose_their_outer_white_space() -> None:
    record = read_post(1, json.dumps({**POST, "post": "\n A post. \n", "summary": " Short. ", "id": " t3_1 "}))
    assert (record.post, record.summary, record.source_id) == ("A post.", "Short.", "t3_1")


@pytest.mark.parametrize("summary", [None, "", "  "])
def test_a_post_may_come_without_a_reference(summary: str | None) -> None:
    assert read_post(1, json.dumps({**POST, "summary": summary})).summary is None


def test_a_post_without_an_id_gets_one_from_its_text() -> None:
    first, again = (read_post(line, json.dumps(_without(POST, "id"))) for line in (1, 2))
    assert first.source_id == again.source_id == source_id_of("A title", "A post.")
    assert read_post(3, json.dumps({**_without(POST, "id"), "title": "Other"})).source_id != first.source_id


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "record"),
        ("[1]", "record"),
        ("null", "record"),
        ("[" * 100_000, "record"),
        ('{"post": "x", "big": ' + "9" * 5000 + "}", "record"),
        (json.dumps(_without(POST, "post")), "post"),
        (json.dumps({**POST, "post": " \n"}), "post"),
        (json.dumps({**POST, "post": 3}), "post"),
        (json.dumps({**POST, "post": "a\0b"}), "post"),
        (json.dumps({**POST, "post": "a\ud800b"}), "post"),
        (json.dumps({**POST, "id": True}), "id"),
        (json.dumps({**POST, "id": "x" * 5000}), "id"),
        (json.dumps({**POST, "title": []}), "title"),
        (json.dumps({**POST, "subreddit": {}}), "subreddit"),
        (json.dumps({**POST, "summary": 1.5}), "summary"),
        (json.dumps({**POST, "split": 1}), "split"),
        (json.dumps({**POST, "meta": {"deep": ["a\0b"]}}), "meta.deep[0]"),
        (json.dumps({**POST, "meta": "\udfff"}), "meta"),
        (json.dumps({**POST, "x\0": 1}), '"x\\u0000"'),
        (json.dumps({**POST, "score": float("nan")}), "score"),
        ('{"post": "x", "score": 1e999}', "score"),
        ('{"post": "x", "deep": ' + "[" * 400 + "]" * 400 + "}", "deep"),
    ],
)
def test_a_bad_post_is_refused_with_its_line_and_field(text: str, field: str) -> None:
    assert _bad_post(text) == (7, field)


# Comparisons


def test_a_comparison_is_read_in_displayed_order() -> None:
    record = read_comparison(1, json.dumps(COMPARISON))
    assert [(side.text, side.policy, side.note) for side in record.summaries] == [
        (" One.", "ref", "It is about one."),
        (" Two.", "sup", None),
    ]
    assert (record.value, record.confidence_given, record.worker, record.batch) == (8, True, "w1", "batch13")
    assert (record.document.source_id, record.document.split) == ("t3_1", "valid1")


def test_an_article_is_read() -> None:
    record = read_comparison(1, json.dumps(ARTICLE))
    assert (record.document.post, record.document.community) == ("An article.", "cnn")
    assert record.document.info == {"form": "cnndm"}


@pytest.mark.parametrize(("choice", "value"), [(0, 3), (1, 7)])
def test_a_choice_without_confidence_is_neither_sure_nor_unsure(choice: int, value: int) -> None:
    for record in (_without(COMPARISON, "extra"), _without(COMPARISON, "extra", "confidence")):
        read = read_comparison(1, json.dumps({**record, "choice": choice}))
        assert (read.value, read.confidence_given) == (value, False)


@pytest.mark.parametrize(("choice", "confidence"), [(0, 6), (0, 9), (1, 1), (1, 4)])
def test_a_confidence_that_contradicts_the_choice_is_refused(choice: int, confidence: int) -> None:
    text = json.dumps({**COMPARISON, "choice": choice, "extra": {"confidence": confidence}})
    assert _bad_comparison(text) == (7, "extra.confidence")


@pytest.mark.parametrize("choice", [0, 1])
def test_the_middle_contradicts_no_choice(choice: int) -> None:
    assert read_comparison(1, json.dumps({**COMPARISON, "choice": choice, "extra": {"confidence": 5}})).value == 5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"info": None}, "info"),
        ({"info": []}, "info"),
        ({"info": {"id": "a"}}, "info.article"),
        ({"info": {"post": ""}}, "info.post"),
        ({"info": {"post": "a\0"}}, "info.post"),
        ({"info": {"post": "x", "id": "i" * 5000}}, "info.id"),
        ({"summaries": None}, "summaries"),
        ({"summaries": [{"text": "a", "policy": "p"}]}, "summaries"),
        ({"summaries": [{"text": "a", "policy": "p"}] * 3}, "summaries"),
        ({"summaries": [{"text": "a", "policy": "p"}] * 2}, "summaries"),
        ({"summaries": ["a", {"text": "a", "policy": "p"}]}, "summaries[0]"),
        ({"summaries": [{"text": "a", "policy": "p"}, {"text": None, "policy": "q"}]}, "summaries[1].text"),
        ({"summaries": [{"text": "a", "policy": "p"}, {"text": "b"}]}, "summaries[1].policy"),
        ({"summaries": [{"text": "a", "policy": "p" * 5000}, {"text": "b", "policy": "q"}]}, "summaries[0].policy"),
        ({"summaries": [{"text": "a", "policy": "p", "note": 1}, {"text": "b", "policy": "q"}]}, "summaries[0].note"),
        ({"choice": 2}, "choice"),
        ({"choice": True}, "choice"),
        ({"choice": None}, "choice"),
        ({"choice": "1"}, "choice"),
        ({"choice": [1]}, "choice"),
        ({"extra": 3}, "extra"),
        ({"extra": {"confidence": 0}}, "extra.confidence"),
        ({"extra": {"confidence": 10}}, "extra.confidence"),
        ({"extra": {"confidence": 7.5}}, "extra.confidence"),
        ({"extra": {"confidence": True}}, "extra.confidence"),
        ({"worker": ""}, "worker"),
        ({"worker": None}, "worker"),
        ({"worker": "w" * 200}, "worker"),
        ({"batch": None}, "batch"),
        ({"batch": "b" * 5000}, "batch"),
        ({"split": 1}, "split"),
    ],
)
def test_a_bad_comparison_is_refused_with_its_line_and_field(change: dict[str, Any], field: str) -> None:
    assert _bad_comparison(json.dumps({**COMPARISON, **change})) == (7, field)


@pytest.mark.parametrize("text", ["", " "])
def test_a_policy_may_have_written_nothing(text: str) -> None:
    sides = [{"text": text, "policy": "sup", "note": None}, COMPARISON["summaries"][0]]
    assert read_comparison(1, json.dumps({**COMPARISON, "summaries": sides})).summaries[0].text == text


def test_fields_of_a_comparison_that_nobody_keeps_may_hold_anything() -> None:
    read_comparison(1, json.dumps({**COMPARISON, "other": ["a\ud800", float("nan"), "\0"]}))


def test_the_carper_form_is_told_apart() -> None:
    with pytest.raises(BadRecord, match="line 1, info: missing"):
        read_comparison(1, json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}))


def test_keys_follow_the_record_and_not_its_spelling() -> None:
    record = read_comparison(1, json.dumps(COMPARISON))
    shuffled = dict(reversed(list(COMPARISON.items())))
    assert read_comparison(9, json.dumps(shuffled, indent=1)).key == record.key
    assert read_comparison(1, json.dumps({**COMPARISON, "worker": "w2"})).key != record.key


# Writing

LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=100).filter(
    str.strip
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    texts=st.tuples(LINES, LINES).filter(lambda both: both[0] != both[1]),
    notes=st.tuples(st.none() | LINES, st.none() | LINES),
    post=LINES,
    names=st.tuples(NAMES, NAMES, NAMES, NAMES),
    value=st.integers(1, 9).filter(lambda value: value != 5),
    cnndm=st.booleans(),
)
def test_what_is_written_can_be_read_again(
    texts: tuple[str, str],
    notes: tuple[str | None, str | None],
    post: str,
    names: tuple[str, str, str, str],
    value: int,
    cnndm: bool,
) -> None:
    first, second = (SummaryRecord(text, names[2], note) for text, note in zip(texts, notes, strict=True))
    written = write_comparison(
        source_id=names[0],
        community="c",
        title="t",
        post=post,
        cnndm=cnndm,
        split="valid1",
        summaries=(first, second),
        value=value,
        worker=names[1],
        batch=names[3],
    )
    read = read_comparison(1, json.dumps(written))
    assert read.summaries == (first, second)
    assert (read.value, read.document.post, read.worker, read.batch) == (value, post, names[1], names[3])
    assert read.document.source_id == names[0]
    assert (read.document.info == {"form": "cnndm"}) == cnndm


def test_the_middle_is_written_without_a_choice() -> None:
    side = SummaryRecord(" One.", "ref", None)
    written = write_comparison(
        source_id="a",
        community="c",
        title="t",
        post="p",
        cnndm=False,
        split="train",
        summaries=(side, side),
        value=5,
        worker="w",
        batch="b",
    )
    assert (written["choice"], written["extra"]) == (None, {"confidence": 5})


@given(st.text())
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_no_line_brings_the_reader_down(text: str) -> None:
    for read in (read_post, read_comparison):
        try:
            read(1, text)
        except BadRecord as error:
            assert error.line == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from([*POST, *COMPARISON, "x"]) | st.text(), JSON, max_size=8))
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_no_object_brings_the_reader_down(change: dict[str, Any]) -> None:
    for read, whole in ((read_post, POST), (read_comparison, COMPARISON)):
        try:
            read(1, json.dumps({**whole, **change}))
        except BadRecord as error:
            assert error.line == 1

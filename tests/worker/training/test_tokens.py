from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from app.domain.prompts import TLDR, PromptTemplate, PromptTooLong
from tests.support import tiny_models
from worker.training import tokens
from worker.training.examples import Query
from worker.training.metrics import ListSink
from worker.training.tokens import Codec, RawTokens, SummaryTokens


def test_a_prompt_within_the_limit_is_the_template(codec: Codec) -> None:
    query = Query("pets", "Old dog", "He is old.\nWhat now?")
    prompt = codec.prompt(query, TLDR, 500)
    assert prompt.text == "SUBREDDIT: r/pets\n\nTITLE: Old dog\n\nPOST: He is old.\nWhat now?\n\nTL;DR:"
    assert codec.tokenizer.decode(list(prompt.tokens)) == prompt.text


def test_a_long_post_is_cut_at_newlines_and_the_rest_stays(codec: Codec) -> None:
    query = Query("pets", "Old dog", "\n".join(tiny_models.words(12, seed) for seed in range(20)))
    prompt = codec.prompt(query, TLDR, 90)
    assert len(prompt.tokens) <= 90
    assert prompt.text.startswith("SUBREDDIT: r/pets\n\nTITLE: Old dog\n\nPOST: ") and prompt.text.endswith(
        "\n\nTL;DR:"
    )
    kept = prompt.text.removeprefix("SUBREDDIT: r/pets\n\nTITLE: Old dog\n\nPOST: ").removesuffix("\n\nTL;DR:")
    assert query.post.startswith(f"{kept}\n")


def test_a_prompt_that_cannot_fit_is_refused(codec: Codec) -> None:
    with pytest.raises(PromptTooLong):
        codec.prompt(Query("pets", tiny_models.words(40, 1), "x"), PromptTemplate("{title}{post}"), 10)


def test_a_summary_has_a_leading_space_and_an_end_token(codec: Codec) -> None:
    summary = codec.summary("  the old house ", 48)
    assert summary[-1] == codec.eos and summary.count(codec.eos) == 1
    assert codec.tokenizer.decode(list(summary[:-1])) == " the old house"
    assert codec.text(summary) == "the old house"
    assert codec.finished(summary)


def test_a_long_summary_keeps_its_beginning_and_ends(codec: Codec) -> None:
    whole, cut = codec.summary(tiny_models.words(30, 1), 200), codec.summary(tiny_models.words(30, 1), 10)
    assert len(cut) == 10 and cut[:-1] == whole[:9] and cut[-1] == codec.eos


def test_what_is_cut_is_counted_once(codec: Codec) -> None:
    long = Query("pets", "Old dog", "\n".join(tiny_models.words(12, seed) for seed in range(20)))
    exact = len(codec.summary("the old house", 48))
    reader, sink = tokens.Reader(codec, TLDR, 90, exact), ListSink()
    for query in (long, tiny_models.query(1), long):
        assert reader.prompt(query) == codec.prompt(query, TLDR, 90)
    for text in ("the old house", "the old house too", "the", "the old house too"):
        assert reader.summary(text) == codec.summary(text, exact)
    reader.note_documents(sink)
    reader.note_summaries(sink)
    assert sink.conditions == {
        "documents cut": "1 of 2, to 90 tokens",
        "summaries cut": f"1 of 3, to {exact} tokens",
    }


def test_an_empty_summary_is_only_its_end(codec: Codec) -> None:
    assert codec.summary(" \n", 48) == (codec.eos,)
    assert codec.text(codec.summary("", 48)) == ""


def test_cut_after_the_first_end_token(codec: Codec) -> None:
    assert codec.cut(RawTokens((5, codec.eos, 6, codec.eos))) == (5, codec.eos)
    assert codec.cut(RawTokens((codec.eos, 6))) == (codec.eos,)
    assert codec.cut(RawTokens((5, 6))) == (5, 6)
    assert not codec.finished(codec.cut(RawTokens((5, 6))))


def test_special_tokens_spelled_out_in_a_text_are_text(codec: Codec) -> None:
    summary = codec.summary("he said <|endoftext|> and left", 48)
    assert summary.count(codec.eos) == 1
    assert codec.text(summary) == "he said <|endoftext|> and left"


def test_text_for_people_has_no_nul(codec: Codec) -> None:
    nul = codec.ids("a\0b")
    assert codec.text(SummaryTokens((*nul, codec.eos))) == "ab"


def test_padding_is_never_the_end_token(base_dir: Path, codec: Codec) -> None:
    assert codec.pad != codec.eos
    shared: Any = AutoTokenizer.from_pretrained(str(base_dir))
    shared.pad_token = shared.eos_token
    made = tokens.codec(shared)
    assert made.pad != made.eos and made.tokenizer.pad_token_id == made.pad
    assert len(made.tokenizer) == len(codec.tokenizer)


def test_a_tokenizer_without_an_end_is_refused(base_dir: Path) -> None:
    endless: Any = AutoTokenizer.from_pretrained(str(base_dir))
    endless.eos_token = None
    with pytest.raises(tokens.UnusableTokenizer, match="end-of-text"):
        tokens.codec(endless)


def test_a_line_ends_a_summary_where_the_model_knows_no_other_end(codec: Codec) -> None:
    lines = codec.stopping_at("\n")
    assert codec.stopping_at("") is codec and not codec.stops
    words, after = codec.ids(" the old house"), codec.ids("\nmore")
    assert lines.cut(RawTokens((*words, *after))) == (*words, codec.eos)
    assert lines.cut(RawTokens((*after, *words))) == (codec.eos,)
    assert lines.cut(RawTokens((*words, codec.eos, *after))) == (*words, codec.eos)
    assert lines.cut(RawTokens(tuple(words))) == tuple(words)
    assert codec.cut(RawTokens((*words, *after))) == (*words, *after)


def test_a_full_stop_in_one_token_with_its_line_end_stays(codec: Codec) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(codec.tokenizer.name_or_path)
    tokenizer.add_tokens([".\n"])
    lines = tokens.codec(tokenizer).stopping_at("\n")
    both = tokenizer.convert_tokens_to_ids(".\n")
    assert (
        lines.text(lines.cut(RawTokens((*codec.ids(" the old house"), both, *codec.ids("more"))))) == "the old house."
    )

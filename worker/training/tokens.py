"""Text to token ids and back, by the tokenizer of a model directory.

Knows the prompt limit, the leading space, the end token, and that padding is not the end token. Knows no tensors.
Three kinds of ids are three types, so that raw samples cannot be scored by mistake.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NewType, cast

from transformers import AutoTokenizer

from app.domain.prompts import PromptTemplate
from worker.training.errors import CannotTrain
from worker.training.examples import Query
from worker.training.metrics import Sink

QueryTokens = NewType("QueryTokens", tuple[int, ...])
"""A prompt, shortened to its limit."""
RawTokens = NewType("RawTokens", tuple[int, ...])
"""What a model wrote; it may go on after an end token."""
SummaryTokens = NewType("SummaryTokens", tuple[int, ...])
"""A summary: at least one token, and an end token only in the last place (or nowhere, if it did not end)."""

FREE_PADS = ("<|endoftext|>", "<|pad|>", "<pad>", "[PAD]", "<|padding|>", "<unk>", "[UNK]")


class UnusableTokenizer(CannotTrain, ValueError):
    """A tokenizer that cannot serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text a model continues, after truncation, and its tokens."""

    text: str
    tokens: QueryTokens


@dataclass(frozen=True)
class Codec:
    """A tokenizer with its special ids. `prefix` is what the tokenizer itself puts before a text (nothing or BOS).

    With a `stop`, the tokens `stops` that hold it end a summary too: the model was not taught the end token.
    """

    tokenizer: Any
    eos: int
    pad: int
    prefix: tuple[int, ...]
    stop: str = ""
    stops: frozenset[int] = frozenset()

    def stopping_at(self, stop: str) -> "Codec":
        """The codec for a model whose summaries end at `stop`; the same one where that is empty."""
        if not stop:
            return self
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        return replace(self, stop=stop, stops=frozenset(token for token, text in enumerate(texts) if stop in text))

    def ids(self, text: str) -> list[int]:
        """Plain tokens of a text. A special token spelled out in a post is text, not a special token."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return cast(list[int], found["input_ids"])

    def prompt(self, query: Query, template: PromptTemplate, limit: int) -> Prompt:
        """The document as a prompt of at most `limit` tokens; only the post is cut (app.domain.prompts).

        Raises PromptTooLong when the prompt does not fit even without its post.
        """
        text = template.fit(
            query.subreddit, query.title, query.post, lambda made: len(self.ids(made)), limit - len(self.prefix)
        )
        return Prompt(text, QueryTokens((*self.prefix, *self.ids(text))))

    def summary(self, text: str, limit: int) -> SummaryTokens:
        """A space, the text without outer white space, and the end token; cut to `limit` tokens, end token included.

        P 1.4: a text that is too long keeps its first limit - 1 tokens and gets the end token all the same.
        """
        stripped = text.strip()
        words = self.ids(f" {stripped}") if stripped else []
        return SummaryTokens((*words[: limit - 1], self.eos))

    def cut(self, raw: RawTokens) -> SummaryTokens:
        """The tokens up to and with the first end token; all of them when there is none.

        The end token stands in the place of a stop. What a token has before its stop, such as a full stop, is kept:
        then the summary may be longer than `raw`.
        """
        place = next((place for place, token in enumerate(raw) if token == self.eos or token in self.stops), None)
        if place is None:
            return SummaryTokens(raw)
        last = raw[place]
        kept = self.ids(self.tokenizer.decode([last]).partition(self.stop)[0]) if last in self.stops else []
        return SummaryTokens((*raw[:place], *kept, self.eos))

    def require_same(self, other: "Codec") -> None:
        """Raises UnusableTokenizer unless both give every text the same ids; a model cannot read another's tokens."""
        if self.tokenizer.get_vocab() != other.tokenizer.get_vocab() or self.eos != other.eos:
            raise UnusableTokenizer("the policy and the reward model have different vocabularies")

    def finished(self, summary: SummaryTokens) -> bool:
        """Whether the summary ends by itself."""
        return summary[-1] == self.eos

    def text(self, summary: SummaryTokens) -> str:
        """What people read: no special tokens, no outer white space, no NUL (which a database cannot hold)."""
        decoded = cast(str, self.tokenizer.decode(list(summary), skip_special_tokens=True))
        return decoded.replace("\0", "").strip()


class Reader:
    """Documents and summaries as a model reads them: within its limits, and with a count of what was cut to them.

    A document or a text that is asked for again is the one that was read, and counts once.
    """

    def __init__(
        self, codec: Codec, template: PromptTemplate, max_query_tokens: int, max_summary_tokens: int | None = None
    ) -> None:
        """`max_summary_tokens` is None where no text is going to be read, only documents."""
        self.codec, self.template = codec, template
        self.max_query_tokens, self.max_summary_tokens = max_query_tokens, max_summary_tokens
        self._prompts = dict[Query, Prompt]()
        self._summaries = dict[str, SummaryTokens]()
        self._cut = 0

    def prompt(self, query: Query) -> Prompt:
        """What `Codec.prompt` gives."""
        if query not in self._prompts:
            self._prompts[query] = self.codec.prompt(query, self.template, self.max_query_tokens)
        return self._prompts[query]

    def summary(self, text: str) -> SummaryTokens:
        """What `Codec.summary` gives."""
        if text not in self._summaries:
            assert self.max_summary_tokens is not None, "made to read summaries"
            found = self._summaries[text] = self.codec.summary(text, self.max_summary_tokens)
            if len(found) == self.max_summary_tokens:
                self._cut += len(self.codec.summary(text, sys.maxsize)) > self.max_summary_tokens
        return self._summaries[text]

    def note_documents(self, sink: Sink) -> None:
        """Tells the run how many of the documents so far were cut."""
        cut = sum(query.post not in prompt.text for query, prompt in self._prompts.items())
        sink.note("documents cut", f"{cut} of {len(self._prompts)}, to {self.max_query_tokens} tokens")

    def note_summaries(self, sink: Sink) -> None:
        """Tells the run how many of the texts so far were cut."""
        sink.note("summaries cut", f"{self._cut} of {len(self._summaries)}, to {self.max_summary_tokens} tokens")


def load(model_dir: Path) -> Codec:
    """The codec of a model directory.

    Raises UnusableTokenizer when it has no end token.
    """
    return codec(AutoTokenizer.from_pretrained(str(model_dir)))


def codec(tokenizer: Any) -> Codec:
    """A codec around a tokenizer, which is given a padding token that differs from its end token."""
    if tokenizer.eos_token_id is None:
        raise UnusableTokenizer("the tokenizer has no end-of-text token: summaries could not end")
    pad = free_pad(tokenizer)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    starts = whole[: len(whole) - len(plain)] if whole[len(whole) - len(plain) :] == plain else []
    return Codec(tokenizer, int(tokenizer.eos_token_id), pad, tuple(starts))


def free_pad(tokenizer: Any) -> int:
    """An id to pad with that is not the end token.

    The tokenizer's own, else a special token that is in nobody's way, else any other id: padding is masked and ends
    are read by position, so the choice cannot change a number. The vocabulary is never enlarged, because that would
    resize the embeddings.
    """
    eos = int(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != eos:
        return int(tokenizer.pad_token_id)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    named = [vocabulary[name] for name in FREE_PADS if name in vocabulary]
    special = [each for each in sorted(tokenizer.all_special_ids) if each != tokenizer.bos_token_id]
    return next(int(each) for each in [*named, *special, 0, 1] if each != eos)

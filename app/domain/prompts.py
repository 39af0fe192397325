"""From a document's fields to the text a model continues, and the rule that shortens a post that is too long.

Knows the paper's templates, which templates are allowed, where a post may be cut, and how worked examples stand before
a question. Knows nothing of tokenizers: the length of a text is whatever the given `count` says it is.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import ClassVar

FIELDS = ("subreddit", "title", "post")

SLACK = 8
"""How far a token count may fall when text is added. Byte-pair merges make it fall by a few at the end of a word."""


class InvalidTemplate(ValueError):
    """A prompt template that cannot be used; the message says what stands in it and what is allowed."""


class PromptTooLong(ValueError):
    """A prompt over the limit even without its post: only a shorter title or a higher limit helps."""


@dataclass(frozen=True)
class PromptTemplate:
    """A text with {subreddit}, {title} and {post} in it; {post} exactly once, `{{` and `}}` for braces.

    It should not end in white space, because a summary begins with a space of its own. `stop` ends a summary as the end
    token does; empty where the model was taught to end by itself.
    """

    stop: ClassVar[str] = ""

    text: str

    def __post_init__(self) -> None:
        allowed = ", ".join(f"{{{name}}}" for name in FIELDS)
        try:
            parts = list(Formatter().parse(self.text))
        except ValueError as error:
            raise InvalidTemplate(
                f"the template {self.text!r} cannot be read ({error}): allowed are {allowed}, {{{{ and }}}}"
            ) from error
        names = [name for _, name, _, _ in parts if name is not None]
        for _, name, spec, conversion in parts:
            if name is not None and (name not in FIELDS or spec or conversion):
                shown = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                raise InvalidTemplate(f"the template has the field {{{shown}}}: allowed are {allowed}")
        if names.count("post") != 1:
            raise InvalidTemplate(f"the template has {{post}} {names.count('post')} times: allowed is exactly once")

    def render(self, subreddit: str, title: str, post: str) -> str:
        """The prompt as it stands, whatever its length."""
        return self.text.format(subreddit=subreddit, title=title, post=post)

    def fit(self, subreddit: str, title: str, post: str, count: Callable[[str], int], limit: int) -> str:
        """The prompt with its post cut until `count(prompt) <= limit`; subreddit, title and the rest stay whole.

        The rule (paper.md 1.4): while the prompt is too long, cut the post at its last newline; once no newline is
        left, drop its last character. Found by bisection: the longest prefix the rule would stop at. Raises
        PromptTooLong when even an empty post does not fit.
        """

        def excess(length: int) -> int:
            return count(self.render(subreddit, title, post[:length])) - limit

        newlines = [place for place, character in enumerate(post) if character == "\n"]
        kept = _longest([*newlines, len(post)], excess)
        if kept is None:
            kept = _longest(range(newlines[0] if newlines else len(post)), excess)
        if kept is None:
            raise PromptTooLong(
                f"the prompt titled {title[:60]!r} has {limit + excess(0)} tokens without its post: allowed are {limit}"
            )
        return self.render(subreddit, title, post[:kept])


def _longest(lengths: Sequence[int], excess: Callable[[int], int]) -> int | None:
    """The last of the rising `lengths` whose excess is not above 0, or None.

    Bisection alone needs an excess that never falls as the text grows. Token counts do fall, by less than SLACK, so
    the search goes on upwards until the text is too long by more than that.
    """
    if not lengths or excess(lengths[-1]) <= 0:
        return lengths[-1] if lengths else None
    over = bisect_left(lengths, 1, key=excess)
    best = lengths[over - 1] if over else None
    for length in lengths[over:]:
        beyond = excess(length)
        if beyond <= 0:
            best = length
        elif beyond > SLACK:
            break
    return best


TLDR = PromptTemplate("SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:")
"""The paper's template for supervised learning and RL on Reddit posts (P Table 4)."""


@dataclass(frozen=True)
class WorkedExample:
    """A document with its summary, shown to a model before it is asked."""

    subreddit: str
    title: str
    post: str
    summary: str


@dataclass(frozen=True)
class FewShot(PromptTemplate):
    """A template that asks after worked examples: the baseline of a model that was never fine-tuned (P Table 4).

    The question is fitted as any other; with its examples it has at most `room` tokens. The last examples stand nearest
    to the question, and the first ones fall away where not all fit; the study cut the first one in the middle instead.
    A summary is one line, so its end is the end of the line.
    """

    stop: ClassVar[str] = "\n"

    examples: tuple[WorkedExample, ...]
    room: int

    def fit(self, subreddit: str, title: str, post: str, count: Callable[[str], int], limit: int) -> str:
        """The question, its post cut to `limit` (PromptTemplate.fit), after as many examples as there is room for.

        An example about the post itself is left out. Raises PromptTooLong as for the question alone.
        """
        question = super().fit(subreddit, title, post, count, limit)
        worked = [
            f"{self.render(each.subreddit, each.title, each.post)} {' '.join(each.summary.split())}"
            for each in self.examples
            if each.post != post
        ]
        prompts = (SEPARATOR.join([*worked[first:], question]) for first in range(len(worked)))
        return next((prompt for prompt in prompts if count(prompt) <= self.room), question)


SEPARATOR = "\n\n=====\n\n"
"""Between worked examples, and before the question (openai/summarize-from-feedback, experiment_helpers.py)."""

FEW_SHOT_QUESTION = "Subreddit: r/{subreddit}\n\nTitle: {title}\n\n{post}\n\nTL;DR:"
"""How the study asked a model that was only pretrained (P Table 4)."""

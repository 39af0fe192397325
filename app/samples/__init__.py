"""Knows where the texts that ship inside the package are: sample documents, and the guidelines that labelers are given
until an admin writes others. Knows nothing about databases, projects or imports: whoever wants the documents opens the
file at `path()`, one JSON object per line with the keys `id`, `subreddit`, `title`, `post` and `summary`. The text of
the documents is CC0; LICENSE beside it says so.
"""

from pathlib import Path


def path() -> Path:
    """The path of documents.jsonl."""
    return Path(__file__).with_name("documents.jsonl")


def guidelines() -> str:
    """The first version of what labelers are told, in Markdown."""
    return Path(__file__).with_name("guidelines.md").read_text(encoding="utf-8")

"""Knows where the sample documents that ship inside the package are. Knows nothing about databases, projects or
imports: whoever wants the documents opens the file at `path()`, one JSON object per line with the keys `id`,
`subreddit`, `title`, `post` and `summary`. The text is CC0; LICENSE beside it says so.
"""

from pathlib import Path


def path() -> Path:
    """The path of documents.jsonl."""
    return Path(__file__).with_name("documents.jsonl")

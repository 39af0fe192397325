"""The forms in which documents and comparisons come in and go out: TL;DR posts and the released OpenAI records.

Knows fields, types and how to name what is wrong with a line. Knows nothing of files, tables or splits' meaning.
Source: paper.md 2.6 (openai/summarize-from-feedback README).
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Any, cast
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1f6a1c-9d0b-5f6e-8a57-20090132500a")
# Names stand in unique indexes, where PostgreSQL holds 2,704 bytes; a worker becomes the name of an account.
LONGEST_NAME = 500
LONGEST_WORKER = 100
DEEPEST = 50


class BadRecord(ValueError):
    """A line that cannot be used: which line, which field, and why."""

    def __init__(self, line: int, field_name: str, why: str) -> None:
        super().__init__(f"line {line}, {field_name}: {why}")
        self.line, self.field, self.why = line, field_name, why


@dataclass(frozen=True)
class PostRecord:
    """A document with its reference summary, if it has one. Texts are stripped of outer white space."""

    line: int
    source_id: str
    community: str
    title: str
    post: str
    summary: str | None
    split: str | None
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SummaryRecord:
    """One side of a released comparison. The text is kept to the byte: released texts start with a space."""

    text: str
    policy: str
    note: str | None


@dataclass(frozen=True)
class ComparisonRecord:
    """A released comparison. `value` is on the 9-point scale in displayed order (1 = first)."""

    line: int
    document: PostRecord
    summaries: tuple[SummaryRecord, SummaryRecord]
    value: int
    confidence_given: bool
    worker: str
    batch: str
    key: UUID


def _object(line: int, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRecord(line, "record", f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise BadRecord(line, "record", "nested too deep") from error
    except ValueError as error:
        raise BadRecord(line, "record", "holds a number of more digits than can be read") from error
    if not isinstance(value, dict):
        raise BadRecord(line, "record", f"expected an object, found {_kind(value)}")
    return cast(dict[str, Any], value)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _text(
    line: int,
    holder: dict[str, Any],
    name: str,
    path: str,
    *,
    needed: bool,
    blank: bool = False,
    longest: int | None = None,
) -> str:
    value = holder.get(name)
    if value is None:
        if needed:
            raise BadRecord(line, path, "missing")
        return ""
    if not isinstance(value, str):
        raise BadRecord(line, path, f"expected text, found {_kind(value)}")
    if trouble := _not_text(value):
        raise BadRecord(line, path, trouble)
    if needed and not blank and not value.strip():
        raise BadRecord(line, path, "empty")
    if longest is not None and len(value) > longest:
        raise BadRecord(line, path, f"longer than {longest} signs")
    return value


def _not_text(value: str) -> str | None:
    if "\0" in value:
        return "holds a NUL character, which PostgreSQL cannot store"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is not Unicode text"
    return None


def _storable(line: int, name: str, value: object) -> None:
    """Refuse a field that is kept as it is but that PostgreSQL cannot hold as JSON."""
    todo: list[tuple[str, object, int]] = [(_shown(name), value, 0)]
    if trouble := _not_text(name):
        raise BadRecord(line, _shown(name), f"its name {trouble}")
    while todo:
        path, value, depth = todo.pop()
        if depth > DEEPEST:
            raise BadRecord(line, _shown(name), "nested too deep")
        if isinstance(value, str) and (trouble := _not_text(value)):
            raise BadRecord(line, path, trouble)
        if isinstance(value, float) and not isfinite(value):
            raise BadRecord(line, path, "is not a finite number")
        if isinstance(value, list):
            todo.extend((f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(value))
        elif isinstance(value, dict):
            for key, inner in value.items():
                if trouble := _not_text(key):
                    raise BadRecord(line, f"{path}.{_shown(key)}", f"its name {trouble}")
                todo.append((f"{path}.{_shown(key)}", inner, depth + 1))


def _shown(name: str) -> str:
    """A name out of a file, fit to be shown and stored."""
    return (name if name.isprintable() else json.dumps(name))[:40]


def source_id_of(title: str, post: str) -> str:
    """An id for a document that came without one: a hash of its text, so that importing it again finds it."""
    return "sha256_" + sha256(f"{title}\0{post}".encode()).hexdigest()[:32]


def read_post(line: int, text: str) -> PostRecord:
    """A TL;DR record (`id, subreddit, title, post, summary`, optional `split`). Raises BadRecord."""
    record = _object(line, text)
    post = _text(line, record, "post", "post", needed=True).strip()
    title = _text(line, record, "title", "title", needed=False).strip()
    summary = _text(line, record, "summary", "summary", needed=False).strip()
    source_id = _text(line, record, "id", "id", needed=False, longest=LONGEST_NAME).strip()
    known = ("id", "subreddit", "title", "post", "summary", "split")
    info = {name: value for name, value in record.items() if name not in known}
    for name, value in info.items():
        _storable(line, name, value)
    return PostRecord(
        line=line,
        source_id=source_id or source_id_of(title, post),
        community=_text(line, record, "subreddit", "subreddit", needed=False).strip(),
        title=title,
        post=post,
        summary=summary or None,
        split=_text(line, record, "split", "split", needed=False).strip() or None,
        info=info,
    )


def read_comparison(line: int, text: str) -> ComparisonRecord:
    """A released comparison record, TL;DR or CNN/DM. Raises BadRecord."""
    record = _object(line, text)
    info = record.get("info")
    if not isinstance(info, dict):
        raise BadRecord(line, "info", "missing" if info is None else f"expected an object, found {_kind(info)}")
    article = "post" if "post" in info else "article"
    post = _text(line, info, article, f"info.{article}", needed=True)
    title = _text(line, info, "title", "info.title", needed=False)
    source_id = _text(line, info, "id", "info.id", needed=False, longest=LONGEST_NAME)
    community = _text(line, info, "subreddit", "info.subreddit", needed=False)
    if not community:
        community = _text(line, info, "site", "info.site", needed=False)

    sides = record.get("summaries")
    if not isinstance(sides, list) or len(sides) != 2:
        raise BadRecord(line, "summaries", "expected a list of exactly two")
    summaries = []
    for index, side in enumerate(sides):
        if not isinstance(side, dict):
            raise BadRecord(line, f"summaries[{index}]", f"expected an object, found {_kind(side)}")
        summaries.append(
            SummaryRecord(
                # Some policies wrote nothing, and people judged that too (batch0_cnndm).
                text=_text(line, side, "text", f"summaries[{index}].text", needed=True, blank=True),
                policy=_text(line, side, "policy", f"summaries[{index}].policy", needed=True, longest=LONGEST_NAME),
                note=_text(line, side, "note", f"summaries[{index}].note", needed=False) or None,
            )
        )
    if summaries[0].text == summaries[1].text and summaries[0].policy == summaries[1].policy:
        raise BadRecord(line, "summaries", "both sides are the same text by the same policy")

    chosen = record.get("choice")
    if isinstance(chosen, bool) or chosen not in (0, 1):
        raise BadRecord(line, "choice", f"expected 0 or 1, found {json.dumps(chosen)[:40]}")
    extra = record.get("extra")
    if extra is not None and not isinstance(extra, dict):
        raise BadRecord(line, "extra", f"expected an object, found {_kind(extra)}")
    confidence = (extra or {}).get("confidence")
    if confidence is None:
        # The record says which side, not how sure: the steps next to "much better" are left to those who said so.
        value = 3 if chosen == 0 else 7
    else:
        if isinstance(confidence, bool) or not isinstance(confidence, int) or not 1 <= confidence <= 9:
            raise BadRecord(line, "extra.confidence", f"expected 1 to 9, found {json.dumps(confidence)[:40]}")
        if confidence != 5 and (confidence > 5) != (chosen == 1):
            raise BadRecord(line, "extra.confidence", f"{confidence} contradicts choice {chosen}")
        value = confidence
    return ComparisonRecord(
        line=line,
        document=PostRecord(
            line=line,
            source_id=source_id or source_id_of(title, post),
            community=community,
            title=title,
            post=post,
            summary=None,
            split=_text(line, record, "split", "split", needed=False) or None,
            info={"form": "cnndm"} if article == "article" else {},
        ),
        summaries=(summaries[0], summaries[1]),
        value=value,
        confidence_given=confidence is not None,
        worker=_text(line, record, "worker", "worker", needed=True, longest=LONGEST_WORKER),
        batch=_text(line, record, "batch", "batch", needed=True, longest=LONGEST_NAME),
        key=_key(line, record),
    )


def _key(line: int, record: dict[str, Any]) -> UUID:
    try:
        return uuid5(_NAMESPACE, json.dumps(record, sort_keys=True))
    except RecursionError as error:
        raise BadRecord(line, "record", "nested too deep") from error


def write_comparison(
    *,
    source_id: str,
    community: str,
    title: str,
    post: str,
    cnndm: bool,
    split: str,
    summaries: tuple[SummaryRecord, SummaryRecord],
    value: int,
    worker: str,
    batch: str,
) -> dict[str, Any]:
    """The released form of one preference, in displayed order. The answer 5 is written with `choice` null."""
    chosen = None if value == 5 else int(value > 5)
    info = (
        {"id": source_id, "article": post, "title": title, "site": community}
        if cnndm
        else {"id": source_id, "post": post, "title": title, "subreddit": community}
    )
    return {
        "info": info,
        "split": split,
        "summaries": [{"text": side.text, "policy": side.policy, "note": side.note} for side in summaries],
        "choice": chosen,
        "worker": worker,
        "batch": batch,
        "extra": {"confidence": value},
    }

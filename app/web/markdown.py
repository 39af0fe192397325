"""Markdown that an admin wrote, as HTML that is safe to show.

Knows Markdown and which elements may come of it: no markup of the writer's own, no script, nothing that a page would
load by itself (invariant 9). Knows nothing of guidelines.
"""

from dataclasses import dataclass

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_TAGS = {
    *("h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "strong", "em", "code", "pre", "blockquote", "a"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"),
}
_HEADINGS = {"h2", "h3", "h4", "h5", "h6"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, **{heading: {"id"} for heading in _HEADINGS}}
_SCHEMES = {"http", "https", "mailto"}


@dataclass(frozen=True)
class Rendered:
    """Safe HTML, and its uppermost headings as (id, words)."""

    html: Markup
    contents: list[tuple[str, str]]


def rendered(text: str) -> Rendered:
    """HTML of Markdown with tables. The page has its own h1, so headings move one level down; images are left out.

    markdown-it writes no HTML of the text's own, and nh3 lets pass only what the lists above name, whatever the first
    of the two may overlook.
    """
    tokens = _MARKDOWN.parse(text)
    contents: list[tuple[str, str]] = []
    for token, inside in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
        if token.type == "heading_open" and token.tag == "h2" and token.level == 0 and inside is not None:
            token.attrSet("id", f"part-{len(contents) + 1}")
            words = "".join(child.content for child in inside.children or () if child.type in ("text", "code_inline"))
            contents.append((f"part-{len(contents) + 1}", words.strip()))
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    clean = nh3.clean(html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES)
    return Rendered(Markup(clean), contents)

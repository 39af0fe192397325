"""What an admin wrote becomes HTML that can be shown: formatted, and nothing that runs or loads."""

import re

import pytest

from app import samples
from app.web.markdown import rendered

EVIL = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "![picture](https://evil.example/x.png)",
    "![picture][1]\n\n[1]: https://evil.example/x.png",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click](java\nscript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x)",
    "[click](blob:https://evil.example/1)",
    "[1]: javascript:alert(1)\n\n[click][1]",
    "<javascript:alert(1)>",
    '[click](https://ok.example "x onmouseover=alert(1)")',
    '[click](https://ok.example" onmouseover="alert(1))',
    "<iframe src=https://evil.example></iframe>",
    "<style>@import 'https://evil.example'</style>",
    "<link rel=stylesheet href=https://evil.example>",
    "<svg/onload=alert(1)>",
    "<form action=https://evil.example><input>",
    "<base href=https://evil.example>",
    "<p style='background:url(https://evil.example)'>x</p>",
    "<a href='javascript:alert(1)'>x</a>",
    "<!-- --><b onclick=alert(1)>x</b>",
    "```html onload=alert(1)\n<script>alert(1)</script>\n```",
    "`<script>alert(1)</script>`",
    "# <script>alert(1)</script>",
    "| <script>alert(1)</script> |\n|---|\n| ![x](https://evil.example/x.png) |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
]


@pytest.mark.parametrize("text", EVIL)
def test_nothing_that_runs_or_loads_comes_of_it(text: str) -> None:
    html = str(rendered(f"Before.\n\n{text}\n\nAfter.").html)
    elements = re.findall(r"<(/?[\w-]+)([^>]*)>", html)
    assert {name.strip("/") for name, _ in elements} <= {
        *("h2", "p", "a", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "ul", "li")
    }
    for name, attributes in elements:
        for attribute, value in re.findall(r"([\w-]+)=\"([^\"]*)\"", attributes):
            assert attribute in ("href", "title", "rel", "id"), (name, attributes)
            assert attribute != "href" or re.match(r"(https?://|mailto:|[^:]*$)", value), value
    assert "Before." in html
    assert "After." in html


def test_headings_move_below_the_pages_own_and_can_be_jumped_to() -> None:
    found = rendered("# One *two* `three`\n\n## Four\n\n###### Five\n\n# Six")
    assert found.contents == [("part-1", "One two three"), ("part-2", "Six")]
    assert '<h2 id="part-1">One <em>two</em> <code>three</code></h2>' in found.html
    assert "<h3>Four</h3>" in found.html
    assert "<h6>Five</h6>" in found.html


def test_text_is_formatted() -> None:
    html = rendered("A **bold** [link](https://ok.example).\n\n> Quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |").html
    for part in ("<strong>bold</strong>", 'href="https://ok.example"', "<blockquote>", "<td>2</td>"):
        assert part in html


def test_markup_of_the_writers_own_is_shown_as_it_was_typed() -> None:
    html = rendered("A <strong>b</strong> <script>c</script>\n\n<p>d</p>").html
    for part in ("&lt;strong&gt;b&lt;/strong&gt;", "&lt;script&gt;c&lt;/script&gt;", "&lt;p&gt;d&lt;/p&gt;"):
        assert part in html


def test_links_do_not_hand_the_page_over() -> None:
    assert 'rel="noopener noreferrer"' in rendered("[x](https://ok.example)").html


def test_the_guidelines_that_come_with_hone_hold_what_they_must() -> None:
    text = samples.guidelines()
    contents = [words for _, words in rendered(text).contents]
    assert len(contents) == 9
    order = [
        text.index(f"**{each}.**") for each in ("Essence", "Clarity", "Accuracy", "Purpose", "Conciseness", "Style")
    ]
    assert order == sorted(order)
    for word in ("Naive interpretation", "TL;DR", "OP", "Coherence", "Coverage", "Summary A", "Summary B", "flag"):
        assert word in text

"""What the browser is given: vendored files as published, nothing from elsewhere, nothing that the policy forbids."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "app" / "web" / "static"
VENDOR = STATIC / "vendor"
TEMPLATES = ROOT / "templates"

PAGES = sorted(TEMPLATES.rglob("*.html"))
OWN_ASSETS = sorted(
    path for path in STATIC.rglob("*") if path.suffix in {".css", ".js", ".svg"} and not path.is_relative_to(VENDOR)
)
VENDORED_ASSETS = sorted(path for path in VENDOR.rglob("*") if path.suffix in {".css", ".js"})

KILOBYTE = 1000
LABELER_LIMIT = 64 * KILOBYTE
WHOLE_LIMIT = 100 * KILOBYTE


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def markup(path: Path) -> str:
    """A template without its Jinja parts, which never reach the browser as written."""
    return re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text(), flags=re.DOTALL)


def shipped() -> dict[str, str]:
    packages = json.loads((VENDOR / "manifest.json").read_text())
    for package in packages:
        assert {"name", "version", "licence", "source", "files"} == package.keys()
    return {path: digest for package in packages for path, digest in package["files"].items()}


def test_vendored_files_are_the_published_ones() -> None:
    found = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert found == shipped()


def test_every_vendored_package_brings_its_licence() -> None:
    folders = {path.split("/")[0] for path in shipped()}
    assert folders == {path.split("/")[0] for path in shipped() if path.endswith("/LICENSE")}


OTHER_HOST = re.compile(r"""\b(?:https?|wss?):(?:\\?/){2}|["'(=\s]//[a-z0-9]""", re.IGNORECASE)
# The name of the SVG vocabulary looks like an address and is never fetched.
SVG_NAME = 'xmlns="http://www.w3.org/2000/svg"'


@pytest.mark.parametrize("path", [*PAGES, *OWN_ASSETS, *VENDORED_ASSETS], ids=name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    text = markup(path) if path.suffix == ".html" else path.read_text().replace(SVG_NAME, "")
    if path.is_relative_to(VENDOR):
        text = re.sub(r"/\*!.*?\*/", "", text, flags=re.DOTALL)
    assert OTHER_HOST.findall(text) == []


FORBIDDEN_BY_POLICY = {
    "inline script": re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>|<script\b[^>]*>\s*[^<\s]", re.IGNORECASE),
    "inline style sheet": re.compile(r"<style\b", re.IGNORECASE),
    "style attribute": re.compile(r"\sstyle\s*=", re.IGNORECASE),
    "event handler attribute": re.compile(r"\son[a-z]+\s*=", re.IGNORECASE),
    "script address": re.compile(r"""["']\s*javascript:""", re.IGNORECASE),
}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_templates_keep_the_content_security_policy(path: Path) -> None:
    text = markup(path)
    assert [what for what, pattern in FORBIDDEN_BY_POLICY.items() if pattern.search(text)] == []


@pytest.mark.parametrize("path", [*OWN_ASSETS, *VENDORED_ASSETS], ids=name)
def test_scripts_make_no_code_out_of_text(path: Path) -> None:
    assert re.findall(r"\beval\(|\bnew Function\b|\bdocument\.write\b", path.read_text()) == []


@pytest.mark.parametrize("path", OWN_ASSETS, ids=name)
def test_own_scripts_never_write_markup(path: Path) -> None:
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|setAttribute\(\s*[\"'](?:style|on)", path.read_text()) == []
    )


def referred(path: Path) -> set[Path]:
    """The files that this template, style sheet or module makes the browser load."""
    if path.suffix not in {".html", ".css", ".js"} or path.is_relative_to(VENDOR):
        return set()
    text = path.read_text()
    if path.suffix == ".html":
        return {STATIC / target for target in re.findall(r"""static\(\s*["']([^"']+)["']\s*\)""", text)}
    if path.suffix == ".css":
        return {path.parent / target for target in re.findall(r"""url\(["']?([^"')]+)["']?\)""", text)}
    imports = re.findall(r"""^import\b(?:[^"';]*\bfrom\b)?\s*["']([^"']+)["']""", text, re.MULTILINE)
    return {path.parent / target for target in imports}


def loaded(*pages: Path) -> set[Path]:
    seen: set[Path] = set()
    ahead = set(pages)
    while ahead:
        path = ahead.pop().resolve()
        if path not in seen:
            seen.add(path)
            ahead |= referred(path)
    return seen


def compressed(paths: set[Path]) -> int:
    return sum(min(path.stat().st_size, len(gzip.compress(path.read_bytes()))) for path in paths)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_what_a_page_refers_to_is_there(path: Path) -> None:
    assert [name(target) for target in loaded(path) if not target.is_file()] == []


def test_the_judging_page_is_small() -> None:
    page = loaded(TEMPLATES / "base.html", TEMPLATES / "labeling" / "compare.html")
    assert STATIC / "labeling" / "outbox.js" in page, "imports are followed"
    assert compressed(page) < LABELER_LIMIT


def test_everything_together_is_small() -> None:
    everything = {*OWN_ASSETS, *VENDORED_ASSETS, *VENDOR.rglob("*.woff2")}
    assert compressed(everything) < WHOLE_LIMIT

"""The site shows what GitHub shows; where mkdocs is installed, as in `tox -e docs`."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter

import pytest
from helpers.docs import pages
from helpers.paths import ROOT
from markdown_it import MarkdownIt

markdown = pytest.importorskip("markdown")
pytest.importorskip("mkdocs")

LISTS = "# One\n\n1. a\n   - b\n\n   ```sh\n   c\n   ```\n\n   d\n2. e\n"


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "tools/site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(h\d|ol|ul|li|table|tr|pre|strong|em)\b", html))


def shown(text: str) -> Counter[str]:
    return parts(markdown.markdown(text, extensions=["sane_lists", "tables", "pymdownx.superfences"]))


def on_github(text: str) -> Counter[str]:
    return parts(MarkdownIt("commonmark").enable("table").render(text))


def test_every_page_has_the_parts_that_it_has_on_github(site):
    other = [page.name for page in pages(ROOT) if shown(site.in_fours(page.text)) != on_github(page.text)]
    assert other == []


def test_lists_that_python_markdown_reads_otherwise_are_found(site):
    assert shown(LISTS) != on_github(LISTS)
    assert shown(site.in_fours(LISTS)) == on_github(LISTS)


@pytest.mark.parametrize(
    ("page", "link", "turned"),
    [
        ("words.md", "../README.md#data", "index.md#data"),
        ("words.md", "budgets.md", "budgets.md"),
        ("words.md", "../baselines/tolerances.toml", "baselines/tolerances.toml"),
        ("index.md", "docs/words.md#x", "words.md#x"),
        ("index.md", "CONTRIBUTING.md", "contributing.md"),
        ("index.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
        ("index.md", "#data", "#data"),
    ],
)
def test_links_lead_to_where_the_site_has_their_files(site, page, link, turned):
    file = type("File", (), {"src_uri": page})
    found = site.on_page_markdown(f"[a]({link})", page=type("Page", (), {"file": file}))
    assert found == f"[a]({turned})"

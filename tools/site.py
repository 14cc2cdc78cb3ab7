"""Hooks of mkdocs: what the site shows besides docs/, and Markdown as GitHub reads it.

README.md is the site's first page. A link of a page that leaves docs/ leads to a copy of its file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages that lie outside docs/, and where the site has them.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    # Not security.md, which docs/ has.
    "SECURITY.md": "report-a-weakness.md",
}
LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside docs/, and the files that pages link to."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for file in files.documentation_pages():
        for link in LINK.finditer(file.content_string):
            path = _in_repository(file.src_uri, link[1])
            uri = _in_site(path)
            if not files.get_file_from_path(uri) and (ROOT / path).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turns links to where the site has their files, and indents lists as Python-Markdown reads them."""

    def turned(link: re.Match[str]) -> str:
        uri = _in_site(_in_repository(page.file.src_uri, link[1]))
        return f"]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{link[2] or ''})"

    return LINK.sub(turned, in_fours(markdown))


def in_fours(markdown: str) -> str:
    """Markdown whose lists are read as GitHub reads them.

    Python-Markdown wants what belongs to an item four columns further in, and a blank line after an item's last block.
    """
    lines = markdown.split("\n")
    before = [""] * len(lines)
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type == "list_item_open" and token.map:
            begin, end = token.map
            width = len(token.info + token.markup) + 1
            for number in range(begin + 1, end):
                before[number] += " " * (4 - width)
            if end < len(lines) and lines[end] and "" in lines[begin:end]:
                before[end] = "\n" + before[end]
    return "\n".join(more + line if line else line for more, line in zip(before, lines, strict=True))


def _in_repository(page: str, link: str) -> str:
    """Where in the repository the target of a page's link lies."""
    source = next((name for name, uri in PAGES.items() if uri == page), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _in_site(path: str) -> str:
    """Where the site has a file of the repository."""
    return PAGES.get(path) or (path.removeprefix("docs/"))

"""The pages of the documentation, read as GitHub reads them: links, anchors, code and commands, each with its line."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator
from configparser import ConfigParser
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from embedgate.core.options import OPTIONS

# What a line of code begins with that is a command, besides all lines of blocks of `sh`.
PROGRAMS = (
    "for",
    "git",
    "mkdir",
    "mkdocs",
    "mypy",
    "nvidia-smi",
    "pip",
    "pre-commit",
    "pytest",
    "python",
    "ruff",
    "tox",
)

# Folders whose files pages name, and those that are installed as packages of embedgate.
FOLDERS = ("baselines", "benchmarks", "docs", "fixtures", "requirements", "src", "suites", "tests", "tools")
MAPPED = ("baselines", "fixtures", "suites")


class Page:
    """A page of Markdown.

    Args:
        file: Where it lies.
        root: The repository it lies in.
    """

    def __init__(self, file: Path, root: Path):
        self.file, self.root = file, root
        self.name = str(file.relative_to(root))
        self.text = file.read_text("utf-8")
        self.tokens = MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as GitHub makes them."""
        met: Counter[str] = Counter()
        found = set()
        for before, token in zip(self.tokens, self.tokens[1:], strict=False):
            if before.type == "heading_open":
                text = "".join(child.content for child in token.children or ())
                slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
                found.add(f"{slug}-{met[slug]}" if met[slug] else slug)
                met[slug] += 1
        return found

    def links(self) -> Iterator[tuple[int, str]]:
        """What it links to within the repository."""
        for line, token in self._inline():
            target = str(token.attrs.get("href") or token.attrs.get("src") or "")
            if target and not re.match(r"[a-z]+:", target):
                yield line, target

    def code(self) -> Iterator[tuple[int, str, str]]:
        """What it has as code, in lines and in blocks: the line, the text, and the language of a block."""
        yield from ((line, token.content, "") for line, token in self._inline() if token.type == "code_inline")
        for token in self.tokens:
            if token.type in ("fence", "code_block") and token.map:
                yield token.map[0] + 1 + (token.type == "fence"), token.content, token.info.strip()

    def commands(self) -> Iterator[tuple[int, str]]:
        """What it tells to type, without comments: one by its mere name is a mention, unless in a block of `sh`."""
        for start, text, language in self.code():
            if language in ("", "sh"):
                for line, command in _commands(text):
                    words = command.split()
                    if language or (words[0] in PROGRAMS and len(words) > 1 and "..." not in words):
                        yield start + line, command

    def _inline(self) -> Iterator[tuple[int, Token]]:
        for token in self.tokens:
            line = token.map[0] + 1 if token.map else 0
            for child in token.children or ():
                line += child.type in ("softbreak", "hardbreak")
                yield line, child


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """The commands of a block; what one reads from the lines below it is a part of it."""
    lines = enumerate(text.splitlines())
    for number, line in lines:
        command = re.sub(r"\s+# .*", "", line).strip()
        if end := re.search(r"<<'(\w+)'", line):
            for _, more in lines:
                command += f"\n{more}"
                if more == end[1]:
                    break
        if command:
            yield number, command


def pages(root: Path) -> list[Page]:
    """The pages that a reader of the repository meets."""
    first = (root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"))
    return [Page(file, root) for file in (*first, *sorted((root / "docs").glob("*.md"))) if file.exists()]


def broken_links(pages: list[Page]) -> Iterator[str]:
    """Links that lead to no file, or to no heading of it, each with its place."""
    by_file = {page.file.resolve(): page for page in pages}
    for page in pages:
        for line, target in page.links():
            path, _, anchor = target.partition("#")
            file = (page.file.parent / unquote(path)).resolve() if path else page.file.resolve()
            if not file.is_relative_to(page.root.resolve()) or not file.exists():
                yield f"{page.name}:{line}: {target} leads to no file"
            elif anchor and (file not in by_file or unquote(anchor) not in by_file[file].anchors):
                yield f"{page.name}:{line}: {target} leads to no heading"


class Names:
    """What pages may name of a repository: options, environments, extras, files, modules and tests.

    Args:
        root: The repository.
        made: Files and modules that a page has its reader make.
    """

    def __init__(self, root: Path, made: Collection[str] = ()):
        self.root, self.made = root, made
        tox = ConfigParser(interpolation=None)
        tox.read_string((root / "tox.ini").read_text("utf-8"))
        self.environments = {section.removeprefix("testenv:") for section in tox.sections()}
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
        self.extras = set(project["optional-dependencies"])
        # Tables of TOML files look as extras do.
        files = (root / "baselines/tolerances.toml", *(root / "fixtures/data").glob("*/card.toml"))
        self.tables = {name for file in files for name in tomllib.loads(file.read_text("utf-8"))}
        self.options = {option.flag for option in OPTIONS}
        fixtures = (root / "fixtures/gate.py").read_text("utf-8")
        self.keys = {*(option.ini_name for option in OPTIONS if option.ini), *re.findall(r"def (gate_\w+)", fixtures)}
        sources = [file.read_text("utf-8") for folder in ("suites", "tests") for file in (root / folder).rglob("*.py")]
        self.tests = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
        self.hooks = set(
            re.findall(r"def (pytest_gate_\w+)", (root / "src/embedgate/plugin/hookspecs.py").read_text("utf-8"))
        )

    def unknown(self, pages: list[Page]) -> Iterator[str]:
        """What pages name and is not there, each with its place."""
        for page in pages:
            for number, line in enumerate(page.text.splitlines(), 1):
                yield from (f"{page.name}:{number}: {told}" for told in self._in_line(line))
            own = {name for _, text, _ in page.code() for name in re.findall(r"def (test_\w+)", text)}
            for line, text, language in page.code():
                told = (*self._in_code(text, own), *(self._in_python(text) if language == "python" else ()))
                yield from (f"{page.name}:{line}: {each}" for each in told)

    def _in_line(self, line: str) -> Iterator[str]:
        options = re.findall(r"(?<![\w-])--gate-[a-z]+(?:-[a-z]+)*", line)
        yield from (f"there is no option {each}" for each in options if each not in self.options)
        keys = re.findall(r"^gate_\w+|`(gate_\w+)", line)
        yield from (f"there is no ini key {each}" for each in keys if each and each not in self.keys)
        hooks = re.findall(r"\bpytest_gate_\w+", line)
        yield from (f"there is no hook {each}" for each in hooks if each not in self.hooks)
        environments = re.findall(r"tox (?:run )?-e ([\w-]+)", line)
        yield from (f"tox has no environment {each}" for each in environments if each not in self.environments)
        for before, group in re.findall(r"(embedgate|'\.|`)\[([a-z][\w-]*(?:,[\w-]+)*)\]", line):
            known = self.extras | self.tables if before == "`" else self.extras
            yield from (f"there is no extra [{each}]" for each in group.split(",") if each not in known)

    def _in_code(self, text: str, own: Collection[str]) -> Iterator[str]:
        for path in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/(?:<[^>]*>|[^\s'\"`:,)])*", text):
            pattern = re.sub(r"<[^>]*>|\.\.\.|\{\w+\}", "*", path.rstrip("/."))
            if path not in self.made and not any(self.root.glob(pattern)):
                yield f"there is no {path}"
        for dotted in re.findall(r"\bembedgate(?:\.\w+)+", text):
            if dotted not in self.made and not self._has(dotted):
                yield f"there is no {dotted}"
        for test in re.findall(r"(?<![\w/.])test_\w+(?![\w.])", text):
            if test not in self.tests and test not in own:
                yield f"there is no test {test}"

    def _in_python(self, text: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "embedgate":
                for dotted in (f"{node.module}.{alias.name}" for alias in node.names):
                    if node.module not in self.made and dotted not in self.made and not self._has(dotted):
                        yield f"there is no {dotted}"

    def _has(self, dotted: str) -> bool:
        _, *parts = dotted.split(".")
        place = self.root / (parts.pop(0) if parts[0] in MAPPED else "src/embedgate")
        while parts and (place / parts[0] / "__init__.py").exists():
            place /= parts.pop(0)
        file = place / "__init__.py"
        if parts and (place / f"{parts[0]}.py").exists():
            file = place / f"{parts.pop(0)}.py"
        body = ast.parse(file.read_text("utf-8")).body
        for part in parts:
            found = _bound(body)
            if part not in found:
                return False
            node = found[part]
            if not isinstance(node, ast.ClassDef):
                return True
            body = node.body
        return True


def _bound(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The names that statements bind, each with what binds it."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id: node for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.If | ast.Try):
            found |= _bound(node.body)
    return found


def unlisted(pages: list[Page], listed: Collection[str]) -> Iterator[str]:
    """Commands of pages that the list lacks, each with its place, and those listed that no page has."""
    named = set()
    for page in pages:
        for line, command in page.commands():
            named.add(command)
            if command not in listed:
                yield f"{page.name}:{line}: not in docs/commands.toml: {command}"
    yield from (f"docs/commands.toml: on no page: {command}" for command in listed if command not in named)

"""The ini file that pytest reads: found as pytest finds it, and added to without another change."""

from __future__ import annotations

import pytest

from embedgate.command.ini import IniFile
from embedgate.core.errors import GateError

TOML = "[tool.pytest.ini_options]\n"
# Files that may lie together, and in which of them pytest looks; the last of none.
TOGETHER = [
    ({}, None),
    ({"pyproject.toml": "[project]\nname = 'x'\n"}, "pyproject.toml"),
    ({"pyproject.toml": "", "tox.ini": "[tox]\n", "setup.cfg": "[metadata]\n"}, "pyproject.toml"),
    ({"tox.ini": "[tox]\n"}, None),
    ({"tox.ini": "[pytest]\n", "setup.cfg": "[tool:pytest]\n"}, "tox.ini"),
    ({"setup.cfg": "[tool:pytest]\n"}, "setup.cfg"),
    ({"pyproject.toml": "[project]\n", "setup.cfg": "[tool:pytest]\n"}, "setup.cfg"),
    ({"pyproject.toml": TOML, "tox.ini": "[pytest]\n"}, "pyproject.toml"),
    ({"pyproject.toml": TOML, "pytest.ini": ""}, "pytest.ini"),
    ({"pyproject.toml": TOML, ".pytest.ini": "[pytest]\n"}, ".pytest.ini"),
]


def of(folder, name: str, text: str | bytes) -> IniFile:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return IniFile.of(folder)


@pytest.mark.parametrize(("together", "taken"), TOGETHER)
def test_it_is_the_one_that_pytest_reads(pytester, together, taken):
    for name, text in together.items():
        (pytester.path / name).write_text(text)
    read = pytester.parseconfig().inipath
    assert (read and read.name) == taken
    assert IniFile.of(pytester.path).path.name == (taken or "pytest.ini")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pytest.ini", "", "[pytest]\nmodel = m\nmany = a 'b c'\n"),
        ("pytest.ini", "[pytest]\n# mine\nx = 1\n", "[pytest]\nmodel = m\nmany = a 'b c'\n# mine\nx = 1\n"),
        ("pyproject.toml", "[project]\nname = 'x'\n", '[project]\nname = \'x\'\n\n[tool.pytest.ini_options]\nmodel = "m"\nmany = ["a", "b c"]\n'),
        ("pyproject.toml", "[tool.pytest.ini_options]", '[tool.pytest.ini_options]\nmodel = "m"\nmany = ["a", "b c"]\n'),
        ("pyproject.toml", "[ tool . pytest.ini_options ] # mine\nx = 1\n[y]\n", '[ tool . pytest.ini_options ] # mine\nmodel = "m"\nmany = ["a", "b c"]\nx = 1\n[y]\n'),
        ("pyproject.toml", "[tool.pytest]\nx = 1\n", '[tool.pytest]\nmodel = "m"\nmany = ["a", "b c"]\nx = 1\n'),
        ("setup.cfg", "[metadata]\nname = x\n[tool:pytest]\nx =\n    y\n", "[metadata]\nname = x\n[tool:pytest]\nmodel = m\nmany = a 'b c'\nx =\n    y\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_added_and_every_other_byte_stays(tmp_path, name, before, after, end):
    found = of(tmp_path, name, before.replace("\n", end))
    expected = after.replace("\n", end if "\n" in before else "\n")
    assert found.with_lines({"model": "m", "many": ["a", "b c"]}) == expected.encode()


def test_lines_of_both_ends_stay_as_they_are(tmp_path):
    found = of(tmp_path, "pytest.ini", b"[pytest]\r\nx = 1\ny = 2\r\n")
    assert found.with_lines({"model": "m"}) == b"[pytest]\r\nmodel = m\r\nx = 1\ny = 2\r\n"


@pytest.mark.parametrize(
    "text",
    [
        'tool = {pytest = {ini_options = {x = "y"}}}\n',
        '[tool.pytest]\nini_options.x = "y"\n',
        '["tool"."pytest".ini_options]\n',
        'x = """\n[tool.pytest.ini_options]\n"""\n[tool."pytest".ini_options]\n',
    ],
)
def test_a_table_without_a_line_of_its_own_is_left_to_its_owner(tmp_path, text):
    found = of(tmp_path, "pyproject.toml", text)
    with pytest.raises(GateError, match=r'elsewhere than below a line .*; add to them yourself: model = "m"'):
        found.with_lines({"model": "m"})


def test_a_head_within_a_text_is_no_head(tmp_path):
    text = 'x = """\n[tool.pytest.ini_options]\n"""\n'
    found = of(tmp_path, "pyproject.toml", text)
    assert found.with_lines({"model": "m"}).decode() == f'{text}\n[tool.pytest.ini_options]\nmodel = "m"\n'

"""What `tox run -e installed` follows is what README tells; it itself is run by hand, since it needs a package index."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("walk_through", ROOT / "tools/walk_through.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["walk_through"] = module  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    yield module
    del sys.modules["walk_through"]


def test_it_follows_the_commands_of_the_readme(script):
    commands = script.readme_commands()
    assert {*script.chosen(commands)} == {*commands}
    assert commands[1].startswith("embedgate init ")


@pytest.mark.parametrize("change", [lambda commands: commands[:-1], lambda commands: [*commands, "pytest -x"]])
def test_a_command_that_it_would_not_follow_is_told(script, change):
    with pytest.raises(SystemExit, match="other commands than this script follows"):
        script.chosen(change(script.readme_commands()))

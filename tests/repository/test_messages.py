"""The list of messages: what embedgate says is kept, one of each kind, and what tests make up is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.messages import Messages, template

from embedgate.core.errors import DataError, GateError
from embedgate.core.judgement import Judgement
from embedgate.data import load


@pytest.fixture
def messages(monkeypatch) -> Messages:
    for kind in (Judgement, GateError):
        monkeypatch.setattr(kind, "__init__", kind.__init__)  # put back at the end
    made = Messages()
    made.listen()
    return made


def test_messages_that_differ_in_numbers_and_texts_alone_are_one():
    assert template("/tmp/a/set.csv:4: 'score' is '' in 2 of 30") == template("/set.csv:17: 'a' is 'b' in 9 of 1,000")
    assert template("its budget is 0.520") != template("its interval is 0.520")


def test_what_embedgate_raises_is_kept_and_what_a_test_raises_is_not(messages, tmp_path: Path):
    with pytest.raises(DataError):
        load(str(tmp_path / "none.csv"))
    DataError("made up by a test")
    ((kind, _),) = messages.kept
    assert kind == "DataError"
    assert "none.csv" in messages.kept.popitem()[1]

"""Hostile text reaches no terminal and no page as anything but text, by whichever edge it leaves."""

from __future__ import annotations

import io
import json
import re
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import TerminalRepr
from _pytest.fixtures import FixtureLookupErrorRepr
from helpers import made_up, stub_devices

from embedgate.command import changes, main, telling
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.inert import inert, one_line_inert
from embedgate.plugin import bench, noise
from embedgate.plugin.inert_reports import make_inert, make_warning_inert
from embedgate.report import console, html, markdown, terminal

ATTACKS = {
    "colours": "\x1b[31;1mred\x1b[0m",
    "screen": "\x1b[2J\x1b[H\x1bc",
    "link": "\x1b]8;;http://evil.example\x07here\x1b]8;;\x1b\\",
    "title": "\x1b]0;owned\x07",
    "C1": "\x9b31m \x9d0;x\x9c \x85 \x84",
    "NUL, BEL, BS, DEL": "a\x00b\x07c\b\b\bd\x7f",
    "line": "done\r\n::stop-commands::x\n::error file=x::y\rover",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200f\u061c",
    "separators": "a\u2028b\u2029c\x0bd\x0ce\x1cf",
    "unpaired": "\ud83d \udcff",
    "markup": "[/] [red]x[/red] [link=http://x]y[/link] [bold [[ ]] \\[x]",
    "commands of CI": "::add-mask::x ::stop-commands::y ##[group]x ##vso[task.setvariable]y",
    "emoji code": ":smile: :warning:",
}
HOSTILE = " ".join(ATTACKS.values())
# What rich and pytest colour with.
OWN_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def acting(text: str) -> list[str]:
    """The characters on which a terminal acts, and lines that GitHub takes for commands."""
    lines = [line for line in text.split("\n") if re.match(r"\s*::[a-z-]+.*::|.*##(vso)?\[", line)]
    return [char for char in text if not char.isprintable() and char != "\n"] + lines


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_a_text_is_inert(text: str) -> None:
    assert acting(one_line_inert(text)) == []
    assert [char for char in inert(text) if not char.isprintable()] == ["\n"] * inert(text).count("\n")
    assert (inert(inert(text)), one_line_inert(one_line_inert(text))) == (inert(text), one_line_inert(text))
    assert str(GateError(text, text)) == one_line_inert(str(GateError(text, text)))


def test_what_can_be_printed_stays_as_it_is() -> None:
    text = "naïve Größe 日本語 שלום العربية 😀 ✅ a  b"
    assert inert(text) == one_line_inert(text) == text
    assert inert("a\tb\r\nc\n") == "a   b\nc\n"
    for text in ("say it: ::model=NAME, or ::text=a::label=b", "test_a.py::test_b", "a :: b", "# head", "a::b::c"):
        assert one_line_inert(text) == text


@pytest.fixture(params=[*ATTACKS.values(), HOSTILE], ids=[*ATTACKS, "all"])
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(made_up, "HOSTILE", request.param)
    return str(request.param)


def summary() -> Any:
    """A session in which every text is hostile: those of facts, reasons, names and messages, too."""
    found = made_up.everything()
    text = made_up.HOSTILE
    found.facts["stale_baseline"] = [text]
    found.facts["model"]["name"] = text
    found.facts["machine"] |= {"cpu": text, "gpu": text}
    found.facts["libraries"][text] = text
    return found


@pytest.mark.parametrize("colour", [False, True])
def test_the_table_and_what_is_below_it(hostile: str, colour: bool) -> None:
    shown = terminal.render(summary(), colour=colour)
    assert acting(OWN_COLOURS.sub("", shown) if colour else shown) == []
    if hostile == ATTACKS["markup"]:
        assert shown.count(hostile) > 10


def test_markup_styles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where colours are on, those of a harmless text are those of a hostile one."""
    codes = []
    for text in (ATTACKS["markup"], "a harmless text", "[/]"):
        monkeypatch.setattr(made_up, "HOSTILE", text)
        codes.append(OWN_COLOURS.findall(terminal.render(summary(), colour=True, width=4000)))
    assert codes[0] == codes[1] == codes[2]


def test_the_pages(hostile: str) -> None:
    found = summary()
    assert acting(markdown.render(found)) == []
    page = html.render(found)
    assert [char for char in page if not char.isprintable() and char not in "\n\t"] == []


def test_a_table_of_approved_changes(hostile: str) -> None:
    assert acting(terminal.changes([(hostile,) * 6], f"changed in {hostile}")) == []


def test_the_table_of_noise(hostile: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tolerances = types.SimpleNamespace(slack=lambda *_: 0.05, alpha=0.05)
    found = {next(iter(noise.WORKLOADS)): noise.Noise((1.0, 1.01), 0.01, 0.01)}
    table = noise._table(Combination(hostile, "int8", "cpu"), found, tolerances, noise.Levels(0.05, 1))
    console.console(width=200).print(table)
    assert acting(capsys.readouterr().out) == []


def test_a_line_that_is_printed_as_it_is_has_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    for text in (ATTACKS["markup"], ATTACKS["emoji code"]):
        console.console(width=200).print(text)
        assert capsys.readouterr().out == f"{text}\n"


def test_what_subcommands_say(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    telling.say(changes.Change(f"gate/{hostile}", b"", "write").told(done=True))
    telling.say_aside(f"  {hostile}")
    told = capsys.readouterr()
    assert acting(told.out + told.err) == []


def test_what_a_subcommand_was_called_with(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = hostile.replace("\0", "").replace("\ud83d", "")  # which no system hands over
    for words in ([given], ["merge", f"--{given}", "a.json"]):
        with pytest.raises(SystemExit):
            main(words)
    assert main(["merge", f"{given}.json", "--out", "out"]) == 2
    assert acting(capsys.readouterr().err) == []


@pytest.mark.parametrize("more", [[], ["--json"], ["--thorough"]], ids=" ".join)
def test_what_is_told_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hostile: str, more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = hostile.encode("utf-8", "replace").decode().replace("\ufffd", "?")
    rows = [{"text": f"{plain} {i}", "label": plain} for i in range(20)] + [{"text": "b", "label": f"{plain}b"}]
    name = "".join(char for char in plain if char not in "/\0")[:40].strip()
    Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    Path(f"bad {name}.jsonl").write_text(json.dumps({plain: plain}) + "\n", "utf-8")
    main(["data", "check", f"{name}.jsonl", f"bad {name}.jsonl", f"none {name}.csv", *more])
    told = capsys.readouterr()
    assert acting(told.out + told.err) == []
    assert "refused" in told.out
    if more == ["--json"]:
        assert plain.strip() in json.dumps(json.loads(told.out), ensure_ascii=False) or "\\" in json.dumps(plain)


def test_a_line_of_progress(hostile: str) -> None:
    out = io.StringIO()
    reporter = types.SimpleNamespace(
        ensure_newline=lambda: None, flush=lambda: None, write_line=lambda line, **_: out.write(f"{line}\n")
    )
    plugins = {"terminalreporter": reporter}
    config = types.SimpleNamespace(
        stash=pytest.Stash(),
        pluginmanager=types.SimpleNamespace(get_plugin=plugins.get),
        get_verbosity=lambda: 0,
    )
    bench.progress(config)(f"acme-int8-cpu: {hostile}")  # type: ignore[arg-type]
    assert acting(out.getvalue()) == []


def failed(style: str, text: str, chained: bool) -> Callable[[], Any]:
    local = text

    def raised() -> None:
        try:
            raise ValueError(text)
        except ValueError as error:
            if not chained:
                raise
            raise RuntimeError(local) from error

    try:
        raised()
    except Exception:
        return pytest.ExceptionInfo.from_current().getrepr(style=style, showlocals=True, funcargs=True)


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("style", ["long", "short", "line", "native", "value", "no"])
def test_what_pytest_says_of_a_failure(hostile: str, style: str, chained: bool) -> None:
    report = pytest.TestReport("test_x.py::test_x", ("", 0, ""), {}, "failed", failed(style, hostile, chained), "call")
    make_inert(report)
    shown = report.longreprtext
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert [char for char in report.longrepr.reprcrash.message if not char.isprintable() and char != "\n"] == []


def test_what_pytest_says_of_a_skip_or_an_expected_failure(hostile: str) -> None:
    report = pytest.TestReport("test_x.py::test_x", ("", 0, ""), {}, "skipped", ("a.py", 3, hostile), "call")
    report.wasxfail = hostile
    make_inert(report)
    assert [char for char in f"{report.longrepr[2]}{report.wasxfail}" if not char.isprintable() and char != "\n"] == []
    other = pytest.TestReport("test_x.py::test_x", ("", 0, ""), {}, "failed", hostile, "call")
    make_inert(other)
    assert [char for char in str(other.longrepr) if not char.isprintable() and char != "\n"] == []


class OfAnotherPlugin(TerminalRepr):
    """What a failure looks like that has no traceback."""

    def __init__(self, text: str) -> None:
        self.text = text

    def toterminal(self, tw: Any) -> None:
        tw.line(self.text, red=True)


@pytest.mark.parametrize("make", [OfAnotherPlugin, lambda text: FixtureLookupErrorRepr("a.py", 1, [text], text, text)])
def test_what_pytest_says_of_a_failure_without_a_traceback(hostile: str, make: Callable[[str], Any]) -> None:
    report = pytest.TestReport("test_x.py::test_x", ("", 0, ""), {}, "failed", make(hostile), "setup")
    make_inert(report)
    assert [char for char in report.longreprtext if not char.isprintable() and char != "\n"] == []


def test_what_pytest_says_of_a_warning(hostile: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warnings.warn(hostile, FutureWarning, stacklevel=1)
    make_warning_inert(found[0])
    assert [char for char in str(found[0].message) if not char.isprintable() and char != "\n"] == []
    assert found[0].category is FutureWarning


def test_a_parsers_help_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "approve what a report measured" in capsys.readouterr().out


CONFTEST = """
def pytest_gate_combinations(registry):
    for id_ in {ids!r}:
        registry.add(id_, None)
"""


def broken(combination: Combination) -> stub_devices.Stub:
    """An encoder of torch's, or one whose exception is hostile."""
    if combination.backend != "torch":
        raise ValueError(HOSTILE)
    return stub_devices.Stub(combination)


def test_a_session_with_hostile_ids_and_encoders_goes_to_its_end(
    project: pytest.Pytester, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_devices.install(monkeypatch, broken, gpu=None)
    ids = ["[/]-int8-cpu", "[red]x[/red]-int8-cpu", "[link=x]-int8-cpu", "torch-bf16-cpu"]
    project.makeconftest(CONFTEST.format(ids=ids[:3]))
    asked = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_effective", "-m", "cpu", f"--gate-data={few}")
    result = project.runpytest_inprocess(*asked, *(f"--gate-combination={_glob(id_)}" for id_ in ids), "-rA")
    shown = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in shown
    assert "Traceback" not in shown
    assert acting(shown) == []
    assert "verdict: fail" in shown
    assert "[red]x[/red]-int8-cpu" in shown
    assert re.search(r"torch-bf16-cpu +pass", shown)


MISSPELT = """
import pytest

@pytest.mark.gate("effective")
def test_mine(uphold, no_such_fixture):
    uphold()

def test_another():
    pass
"""


def test_a_checks_test_with_a_misspelt_fixture_is_an_error_of_its_own(
    project: pytest.Pytester, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_devices.install(monkeypatch, stub_devices.Stub, gpu=None)
    project.makepyfile(MISSPELT)
    asked = ("-p", "no:cacheprovider", "-m", "cpu or not gpu", f"--gate-data={few}")
    result = project.runpytest_inprocess(*asked, "--gate-combination=torch-bf16-cpu")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'no_such_fixture' not found*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


@pytest.mark.parametrize(
    "id_", ["\x1b[31mx-int8-cpu", "\u202ex-int8-cpu", 'a"-int8-cpu', "a\\-int8-cpu", "a\n-int8-cpu"]
)
def test_an_id_that_nothing_can_show_is_refused(id_: str) -> None:
    with pytest.raises(GateError, match="is no combination; leave out control characters") as caught:
        Combination.parse(id_)
    assert acting(str(caught.value)) == []


def _glob(id_: str) -> str:
    return id_.replace("[", "[[]")


def test_this_file_sees_what_acts() -> None:
    assert acting("a\x1b[0m\n  ::error::x") == ["\x1b", "  ::error::x"]

"""`embedgate merge`: reports of machines and shards together say what one session says."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import TESTS
from helpers.worded import pairs_of_words

from embedgate.command import MISUSE, main
from embedgate.core.judgement import Judgement
from embedgate.core.strictness import Strictness
from embedgate.report.collector import NOT_JUDGED
from embedgate.report.merged import _worst
from embedgate.report.merged.facts import joined_base
from embedgate.report.merged.part import Judged
from embedgate.report.receipt import checksum, combined, seal
from embedgate.report.summary import SCHEMA

Report = dict[str, Any]
Change = Callable[[Report], Any]

# bf16 is red in a family of up to some ten checks, fp16 in any, amp in none.
CONFTEST = f"""
import sys
from zlib import crc32

sys.path.insert(0, {str(TESTS)!r})
import numpy as np
import pytest
from helpers import stub_devices

LOSS = {{"fp32": 0, "amp": 1e-3, "bf16": 0.07, "fp16": 0.3}}


def unit(vector):
    return vector / np.linalg.norm(vector)


class Words(stub_devices.Stub):
    '''Sums of random vectors of words, and noise of its own for each text.'''

    def row(self, text):
        words = [np.random.default_rng(crc32(word.encode())).standard_normal(384) for word in text.split()]
        own = np.random.default_rng(crc32(text.encode()))
        noise = unit(own.standard_normal(384)) * own.exponential()
        return unit(unit(np.sum(words, axis=0)) + LOSS[self.combination.weight_precision] * noise).astype(np.float32)


stub_devices.install(pytest.MonkeyPatch(), Words, gpu=None)
"""
SUITES = ("embedgate.suites.test_quality", "embedgate.suites.test_baseline")
GIVEN = ("-p", "no:cacheprovider", "--pyargs", *SUITES, "-m", "cpu", "--gate-data=mine.jsonl", "--gate-baselines=gate")
AMP, BF16, FP16 = COMBINATIONS = tuple(f"torch-{kind}-cpu" for kind in ("amp", "bf16", "fp16"))
BORDER = BF16, "agreement", "texts:mine", "cosine_mean"


@pytest.fixture(scope="module")
def shards(tmp_path_factory, model, cache, warm_python) -> Path:
    """A project with the reports of three shards, and of one process that asked the same."""
    folder = tmp_path_factory.mktemp("shards")
    folder.joinpath("conftest.py").write_text(CONFTEST)
    folder.joinpath("tox.ini").write_text(f"[pytest]\ngate_model = {model.path}\n")
    folder.joinpath("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs_of_words(40)))
    folder.joinpath("gate").mkdir()
    sessions = {each: [each] for each in COMBINATIONS} | {"one": [*COMBINATIONS]}
    calls = [[*GIVEN, *chosen(*asked), "--gate-report", name] for name, asked in sessions.items()]
    code = f"import pytest; print([int(pytest.main(words)) for words in {calls!r}])"
    done = called(warm_python, folder, cache, "-c", code)
    assert "[1, 1, 1, 1]" in done.stdout, done.stdout + done.stderr
    return folder


def chosen(*combinations: str) -> list[str]:
    return [f"--gate-combination={each}" for each in combinations]


def called(python: Path, folder: Path, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EMBEDGATE_CACHE": str(cache)}
    return subprocess.run([python, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(shards, monkeypatch) -> Path:
    monkeypatch.chdir(shards)
    return shards


@pytest.fixture
def report(folder) -> Callable[[str], Report]:
    """A session's report."""
    return lambda name: json.loads(folder.joinpath(name, "report.json").read_text("utf-8"))


@pytest.fixture
def made(report, tmp_path) -> Callable[..., Path]:
    """A session's report with changes, as a session would have written it."""

    def make(name: str, *changes: Change) -> Path:
        found = report(name)
        for change in changes:
            change(found)
        found["receipt"]["code_sha256"] = combined(found["receipt"]["files"])
        file = tmp_path / f"{len([*tmp_path.glob('*.json')])}.json"
        file.write_text(json.dumps(seal(found)), "utf-8")
        return file

    return make


@pytest.fixture
def merge(folder, tmp_path, capsys) -> Callable[..., tuple[int, Report, str]]:
    """Merges; exit status, report and what was printed."""

    def run(*reports: str | Path) -> tuple[int, Report, str]:
        paths = [str(each) if isinstance(each, Path) else f"{each}/report.json" for each in reports]
        code = main(["merge", *paths, "--out", str(tmp_path / "out")])
        told = capsys.readouterr()
        file = tmp_path / "out/report.json"
        return code, json.loads(file.read_text("utf-8")) if code != MISUSE else {}, told.out + told.err

    return run


def judged(report: Report) -> dict[tuple[str, ...], Report]:
    keys = ("combination", "check", "dataset", "metric")
    return {tuple(j[key] for key in keys): j for row in report["combinations"] for j in row["judgements"]}


def verdicts(report: Report) -> dict[tuple[str, ...], str]:
    return {place: j["verdict"] for place, j in judged(report).items()}


def say(place: tuple[str, ...], **values: Any) -> Change:
    return lambda report: judged(report)[place].update(values)


def of(key: str, **values: Any) -> Change:
    return lambda report: report[key].update(values)


def without(check: str) -> Change:
    """A report of a session that did not ask a check."""

    def change(report: Report) -> None:
        for row in report["combinations"]:
            row["judgements"] = [j for j in row["judgements"] if j["check"] != check]

    return change


def elsewhere(report: Report) -> None:
    """Made on another machine, an hour later."""
    report["machine"]["cpu"] = "another CPU"
    report["created"] = report["created"].replace("20", "21", 1)


def asks_more(count: int, weight: int = 1) -> Change:
    """A report of a session that asked so many checks of quality more, each of which counts as several."""

    def change(report: Report) -> None:
        (of,) = report["checks"]["of"].values()
        names = [f"retention other{number} spearman" for number in range(count)]
        of["asked"] |= dict.fromkeys(names, "quality")
        of["weights"] |= dict.fromkeys(names, weight) if weight > 1 else {}

    return change


@pytest.mark.slow("processes of pytest-xdist judge as one process does")
def test_two_processes_judge_as_one_does(folder, cache, warm_python, report):
    options = [*GIVEN, *chosen(*COMBINATIONS), "-n", "2", "--dist", "loadgroup", "--gate-report", "two"]
    done = called(warm_python, folder, cache, "-m", "pytest", *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    two, one = report("two"), report("one")
    assert verdicts(two) == verdicts(one)
    for key in ("verdict", "families", "checks"):
        assert two[key] == one[key], key


def test_shards_judge_as_one_process_does(merge, report):
    code, found, told = merge(*COMBINATIONS)
    one = report("one")
    assert verdicts(found) == verdicts(one)
    assert (verdicts(report(BF16))[BORDER], verdicts(found)[BORDER]) == ("fail", "inconclusive")
    assert verdicts(found)[FP16, *BORDER[1:]] == "fail"
    assert code == pytest.ExitCode.TESTS_FAILED
    for key in ("verdict", "families", "family", "checks", "datasets", "alpha", "profiles", "texts", "stale_baseline"):
        assert found[key] == one[key], key
    assert found["receipt"]["asked"] == one["receipt"]["asked"]
    assert found["receipt"]["sha256"] == checksum(found)
    most = judged(report(BF16))[BORDER]["largest_family"]
    assert 6 <= most < 18
    assert f"red in a family of up to {most} checks, and all reports together ask 18: more items may settle it" in told
    assert "1 verdict of single reports not red among the checks of all: 18 quality" in told
    assert told.count("joined: ") == 3


def test_the_order_of_reports_makes_no_difference(merge, tmp_path):
    written = set()
    for order in permutations(COMBINATIONS):
        merge(*order)
        written.add(tmp_path.joinpath("out/report.json").read_bytes())
    assert len(written) == 1


def test_one_report_merges_to_itself(merge, folder, tmp_path):
    code, _, _ = merge("one", "one")
    assert code == pytest.ExitCode.TESTS_FAILED
    for file in ("report.json", "report.md", "report.html"):
        assert tmp_path.joinpath("out", file).read_bytes() == folder.joinpath("one", file).read_bytes()


def test_what_is_merged_can_be_merged(merge, report, tmp_path):
    merge(AMP, BF16)
    first = tmp_path / "first.json"
    first.write_bytes(tmp_path.joinpath("out/report.json").read_bytes())
    merge(first)
    assert tmp_path.joinpath("out/report.json").read_bytes() == first.read_bytes()
    _, found, _ = merge(first, FP16)
    assert verdicts(found) == verdicts(report("one"))
    assert len(found["merged"]["reports"]) == 3


@pytest.mark.parametrize(("name", "verdict"), [(BF16, "inconclusive"), (FP16, "fail")])
def test_what_is_red_among_few_checks_is_red_among_many_where_it_is_clear(merge, made, report, name, verdict):
    place = name, *BORDER[1:]
    assert verdicts(report(name))[place] == "fail"
    _, found, _ = merge(name, made(AMP, asks_more(100)))
    own = judged(found)[place]
    assert own["verdict"] == verdict
    assert found["family"] == 6 + 6 + 100
    if verdict == "inconclusive":
        assert (own["diagnosis"], own["worst"], own["largest_family"]) == (None, [], None)


def test_what_counts_as_several_checks_does_so_among_those_of_all_reports(merge, made):
    _, found, _ = merge(BF16, made(AMP, asks_more(20, weight=5)))
    assert found["family"] == 6 + 6 + 20 * 5
    assert verdicts(found)[BORDER] == "inconclusive"
    (weights,) = [each["weights"] for each in found["checks"]["of"].values() if each["weights"]]
    assert len(weights) == 20


def as_before_weights(report: Report) -> None:
    """A report of a build that knew no weights."""
    for dataset in report["datasets"]:
        del dataset["weight"]
    for each in report["checks"]["of"].values():
        del each["weights"]


def test_reports_from_before_there_were_weights_are_joined(merge, made):
    code, found, told = merge(made(BF16, as_before_weights), AMP)
    again, same, _ = merge(BF16, AMP)
    assert (code, found["verdict"]) == (again, same["verdict"]), told


def test_reports_of_other_weights_are_not_joined(merge, made):
    code, _, told = merge(BF16, made(AMP, lambda report: report["datasets"][0].update(weight=2)))
    assert code == MISUSE
    assert "since they have other data (mine)" in told


def test_what_both_ask_counts_once(merge, made):
    _, found, _ = merge(BF16, made(BF16, elsewhere))
    assert found["family"] == 6
    assert verdicts(found)[BORDER] == "fail"


def test_the_worse_of_two_machines_counts_and_both_are_named(merge, made):
    place = AMP, *BORDER[1:]
    worse = say(place, verdict="fail", message="keeps little")
    code, found, told = merge(made(AMP, without("baseline")), made(AMP, without("baseline"), elsewhere, worse))
    assert code == pytest.ExitCode.TESTS_FAILED
    own = judged(found)[place]
    assert own["verdict"] == "fail"
    (line,) = own["details"]
    assert line.startswith("the worst of: pass on ")
    assert "; fail on another CPU (" in line
    assert f"{AMP}: 7 checks were judged on " in told
    assert found["machine"]["cpu"].endswith(" + another CPU")
    assert len(found["combinations"]) == 1


UNJUDGED = {"verdict": "inconclusive", "diagnosis": {"layer": "baseline", "cause": "none", "next_step": ""}}


@pytest.mark.parametrize(
    ("one", "strict", "verdict"),
    [
        ({"verdict": "inconclusive"}, False, "inconclusive"),
        (UNJUDGED, False, "pass"),
        (UNJUDGED, True, "inconclusive"),
        ({"verdict": "pass"}, False, "pass"),
    ],
)
def test_what_could_not_be_judged_somewhere_counts_under_strict_alone(merge, made, one, strict, verdict):
    def strictly(report: Report) -> None:
        report["strict"] = strict

    place = AMP, *BORDER[1:]
    _, found, _ = merge(made(AMP, say(place, **one), strictly), made(AMP, elsewhere, strictly))
    assert verdicts(found)[place] == verdict


@pytest.mark.parametrize(
    ("strict", "told", "verdict"),
    [
        ((False, False), "", "inconclusive"),
        (("", "estimate"), "estimate", "fail"),
        (("estimate", True), "full", "fail"),
    ],
)
def test_all_are_judged_as_strictly_as_the_strictest_session_was(merge, made, strict, told, verdict):
    def open_at(observed: float, strict: str | bool) -> Change:
        def change(report: Report) -> None:
            say((AMP, *BORDER[1:]), verdict="inconclusive", diagnosis=None, observed=observed, limit=0.9)(report)
            say((AMP, "baseline", "", ""), verdict="pass", diagnosis=None)(report)
            report["strict"] = strict

        return change

    beyond, within = open_at(0.8, strict[0]), open_at(0.95, strict[1])
    _, found, _ = merge(made(AMP, within), made(AMP, elsewhere, beyond))
    (judged,) = (j for row in found["combinations"] for j in row["judgements"] if j["observed"] in (0.8, 0.95))
    assert (found["strict"], found["verdict"]) == (told, verdict)
    if told == "estimate":
        assert judged["observed"] == 0.8
        assert judged["message"].endswith("beyond the tolerance: red by --gate-strict=estimate")


def test_a_check_that_one_report_skipped_and_another_judged_is_judged(merge, made):
    def skips(*names: str) -> Change:
        def change(report: Report) -> None:
            (row,) = report["combinations"]
            row["skips"] = {"no faiss": [*names]}
            row["skipped_checks"] = {"no faiss": len(names)}

        return change

    name = " ".join(BORDER[1:])
    _, found, _ = merge(made(AMP, skips(name, "engine a")), made(AMP, elsewhere, skips("engine a")))
    (row,) = found["combinations"]
    assert (row["skips"], row["skipped_checks"]) == ({"no faiss": ["engine a"]}, {"no faiss": 1})


def expects(combination: str) -> Change:
    """A report in which the loss of a combination was expected."""

    def change(report: Report) -> None:
        found = {"combination": combination, "check": "agreement", "dataset": "texts:mine", "metric": "cosine_mean"}
        entry = {"kind": "known-defect", "reason": "known", "link": "https://example.com/1"}
        report["expected_failures"] = [{**found, "message": "", **entry}]

    return change


def test_an_expected_failure_is_one_in_the_whole(merge, made):
    _, found, _ = merge(AMP, made(FP16, expects(FP16)))
    (entry,) = found["expected_failures"]
    assert (entry["combination"], entry["kind"], entry["link"]) == (FP16, "known-defect", "https://example.com/1")


def test_what_is_inconclusive_in_the_whole_is_no_expected_failure(merge, made):
    _, found, _ = merge(made(BF16, expects(BF16)), made(AMP, asks_more(100)))
    assert (found["expected_failures"], verdicts(found)[BORDER]) == ([], "inconclusive")


SUBJECT = "entry 1 (torch-*, *, agreement cosine_*)"
COMPLAINT = f"gate/expected_failures.toml: {SUBJECT} no longer fails; remove it, or correct its globs"


ENTRY = {"combination": "torch-*", "dataset": "*", "check": "agreement", "metric": "cosine_*", "profile": "*"}
ENTRY |= {"kind": "known-defect", "reason": "rounded", "link": "https://a.example/1", "expires": None}


def met(*verdicts: str, told: bool = True) -> Change:
    def change(report: Report) -> None:
        report["expectations"] = {SUBJECT: {"entry": {**ENTRY}, "met": [*verdicts]}}
        report["complaints"] = [COMPLAINT] if told else []

    return change


@pytest.mark.parametrize(("other", "trouble"), [(("fail",), []), (("pass",), [COMPLAINT])])
def test_an_entry_that_expects_another_shards_failure_is_no_trouble(merge, made, other, trouble):
    _, found, _ = merge(made(AMP, met("pass")), made(FP16, met(*other, told=False)))
    assert (found["complaints"], found["trouble"]) == (trouble, [])


def broken(report: Report) -> None:
    (row,) = report["combinations"]
    row.update(errors=["it could not be built"], verdict="error", judgements=[])


def host_failed(report: Report) -> None:
    report["others_failed"] = 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ([], pytest.ExitCode.OK),
        ([broken], NOT_JUDGED),
        ([broken, host_failed], pytest.ExitCode.TESTS_FAILED),
        ([host_failed], pytest.ExitCode.TESTS_FAILED),
        ([met()], pytest.ExitCode.TESTS_FAILED),
        ([say((AMP, *BORDER[1:]), verdict="fail")], pytest.ExitCode.TESTS_FAILED),
        ([say((AMP, *BORDER[1:]), verdict="inconclusive")], pytest.ExitCode.OK),
    ],
)
def test_it_ends_as_pytest_would(merge, made, changes, status):
    code, _, _ = merge(made(AMP, without("baseline"), *changes))
    assert code == status


def other_data(report: Report) -> None:
    report["datasets"][0]["sha256"] = "0"


def other_proposals(report: Report) -> None:
    report["approvable"][0]["before"] = {".json": "0"}


def candidate(sha256: str) -> Change:
    def change(report: Report) -> None:
        report["candidates"] = [{"combination": "file-int8-cpu", "origin": "m.onnx", "identity": {"sha256": sha256}}]

    return change


@pytest.mark.parametrize(
    ("own", "change", "told"),
    [
        ([], of("model", fingerprint="0" * 64), "other model (small 000000000000 and small "),
        ([], of("model", name="other"), "other model (other "),
        ([], lambda r: r["receipt"]["files"].update(suites="0"), "other code or decisions (suites)"),
        ([], lambda r: r["receipt"]["files"].update({"tolerances.toml": "0"}), "decisions (tolerances.toml)"),
        ([], lambda r: r["receipt"]["files"].update({"approved/cpu-other": "0"}), None),
        ([], other_proposals, "other code or decisions (approved values of small for cpu-"),
        ([], other_data, "other data (mine)"),
        ([], lambda r: r.update(alpha=0.1), "other alpha (0.1 and 0.05)"),
        ([], lambda r: r["receipt"].update(stored=["--gate-vectors=9"]), "vectors (--gate-vectors=9 and none)"),
        ([], lambda r: r.update(incumbent="ab" * 32), "other incumbent (abababababab and none)"),
        ([candidate("1")], candidate("0"), "other files or servers (file-int8-cpu)"),
        ([candidate("1")], candidate("1"), None),
        ([], lambda r: r.pop("alpha"), "0.json lacks what this embedgate writes: it has no 'alpha'"),
        ([], lambda r: r.update(schema=SCHEMA + 1), f"has the schema {SCHEMA + 1}, and this embedgate reads {SCHEMA}"),
        ([], lambda r: r.update(libraries={"torch": "1"}, threads=64), None),
    ],
)
def test_what_cannot_be_joined_is_refused_in_a_line(merge, made, own, change, told):
    first, second = made(AMP, change), made(BF16, *own)
    code, _, printed = merge(first, second)
    if told is None:
        assert code != MISUSE
        return
    assert code == MISUSE
    assert told in printed
    assert len(printed.splitlines()) == 1


def test_what_two_of_three_have_is_compared_as_well(merge, made):
    """A GPU's report comes first, and knows nothing of what is approved for CPUs."""

    def without_approved(report: Report) -> None:
        files = report["receipt"]["files"]
        report["receipt"]["files"] = {name: each for name, each in files.items() if not name.startswith("approved/")}
        report["approvable"] = []

    def otherwise(report: Report) -> None:
        report["receipt"]["files"]["approved/cpu-other"] = "0"

    def likewise(report: Report) -> None:
        report["receipt"]["files"]["approved/cpu-other"] = "1"

    code, _, told = merge(made(AMP, without_approved), made(BF16, otherwise), made(FP16, likewise))
    assert code == MISUSE
    assert "1.json and " in told
    assert "other code or decisions (approved/cpu-other)" in told


def test_a_report_that_was_edited_is_refused(merge, made):
    file = made(AMP)
    file.write_text(file.read_text("utf-8").replace("pass", "fail", 1), "utf-8")
    code, _, told = merge(file, BF16)
    assert code == MISUSE
    assert "is not as it was written: its checksum is wrong" in told


def other_machine(report: Report) -> None:
    report["approvable"][0]["provenance"]["machine"] = "0" * 16


@pytest.mark.parametrize(("changes", "machines"), [([], 1), ([other_machine], 2)])
def test_what_is_merged_can_be_approved(merge, made, tmp_path, capsys, monkeypatch, changes, machines):
    monkeypatch.delenv("CI", raising=False)
    merge(made(AMP, *changes), BF16, FP16)
    gate = tmp_path / "gate"
    words = ["approve", str(tmp_path / "out/report.json"), "--reason", "as CI measured it", "--baselines", str(gate)]
    assert main(words) == 0
    assert "values changed" in capsys.readouterr().out
    (file,) = gate.glob("*/*.json")
    content = json.loads(file.read_text("utf-8"))
    assert {entry["combination"] for entry in content["entries"]} == {*COMBINATIONS}
    assert len(content["approvals"]) == machines


class TestOtherBar:
    """What the bar that does not count came to, in several reports."""

    def finding(self, verdict: str, other: str | None = None) -> Judged:
        mine, theirs = (Judgement("agreement", BF16, each or "pass", each or "") for each in (verdict, other))
        return Judged(BF16, mine, "", "there", theirs if other else None)

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_worst_of_it_is_kept_whichever_counts(self, order):
        found = [self.finding("pass"), self.finding("pass", "fail")][::order]
        worst = _worst(found, Strictness.USUAL)
        assert (worst.judgement.verdict, worst.other.verdict) == ("pass", "fail")

    def test_what_is_the_same_by_both_is_no_other(self):
        assert _worst([self.finding("fail"), self.finding("fail")], Strictness.USUAL).other is None

    def test_a_report_that_was_not_compared_is_told(self):
        there = {"missing": "", "differences": ["tolerance a"], "trouble": [], "counts": False, "ref": "main"}
        assert joined_base([there, {**there, "missing": "main is not in this clone"}, {}]) == {
            **there,
            "trouble": [
                "one of the reports was not compared with it: main is not in this clone",
                "one of the reports was not compared with it: it named no base",
            ],
        }


def test_a_report_that_is_to_be_merged_is_not_overwritten(made, capsys, tmp_path):
    report = made(AMP)
    assert main(["merge", str(report), "--out", str(Path(report).parent)]) == MISUSE
    assert "holds a report that is to be merged; name another folder" in capsys.readouterr().err
    (tmp_path / "taken").write_text("")
    assert main(["merge", str(report), "--out", str(tmp_path / "taken")]) == MISUSE
    assert "taken is a file; name a folder" in capsys.readouterr().err

"""Expected failures say why, and neither one that matches nothing nor one that passes again goes unnoticed."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from helpers.paths import ROOT

from embedgate.approved.expected_failures import KINDS, Expectations
from embedgate.checks import CheckRegistry
from embedgate.core.errors import GateError
from embedgate.core.machine import profile

COMMITTED = ROOT / "baselines" / "expected_failures.toml"
NAMES = {"checks": CheckRegistry().kinds, "metrics": CheckRegistry().vocabulary}
VNNI = profile("cpu-x86_64-vnni")
ENTRY = {
    "combination": "onnxruntime-int8*-cpu",
    "dataset": "pairs",
    "check": "retention",
    "kind": "known-defect",
    "reason": "GELU saturates",
    "link": "https://example.org/1",
}
INT8 = ("onnxruntime-int8-cpu", "pairs", "retention", "spearman")


def load(folder: Path, *entries: Mapping[str, object]) -> Expectations:
    file = folder / "expected_failures.toml"
    file.write_text(
        "\n".join(
            "[[expected]]\n" + "\n".join(f"{key} = {value!r}" for key, value in entry.items()) for entry in entries
        )
    )
    return Expectations.load(file, **NAMES)


def test_an_entry_is_matched_by_its_globs(tmp_path: Path) -> None:
    expectations = load(tmp_path, ENTRY)
    found = expectations.match(*INT8, VNNI, "fail")
    assert found is not None
    assert str(found) == "known-defect: GELU saturates (https://example.org/1)"
    for other in (
        ("torch-bf16-cpu", "pairs", "retention", "spearman"),
        ("onnxruntime-int8-cpu", "passages", "retention", "spearman"),
        ("onnxruntime-int8-cpu", "pairs", "agreement", "spearman"),
    ):
        assert expectations.match(*other, VNNI, "fail") is None


def test_an_entry_holds_until_its_last_day(tmp_path: Path) -> None:
    expectations = load(tmp_path, ENTRY)
    file = expectations.path
    file.write_text(file.read_text("utf-8") + "\nexpires = 2026-12-31\n", "utf-8")
    for day, holds in ((date(2026, 12, 31), True), (date(2027, 1, 1), False)):
        found = Expectations.load(file, **NAMES)
        found.today = day
        assert (found.match(*INT8, VNNI, "fail") is not None) == holds
        assert bool(found.expired()) != holds
    (entry,) = found.expired()
    assert str(found.complaint(entry)) == (
        f"{file}: entry 1 (onnxruntime-int8*-cpu, pairs, retention *) has expired after 2026-12-31; "
        "mend the cause, or decide anew: give it a later day"
    )
    again = Expectations.load(file, **NAMES)
    again.today = date(2027, 1, 1)
    again.match(*INT8, VNNI, "pass")
    assert again.expired() == [], "what passes is to be removed, whatever its day"


def test_what_is_under_investigation_needs_a_last_day(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="entry 1: what is under investigation needs a last day; set expires = "):
        load(tmp_path, {**ENTRY, "kind": "under-investigation"})


def test_metric_and_profile_narrow_an_entry(tmp_path: Path) -> None:
    narrow = load(tmp_path, {**ENTRY, "metric": "ndcg*", "profile": "cpu-x86_64"})
    assert narrow.match(*INT8, VNNI, "fail") is None
    ndcg = (*INT8[:3], "ndcg_at_10")
    assert narrow.match(*ndcg, VNNI, "fail") is not None, "the profile inherits from the entry's"
    assert narrow.match(*ndcg, profile("cpu-aarch64"), "fail") is None


def test_the_first_of_two_entries_counts_and_both_are_met(tmp_path: Path) -> None:
    expectations = load(tmp_path, ENTRY, {**ENTRY, "reason": "another"})
    found = expectations.match(*INT8, VNNI, "fail")
    assert found is expectations.entries[0]
    assert expectations.unmatched([INT8[0]], ["pairs"], {INT8[0]: VNNI}) == []


def test_an_entry_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    expectations = load(tmp_path, {**ENTRY, "metric": "v_measure"})
    expectations.match(*INT8, VNNI, "fail")
    (entry,) = expectations.unmatched([INT8[0]], ["pairs"], {INT8[0]: VNNI})
    assert str(expectations.complaint(entry)) == (
        f"{tmp_path / 'expected_failures.toml'}: entry 1 (onnxruntime-int8*-cpu, pairs, retention v_measure) "
        "matches nothing; remove it, or correct its globs"
    )


@pytest.mark.parametrize(
    ("combination", "dataset", "name"),
    [
        ("torch-bf16-cpu", "pairs", "cpu-x86_64"),
        ("onnxruntime-int8-cpu", "passages", "cpu-x86_64"),
        ("onnxruntime-int8-cpu", "pairs", "nvidia-h200"),
    ],
)
def test_an_entry_about_what_was_not_run_is_left_alone(
    tmp_path: Path, combination: str, dataset: str, name: str
) -> None:
    expectations = load(tmp_path, {**ENTRY, "profile": "cpu*"})
    assert expectations.unmatched([combination], [dataset], {combination: profile(name)}) == []


def test_an_entry_about_no_combination_there_is_is_an_error(tmp_path: Path) -> None:
    expectations = load(tmp_path, ENTRY, {**ENTRY, "combination": "onxruntime-*"})
    (entry,) = expectations.without_effect(["onnxruntime-int8-cpu", "torch-bf16-cpu"])
    assert str(expectations.complaint(entry)) == (
        f"{tmp_path / 'expected_failures.toml'}: entry 2 (onxruntime-*, pairs, retention *) "
        "matches nothing; remove it, or correct its globs"
    )


def test_an_entry_that_no_longer_fails_is_an_error(tmp_path: Path) -> None:
    expectations = load(tmp_path, ENTRY)
    assert expectations.no_longer_failing() == [], "it has met nothing yet"
    expectations.match(*INT8, VNNI, "pass")
    (entry,) = expectations.no_longer_failing()
    assert str(expectations.complaint(entry)) == (
        f"{tmp_path / 'expected_failures.toml'}: entry 1 (onnxruntime-int8*-cpu, pairs, retention *) "
        "no longer fails; remove it, or correct its globs"
    )


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_an_entry_that_does_not_pass_everywhere_stays(tmp_path: Path, verdict: str) -> None:
    expectations = load(tmp_path, ENTRY)
    expectations.match(*INT8, VNNI, "pass")
    expectations.match("onnxruntime-int8static-cpu", *INT8[1:], VNNI, verdict)  # type: ignore[arg-type]
    assert expectations.no_longer_failing() == []


@pytest.mark.parametrize("key", ["combination", "dataset", "check", "kind", "reason", "link"])
def test_every_key_is_required(tmp_path: Path, key: str) -> None:
    with pytest.raises(GateError) as caught:
        load(tmp_path, ENTRY, {name: value for name, value in ENTRY.items() if name != key})
    assert str(caught.value) == (f"{tmp_path / 'expected_failures.toml'}: entry 2: {key} is missing; set it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reasons": "x"}, "unknown key reasons; did you mean reason?"),
        ({"reason": " "}, "reason: expected `str` matching regex '\\\\S'; correct it there"),
        ({"reason": 3}, "reason: expected `str`, got `int`; correct it there"),
        ({"kind": "flaky"}, f"kind: invalid enum value 'flaky'; choose from {', '.join(KINDS)}"),
        ({"check": "retension"}, "check 'retension' matches nothing; did you mean retention?"),
        ({"metric": "ndcg_at_1"}, "metric 'ndcg_at_1' matches nothing; did you mean ndcg_at_10?"),
        ({"link": "see wiki"}, "'see wiki' is no link; give the address of the issue that follows it"),
        ({"link": "file:///etc"}, "'file:///etc' is no link; give the address of the issue that follows it"),
        (
            {"link": "javascript:alert(1)//https://a"},
            "'javascript:alert(1)//https://a' is no link; give the address of the issue that follows it",
        ),
        ({"link": "http://["}, "'http://[' is no link; give the address of the issue that follows it"),
    ],
)
def test_a_value_that_means_nothing_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(GateError) as caught:
        load(tmp_path, {**ENTRY, **change})
    assert str(caught.value) == f"{tmp_path / 'expected_failures.toml'}: entry 1: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[expect]\n", ": unknown key expect; write each entry as [[expected]]"),
        ("[expected]\n", ": expected: expected `array`, got `object`; write each entry as [[expected]]"),
        ("expected = [1]\n", ": expected[0]: expected `object`, got `int`; write each entry as [[expected]]"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "expected_failures.toml"
    file.write_text(text)
    with pytest.raises(GateError) as caught:
        Expectations.load(file, **NAMES)
    assert str(caught.value) == f"{file}{message}"


def test_bad_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "expected_failures.toml"
    file.write_text("[[expected]\n")
    with pytest.raises(GateError, match=r"expected_failures\.toml is no TOML: .*line 1"):
        Expectations.load(file, **NAMES)


def test_a_missing_file_expects_nothing(tmp_path: Path) -> None:
    assert Expectations.load(tmp_path / "none.toml", **NAMES).match(*INT8, VNNI, "fail") is None


def test_the_committed_file_is_sound_and_so_is_its_example(tmp_path: Path) -> None:
    Expectations.load(COMMITTED, **NAMES)
    text = COMMITTED.read_text("utf-8")
    assert all(f" {kind} " in text for kind in KINDS)
    lines = text.splitlines()
    example = tmp_path / "expected_failures.toml"
    start = lines.index("# [[expected]]")
    example.write_text("\n".join(line.removeprefix("# ") for line in lines[start : start + 9]))
    (entry,) = Expectations.load(example, **NAMES).entries
    assert entry.kind == "known-defect"


def test_a_file_is_valid_whatever_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Qdrant server offers other indexes than Qdrant in a process: an entry may be about either."""
    for url in ("", "http://localhost:6333"):
        monkeypatch.setenv("EMBEDGATE_QDRANT_URL", url)
        for metric in ("qdrant-hnsw-float16", "qdrant-exact-uint8", "qdrant-*"):
            entry = {**ENTRY, "check": "engine", "metric": metric}
            file = tmp_path / "expected_failures.toml"
            lines = (f"{key} = {value!r}" for key, value in entry.items())
            file.write_text("[[expected]]\n" + "\n".join(lines))
            Expectations.load(file, checks=CheckRegistry().kinds, metrics=CheckRegistry().vocabulary)

"""Baselines survive a round trip, a crash and a second writer; whatever cannot be trusted is refused by name."""

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.paths import ROOT, TESTS

import embedgate
from embedgate.approved import baseline as store_module
from embedgate.approved.baseline import BaselineStore, Found, format_changes
from embedgate.approved.entries import Change, Entry, Key, Provenance, Ran
from embedgate.approved.form import Identified, read
from embedgate.approved.sessions import ApprovedSession
from embedgate.core.errors import BaselineError
from embedgate.core.machine import machine_id, profile, this_machine
from embedgate.performance.probe import Probe

AMX = profile("cpu-x86_64-amx")
CPU = profile("cpu")
MODEL = Identified("MiniLM", "acme/MiniLM@1", "a" * 64)
OTHER_WEIGHTS = msgspec.structs.replace(MODEL, fingerprint="b" * 64)
SHA256 = "c" * 64
INT8, BF16 = "onnxruntime-int8-cpu", "torch-bf16-cpu"
RECORD = "pytest --gate-update --gate-reason TEXT"
PROVENANCE = Provenance(
    cpu="a CPU",
    flags=("avx2", "fma"),
    gpu=None,
    os="Linux 6",
    python="3.12.1",
    threads=2,
    batch_size=32,
    libraries={"torch": "2.13.0", "numpy": "2.1.0"},
    embedgate="0.1.0",
    commit="d" * 40,
)


def entry(
    value: float = 0.8,
    combination: str = INT8,
    metric: str = "ndcg_at_10",
    dataset: str = "passages",
    sha: str = SHA256,
) -> Entry:
    return Entry(Key(combination, dataset, metric, sha), value, value - 0.01, value + 0.01, 250)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines")


def update(store: BaselineStore, *entries: Entry, **options: Any) -> tuple[Change, ...]:
    arguments = {"reason": "first figures", "who": "Ada <ada@example.org>", "provenance": PROVENANCE, **options}
    return store.update(arguments.pop("profile", AMX), arguments.pop("model", MODEL), entries, **arguments)


def found(store: BaselineStore) -> Found:
    result = store.find(AMX, MODEL)
    assert result is not None
    return result


# What is recorded comes back


def test_a_recorded_entry_comes_back_rounded_and_approved(store: BaselineStore) -> None:
    update(store, entry(0.123456789))
    result = found(store)
    got = result.get(INT8, "passages", SHA256, "ndcg_at_10").entry
    assert got == Entry(Key(INT8, "passages", "ndcg_at_10", SHA256), 0.123457, 0.113457, 0.133457, 250)
    assert got.approval == 1
    assert (result.file, result.profile, result.inherited) == (
        store.folder / "cpu-x86_64-amx" / "MiniLM.json",
        "cpu-x86_64-amx",
        False,
    )
    (approval,) = result.baseline.approvals
    assert (approval.number, approval.who, approval.reason, approval.changed) == (
        1,
        "Ada <ada@example.org>",
        "first figures",
        1,
    )
    assert approval.provenance == PROVENANCE
    assert approval.when.endswith("Z")
    assert result.baseline.model_source == "acme/MiniLM@1"


def test_what_was_not_recorded_is_none(store: BaselineStore) -> None:
    assert store.find(AMX, MODEL) is None
    update(store, entry())
    assert found(store).get(INT8, "passages", SHA256, "mrr_at_10") is None
    assert store.find(CPU, MODEL) is None


def test_the_nearest_profile_serves_and_says_that_it_is_inherited(store: BaselineStore) -> None:
    update(store, entry(0.5), profile=CPU)
    update(store, entry(0.7), profile=profile("cpu-x86_64"))
    result = found(store)
    assert (result.profile, result.inherited) == ("cpu-x86_64", True)
    served = result.get(INT8, "passages", SHA256, "ndcg_at_10")
    assert served is not None
    assert (served.entry.value, served.profile, served.inherited) == (0.7, "cpu-x86_64", True)


def test_what_the_nearest_profile_lacks_is_inherited_entry_by_entry(store: BaselineStore) -> None:
    update(store, entry(0.5), entry(0.6, metric="mrr_at_10"), profile=CPU)
    update(store, entry(0.7), profile=AMX)
    result = found(store)
    own, inherited = (result.get(INT8, "passages", SHA256, metric) for metric in ("ndcg_at_10", "mrr_at_10"))
    assert (own.entry.value, own.profile, own.inherited) == (0.7, "cpu-x86_64-amx", False)
    assert (inherited.entry.value, inherited.profile, inherited.inherited) == (0.6, "cpu", True)
    assert result.get(BF16, "passages", SHA256, "mrr_at_10") is None


def test_texts_approved_together_are_known_from_what_is_inherited(store: BaselineStore) -> None:
    update(store, entry(0.5, dataset="corpus-10000:pairs+topics@int8"), profile=CPU)
    update(store, entry(0.7, combination=BF16), profile=AMX)
    result = found(store)
    assert result.has_other_texts(INT8, "corpus-10000:pairs@int8")
    assert not result.has_other_texts(INT8, "corpus-10000:pairs+topics@float16")
    assert not result.has_other_texts(BF16, "corpus-10000:pairs@int8")


def test_nothing_is_inherited_from_other_weights(store: BaselineStore) -> None:
    update(store, entry(0.6, metric="mrr_at_10"), profile=CPU, model=OTHER_WEIGHTS)
    update(store, entry(0.7), profile=AMX)
    assert found(store).get(INT8, "passages", SHA256, "mrr_at_10") is None


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    entries = [entry(0.1, INT8), entry(0.2, BF16), entry(0.3, INT8, "mrr_at_10"), entry(0.4, INT8, dataset="abstracts")]
    texts = []
    for name, ordered in (("one", entries), ("two", entries[::-1])):
        each = BaselineStore(tmp_path / name)
        update(each, *ordered)
        baseline = found(each).baseline
        (approval,) = baseline.approvals
        same_time = dataclasses.replace(approval, when="2026-01-01T00:00:00Z")
        texts.append(store_module.render(dataclasses.replace(baseline, approvals=(same_time,))))
    assert texts[0] == texts[1]


def test_a_changed_value_changes_one_line_of_the_entries(store: BaselineStore) -> None:
    update(store, entry(0.1), entry(0.2, BF16), entry(0.3, metric="mrr_at_10"))
    file = found(store).file
    before = file.read_text().partition('"entries"')[2].splitlines()
    update(store, entry(0.25, BF16), entry(0.1), reason="new kernel")
    after = file.read_text().partition('"entries"')[2].splitlines()
    assert [line for line in before if line not in after] == [
        '  {"value": 0.2, "interval": [0.19, 0.21], "n": 250, "combination": "torch-bf16-cpu", "dataset": "passages", '
        f'"metric": "ndcg_at_10", "dataset_sha256": "{SHA256}", "approval": 1}}'
    ]
    assert [line for line in after if line not in before] == [
        '  {"value": 0.25, "interval": [0.24, 0.26], "n": 250, "combination": "torch-bf16-cpu", "dataset": "passages", '
        f'"metric": "ndcg_at_10", "dataset_sha256": "{SHA256}", "approval": 2}}'
    ]


def test_reading_and_rendering_again_gives_the_same_bytes(store: BaselineStore) -> None:
    update(store, entry(0.1), entry(1 / 3, BF16))
    result = found(store)
    assert store_module.render(result.baseline) == result.file.read_text("utf-8")


def test_a_file_from_before_machines_were_told_apart_is_read_and_stays_as_it_is(store: BaselineStore) -> None:
    update(store, entry(0.1))
    before = found(store).file.read_text("utf-8")
    assert '"machine"' not in before
    update(store, entry(0.2), provenance=dataclasses.replace(PROVENANCE, machine="0123456789abcdef"))
    first, second = found(store).baseline.approvals
    assert (first.provenance.machine, second.provenance.machine) == ("", "0123456789abcdef")
    after = found(store).file.read_text("utf-8")
    assert before.partition(' "entries"')[0].rstrip("\n ],") in after


def test_the_committed_files_are_read_and_written_alike() -> None:
    files = sorted((ROOT / "baselines").glob("*/*.json"))
    assert files
    for file in files:
        baseline = read(file)
        assert baseline is not None
        assert store_module.render(baseline) == file.read_text("utf-8")


PROBE = Probe(1, 140.0, bf16=4.2, fp16=None, int8=7.4, small=115.0, gain=1.0)
PROBED = dataclasses.replace(PROVENANCE, probe=PROBE)


def session(value: float, *before: ApprovedSession) -> Entry:
    sessions = (*before, ApprovedSession(0, value))
    return dataclasses.replace(entry(value, metric="time_x", dataset="budget"), sessions=sessions)


def test_sessions_come_back_with_what_their_machines_compute(store: BaselineStore) -> None:
    update(store, session(1 / 3), provenance=PROBED)
    first = found(store).find(INT8, "budget", "time_x")
    assert first.entry.sessions == (ApprovedSession(1, 0.333333),)
    other = dataclasses.replace(PROBED, probe=dataclasses.replace(PROBE, bf16=4.4))
    update(store, session(0.35, *first.entry.sessions), provenance=other, reason="another day")
    second = found(store).find(INT8, "budget", "time_x")
    assert second.entry.sessions == (ApprovedSession(1, 0.333333), ApprovedSession(2, 0.35))
    assert [probe.bf16 for probe in second.probes] == [4.2, 4.4]
    file = found(store).file
    assert '"sessions": [[1, 0.333333], [2, 0.35]]}' in file.read_text("utf-8")
    assert '"schema": 3' in file.read_text("utf-8")
    assert store_module.render(read(file)) == file.read_text("utf-8")


@pytest.mark.parametrize(("schema", "probe"), [(1, None), (2, PROBE)])
def test_files_of_earlier_schemas_are_read(store: BaselineStore, schema: int, probe: Probe | None) -> None:
    """Each approval had its whole provenance, with commit and probe, and an entry began with what it is about."""
    provenance = dataclasses.replace(PROVENANCE, probe=probe)
    update(store, session(0.4) if probe else entry(0.4, metric="time_x", dataset="budget"), provenance=provenance)
    now, file = found(store), found(store).file
    form = json.loads(file.read_text("utf-8"))
    assert (form.pop("schema"), form["approvals"][0].get("probe") is None) == (3, probe is None)
    (approval,) = form["approvals"]
    approval["provenance"] |= {name: approval.pop(name) for name in ("commit", "probe") if name in approval}
    form["entries"] = [dict(sorted(each.items())) for each in form["entries"]]
    file.write_text(json.dumps({"schema": schema, **form}), "utf-8")
    assert found(store).baseline == now.baseline
    assert (
        found(store).find(INT8, "budget", "time_x").entry.sessions == now.find(INT8, "budget", "time_x").entry.sessions
    )


def test_what_approvals_share_stands_once(store: BaselineStore) -> None:
    update(store, entry(0.1))
    update(store, entry(0.2), provenance=dataclasses.replace(PROVENANCE, commit="e" * 40, ran=Ran("octocat", "today")))
    update(store, entry(0.3), provenance=dataclasses.replace(PROVENANCE, libraries={"torch": "2.14.0"}))
    update(store, entry(0.4))
    records = json.loads(found(store).file.read_text("utf-8"))["approvals"]
    assert [each["provenance"] if isinstance(each["provenance"], int) else "own" for each in records] == [
        "own",
        1,
        "own",
        1,
    ]
    assert records[1]["ran"] == {"who": "octocat", "when": "today", "url": ""}
    assert [each["commit"][0] for each in records] == ["d", "e", "d", "d"]
    kept = [approval.provenance for approval in found(store).baseline.approvals]
    assert kept[1] == dataclasses.replace(PROVENANCE, commit="e" * 40, ran=Ran("octocat", "today"))
    assert kept[3] == PROVENANCE
    file = found(store).file
    file.write_text(file.read_text("utf-8").replace('"provenance": 1', '"provenance": 2', 1), "utf-8")
    with pytest.raises(BaselineError, match=r"approvals\[1\].provenance must be the number of an approval before it"):
        read(file)


FILES = {"model.safetensors": "1", "tokenizer.json": "2", "config.json": "3"}


@pytest.mark.parametrize(
    ("files", "tensors", "told"),
    [
        (FILES | {"model.safetensors": "9"}, "other", "other weights (model.safetensors) ("),
        (
            FILES | {"model.safetensors": "9", "config.json": "9"},
            "other",
            "other weights (model.safetensors) and another config.json (",
        ),
        (
            FILES | {"tokenizer.json": "9", "config.json": "9"},
            "same",
            "another config.json and another tokenizer.json (",
        ),
        (
            FILES | {"model.safetensors": "9"},
            "same",
            "weights that were saved anew, every tensor the same (model.safetensors) (",
        ),
        (
            {"model-1.safetensors": "1", "tokenizer.json": "2"},
            "other",
            "other weights (model-1.safetensors, model.safetensors) and no config.json (",
        ),
        ({}, "", "other weights (model.safetensors), no config.json and no tokenizer.json ("),
        (FILES | {"special.json": "4"}, "same", "a new special.json ("),
    ],
)
def test_what_another_model_has_otherwise_is_named(
    store: BaselineStore, files: dict[str, str], tensors: str, told: str
) -> None:
    update(store, entry(), model=msgspec.structs.replace(MODEL, files=FILES, tensors="same"))
    with pytest.raises(BaselineError) as caught:
        store.find(AMX, msgspec.structs.replace(OTHER_WEIGHTS, files=files, tensors=tensors))
    assert f"was recorded for another model: {told}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("[[1, 0.8]]", "[[2, 0.8]]", "entries[0].sessions[0] must begin with an approval's number, 1 to 1"),
        ("[[1, 0.8]]", "[[1, 0.0]]", "entries[0].sessions[0] must have a positive value"),
        ("[[1, 0.8]]", "[[1]]", "entries[0].sessions[0]: expected `array` of length 2"),
        ('"bf16": 4.2', '"bf16": -4.2', "approvals[0].probe.bf16: expected `float` > 0.0"),
        ('"bf16": 4.2', '"bf17": 4.2', "unknown key approvals[0].probe.bf17"),
    ],
)
def test_a_damaged_session_or_probe_is_refused(store: BaselineStore, old: str, new: str, cause: str) -> None:
    update(store, session(0.8), provenance=PROBED)
    file = found(store).file
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(BaselineError) as caught:
        read(file)
    assert f"{file} is corrupt: {cause}" in str(caught.value)


def test_provenance_tells_the_machine() -> None:
    told = Provenance.of(this_machine(), threads=1, batch_size=1, libraries={}, commit="", files={})
    assert told.machine == machine_id() != ""


def test_recording_the_same_values_again_leaves_the_file_alone(store: BaselineStore) -> None:
    update(store, entry(0.1))
    before = found(store).file.read_bytes()
    assert update(store, entry(0.1), reason="again") == ()
    assert found(store).file.read_bytes() == before


# Updates


def test_only_what_was_measured_changes(store: BaselineStore) -> None:
    update(store, entry(0.1), entry(0.2, BF16))
    changes = update(store, entry(0.15), entry(0.3, metric="mrr_at_10"), reason="new calibration")
    assert format_changes(changes) == [
        (INT8, "passages", "mrr_at_10", None, 0.3, None),
        (INT8, "passages", "ndcg_at_10", 0.1, 0.15, pytest.approx(0.05)),
    ]
    entries = found(store).baseline.entries
    assert {place: (each.value, each.approval) for place, each in entries.items()} == {
        (INT8, "passages", "mrr_at_10"): (0.3, 2),
        (INT8, "passages", "ndcg_at_10"): (0.15, 2),
        (BF16, "passages", "ndcg_at_10"): (0.2, 1),
    }
    assert [(each.reason, each.changed) for each in found(store).baseline.approvals] == [
        ("first figures", 2),
        ("new calibration", 2),
    ]


def test_a_named_entry_is_removed(store: BaselineStore) -> None:
    update(store, entry(0.1), entry(0.2, metric="old_metric"))
    changes = update(store, entry(0.1), remove=[entry(metric="old_metric").key])
    assert format_changes(changes) == [(INT8, "passages", "old_metric", 0.2, None, None)]
    assert list(found(store).baseline.entries) == [(INT8, "passages", "ndcg_at_10")]


def test_other_weights_replace_everything_and_keep_the_approvals(store: BaselineStore) -> None:
    update(store, entry(0.1), entry(0.2, BF16))
    changes = update(store, entry(0.1), model=OTHER_WEIGHTS, reason="trained again")
    assert format_changes(changes) == [(BF16, "passages", "ndcg_at_10", 0.2, None, None)]
    served = store.find(AMX, OTHER_WEIGHTS)
    assert served is not None
    assert [(each.value, each.approval) for each in served.baseline.entries.values()] == [(0.1, 2)]
    assert [each.reason for each in served.baseline.approvals] == ["first figures", "trained again"]


def test_an_update_writes_its_own_profile_alone(store: BaselineStore) -> None:
    update(store, entry(0.1), profile=CPU)
    update(store, entry(0.2))
    assert [file.relative_to(store.folder).as_posix() for file in sorted(store.folder.rglob("*.json"))] == [
        "cpu/MiniLM.json",
        "cpu-x86_64-amx/MiniLM.json",
    ]


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_an_update_without_a_reason_is_refused(store: BaselineStore, reason: str) -> None:
    with pytest.raises(BaselineError) as caught:
        update(store, entry(), reason=reason)
    assert str(caught.value) == "a baseline is not updated without a reason; say why"
    assert not store.folder.exists()


def test_an_update_in_ci_is_refused_unless_allowed(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(BaselineError) as caught:
        update(store, entry())
    assert str(caught.value) == (
        "baselines are not updated in CI, where nobody sees the difference; "
        "record them on your own machine and commit them, or allow it: --gate-update-in-ci, --in-ci of approve"
    )
    assert not store.folder.exists()
    update(store, entry(), in_ci_allowed=True)
    monkeypatch.setenv("CI", "false")
    update(store, entry(0.9))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_recorded(store: BaselineStore, value: float) -> None:
    with pytest.raises(BaselineError) as caught:
        update(store, entry(0.5, BF16), entry(value))
    assert str(caught.value) == (
        f"ndcg_at_10 of onnxruntime-int8-cpu on passages is {value} [{value}, {value}]; "
        "only finite numbers can be a baseline; find out why the measurement failed"
    )
    assert not store.folder.exists()


def test_an_update_with_nothing_measured_is_refused(store: BaselineStore) -> None:
    update(store, entry())
    with pytest.raises(BaselineError) as caught:
        update(store, model=OTHER_WEIGHTS)
    assert str(caught.value) == ("nothing was measured that could be approved; see why the combinations did not run")
    assert found(store).baseline.entries


def test_an_interval_the_wrong_way_round_is_not_recorded(store: BaselineStore) -> None:
    with pytest.raises(BaselineError, match=r"ndcg_at_10 of onnxruntime-int8-cpu on passages is 0\.8 \[0\.9, 0\.7\]"):
        update(store, dataclasses.replace(entry(0.8), low=0.9, high=0.7))


# Baselines that are about something else


def test_a_baseline_of_other_weights_is_refused(store: BaselineStore) -> None:
    update(store, entry())
    with pytest.raises(BaselineError) as caught:
        store.find(AMX, OTHER_WEIGHTS)
    assert str(caught.value) == (
        f"{store.folder}/cpu-x86_64-amx/MiniLM.json was recorded for another model: other weights, tokenizer or module configs "
        "(fingerprint aaaaaaaaaaaa..., this model's is bbbbbbbbbbbb...); "
        f"gate the model it was recorded for, or record this one: {RECORD}"
    )


def test_a_changed_dataset_is_told_from_a_missing_entry(store: BaselineStore) -> None:
    update(store, entry())
    with pytest.raises(BaselineError) as caught:
        found(store).get(INT8, "passages", "e" * 64, "ndcg_at_10")
    assert str(caught.value) == (
        f"{store.folder}/cpu-x86_64-amx/MiniLM.json: passages changed since ndcg_at_10 of onnxruntime-int8-cpu was "
        "approved (SHA-256 cccccccccccc..., now eeeeeeeeeeee...); "
        f"restore the dataset, or record it anew: {RECORD}"
    )


def test_a_changed_dataset_is_recorded_in_the_place_of_the_old(store: BaselineStore) -> None:
    update(store, entry(0.5))
    update(store, entry(0.5, sha="e" * 64), reason="typos corrected")
    assert list(found(store).baseline.entries) == [(INT8, "passages", "ndcg_at_10")]
    assert found(store).get(INT8, "passages", "e" * 64, "ndcg_at_10") is not None


def test_stale_entries_are_named_within_what_was_run(store: BaselineStore) -> None:
    old = entry(metric="old_metric")
    update(store, entry(), old, entry(combination=BF16), entry(dataset="abstracts"))
    result = found(store)
    assert result.stale([entry().key], [INT8], ["passages"]) == (old,)
    assert result.stale([entry().key, old.key], [INT8], ["passages"]) == ()
    assert [each.key.dataset for each in result.stale([], [INT8], ["abstracts"])] == ["abstracts"]


# Files that cannot be trusted


def damaged(store: BaselineStore, damage: Callable[[str], str]) -> str:
    update(store, entry(), entry(combination=BF16))
    file = found(store).file
    file.write_text(damage(file.read_text()))
    with pytest.raises(BaselineError) as caught:
        store.find(AMX, MODEL)
    message = str(caught.value)
    after = file.read_bytes()
    with pytest.raises(BaselineError):
        update(store, entry(0.9))
    assert file.read_bytes() == after, "a file that cannot be read is not overwritten either"
    remedy = f"; restore it (git checkout -- {file}), or delete it and record it anew: {RECORD}"
    assert message.startswith(str(file))
    assert message.endswith(remedy)
    return message.removeprefix(str(file)).removesuffix(remedy)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda _: "", ":1:1 is no JSON: Expecting value"),
        (lambda _: "\0" * 10, ":1:1 is no JSON: Expecting value"),
        (lambda _: "[" * 100_000, " is corrupt: "),
        (lambda text: "<<<<<<< HEAD\n" + text, ":1:1 is no JSON: Expecting value"),
        (lambda text: text[: text.index('"value"') - 1], ":33:3 is no JSON: Expecting value"),
        (lambda _: "[]", " is corrupt: expected `object`, got `array`"),
        (lambda text: text.replace('"value": 0.8', '"value": NaN', 1), " is corrupt: it holds NaN, which is no number"),
        (
            lambda text: text.replace('"value": 0.8', '"value": 1e999', 1),
            " is corrupt: entries[0].value: number out of range",
        ),
        (
            lambda text: text.replace('"value": 0.8', '"value": "0.8"', 1),
            " is corrupt: entries[0].value: expected `float`, got `str`",
        ),
        (
            lambda text: text.replace('"value": 0.8', '"value": true', 1),
            " is corrupt: entries[0].value: expected `float`, got `bool`",
        ),
        (
            lambda text: text.replace('"n": 250', '"n": 2.5', 1),
            " is corrupt: entries[0].n: expected `int`, got `float`",
        ),
        (
            lambda text: text.replace("[0.79, 0.81]", "[0.81, 0.79]", 1),
            " is corrupt: entries[0].interval must have the lower end first",
        ),
        (
            lambda text: text.replace('"n": 250', '"n": 250, "n": 250', 1),
            " is corrupt: 'n' stands twice in one object",
        ),
        (lambda text: text.replace('"n": 250, ', "", 1), " is corrupt: entries[0].n is missing"),
        (
            lambda text: text.replace('"n": 250', '"n": 250, "m": 1', 1),
            " is corrupt: unknown key entries[0].m",
        ),
        (
            lambda text: text.replace("torch-bf16-cpu", "onnxruntime-int8-cpu"),
            " is corrupt: entries[1].metric has an entry already, for the same combination and dataset",
        ),
        (
            lambda text: text.replace('"approval": 1', '"approval": 2', 1),
            " is corrupt: entries[0].approval must be the number of an approval, 1 to 1",
        ),
        (lambda text: text.replace('"number": 1', '"number": 7'), " is corrupt: approvals[0].number must be 1"),
        (
            lambda text: text.replace('"threads": 2', '"threads": null'),
            " is corrupt: approvals[0].provenance.threads: expected `int`, got `null`",
        ),
        (
            lambda text: text.replace('"torch": "2.13.0"', '"torch": 2.13'),
            " is corrupt: approvals[0].provenance.libraries[...]: expected `str`, got `float`",
        ),
        (lambda text: text.replace('"fingerprint": "a', '"weights": "a'), " is corrupt: unknown key model.weights"),
        (lambda text: text.replace('"schema": 3', '"schema": 0'), " is corrupt: schema must be 1 to 3"),
    ],
)
def test_a_damaged_file_is_refused(store: BaselineStore, damage: Callable[[str], str], cause: str) -> None:
    assert damaged(store, damage).startswith(cause)


def test_a_file_that_ends_early_is_refused_wherever_it_ends(store: BaselineStore) -> None:
    update(store, entry(), entry(combination=BF16))
    file = found(store).file
    whole = file.read_bytes()
    for length in range(len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(BaselineError, match="is no JSON"):
            read(file)


def test_bytes_that_are_no_text_are_refused(store: BaselineStore) -> None:
    update(store, entry())
    found(store).file.write_bytes(b"\xff\xfe")
    with pytest.raises(BaselineError, match="cannot be read: 'utf-8' codec can't decode"):
        store.find(AMX, MODEL)


def test_a_file_of_a_newer_embedgate_is_refused(store: BaselineStore) -> None:
    file = store.file("cpu", "MiniLM")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"schema": 4, "other": "form"}))
    with pytest.raises(BaselineError) as caught:
        store.find(AMX, MODEL)
    assert str(caught.value) == (
        f"{file} was written by a newer embedgate (schema 4, this one reads 3); upgrade embedgate"
    )


@pytest.mark.parametrize("name", ["..", ".hidden", "", "a/b", "/etc/passwd", "a\\b", "a\n"])
def test_a_name_that_leads_elsewhere_is_refused(store: BaselineStore, name: str) -> None:
    with pytest.raises(BaselineError) as caught:
        store.find(AMX, msgspec.structs.replace(MODEL, name=name))
    assert str(caught.value) == (
        f"{name!r} cannot name a baseline; use letters, digits, '_', '-' and '.', not '.' first"
    )


def test_a_link_that_leads_out_is_refused(store: BaselineStore, tmp_path: Path) -> None:
    store.folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (store.folder / "cpu").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(BaselineError) as caught:
        update(store, entry(), profile=CPU)
    assert str(caught.value) == (
        f"{store.folder}/cpu/MiniLM.json leads out of {store.folder}; replace the link by a folder or file"
    )
    assert not list((tmp_path / "elsewhere").iterdir())


# Crashes and second writers


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_trouble_while_writing_leaves_the_old_file(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    update(store, entry(0.1))
    file = found(store).file
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(BaselineError) as caught:
        update(store, entry(0.2))
    place = store.folder / ".approving" if step == "open" else file
    assert str(caught.value) == (
        f"{place} cannot be written: No space left on device; free some space, or name another folder of baselines"
    )
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["MiniLM.json"]
    assert os.listdir(store.folder) == [file.parent.name]


def test_the_mode_of_the_file_is_kept(store: BaselineStore) -> None:
    update(store, entry(0.1))
    file = found(store).file
    file.chmod(0o640)
    update(store, entry(0.2))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


WRITER = """
import os, resource, signal, sys, time
from pathlib import Path
sys.path[:0] = [{source!r}, {tests!r}, {here!r}]
from test_store import entry, update
from embedgate.approved import baseline as store_module
store = store_module.BaselineStore(Path({folder!r}))
"""
ENDLESSLY = """
count = 0
while True:
    count += 1
    update(store, *(entry(count % 1000 / 1000, metric=f"metric_{i}") for i in range(200)), reason="again")
    if count == 1:
        print("started", flush=True)
"""
# The kernel kills the process after that many bytes of the new file.
KILLED_AFTER_BYTES = """
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
update(store, entry(0.2))
"""
KILLED_IN = """
os.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
update(store, entry(0.2))
"""
# Reading takes long, so that without a lock both writers would start from the same old file.
TWENTY = """
quick = store_module.read
def slow(file):
    found = quick(file)
    time.sleep(0.01)
    return found
store_module.read = slow
for i in range(20):
    update(store, entry(i / 100, metric=f"{name}_{{i}}"), reason="one more")
"""


def writer(store: BaselineStore, body: str) -> subprocess.Popen[str]:
    start = WRITER.format(
        source=str(Path(embedgate.__file__).parents[1]),
        tests=str(TESTS),
        here=str(Path(__file__).parent),
        folder=str(store.folder),
    )
    return subprocess.Popen([sys.executable, "-c", start + body], stdout=subprocess.PIPE, text=True)


def test_a_killed_update_leaves_the_old_or_the_new_file(store: BaselineStore) -> None:
    for milliseconds in (0, 3, 11, 29):
        process = writer(store, ENDLESSLY)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        values = {each.value for each in found(store).baseline.entries.values()}
        assert len(found(store).baseline.entries) == 200
        assert len(values) == 1, "all entries are of one update"
    update(store, entry(0.5), reason="after the crash")
    assert os.listdir(found(store).file.parent) == ["MiniLM.json"]
    assert len(os.listdir(store.folder)) == 1


@pytest.mark.parametrize(
    ("moment", "cause"),
    [
        (KILLED_AFTER_BYTES.format(bytes=0), signal.SIGXFSZ),
        (KILLED_AFTER_BYTES.format(bytes=700), signal.SIGXFSZ),
        (KILLED_IN.format(step="fsync"), signal.SIGKILL),
        (KILLED_IN.format(step="replace"), signal.SIGKILL),
    ],
    ids=["empty", "half written", "before fsync", "before replace"],
)
def test_an_update_killed_before_its_end_leaves_the_old_file(
    store: BaselineStore, moment: str, cause: signal.Signals
) -> None:
    update(store, entry(0.1))
    before = found(store).file.read_bytes()
    assert len(before) > 700
    assert writer(store, moment).wait(60) == -cause
    assert found(store).file.read_bytes() == before
    update(store, entry(0.3), reason="after the crash")
    assert os.listdir(found(store).file.parent) == ["MiniLM.json"]


def test_two_writers_at_once_lose_no_update(store: BaselineStore) -> None:
    processes = [writer(store, TWENTY.format(name=name)) for name in ("one", "two")]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(found(store).baseline.entries) == 40
    assert [each.number for each in found(store).baseline.approvals] == list(range(1, 41))


@pytest.mark.parametrize(
    ("metric", "number", "sign", "told"),
    [
        ("ndcg_at_10", 0.5, "", "0.5000"),
        ("ndcg_at_10", -0.5, "+", "-0.5000"),
        ("memory_peak", 310_350_000, "", "310.35 MB"),
        ("weight_bytes", 1_000_000, "+", "+1.00 MB"),
        ("weight_bytes", None, "+", ""),
    ],
)
def test_changes_are_shown_in_a_persons_units(metric, number, sign, told):
    assert store_module.shown(metric, number, sign) == told

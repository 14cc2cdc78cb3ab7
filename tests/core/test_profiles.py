"""A session on two devices: each combination has its own device's hardware profile, baselines and budgets."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from helpers import stub_devices
from helpers.paths import TESTS

from embedgate.approved.expected_failures import Expectations, Expected
from embedgate.checks import CheckRegistry
from embedgate.checks.approvals import Approvals
from embedgate.checks.facts import facts_of
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Judgement
from embedgate.core.machine import Machine, detect, profile
from embedgate.core.profiles import Profiles
from embedgate.encoders import gpu
from embedgate.report import html, markdown, terminal
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.facts import facts_together

summarise = partial(summaries.summarise, known=CheckRegistry().known)

CPU, CUDA = Combination.parse("torch-bf16-cpu"), Combination.parse("torch-fp16-cuda")
BOX = Machine("a CPU", "x86_64", ("avx2",), 8, 2**34, "Linux 6", "3.12.1")


@pytest.fixture
def context(context_with, few, tmp_path, monkeypatch):
    """Makes a context of stubs on a CPU and a GPU."""
    made = []

    def make(*ids, gpu=stub_devices.GPU, **options):
        stub_devices.install(monkeypatch, gpu=gpu)
        options = {"baselines": tmp_path / "approved", "reason": "first", **options}
        found = context_with(data=(str(few),), combinations=ids, **options)
        found.session.machine = BOX
        made.append(found)
        return found

    yield make
    for found in made:
        found.close()


@pytest.fixture
def both(context):
    """Makes a context of a CPU's and a GPU's combinations, which have run."""

    def make(**options):
        found = context("torch-*-cpu", "torch-fp*-cuda", **options)
        for combination in found.plan.combinations:
            found.session.run(combination)
            found.ask("baseline", combination)
            found.ask("golden", combination)
        return found

    return make


def files(tmp_path):
    approved = tmp_path / "approved"
    return sorted(str(file.relative_to(approved)) for file in approved.rglob("*") if file.is_file())


def test_each_device_has_the_profile_of_its_own(context):
    found = context("*")
    assert found.profile_of(CPU).name == "cpu-x86_64-avx2"
    assert found.profile_of(CUDA).chain == ("nvidia-h200", "nvidia")


def test_a_named_profile_is_that_of_every_combination(context):
    found = context("*", profile="acme-box")
    assert found.profile_of(CPU) == found.profile_of(CUDA) == profile("acme-box")


def test_the_gpu_is_asked_for_its_name_only_where_a_combination_computes_on_it(context, monkeypatch):
    found = context("*")
    monkeypatch.setattr(gpu, "name", lambda: pytest.fail("it was asked"))
    monkeypatch.setattr(gpu, "versions", lambda: pytest.fail("it was asked"))
    found.session.run(CPU)
    found.profile_of(CPU)
    facts = facts_of(found)
    assert (facts["profile"], facts["machine"]["gpu"]) == ("cpu-x86_64-avx2", None)
    assert CUDA.id not in facts["profiles"]


def test_a_gpu_that_tells_no_name_is_never_taken_for_the_cpu(context):
    assert context("*", gpu=None).profile_of(CUDA).name == "nvidia"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H200", "nvidia-h200"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm4-80gb"),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "nvidia-h100-80gb-hbm3-mig-1g-10gb"),
        ("NVIDIA GH200 480GB", "nvidia-gh200-480gb"),
    ],
)
def test_names_of_gpus_are_names_of_profiles(name, expected):
    found = Profiles(None, lambda _: replace(BOX, gpu=name)).of(CUDA)
    assert found == profile(expected) == detect(replace(BOX, gpu=name))


class TestBaselines:
    def test_one_update_writes_the_files_of_both_profiles(self, both, tmp_path):
        found = both(update=True)
        rows = found.of(Approvals).update()
        assert files(tmp_path) == [
            f"{name}/small.{suffix}"
            for name in ("cpu-x86_64-avx2", "nvidia-h200")
            for suffix in ("golden.safetensors", "json")
        ]
        assert {row[0] for row in rows} == {combination.id for combination in found.plan.combinations}
        for name, device in (("cpu-x86_64-avx2", "cpu"), ("nvidia-h200", "cuda")):
            content = json.loads((tmp_path / "approved" / name / "small.json").read_text())
            assert {entry["combination"].rpartition("-")[2] for entry in content["entries"]} == {device}

    def test_provenance_of_a_gpu_names_it_its_driver_and_the_cpu(self, both, tmp_path):
        both(update=True).of(Approvals).update()

        def provenance(name):
            content = json.loads((tmp_path / "approved" / name / "small.json").read_text())
            return content["approvals"][0]["provenance"]

        on_gpu, on_cpu = provenance("nvidia-h200"), provenance("cpu-x86_64-avx2")
        assert (on_gpu["gpu"], on_gpu["cpu"], on_gpu["libraries"]["cuda"]) == ("NVIDIA H200", "a CPU", "13.0")
        assert on_gpu["libraries"]["nvidia-driver"] == "580.65.06"
        assert on_cpu["gpu"] is None
        assert "cuda" not in on_cpu["libraries"]

    def test_what_was_approved_is_found_by_each_combination(self, both):
        both(update=True).of(Approvals).update()
        found = both()
        for combination, name in ((CPU, "cpu-x86_64-avx2"), (CUDA, "nvidia-h200")):
            for judgement in (found.ask("baseline", combination), found.ask("golden", combination)):
                assert judgement.verdict == "pass", judgement.explain()
                assert name in judgement.message
        assert found.of(Approvals).stale_keys() == []

    def test_what_is_missing_is_missing_of_the_devices_profile(self, both):
        found = both(invocation=("-m", "gpu"))
        judgement = found.ask("baseline", CUDA)
        assert judgement.message == "no baseline of small is approved for nvidia-h200 or nvidia"
        assert "pytest -m gpu --gate-update" in judgement.diagnosis.next_step
        assert "for cpu-x86_64-avx2 or" in found.ask("golden", CPU).message

    @pytest.mark.parametrize("suffix", ["json", "golden.safetensors"])
    def test_a_file_that_cannot_be_trusted_keeps_the_other_as_it_was(self, both, tmp_path, suffix):
        broken = tmp_path / f"approved/nvidia-h200/small.{suffix}"
        broken.parent.mkdir(parents=True)
        broken.write_text("{")
        with pytest.raises(BaselineError, match=r"is no JSON|is corrupt"):
            both(update=True).of(Approvals).update()
        assert files(tmp_path) == [f"nvidia-h200/small.{suffix}"]

    def test_a_stale_entry_is_looked_for_in_its_own_profile(self, both, tmp_path):
        both(update=True).of(Approvals).update()
        file = tmp_path / "approved/nvidia-h200/small.json"
        content = json.loads(file.read_text())
        entry = next(e for e in content["entries"] if e["combination"] == CUDA.id and e["dataset"] == "mine")
        content["entries"].append({**entry, "metric": "bygone"})
        file.write_text(json.dumps(content))
        assert [(key.combination, key.metric) for key in both().of(Approvals).stale_keys()] == [(CUDA.id, "bygone")]


class TestExpectations:
    ENTRY = Expected("torch-*", "*", "retention", "known-defect", "why", "https://example.com/1", profile="nvidia-*")

    def test_an_entry_about_a_gpu_is_about_what_runs_there(self, context, tmp_path):
        found = context("*")
        found.expectations = Expectations(tmp_path, [self.ENTRY])
        failed = Judgement("retention", CPU.id, "fail", "", "mine", "spearman")
        assert found.expected(failed) is None
        assert found.expected(replace(failed, combination=CUDA.id)) is self.ENTRY

    def complaints(self, **profiles):
        judged = [Judgement("retention", id_, "pass", "", "mine", "spearman") for id_ in (CPU.id, CUDA.id)]
        subject = ("retention", "mine", "spearman")
        return Expectations(None, [self.ENTRY]).complaints(
            judged,
            known=[CPU.id, CUDA.id],
            subjects={CPU.id: [subject], CUDA.id: [subject]},
            datasets=["mine"],
            all_datasets=True,
            profiles={CPU.id: profile("cpu"), **profiles},
        )

    def test_complaints_hold_each_combination_against_its_own_profile(self):
        (line,) = self.complaints(**{CUDA.id: profile("nvidia-h200")})
        assert "no longer fails" in line

    def test_an_entry_about_a_gpu_that_nothing_ran_on_is_left_alone(self):
        assert self.complaints() == []


class TestReports:
    def test_a_session_on_two_devices_names_both(self, both):
        facts = facts_of(both())
        assert facts["profile"] == "cpu-x86_64-avx2 + nvidia-h200"
        assert facts["profiles"][CUDA.id] == "nvidia-h200"
        assert facts["machine"]["gpu"] == "NVIDIA H200"
        summary = summarise(Collector(facts=facts))
        assert "on cpu-x86_64-avx2 + nvidia-h200 (a CPU, NVIDIA H200)" in terminal.render(summary)
        assert "`cpu-x86_64-avx2 + nvidia-h200`" in markdown.render(summary)
        assert "(a CPU, NVIDIA H200)" in html.render(summary)

    def test_processes_of_pytest_xdist_tell_together_what_they_ran_on(self, context):
        parts = []
        for ids, name in (((CPU.id,), None), ((CUDA.id,), "NVIDIA L4"), ((CUDA.id,), "Tesla T4")):
            found = context(*ids, gpu=name)
            found.session.run(found.plan.combinations[0])
            parts.append(facts_of(found))
        facts = facts_together(facts_together(facts_together({}, parts[0]), parts[1]), parts[2])
        assert facts["profile"] == "cpu-x86_64-avx2 + nvidia-l4 + nvidia-tesla-t4"
        assert facts["machine"]["gpu"] == "NVIDIA L4 + Tesla T4"
        assert facts["profiles"][CPU.id] == "cpu-x86_64-avx2"
        assert facts["libraries"]["cuda"] == "13.0"


def test_torch_and_the_driver_tell_name_and_versions(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA H200 {device}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(gpu.nvml, "driver_version", lambda: None)
    assert gpu.name() == "NVIDIA H200 0"
    assert gpu.versions() == {"cuda": "13.0"}
    for line in (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n",
    ):
        gpu.DRIVER.write_text(line)
        assert gpu.versions()["nvidia-driver"] in ("550.54.15", "580.65.06")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.name() is None


@pytest.mark.slow("two processes report the hardware profiles of both devices")
def test_two_processes_of_pytest_xdist_report_both_profiles(project, few, warm):
    project.makeconftest(
        f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n"
        "import pytest\nfrom helpers import stub_devices\nstub_devices.install(pytest.MonkeyPatch())\n"
    )
    arguments = ["-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup", "--gate-report=out"]
    arguments += [f"--gate-data={few}"]
    arguments += ["--gate-combination", CPU.id, "--gate-combination", CUDA.id]
    result = project.runpytest_subprocess(*arguments, "--pyargs", "embedgate.suites.test_effective")
    result.assert_outcomes(passed=2)
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert set(report["profile"].split(" + ")) == {report["profiles"][CPU.id], "nvidia-h200"}
    assert report["profiles"][CUDA.id] == "nvidia-h200"
    assert report["machine"]["gpu"] == "NVIDIA H200"

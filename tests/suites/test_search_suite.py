"""The suite of stored vectors as a host project runs it: its own engine, ranges of production, and the reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.paths import TESTS
from helpers.search_faults import few_passages

from embedgate.core.settings import bundled_baselines

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
from helpers.search_faults import Exact, Shuffled

def pytest_gate_engines(registry):
    registry.add("acme", Exact)
    registry.add("acme-shuffled", Shuffled)
"""
SUITE = ("--pyargs", "embedgate.suites.test_search", "-m", "not budget", "--gate-combination", "torch-fp32-cpu")


@pytest.fixture
def project(project):
    few_passages(project.path / "few")
    project.makeconftest(CONFTEST.format(tests=str(TESTS)))
    return project


class TestOfTheRealModel:
    """Codes of 8 bits do not tell the small model's embeddings apart as they do a real one's."""

    @pytest.fixture(scope="class")
    def model(self, minilm):
        return minilm

    @pytest.mark.slow("a host project's search engines are judged, and reports have them")
    def test_a_host_projects_engines_are_judged_beside_the_usual_ones(self, project):
        done = project.runpytest_inprocess(
            *SUITE, "--gate-data=few", "--gate-report=out", "--gate-engine=acme*", "--gate-engine=*-exact-int8"
        )
        done.assert_outcomes(failed=1, passed=5 + 17 + 34 + 3)
        done.stdout.fnmatch_lines(
            [
                "*storage*bytes/vector*kept*",
                "float16*768*100.0%*",
                "int8-rescore4*384*",
                "binary*48*",
                "*acme-shuffled keeps*of the ten that exact float32 search by cosine finds*",
                "*cause: ids: documents are shuffled against their ids: of *, * are found by their own vectors*",
                "*next step: see how rows of vectors come to the ids*",
                "verdict: fail",
            ]
        )
        report = json.loads((project.path / "out/report.json").read_text())
        run = report["combinations"][0]["run"]
        assert run["indexes"]["faiss-exact-int8"]["bytes_per_vector"] == 384
        assert run["indexes"]["usearch-exact-int8"]["found"] == 1
        for name in ("report.md", "report.html"):
            assert "int8-rescore4" in (project.path / "out" / name).read_text("utf-8")


def test_an_update_approves_no_ranges_from_a_file(project):
    done = project.runpytest_inprocess(*SUITE, "--gate-update", "--gate-reason", "x", "--gate-ranges=ranges.npy")
    assert "--gate-update approves ranges of its own: leave --gate-ranges out" in done.stderr.str()


def test_ranges_of_production_are_held_against_the_vectors(project):
    np.save(project.path / "ranges.npy", np.stack([np.full(384, -0.05), np.full(384, 0.05)]).astype(np.float32))
    done = project.runpytest_inprocess(*SUITE, "--gate-data=few", "--gate-ranges=ranges.npy", "-k", "say_what and int8")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*ranges cut off *% of the values: taken from too few or other vectors*"])


@pytest.mark.slow("ranges of codes are approved, and a later session with other data uses them")
def test_ranges_are_approved_and_what_is_stored_later_is_held_against_them(project):
    """As an index has them: a later run uses them whatever its data."""
    approve = ("--gate-baselines=gate", "--gate-update", "--gate-reason", "first", "-p", "no:cacheprovider")
    done = project.runpytest_inprocess(*SUITE, "--gate-data=few", *approve, "-k", "say_what")
    done.assert_outcomes(passed=5)
    done.stdout.fnmatch_lines(["torch-fp32-cpu*ranges*of 8-bit codes*recorded*"])
    files = {file.name for file in (project.path / "gate").glob("*/*.ranges.safetensors")}
    assert files == {"small.ranges.safetensors"}
    done = project.runpytest_inprocess(*SUITE, "--gate-data=few", "--gate-baselines=gate", "-k", "say_what", "-v")
    done.assert_outcomes(passed=5)
    other = project.runpytest_inprocess(
        *SUITE, "--gate-data=triplets", "--gate-baselines=gate", "-k", "say_what and uint8", "--gate-report=out"
    )
    judged = json.loads((project.path / "out/report.json").read_text())["combinations"][0]["judgements"]
    assert "approved for " in judged[0]["message"], other.stdout.str()


@pytest.mark.slow("approved values without their ranges are red, in every profile")
def test_approved_ranges_that_are_gone_are_told(project):
    """Values by them are approved: without them, an index and its queries would have other codes."""
    everything = ("--pyargs", "embedgate.suites", "--gate-combination", "torch-fp32-cpu", "--gate-data=few")
    own = ("--gate-baselines=gate", "-k", "what_was_approved and not golden")
    approve = ("--gate-update", "--gate-reason", "first")
    project.runpytest_inprocess(*everything, *own, *approve).assert_outcomes(passed=1)
    project.runpytest_inprocess(*everything, *own).assert_outcomes(passed=1)
    (file,) = (project.path / "gate").glob("*/*.ranges.safetensors")
    file.unlink()
    done = project.runpytest_inprocess(*everything, *own)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*ranges of torch-fp32-cpu were approved and are missing: *.ranges.safetensors*"])
    # So they are where a nearer profile has approved something else.
    general, near = project.path / "gate/cpu", project.path / "gate/cpu-x86_64"
    file.parent.rename(general)
    near.mkdir()
    (approved,) = general.glob("*.json")
    (near / approved.name).write_text(json.dumps(json.loads(approved.read_text("utf-8")) | {"entries": []}), "utf-8")
    done = project.runpytest_inprocess(*everything, *own, "--gate-profile=cpu-x86_64")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*ranges of torch-fp32-cpu were approved and are missing: *gate/cpu/*.ranges.safetensors*"]
    )


@pytest.mark.slow("an update of storages leaves mixtures as they are, and the other way round")
def test_an_update_of_a_part_leaves_the_rest_as_it_is(project):
    """Mixtures stay where only storages were measured, and the other way round; and budgets alone touch neither."""
    approve = (
        "--gate-data=few",
        "--gate-corpus-size=1000",
        "--gate-baselines=gate",
        "--gate-update",
        "--gate-reason",
        "first",
    )
    both = ("--gate-combination", "onnxruntime-fp32-cpu", "--gate-depth=nightly")  # which searches of candidates, too
    storages = "finds_what_float32 and (float16 or float32queries)"  # which keep enough, whatever the model
    done = project.runpytest_inprocess(*SUITE, *both, *approve, "-k", f"({storages}) or mixes")
    done.assert_outcomes(passed=2 * 2 + 6)
    (file,) = (project.path / "gate").glob("*/*.json")
    before = json.loads(file.read_text())["entries"]
    assert sum("@mixed-" in entry["dataset"] for entry in before) == 6
    for chosen in (storages, "mixes"):
        project.runpytest_inprocess(*SUITE, *both, *approve, "-k", chosen)
        assert json.loads(file.read_text())["entries"] == before, chosen


@pytest.mark.slow("expected failures of stored vectors do not fail the build")
def test_expected_failures_of_stored_vectors_are_met(project):
    own = project.path / "gate"
    own.mkdir()
    tolerances = (bundled_baselines() / "tolerances.toml").read_text("utf-8")
    strict = tolerances.replace("[stored.binary]\nkept_at_10 = 0.55", "[stored.binary]\nkept_at_10 = 0.99")
    assert strict != tolerances
    (own / "tolerances.toml").write_text(strict, "utf-8")
    entry = {
        "combination": "torch-*",
        "dataset": "corpus-*@binary*",
        "check": "search",
        "metric": "kept_at_10",
        "kind": "not-supported",
        "reason": "one bit is what we can pay",
        "link": "https://example.org/1",
    }
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    (own / "expected_failures.toml").write_text(f"[[expected]]\n{lines}", "utf-8")
    chosen = ("--gate-data=few", "--gate-baselines=gate", "-k", "finds_what_float32 and binary")
    done = project.runpytest_inprocess(*SUITE, *chosen)
    done.assert_outcomes(xfailed=2, passed=3)
    assert done.ret == 0, done.stdout.str()


def test_an_engine_that_cannot_hold_the_collection_is_skipped_with_the_reason(project):
    many = ("--gate-data=few", "--gate-corpus-size=20001", "--gate-engine=qdrant-exact-float32", "-k", "engine_finds")
    done = project.runpytest_inprocess(*SUITE, *many)
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*skipped: Qdrant's embedded mode takes 20,000 documents, not 20,001*"])


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        ("--gate-corpus-size=99", "--gate-corpus-size must be a whole number from 100, not '99'"),
        ("--gate-dims=384", "384 of 384 dimensions are to be kept; give --gate-dims fewer than that"),
        (
            "--gate-corpus-size=1000000000",
            "1,000,000,000 vectors of 384 dimensions need about ",
        ),
        ("--gate-dims=x", "--gate-dims must be a whole number from 1"),
        ("--gate-engine=fais-*", "no engine matches 'fais-*'"),
        ("--gate-ranges=nowhere.npy", "nowhere.npy is missing: save ranges [2, dim] by numpy.save"),
        ("--gate-ranges=narrow.npy", "narrow.npy holds float32 (2, 8), not the ranges of 384 dimensions"),
    ],
)
def test_what_means_nothing_is_told_in_one_line(project, option, cause):
    np.save(project.path / "narrow.npy", np.zeros((2, 8), np.float32))
    done = project.runpytest_inprocess(*SUITE, "--gate-data=few", option, "-k", "say_what")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    text = done.stdout.str() + done.stderr.str()
    assert text.count(cause) == 1, "told once, and not by every check"
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text

"""The suites of properties as a user meets them: reproduction, pinning, options, golden drift, host settings."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest

from embedgate.encoders import loading
from embedgate.encoders.torch import encoder as torch_backend
from embedgate.properties import explore
from embedgate.runtime import session
from embedgate.sentences.relations import RELATIONS

SUITES = ("-p", "no:cacheprovider", "--pyargs")
ORDERING, INVARIANCE, CONTRACT, GOLDEN = (
    f"embedgate.suites.test_{name}" for name in ("ordering", "invariance", "contract", "golden")
)
BASE = """
import numpy as np

def load(path):
    import torch
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32})
"""
# It reads the last clause of a sentence alone: to it, sentences that end alike are the same.
FORGETTING = (
    BASE
    + """
class Forgetting:
    def __init__(self, path):
        self.model = load(path)

    def encode(self, texts, batch_size=32):
        return self.model.encode([text.rpartition(", ")[2] for text in texts], batch_size=batch_size)

def pytest_gate_combinations(registry):
    registry.add("acme-int8-cpu", lambda path, device: Forgetting(path))
"""
)


@pytest.fixture
def project(project, few_cases):
    rows = [
        {"sentence1": "A dog runs.", "sentence2": "A dog is running.", "score": 5},
        {"sentence1": "A dog runs.", "sentence2": "Prices fell.", "score": 0},
        {"sentence1": "She bakes bread.", "sentence2": "She makes bread.", "score": 4},
    ]
    project.path.joinpath("mine.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return project


def run(project, *options: str, combination: str = "onnxruntime-fp32-cpu"):
    given = ("--gate-data", "mine.jsonl", "--gate-combination", combination, "--gate-baselines", "approved")
    return project.runpytest_inprocess(*SUITES, *options, *given)


def lines_of(result, start: str) -> list[str]:
    return [line.strip() for line in result.outlines if line.strip().startswith(start)]


def test_a_broken_order_is_reproduced_and_pinned_by_the_lines_it_prints(project):
    project.makeconftest(FORGETTING)
    project.path.joinpath("approved").mkdir()
    project.path.joinpath("approved/pinned_examples.jsonl").touch()  # instead of embedgate's own
    result = run(project, ORDERING, "-k", "test_keeps_the_order", combination="acme-*")
    result.assert_outcomes(failed=1)
    (relation,) = set(re.findall(r"reverses the order of two similarities \((\w+)\)", result.stdout.str()))
    assert relation in RELATIONS
    command = shlex.split(lines_of(result, "reproduce: ")[0].removeprefix("reproduce: "))
    assert command[0] == "pytest"
    example = json.loads(command[command.index("--gate-example") + 1])
    assert len(example) == 3

    again = project.runpytest_inprocess(*command[1:])
    again.assert_outcomes(failed=1)
    assert json.dumps(example) in lines_of(again, "reproduce: ")[0]

    pin = lines_of(result, "try it first from now on: ")[0].removeprefix("try it first from now on: ")
    words = shlex.split(pin)
    assert words[:2] == ["printf", "%s\\n"]
    subprocess.run(["sh", "-c", pin], check=True, cwd=project.path)
    pinned = run(project, ORDERING, "-k", "test_keeps_the_order", combination="acme-*")
    pinned.assert_outcomes(failed=1)
    pinned.stdout.fnmatch_lines(["*two similarities (pinned)*"])


def test_a_broken_variation_is_reproduced_by_the_line_it_prints(project):
    project.makeconftest(
        BASE
        + """
class Leaking:
    def __init__(self, path):
        self.model = load(path)

    def encode(self, texts, batch_size=32):
        rows = self.model.encode(list(texts), batch_size=batch_size)
        return (rows + 0.1 * rows.mean(axis=0)).astype(np.float32)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Leaking(path))
"""
    )
    result = run(project, INVARIANCE, "-k", "neighbours or padding", combination="acme-*")
    result.assert_outcomes(failed=2)
    commands = [
        shlex.split(line.removeprefix("reproduce: ")) for line in dict.fromkeys(lines_of(result, "reproduce: "))
    ]
    for command in commands:
        again = project.runpytest_inprocess(*command[1:])
        again.assert_outcomes(failed=1)


def test_one_missing_normalize_is_one_finding_and_explained_once(project):
    project.makeconftest(
        BASE
        + """
class Unnormalised:
    def __init__(self, path):
        from sentence_transformers import SentenceTransformer
        self.model = SentenceTransformer(modules=list(load(path))[:2], device="cpu")

    def encode(self, texts, batch_size=32):
        return self.model.encode(list(texts), batch_size=batch_size)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Unnormalised(path))
"""
    )
    canaries = ("empty", "one_token", "emoji")
    given = ("-k", f"test_takes_odd_texts and ({' or '.join(canaries)})", "--gate-report", "out")
    result = run(project, CONTRACT, *given, combination="acme-*")
    result.assert_outcomes(failed=len(canaries))
    blocks, _, rest = result.stdout.str().partition("= embedgate =")
    assert blocks.count("with no normalisation: cosine 1.0000") == len(canaries)
    assert blocks.count("next step: ") == 1
    assert blocks.count("cause: as above: normalisation") == len(canaries) - 1
    assert blocks.count("gives an embedding of length") == len(canaries)
    section = rest.partition("short test summary")[0]
    page, table = (project.path.joinpath(f"out/report.{kind}").read_text() for kind in ("html", "md"))
    assert section.count("next step:") == section.count("reproduce: ") == 1
    assert page.count('class="finding is-fail"') == 1
    for told in (section, table):
        assert told.count("cause: ") == 1
        assert told.count("also ") == len(canaries) - 1


@pytest.mark.slow("the printed commands reproduce a failure of a large batch, and pin odd texts as they are")
def test_a_large_batch_is_reproduced_and_odd_texts_are_pinned_as_they_are(project):
    project.makeconftest(
        BASE
        + """
class Swapping:
    def __init__(self, path):
        self.model = load(path)

    def encode(self, texts, batch_size=32):
        rows = self.model.encode(list(texts), batch_size=batch_size)
        if len(texts) > 32 and batch_size > 32:
            rows[[0, 1]] = rows[[1, 0]]
        return rows * (np.nan if any("\\n" in text for text in texts if len(text) < 20) else 1)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Swapping(path))
"""
    )
    result = run(project, INVARIANCE, "-k", "batch_size", "--gate-update", "--gate-reason", "new", combination="acme-*")
    result.assert_outcomes(failed=1)
    command = shlex.split(lines_of(result, "reproduce: ")[0].removeprefix("reproduce: "))
    assert "--gate-update" not in command
    assert "new" not in command
    assert len(json.loads(command[command.index("--gate-example") + 1])) == 33
    project.runpytest_inprocess(*command[1:]).assert_outcomes(failed=1)

    odd = run(project, CONTRACT, "-k", "test_takes_any_text", combination="acme-*")
    odd.assert_outcomes(failed=1)
    project.path.joinpath("approved").mkdir(exist_ok=True)
    pin = lines_of(odd, "try it first from now on: ")[0].removeprefix("try it first from now on: ")
    subprocess.run(["sh", "-c", pin], check=True, cwd=project.path)
    (line,) = project.path.joinpath("approved/pinned_examples.jsonl").read_text().splitlines()
    assert "\n" in json.loads(line)["texts"][0]


@pytest.mark.slow("the session after a native crash names the combination and the test that crashed")
def test_a_native_crash_in_a_check_is_named_by_the_next_session(project, warm):
    project.makeconftest(
        BASE
        + """
class Crashing:
    def __init__(self, path):
        self.model = load(path)

    def encode(self, texts, batch_size=32):
        if list(texts) == [""]:
            import os
            os.kill(os.getpid(), 9)
        return self.model.encode(list(texts), batch_size=batch_size)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Crashing(path))
"""
    )
    given = ("--gate-data", "mine.jsonl", "--gate-combination", "acme-*", "--gate-isolate=off")
    crashed = project.runpytest_subprocess(*SUITES, CONTRACT, "-k", "empty", *given)
    assert crashed.ret == -9
    result = run(project, CONTRACT, "-k", "one_token", combination="onnxruntime-fp32-cpu")
    result.stdout.fnmatch_lines(["*an earlier session ended abruptly*in acme-fp32-cpu: test_takes_odd_texts*empty*"])


def test_report_carries_examples_and_the_table_its_columns(project):
    project.makeconftest(FORGETTING)
    options = (ORDERING, INVARIANCE, "-k", "order or similarity or orders or batch_size", "--gate-report", "out")
    result = run(project, *options, combination="acme-*")
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    (row,) = report["combinations"]
    broken = next(j for j in row["judgements"] if j["metric"] == "margin")
    assert len(broken["example"]) == 3
    assert broken["diagnosis"]["layer"]
    result.stdout.fnmatch_lines(["*order*largest*", "*kept*move*", "acme-int8-cpu*fail*%*"])
    page = project.path.joinpath("out/report.md").read_text()
    assert "### What ran" in page


@pytest.mark.slow("golden texts are approved, hold, and name the stage at which an upgraded library moves them")
def test_golden_texts_are_approved_and_drift_of_the_reference_is_named(project, monkeypatch):
    missing = run(project, GOLDEN)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*no golden texts*are approved for*", '*--gate-update --gate-reason "..."*'])
    recording = run(project, GOLDEN, "--gate-update", "--gate-reason", "first", combination="*-fp32-cpu")
    recording.assert_outcomes(passed=3)
    recording.stdout.fnmatch_lines(["onnxruntime-fp32-cpu*golden*tokens and embeddings*recorded*"])
    run(project, GOLDEN, combination="*-fp32-cpu").assert_outcomes(passed=3)

    load = loading.load

    def upgraded(*args, **kwargs):
        """As a tokenizers release that drops special tokens would load it."""
        from tokenizers.processors import TemplateProcessing

        model = load(*args, **kwargs)
        bare = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        model.tokenizer.backend_tokenizer.post_processor = bare
        return model

    monkeypatch.setattr(torch_backend, "load", upgraded)
    monkeypatch.setattr(session, "library_versions", lambda names: {"tokenizers": "99.0"})
    result = run(project, GOLDEN, "embedgate.suites.test_effective", combination="torch-fp32-cpu")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*tokens of the golden texts differ from what was approved*",
            "*cause: tokens: *special tokens at both ends are missing*",
            "*libraries since it was approved: *tokenizers * -> 99.0*",
            "*next step: find which library*once it is meant: pytest*",
        ]
    )


def test_trouble_while_looking_is_an_error_in_one_line(project):
    project.makeconftest(
        BASE
        + """
class Failing:
    def __init__(self, path):
        self.model, self.calls = load(path), 0

    def encode(self, texts, batch_size=32):
        self.calls += 1
        if self.calls > 1:
            raise MemoryError
        return self.model.encode(list(texts), batch_size=batch_size)

def pytest_gate_combinations(registry):
    registry.add("acme-int8-cpu", lambda path, device: Failing(path))
"""
    )
    result = run(project, ORDERING, "-k", "test_keeps_the_similarity", combination="acme-*")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*acme-int8-cpu ran out of memory while encoding; lower --gate-batch-size"])
    assert "Traceback" not in result.stdout.str()


def test_expected_failure_of_a_property(project):
    project.makeconftest(FORGETTING)
    project.path.joinpath("approved").mkdir()
    project.path.joinpath("approved/expected_failures.toml").write_text(
        '[[expected]]\ncombination = "acme-*"\ndataset = "*"\ncheck = "ordering"\nmetric = "margin"\n'
        'kind = "known-defect"\nreason = "clauses are lost"\nlink = "https://example.com/1"\n'
    )
    result = run(project, ORDERING, "-k", "test_keeps_the_order", combination="acme-*")
    result.assert_outcomes(xfailed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate-depth", "weekly"], "--gate-depth must be quick, standard or nightly, not 'weekly'"),
        (["--gate-seed", "-1"], "--gate-seed must be a whole number from 0"),
        (["--gate-example", "x"], "--gate-example is no JSON"),
        (["--gate-example", "[1]"], "--gate-example: [0]: expected `str`, got `int`"),
    ],
)
def test_wrong_options_are_told_in_one_line(project, options, message):
    result = run(project, ORDERING, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines + result.outlines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "pinned_examples.jsonl:2 is no JSON"),
        ('{"text": []}', "pinned_examples.jsonl:2: unknown key text"),
        ('{"texts": []}', "pinned_examples.jsonl:2: texts: expected `array` of length >= 1"),
        ('{"texts": ["a", 2]}', "pinned_examples.jsonl:2: texts[1]: expected `str`, got `int`"),
    ],
)
def test_a_malformed_pinned_example_is_told_with_its_line(project, text, message):
    project.path.joinpath("approved").mkdir()
    project.path.joinpath("approved/pinned_examples.jsonl").write_text(f'{{"texts": ["a"], "reason": "b"}}\n{text}\n')
    result = run(project, CONTRACT, "-k", "empty")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines + result.outlines if "pinned_examples.jsonl" in line)
    assert message in line


def test_the_host_projects_hypothesis_profile_is_left_alone(project):
    project.makeconftest(
        "from hypothesis import settings\n"
        'settings.register_profile("ci", settings(max_examples=7))\n'
        'settings.load_profile("ci")\n'
    )
    project.makepyfile(
        test_mine="""
        from hypothesis import given, settings, strategies as st

        seen = []

        @given(st.integers())
        def test_mine(number):
            seen.append(number)

        def test_ran_as_often_as_asked():
            assert len(seen) <= 7
            assert settings.default.max_examples == 7
        """
    )
    given = ("--gate-data", "mine.jsonl", "--gate-combination", "onnxruntime-fp32-cpu")
    selected = ("-k", "test_takes_any_text or test_mine or test_ran")
    result = project.runpytest_inprocess(*SUITES, CONTRACT, project.path / "test_mine.py", *given, *selected)
    result.assert_outcomes(passed=3)


def test_nightly_looks_in_rounds_and_prints_the_seed_that_found_it(project, monkeypatch):
    monkeypatch.setitem(explore.PROFILES, "nightly", explore.Profile(rounds=2, cases=30, texts=10, batches=1))
    project.makeconftest(FORGETTING)
    options = (ORDERING, "-k", "test_keeps_the_order", "--gate-depth", "nightly")
    result = run(project, *options, combination="acme-*")
    result.assert_outcomes(failed=1)
    (seed,) = set(re.findall(r"--gate-seed=(\d+)", "\n".join(lines_of(result, "reproduce: "))))
    assert int(seed) > 0


@pytest.mark.slow("Ctrl-C leaves reports that say so, and approves nothing")
def test_an_interrupted_session_says_so_in_every_report_and_approves_nothing(project, warm):
    project.makeconftest(
        BASE
        + """
class Interrupted:
    def __init__(self, path):
        self.model = load(path)

    def encode(self, texts, batch_size=32):
        if len(texts) == 1:
            raise KeyboardInterrupt
        return self.model.encode(list(texts), batch_size=batch_size)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Interrupted(path))
"""
    )
    given = ("--gate-data", "mine.jsonl", "--gate-combination", "acme-*", "--gate-baselines", "approved")
    selected = (
        INVARIANCE,
        "-k",
        "repetition or padding",
        "--gate-report",
        "out",
        "--gate-update",
        "--gate-reason",
        "x",
    )
    # In a process of its own: raised in this one, the interrupt would end these tests, too.
    result = project.runpytest_subprocess(*SUITES, *selected, *given)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    told = "interrupted: this covers the tests that had run by then"
    assert told in result.outlines
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert report["verdict"] == "fail"
    assert told in report["trouble"]
    assert told in project.path.joinpath("out/report.md").read_text()
    assert "nothing was approved: run --gate-update again, to its end" in result.outlines
    assert not list(project.path.glob("approved/**/*.json"))


def test_what_is_pinned_goes_into_a_folder_of_the_projects_own(project):
    project.makeconftest(FORGETTING)
    given = ("--gate-data", "mine.jsonl", "--gate-combination", "acme-*", "-k", "test_keeps_the_order")
    result = project.runpytest_inprocess(*SUITES, ORDERING, *given)
    pin = lines_of(result, "try it first from now on: ")[0].removeprefix("try it first from now on: ")
    assert pin.startswith("mkdir -p gate && ")
    assert pin.endswith("  # and give --gate-baselines gate")
    subprocess.run(["sh", "-c", pin], check=True, cwd=project.path)
    (line,) = project.path.joinpath("gate/pinned_examples.jsonl").read_text().splitlines()
    assert len(json.loads(line)["texts"]) == 3


def test_an_encoder_that_cannot_be_built_is_told_in_one_line_per_test(project):
    project.makeconftest(
        "def pytest_gate_combinations(registry):\n"
        "    def boom(path, device):\n"
        "        raise RuntimeError('no such file')\n"
        "    registry.add('acme-fp32-cpu', boom)\n"
    )
    result = run(project, INVARIANCE, "-k", "repetition or padding", combination="acme-*")
    result.assert_outcomes(errors=2)
    output = result.stdout.str()
    assert "acme-fp32-cpu could not be built: RuntimeError: no such file" in output
    assert "The above exception" not in output
    assert "During handling" not in output

"""A cache that cannot be written stops what needs an artefact, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

ASKED = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_effective", "-m", "cpu")
COMBINATIONS = ("torch-bf16-cpu", "onnxruntime-fp32-cpu")


@pytest.mark.parametrize("place", ["below a file", "a link to nowhere"])
def test_combinations_of_torch_are_judged_and_the_others_told_what_to_do(
    project: pytest.Pytester, few: Path, place: str
) -> None:
    if place == "below a file":
        (project.path / "taken").write_text("a file")
        cache = project.path / "taken" / "cache"
    else:
        cache = project.path / "cache"
        cache.symlink_to(project.path / "nowhere" / "cache")
        (project.path / "nowhere").write_text("a file")
    combinations = [f"--gate-combination={id_}" for id_ in COMBINATIONS]
    result = project.runpytest_inprocess(*ASKED, f"--gate-data={few}", f"--gate-cache={cache}", *combinations)
    shown = result.stdout.str()
    assert "Traceback" not in shown
    result.stdout.re_match_lines([r"torch-bf16-cpu +pass"])
    result.stdout.fnmatch_lines(
        [
            "onnxruntime-fp32-cpu: *onnx-fp32-* cannot be written: *, or give another folder by --gate-cache DIR or EMBEDGATE_CACHE"
        ]
    )


def test_a_session_goes_on_with_an_approval_that_was_cut_short(
    project: pytest.Pytester, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedgate.approved import transaction

    asked = (*ASKED, "embedgate.suites.test_baseline", f"--gate-data={few}", "--gate-baselines=gate")
    given = ("--gate-combination=torch-fp32-cpu", "--gate-update", "--gate-reason=first")
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "_carry_out", lambda *_: None)
        project.runpytest_inprocess(*asked, *given)
    assert project.runpytest_inprocess(*asked, given[0], "--collect-only").ret == pytest.ExitCode.OK
    assert not list((project.path / "gate").glob("*/*.json")), "who only collects writes nothing"
    result = project.runpytest_inprocess(*asked, given[0])
    result.stdout.fnmatch_lines(["*an approval in * was cut short, and is now whole: * written"])
    assert result.ret == pytest.ExitCode.OK
    assert [path.suffix for path in (project.path / "gate").glob("*/*")] == [".json"]
